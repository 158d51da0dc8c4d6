"""What train() returned, as files of a bundle and back.

A LightGBM booster is kept as its own text; anything else is pickled. A pickle runs code when it is read: only
those of a verified bundle are.
"""

from __future__ import annotations

import pickle
from math import isfinite
from pathlib import Path
from typing import Any

from perene.errors import PereneError, TrainingError
from perene.storage.bundles import Bundle
from perene.storage.snapshot import SnapshotModules

PICKLE, LIGHTGBM = "pickle", "lightgbm"
_FILES = {PICKLE: "fitted.pkl", LIGHTGBM: "fitted.txt"}


def keep(fitted: Any, folder: Path) -> str:
    """Write a fitted object into a folder; returns its flavour.

    Raises:
        TrainingError: it cannot be kept.
    """
    if _is_booster(fitted):
        (folder / _FILES[LIGHTGBM]).write_text(fitted.model_to_string(), encoding="utf-8")
        return LIGHTGBM
    try:
        content = pickle.dumps(fitted, protocol=5)
    except Exception as error:
        raise TrainingError(
            f"what train() returned cannot be kept: {type(fitted).__name__}",
            why=f"{type(error).__name__}: {error}",
            mend="return an object of a class that stands at the top of a module, without open files or lambdas in it",
            code="training-unusable",
        ) from error
    (folder / _FILES[PICKLE]).write_bytes(content)
    return PICKLE


def revive(bundle: Bundle, modules: SnapshotModules) -> Any:
    """The fitted object of a verified bundle; classes of project modules are those of its snapshot."""
    flavour = bundle.manifest["flavour"]
    content = bundle.read(_FILES[flavour])
    if flavour == LIGHTGBM:
        return _lightgbm().Booster(model_str=content.decode())
    return modules.unpickle(content)


def parameters_of(fitted: Any) -> dict[str, object]:
    """The parameters that a fitted object tells of itself: plain values only, NaN and infinities as texts."""
    told: Any = {}
    if _is_booster(fitted):
        told = fitted.params
    elif callable(getattr(fitted, "get_params", None)):
        told = fitted.get_params(deep=True)
    plain = {str(name): _in_json(value) for name, value in dict(told).items() if _is_plain(value)}
    return dict(sorted(plain.items()))


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return len(value) <= 50 and all(isinstance(item, str | bool | int | float) for item in value)
    return value is None or isinstance(value, str | bool | int | float)


def _in_json(value: Any) -> object:
    if isinstance(value, list | tuple):
        return [_in_json(item) for item in value]
    return str(value) if isinstance(value, float) and not isfinite(value) else value


def _is_booster(fitted: Any) -> bool:
    kind = type(fitted)
    return kind.__name__ == "Booster" and kind.__module__.partition(".")[0] == "lightgbm"


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise PereneError(
            "this model needs LightGBM", why=str(error), mend='pip install "perene[lightgbm]"', code="package-missing"
        ) from error
    except OSError as error:  # its wheel leaves the OpenMP library to the system
        raise PereneError(
            "LightGBM cannot be loaded", why=str(error), mend="apt-get install libgomp1", code="package-missing"
        ) from error
    return lightgbm


__all__ = ["keep", "parameters_of", "revive"]
