"""Projects: a folder with perene.toml and the files of its models."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from perene.definition.model import Model
from perene.definition.settings import FILE, Settings, find_project, load_settings
from perene.definition.spelling import did_you_mean
from perene.errors import DeclarationError, Mistake, SettingsError

__all__ = ["Project", "find_project", "load_project"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A folder, its settings, and its models by name; every one of them is sound.

    ``modules`` names, for each model, the module that declares it.
    """

    folder: Path
    settings: Settings
    models: Mapping[str, Model]
    modules: Mapping[str, str]


def load_project(folder: Path, *, environment: str | None = None, variables: Mapping[str, str]) -> Project:
    """The project in a folder.

    Its model files are imported as modules named by their path (``models/late_arrival.py`` is
    ``models.late_arrival``), with the folder first on ``sys.path``; modules of the same names from another project
    are forgotten.

    Raises:
        SettingsError: perene.toml is wrong, or its ``models`` match no file.
        DeclarationError: with every mistake of every model, and every file that cannot be imported.
    """
    folder = folder.resolve()
    settings = load_settings(folder, environment=environment, variables=variables)
    files = _model_files(folder, settings)
    _prefer(folder)
    mistakes: list[Mistake] = []
    models: dict[str, Model] = {}
    modules: dict[str, str] = {}
    for file in files:
        module = _imported(folder, file, mistakes)
        for model in _models_of(module):
            other = models.setdefault(model.name, model)
            modules.setdefault(model.name, module.__name__ if module else "")
            if other is not model:
                mistakes.append(
                    Mistake(where=model.line, what=f"the model {model.name} is declared at {other.line} too")
                )
    _override(models, settings)
    for model in models.values():
        mistakes += model.mistakes
    if mistakes:
        raise DeclarationError("the project's models are declared wrong", tuple(mistakes))
    return Project(folder=folder, settings=settings, models=dict(sorted(models.items())), modules=modules)


def _model_files(folder: Path, settings: Settings) -> list[Path]:
    files: dict[Path, None] = {}
    missing = []
    for pattern in settings.models:
        found = (
            [file for file in sorted(folder.glob(pattern)) if file.suffix == ".py"] if not _is_outside(pattern) else []
        )
        files |= dict.fromkeys(found)
        if not found:
            missing.append(Mistake(where="models", what=f"{pattern!r} matches no Python file in the project's folder"))
    if missing:
        raise SettingsError(f"{FILE} names no model files", tuple(missing))
    return list(files)


def _is_outside(pattern: str) -> bool:
    return pattern.startswith(("/", "~")) or ".." in Path(pattern).parts


def _prefer(folder: Path) -> None:
    """Put the folder first on ``sys.path``, and forget another project's modules that have the names of this one's."""
    place = str(folder)
    if sys.path[:1] != [place]:
        sys.path[:] = [place, *(other for other in sys.path if other != place)]
    own = {
        path.stem if path.suffix == ".py" else path.name
        for path in folder.iterdir()
        if path.is_dir() or path.suffix == ".py"
    }
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in own and _is_of_another_project(module, folder):
            del sys.modules[name]
    importlib.invalidate_caches()


def _is_of_another_project(module: ModuleType, folder: Path) -> bool:
    places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", ())]
    for place in (Path(text) for text in places if text):
        home = next((parent for parent in place.parents if (parent / FILE).is_file()), None)
        if home is not None and home.resolve() != folder:
            return True
    return False


def _imported(folder: Path, file: Path, mistakes: list[Mistake]) -> ModuleType | None:
    parts = file.relative_to(folder).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    try:
        return importlib.import_module(name)
    except DeclarationError as error:
        mistakes += error.mistakes
    except Exception as error:  # noqa: BLE001 - the user's file runs here; whatever it raises is a mistake with its line
        what = f"{name} cannot be imported: {type(error).__name__}: {error}"
        mend = "apt-get install libgomp1" if "libgomp" in str(error) else ""  # LightGBM's wheel needs the system's
        mistakes.append(Mistake(where=_line_of(error, folder, file), what=what, mend=mend))
    return None


def _line_of(error: Exception, folder: Path, file: Path) -> str:
    """The last line of the project's own files that an error came through."""
    if isinstance(error, SyntaxError) and error.filename:
        own = [(Path(error.filename), error.lineno)]
    else:
        own = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    for place, line in reversed(own):
        if place.is_relative_to(folder):
            return f"{place.relative_to(folder).as_posix()}:{line}"
    return file.relative_to(folder).as_posix()


def _models_of(module: ModuleType | None) -> Iterator[Model]:
    seen: set[int] = set()
    for value in vars(module).values() if module else ():
        if isinstance(value, Model) and id(value) not in seen:
            seen.add(id(value))
            yield value


def _override(models: dict[str, Model], settings: Settings) -> None:
    mistakes = []
    for name, terms in settings.overrides.items():
        if name not in models:
            mistakes.append(Mistake(where=f"model.{name}", what=f"there is no such model{did_you_mean(name, models)}"))
            continue
        for setting, value in terms.items():
            try:
                models[name] = models[name].overridden(setting, value)
            except ValueError as error:
                mistakes.append(Mistake(where=f"model.{name}.{setting}", what=str(error)))
    if mistakes:
        raise SettingsError(f"{FILE} is not right", tuple(mistakes))
