"""A model version that answers: its own code and fitted state, out of a verified bundle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perene.definition.checks import SAMPLE, check_features_rowwise
from perene.definition.frames import handed_table
from perene.definition.groups import Groups, groups_of
from perene.definition.label import Task
from perene.definition.model import Model
from perene.definition.posts import apply_posts, given_to_posts, remove_rows
from perene.definition.ranks import rank_rows
from perene.errors import BundleError, DeclarationError, PereneError, TrainingError
from perene.pipelines import flavours
from perene.pipelines.native import Native, recognised, why_unrecognised
from perene.records.model import ModelVersion
from perene.statistics.scores import Constant
from perene.storage.bundles import Bundle, Bundles
from perene.storage.snapshot import SnapshotModules

CODE, PROBES = "code", "probes.arrow"
_FADES = 1.01
_TOLERANCE = 1e-9  # the last bits of sums may differ between numbers of threads


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Predictions of rows, in their order.

    ``raw`` is what the model gave: shape (n,), or (n, k) for k classes in the label's order; of a binary label the
    probability of true. ``steps`` are the outputs after each post step, ``final`` the answers.

    Of a ranking ``final`` are the scores, ``rank`` is each row's place in the answer of its group (1 is the first, 0 is
    none) and ``removed`` says why it has none; each of ``steps`` has shape (n, 2): score and rank (NaN: removed).
    """

    raw: NDArray[np.float64]
    steps: list[NDArray[Any]]
    final: NDArray[Any]
    rank: NDArray[np.int64] | None = None
    removed: list[str | None] | None = None


class Predictor:
    """One version of a model, ready to answer.

    ``model`` is the declaration that the version's own code makes; ``baseline`` the constant prediction that its
    training labels give. ``batch_s`` is how long a batch of 64 rows takes at most, by what it took lately. ``forget``
    takes its modules out of the process; who still has it can go on asking it.
    """

    forget: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, version: ModelVersion, model: Model, fitted: Any, baseline: Constant) -> None:
        self.version = version
        self.model = model
        self.baseline = baseline
        self._fitted = fitted
        self._native: Native | None = None
        self.batch_s = inf

    def predict(self, rows: pl.DataFrame, *, groups: Groups | None = None) -> Output:
        """Predict checked rows: features, model, post steps. Rows may have columns that this version does not know.

        ``groups`` says which rows are ranked together, shape (n,); None where the rows themselves say it.
        """
        return answer(self.model, self._fitted, rows, groups=groups, native=self._native)

    def why_not_native(self, rows: pl.DataFrame) -> str:
        """Why these rows' predictions go through what train() returned; empty where the model is called natively."""
        model, fitted = self.model, self._fitted
        if self._native is not None:
            return ""
        return why_unrecognised(fitted, model.compute_features(rows), lambda x: _said(model, fitted, x))

    def quicken(self, rows: pl.DataFrame) -> None:
        """Call a recognised model natively if it answers these rows alike, and see how long a batch of them takes."""
        model, fitted = self.model, self._fitted
        self._native = recognised(fitted, model.compute_features(rows), lambda x: _said(model, fitted, x))
        for _ in range(5):
            started = perf_counter()
            self.predict(rows)
            self.took(rows.height, perf_counter() - started)

    def took(self, rows: int, seconds: float) -> None:
        """Learn how long a batch takes: the quickest tells, for others stood in the way of the rest.

        A batch that even so many rows of its own would not explain makes that count for less: neither a machine that
        is busy while a version is loaded, nor a time when it was quick, says what it is for the rest of its life.
        """
        least, most = seconds * min(SAMPLE / rows, 1.0), seconds * max(SAMPLE / rows, 1.0)
        self.batch_s = min(self.batch_s * (_FADES if least > self.batch_s else 1.0), most)


def answer(
    model: Model, fitted: Any, rows: pl.DataFrame, *, groups: Groups | None = None, native: Native | None = None
) -> Output:
    """What a fitted object says of rows, by the model's features and post steps."""
    features = model.compute_features(rows)
    said = native(features) if native is not None and native.fits(features) else _said(model, fitted, features)
    raw = _in_shape(model, fitted, said, rows.height)
    if model.label.task is Task.RANKING:
        together = groups_of(model, rows) if groups is None else groups
        ranked = rank_rows(model, together, raw, given_to_posts(model, rows))
        return Output(raw=raw, steps=ranked.steps, final=ranked.score, rank=ranked.rank, removed=ranked.removed)
    steps, final = apply_posts(model, rows, raw)
    if not any(hook.removes for hook in model.posts):
        return Output(raw=raw, steps=steps, final=final)
    removals, removed = remove_rows(model, rows, final)
    return Output(raw=raw, steps=[*steps, *removals], final=removals[-1], removed=removed)


def _said(model: Model, fitted: Any, features: pl.DataFrame) -> NDArray[np.float64]:
    """What a fitted object says of features. Raises TrainingError when it does not predict."""
    hook = model.train_hook
    x = handed_table(features, hook.frame["x"])
    if _has_chances(model, fitted):
        return np.asarray(fitted.predict_proba(x), dtype=np.float64)
    if hasattr(fitted, "predict"):
        return np.asarray(fitted.predict(x), dtype=np.float64)
    raise TrainingError(
        f"what train() of {model.name} returned does not predict",
        why=f"{type(fitted).__name__} has neither predict nor predict_proba",
        mend=f"mend {hook.line}",
        code="training-unusable",
    )


def _has_chances(model: Model, fitted: Any) -> bool:
    """Whether to ask for chances: of classes, and of true; a ranking by numbers has none."""
    return not model.label.dtype.is_float() and hasattr(fitted, "predict_proba")


def _in_shape(model: Model, fitted: Any, said: NDArray[np.float64], height: int) -> NDArray[np.float64]:
    """What was said of so many rows, in the label's shape. Raises TrainingError when it has another."""
    raw = _in_order(model, fitted, said) if _has_chances(model, fitted) else said
    wanted = (height, len(model.label.classes)) if model.label.task is Task.MULTICLASS else (height,)
    if raw.shape != wanted:
        raise TrainingError(
            f"{model.name} gave predictions of shape {raw.shape}, not {wanted}",
            why=f"its label is {model.label.task}",
            mend=f"see what {model.train_hook.line} returns",
            code="training-unusable",
        )
    return raw


def load_predictor(bundles: Bundles, version: ModelVersion, *, project: Path) -> Predictor:
    """Open a version: verify its bundle, load its code beside every other's, and replay its probe rows.

    ``project`` is the folder in which its post steps find files that are no part of it.

    Raises:
        BundleError: the bundle is not what the database says, cannot be loaded here, or answers its probe rows
            differently here.
    """
    bundle = bundles.open(version.bundle)
    modules = SnapshotModules(
        bundle.folder / CODE,
        bundle.digest,
        read=lambda path: bundle.read(path.relative_to(bundle.folder).as_posix()),  # lazy imports are verified too
    )
    try:
        predictor = _revived(version, bundle, modules)
        predictor.model.folder = project
        _replay(predictor, bundle)
    except PereneError:
        modules.forget()
        raise
    except Exception as error:
        modules.forget()
        raise BundleError(
            f"{version.model} v{version.version} cannot be loaded here",
            why=f"{type(error).__name__}: {error}",
            mend=f"install the packages that it was made with, or train it again here: perene train {version.model}",
            code="bundle-load",
        ) from error
    predictor.forget = modules.forget
    return predictor


def _revived(version: ModelVersion, bundle: Bundle, modules: SnapshotModules) -> Predictor:
    """What the code and the fitted state of a verified bundle make; runs the user's code."""
    model = declared_in(modules.import_module(bundle.manifest["module"]), version.model)
    told = bundle.manifest["baseline"]
    baseline = Constant(name=told["name"], value=np.asarray(told["value"], dtype=np.float64))
    return Predictor(version, model, flavours.revive(bundle, modules), baseline)


def declared_in(module: object, name: str) -> Model:
    """The model of a name that a module declares; raises DeclarationError when it is unsound."""
    for value in vars(module).values():
        if isinstance(value, Model) and value.name == name:
            value.ensure_sound()
            return value
    where = getattr(module, "__name__", module)
    raise TrainingError(f"{where} declares no model {name}", mend="declare it there again, then train it")


def probe_content(rows: pl.DataFrame, output: Output) -> bytes:
    """Rows with the answers that they must get for ever, as a file of the bundle."""
    raw = output.raw if output.raw.ndim == 2 else output.raw[:, None]
    columns = [pl.Series(f"raw_{i}", raw[:, i]) for i in range(raw.shape[1])]
    content = BytesIO()
    rows.select(pl.struct(pl.all()).alias("row")).hstack(columns).write_ipc(content)
    return content.getvalue()


def _in_order(model: Model, fitted: Any, p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns of predict_proba in the label's order; a class that training did not see gets 0."""
    seen = list(getattr(fitted, "classes_", ()))
    if model.label.task is not Task.MULTICLASS:
        if p.ndim == 1:
            return p
        if not seen:
            return np.asarray(p[:, -1])
        return np.asarray(p[:, seen.index(True)]) if True in seen else np.zeros(len(p))
    if not seen:
        return p
    places = [seen.index(name) if name in seen else None for name in model.label.classes]
    return np.column_stack([np.zeros(len(p)) if place is None else p[:, place] for place in places])


def _replay(predictor: Predictor, bundle: Bundle) -> None:
    """Refuse a version that answers its probe rows in another way than when it was made."""
    kept = pl.read_ipc(BytesIO(bundle.read(PROBES)))
    rows = kept["row"].struct.unnest()
    then = kept.select(pl.col("^raw_\\d+$")).to_numpy()
    what = f"{predictor.model.name} v{predictor.version.version} cannot be used here"
    mend = f"train it again here: perene train {predictor.model.name}"
    try:
        check_features_rowwise(predictor.model, rows, seed=0)
        now = predictor.predict(rows).raw.reshape(then.shape)
    except DeclarationError as error:
        raise BundleError(what, why=error.what, seen=error.seen, mend=mend, code="bundle-answers") from error
    differ = ~np.isclose(now, then, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True).all(axis=1)
    if differ.any():
        first = int(np.flatnonzero(differ)[0])
        why = f"{int(differ.sum())} of its {len(then)} probe rows get other answers than when it was made"
        seen = (f"probe row {first}: {then[first].tolist()} then, {now[first].tolist()} now",)
        raise BundleError(what, why=why, seen=seen, mend=mend, code="bundle-answers")
    predictor.quicken(rows)
