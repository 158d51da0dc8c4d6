"""Steps that take rows out: for legal reasons, or by a score of what is in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from perene.definition.items import Items, Numbers
from perene.definition.label import Label
from perene.definition.places import place_of_caller
from perene.definition.row import RowSchema
from perene.definition.steps import Removal, Step, Wrong, named
from perene.post.listed import listed
from perene.post.numbers import not_finite
from perene.post.reading import Read, Reading

Hits = Callable[[pl.DataFrame, Numbers, Path], Sequence[bool]]  # of rows, outputs and project folder: what is taken out


def block(
    field: str | None = None,
    *,
    ids: Sequence[str | int] | None = None,
    file: str | Path | None = None,
    when: Read | None = None,
    reason: str,
    instead: object = None,
    name: str = "block",
) -> Step:
    """Take out what may not be answered, for legal reasons say: the last step, and checked again in stored answers.

    Give one of: ``block("video", ids=["v1", "v2"])``; ``block("video", file="removed/videos.txt")``, a list that is
    read again as soon as it changes, without a new version; ``block(when=pl.col("age") < 18)``, a field, an
    expression or a function. A file has one id per line, ``#`` begins a comment, and a relative path starts in the
    project's folder; a file that cannot be read fails the request, for nothing that is on it may be answered.

    Args:
        field: the Row's field that ids are of.
        ids: the ids, part of the version.
        file: the file of ids.
        when: which rows; null is no.
        reason: why; it is logged with each removed row, and told in its trace.
        instead: what a model of single rows answers in place of a removed prediction; none for a ranking.
        name: what the step is called.
    """
    reading = None if when is None else Reading("when", when)
    wrong = [*_wrong_lists(field, ids, file, reading), *_wrong_reason(reason)]
    fixed = frozenset(() if wrong or ids is None else ids)

    def hits(rows: pl.DataFrame, p: Numbers, folder: Path) -> Sequence[bool]:
        if reading is not None:
            return reading.flags(rows, p)
        assert field is not None
        values = rows[field]
        known = fixed if file is None else listed(folder / file, are_numbers=values.dtype.is_integer())
        return [value in known for value in values.to_list()]

    def misfits(schema: RowSchema, label: Label) -> Iterator[Wrong]:
        if reading is not None:
            yield from reading.misfits(schema, kind="flags")
        elif field is not None:
            yield from _misfit_ids(schema, field, ids or ())

    settings = {
        "step": "block", "field": field, "ids": None if ids is None else list(ids),
        "file": None if file is None else str(file), "when": None if reading is None else reading.shown(),
        "reason": reason, "instead": instead,
    }  # fmt: skip
    return _removing(
        hits, reason=reason, instead=instead, name=name, settings=settings, line=place_of_caller(1),
        wrong=tuple(wrong), misfits=misfits, recheck=True,
    )  # fmt: skip


def filter(
    score: Read,
    *,
    above: float | None = None,
    below: float | None = None,
    reason: str,
    unknown: Literal["keep", "remove"] = "keep",
    instead: object = None,
    name: str = "filter",
) -> Step:
    """Take out what has a score above, or below, a bound: toxic, unsafe, too weak.

    Args:
        score: a field, a polars expression, or a function of ``rows`` and ``p`` (the outputs).
        above: what is greater is taken out.
        below: what is less is taken out.
        reason: why; it is logged with each removed row, and told in its trace.
        unknown: what becomes of rows without a score.
        instead: what a model of single rows answers in place of a removed prediction; none for a ranking.
        name: what the step is called.
    """
    reading = Reading("score", score)
    wrong = [*reading.wrong(), *not_finite(above=above, below=below), *_wrong_reason(reason)]
    if above is None and below is None:
        wrong.append(("has no bound", "filter(score, above=0.8, reason=…)"))
    if unknown not in ("keep", "remove"):
        wrong.append((f"has unknown={unknown!r}", 'unknown="keep", or "remove"'))

    def hits(rows: pl.DataFrame, p: Numbers, folder: Path) -> Sequence[bool]:
        scores = reading.numbers(rows, p)
        is_hit = np.isnan(scores) if unknown == "remove" else np.zeros(len(scores), dtype=bool)
        if above is not None:
            is_hit |= scores > above
        if below is not None:
            is_hit |= scores < below
        return list(is_hit.tolist())

    def misfits(schema: RowSchema, label: Label) -> Iterator[Wrong]:
        return reading.misfits(schema, kind="numbers")

    settings = {
        "step": "filter", "score": reading.shown(), "above": above, "below": below, "reason": reason,
        "unknown": unknown, "instead": instead,
    }  # fmt: skip
    return _removing(
        hits, reason=reason, instead=instead, name=name, settings=settings, line=place_of_caller(1),
        wrong=tuple(wrong), misfits=misfits,
    )  # fmt: skip


def _removing(hits: Hits, *, reason: str, instead: object, **parts: Any) -> Step:  # noqa: ANN401 - parts of a Step
    """The step that takes out what is hit."""

    def single(rows: pl.DataFrame, p: Numbers, folder: Path) -> pl.Series:
        return pl.Series([reason if hit else None for hit in hits(rows, p, folder)], dtype=pl.String)

    def items(rows: pl.DataFrame, items: Items, folder: Path) -> Items:
        hit = items.values(np.asarray(hits(rows, items.in_rows(), folder), dtype=bool))
        reasons = np.full(len(hit), None, dtype=object)
        reasons[hit] = reason
        return items.without(reasons)

    return Step(items=items, removal=Removal(reasons=single, instead=instead), **parts)


def _wrong_lists(field: object, ids: object, file: object, when: Reading | None) -> Iterator[Wrong]:
    mend = 'block("video", ids=[…]), block("video", file="removed.txt"), or block(when=…)'
    given = [name for name, value in (("ids", ids), ("file", file), ("when", when)) if value is not None]
    if len(given) != 1:
        yield f"has {' and '.join(given) or 'neither ids nor file nor when'}, and needs one of them", mend
    if (when is None) != (field is not None):
        yield "names a field for ids or a file, and none for when", mend
    if isinstance(ids, str) or (ids is not None and not isinstance(ids, Sequence)):
        yield f"has ids={ids!r}, which is no list", mend
    elif ids is not None and not all(isinstance(value, str | int) for value in ids):
        yield "has ids that are neither texts nor integers", mend
    if file is not None and not isinstance(file, str | Path):
        yield f"has file={file!r}, which is no path", mend
    if when is not None:
        yield from when.wrong()


def _wrong_reason(reason: object) -> Iterator[Wrong]:
    if not (isinstance(reason, str) and reason.strip()):
        yield f"has reason={reason!r}", "say in words why rows are taken out"


def _misfit_ids(schema: RowSchema, field: str, ids: Sequence[str | int]) -> Iterator[Wrong]:
    yield from named(schema, field)
    if field not in schema:
        return
    dtype = schema.polars[field]
    kind: type = int if dtype == pl.Int64 else str
    if dtype not in (pl.String, pl.Int64):
        yield f"lists ids of {field}, which is {schema[field].expected()}", "use a field of texts or integers"
        return
    other = next((value for value in ids if type(value) is not kind), None)
    if other is not None:
        yield f"lists {other!r}, but {field} is {schema[field].expected()}", ""
