"""Post steps of a ranking: each group of items on its own, from scores to an order, and what is taken out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perene.definition.groups import Groups, places_by_group
from perene.definition.items import COLUMNS, Items
from perene.errors import ServingError

if TYPE_CHECKING:
    from perene.definition.hooks import Hook
    from perene.definition.model import Model

_TABLES = ("rows", "at", "x")
Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """Rows in the order of their groups, arrays of one length n in the order of the rows.

    ``steps`` hold for each post step, shape (n, 2), the score and the rank after it (NaN: removed). ``rank`` is the
    place in the group's answer, 1 is the first, 0 is no place; ``removed`` the reason of those.
    """

    steps: list[Numbers]
    score: Numbers
    rank: NDArray[np.int64]
    removed: list[str | None]


def rank_rows(model: Model, groups: Groups, scores: Numbers, given: dict[str, Any]) -> Ranked:
    """Order the rows of each group by score, best first and equals as they came, then do the steps.

    A step is called once per group. One that names ``items`` gets them as a frame (``item``: the place among the
    group's rows, ``score``, ``removed``: null, or why it was taken out), in their order, and returns such a frame: in
    its order, with its scores, and with what it removes. One that names ``p`` gets the scores in the order of the rows
    and returns new ones; the items then lie by them, equals as they lay.

    Args:
        model: the declaration.
        groups: the group of each row, shape (n,).
        scores: of each row, shape (n,).
        given: what steps may ask for beside: ``rows``, ``at`` and ``x`` of all rows, ``folder``.

    Raises:
        DeclarationError: a step lost or made up an item, or returned no such frame.
        ServingError: a score is no number ("no-number").
    """
    n, hooks = len(groups), model.posts
    _refuse_no_numbers(scores, f"{model.name} gave a score")
    if not hooks:
        return Ranked(steps=[], score=scores, rank=_by_score(groups, scores), removed=[None] * n)
    made = Ranked(
        steps=[np.full((n, 2), np.nan) for _ in hooks],
        score=scores.copy(),
        rank=np.zeros(n, dtype=np.int64),
        removed=[None] * n,
    )
    for places in places_by_group(groups):
        items = Items.by_score(scores[places])
        tables = {name: given[name][places] for name in _TABLES if name in given} | {"folder": given.get("folder")}
        for number, hook in enumerate(hooks):
            items = _step(hook, items, tables)
            made.steps[number][places] = _told(items)
        _place(made, places, items)
    return made


def redo_ranks(model: Model, items: Items, given: dict[str, Any]) -> Items:
    """A group that was answered before, with the steps done again that must hold now (``recheck``)."""
    for hook in model.posts:
        if hook.recheck:
            items = _step(hook, items, given)
    return items


def _by_score(groups: Groups, scores: Numbers) -> NDArray[np.int64]:
    """The rank of each row in its group, at once."""
    order = np.lexsort((-scores, groups))
    ordered = groups[order]
    rank = np.empty(len(groups), dtype=np.int64)
    rank[order] = np.arange(1, len(groups) + 1) - np.searchsorted(ordered, ordered)
    return rank


def _step(hook: Hook, items: Items, tables: dict[str, Any]) -> Items:
    if hook.step is not None and hook.step.items is not None:
        after: Items = hook(items=items, **tables)
    elif "items" in hook.parameters:
        after = _as_items(hook, hook(items=items.frame(), **tables), items)
    else:
        scores = np.asarray(hook(p=items.in_rows(), **tables))
        if scores.shape != items.score.shape or scores.dtype.kind not in "biuf":
            raise hook.refused(f"returned {scores.dtype} of shape {scores.shape}, not {len(items.score)} scores")
        staying = items.staying
        after = items.scored(items.values(scores.astype(np.float64))[staying])
    _refuse_no_numbers(after.score, f"post {hook.name} gave a score")
    return after


def _as_items(hook: Hook, after: pl.DataFrame, before: Items) -> Items:
    """What a step returned, as items; refused where it is none, or lost or made up one."""
    missing = [name for name in COLUMNS if name not in after.columns]
    if missing:
        mend = "return the frame of items that came in, with its columns item, score and removed"
        raise hook.refused(f"returned a frame without {', '.join(missing)}", mend=mend)
    try:
        taken = after.select(pl.col(name).cast(dtype) for name, dtype in COLUMNS.items())
    except pl.exceptions.PolarsError as error:
        types = ", ".join(f"{name} ({after.schema[name]})" for name in COLUMNS)
        raise hook.refused(f"returned {types}; item is an integer, score a number, removed a text") from error
    came, went = before.item.tolist(), taken["item"].to_list()
    if sorted(came) == sorted(item for item in went if item is not None) and len(went) == len(came):
        return Items.of(taken.with_columns(pl.col("score").fill_null(np.nan)))
    mend = "keep every item once; what shall not be answered gets its reason in removed"
    raise hook.refused(_what_became(came, went), mend=mend)


def _what_became(came: Sequence[int], went: Sequence[int | None]) -> str:
    for item in went:
        if item not in came:
            return f"made up the item {item}, of {len(came)} that there are"
    lost = next((item for item in sorted(came) if item not in went), None)
    if lost is not None:
        return f"lost the item {lost}"
    return f"has the item {next(item for item in went if went.count(item) > 1)} twice"


def _told(items: Items) -> Numbers:
    """Score and rank of each row after a step."""
    told = np.full((len(items.item), 2), np.nan)
    told[items.item, 0] = items.score
    staying = items.staying
    told[items.item[staying], 1] = np.arange(1, len(staying) + 1)
    return told


def _place(made: Ranked, places: NDArray[np.int64], items: Items) -> None:
    """Write a group's answer into that of all rows."""
    told = _told(items)
    made.score[places] = told[:, 0]
    made.rank[places] = np.nan_to_num(told[:, 1], nan=0.0)
    for place, reason in zip(places[items.item].tolist(), items.removed, strict=True):
        made.removed[place] = reason


def _refuse_no_numbers(scores: Numbers, what: str) -> None:
    if not bool(np.isfinite(scores).all()):
        mend = "see what it gives for nulls; a post step can put a number in its place"
        raise ServingError(f"{what} that is no number", mend=mend, code="no-number")
