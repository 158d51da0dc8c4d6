"""Post steps of single rows: from the model's raw output to the answer. Those of a ranking are in ``ranks``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perene.definition.features import evaluable

if TYPE_CHECKING:
    from perene.definition.hooks import Hook
    from perene.definition.model import Model

Array = NDArray[Any]


def apply_posts(model: Model, rows: pl.DataFrame, raw: Array) -> tuple[list[Array], Array]:
    """The output after each step, and the answer: the last of them, or ``raw`` where there is no step.

    ``raw`` has shape (n,), or (n, k) for k classes. Steps get the Row's columns, and never one row alone (as features).

    Raises:
        DeclarationError: a step returned another number of values, another shape before the last step, or other
        things than it declares.
    """
    return _done(model, [hook for hook in model.posts if not hook.removes], rows, raw)


def redo_posts(model: Model, rows: pl.DataFrame, before: Array) -> tuple[list[Array], list[str | None]]:
    """The answers after each step that is done again to stored ones (``recheck``), and why each row is taken out now.

    ``before`` is what the last step gave that is not done again.
    """
    changed, final = _done(model, [hook for hook in model.posts if hook.recheck and not hook.removes], rows, before)
    removals, removed = remove_rows(model, rows, final, again=True)
    return [*changed, *removals], removed


def remove_rows(
    model: Model, rows: pl.DataFrame, final: Array, *, again: bool = False
) -> tuple[list[Array], list[str | None]]:
    """The answers after each removal, and why each row was taken out: null where it was not, else the first reason.

    ``again`` does those only that hold of stored answers too (``recheck``), to answers that are given out later.
    """
    hooks = [hook for hook in model.posts if hook.removes and (hook.recheck or not again)]
    removed: list[str | None] = [None] * rows.height
    if not hooks or not rows.height:
        return [final for _ in hooks], removed
    given = given_to_posts(model, rows)
    steps: list[Array] = []
    before = np.repeat(final, 2, axis=0) if rows.height == 1 else final
    for hook in hooks:
        assert hook.step is not None and hook.step.removal is not None
        reasons = hook(p=before, **given)[: rows.height]
        fresh = [n for n, reason in enumerate(reasons) if reason is not None and removed[n] is None]
        after = (steps[-1] if steps else final).copy()
        for n in fresh:
            after[n], removed[n] = hook.step.removal.instead, reasons[n]
        steps.append(after)
    return steps, removed


def given_to_posts(model: Model, rows: pl.DataFrame) -> dict[str, Any]:
    """What the steps ask for beside the outputs; a single row comes twice."""
    wanted = {name for hook in model.posts for name in hook.parameters}
    given: dict[str, Any] = {"folder": model.folder}
    if wanted & {"rows", "at", "x"}:
        known = evaluable(model, rows)
        given |= {"rows": known, "at": known[model.at]}
    if "x" in wanted:
        given["x"] = model.compute_features(given["rows"])
    return given


def _done(model: Model, hooks: Sequence[Hook], rows: pl.DataFrame, raw: Array) -> tuple[list[Array], Array]:
    """The output after each of these steps, and after the last of them."""
    if not hooks or not rows.height:
        return [raw for _ in hooks], raw
    given = given_to_posts(model, rows)
    steps, current = [], np.repeat(raw, 2, axis=0) if rows.height == 1 else raw
    for hook in hooks:
        current = _step(hook, current, given, last=hook is hooks[-1])
        steps.append(current[: rows.height])
    return steps, steps[-1]


def _step(hook: Hook, before: Array, given: dict[str, Any], *, last: bool) -> Array:
    after: Array = hook(p=before, **given)
    wanted = hook.answer if last else None
    shape = _shape(wanted, before, after)
    if after.shape != shape:
        raise hook.refused(f"returned shape {after.shape}, not {shape}")
    if wanted is None or isinstance(wanted, pl.Float64 | pl.List):
        return _numbers(hook, after)
    if isinstance(wanted, pl.String):
        if all(isinstance(text, str) for text in after):
            return np.asarray([str(text) for text in after], dtype=object)
    elif isinstance(wanted, pl.Boolean) and after.dtype == np.bool_:
        return after
    elif isinstance(wanted, pl.Int64) and np.issubdtype(after.dtype, np.integer):
        return np.asarray(after, dtype=np.int64)
    raise hook.refused(f"declares {wanted} answers, but returned {after.dtype}")


def _shape(wanted: pl.DataType | None, before: Array, after: Array) -> tuple[int, ...]:
    """What a step's output must be like: as its input, or as the type that it declares."""
    if wanted is None:
        return before.shape
    if not isinstance(wanted, pl.List):
        return (len(before),)
    return after.shape if after.ndim == 2 else (len(before), before[:1].size)


def _numbers(hook: Hook, after: Array) -> Array:
    is_text = any(isinstance(value, str) for value in after.ravel()) if after.dtype == object else False
    if after.dtype.kind in "biufO" and not is_text:
        with suppress(TypeError, ValueError):
            return after.astype(np.float64)
    mend = "name another type of answer in the return annotation"
    raise hook.refused(f"returned {after.dtype}, not numbers", mend=mend)
