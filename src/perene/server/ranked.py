"""Rankings: a request is one group of rows, and its answer an ordered list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from perene.definition.groups import Groups, group_fields, numbered
from perene.definition.label import Task
from perene.definition.model import Model
from perene.errors import BadField, BadRows, Conflict

Answer = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What was answered of one row of a request: ``item`` is its place there. It has a rank, or was removed.

    ``more`` is told beside: that it was answered before, or by another version.
    """

    prediction_id: str
    item: int
    score: object
    rank: int | None
    removed: str | None
    more: Mapping[str, object]


def requests_as_groups(model: Model, request_of: Sequence[int]) -> Groups | None:
    """The groups of rows of which it is known from which request they come; None where the model ranks nothing."""
    return numbered(np.asarray(request_of, dtype=np.int64)) if model.label.task is Task.RANKING else None


def check_groups(model: Model, records: Sequence[Mapping[str, object]], starts: Sequence[int]) -> None:
    """Refuse a request whose rows are of several groups; ``starts`` are the places of the requests' first rows.

    Raises:
        BadRows: it has one that differs from its first.
    """
    if model.label.task is Task.RANKING:
        bad = tuple(_strangers(group_fields(model), records, starts))
        if bad:
            why = f"a request is one group: {model.name} ranks the rows that share {', '.join(group_fields(model))}"
            raise BadRows("rows of several groups in one request", bad, why=why, mend="send each group by itself")


def _strangers(
    fields: Sequence[str], records: Sequence[Mapping[str, object]], starts: Sequence[int]
) -> Iterator[BadField]:
    for start, end in zip(starts, [*starts[1:], len(records)], strict=True):
        first = records[start]
        for row in range(start + 1, end):
            other = next((name for name in fields if records[row][name] != first[name]), None)
            if other is not None:
                yield BadField(row=row, field=other, what=f"differs from that of row {start}")


def answer_of(model: Model, items: Sequence[Item]) -> dict[str, object]:
    """A ranking's part of an answer: ``predictions``, best first, and what was ``removed``, in the order sent.

    Raises:
        Conflict: some of the rows were answered before, and others not.
    """
    if len({"repeated" in item.more for item in items}) > 1:
        raise Conflict(
            f"some of these rows were answered by {model.name} before, and others not",
            why="a ranking is answered whole",
            mend="send the same rows with the same ids again, or all with new ids",
        )
    staying = sorted((item for item in items if item.rank is not None), key=lambda item: item.rank or 0)
    return {
        "predictions": [
            {"prediction_id": i.prediction_id, "item": i.item, "score": i.score, "rank": i.rank, **i.more}
            for i in staying
        ],
        "removed": [
            {"prediction_id": i.prediction_id, "item": i.item, "reason": i.removed, **i.more}
            for i in items
            if i.rank is None
        ],
    }


def by_row(answer: Answer) -> list[dict[str, object]]:
    """A ranking's answer with one entry per row, in the order sent, for protocols that answer row by row.

    Each has ``prediction_id, prediction, rank, removed``: the score, and no rank (0) and no score where it was removed.
    """
    placed = cast(Sequence[Answer], answer["predictions"])
    removed = cast(Sequence[Answer], answer["removed"])
    rows = [{**i, "prediction": i["score"], "removed": None} for i in placed]
    rows += [{**i, "prediction": None, "rank": 0, "removed": i["reason"]} for i in removed]
    return sorted(rows, key=lambda row: cast(int, row["item"]))
