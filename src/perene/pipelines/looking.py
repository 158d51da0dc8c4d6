"""Stored predictions, looked up by key: answer and line of the log are those that a server makes of the row itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import polars as pl

from perene.definition.durations import show_duration
from perene.definition.model import Model
from perene.definition.posts import Array, redo_posts
from perene.errors import NotAllowed, NotFound, ServingError
from perene.pipelines.journaling import AnsweredRows, instant
from perene.pipelines.offline import StoredRow, blind_steps
from perene.pipelines.serving import logged_fields, refuse_no_numbers, values
from perene.records.generation import Generation
from perene.records.identity import new_id, new_ids
from perene.storage.generations import Kept, Reading

STORED = "stored"
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedUp:
    """Stored answers in the order of their keys, as they go to the journal when they are given out."""

    generation: Generation
    request_id: str
    rows: AnsweredRows


def nothing_stored(model: str) -> NotFound:
    """Nobody has stored predictions of this model yet."""
    mend = f"perene predict {model} FILE --store, or POST /v1/models/{model}/predict computes one"
    return NotFound(f"no predictions of {model} are stored", mend=mend, code="not-stored")


def find_fresh(
    model: Model, keys: Sequence[str], generation: Generation, reading: Reading, *, now: datetime
) -> list[Kept]:
    """What is stored of these keys (as ``storage.envelope.keys`` gives them), in their order.

    Raises:
        ServingError: it is older than the model's ``max_age`` ("too-old").
        NotFound: something is stored, but not of every key ("not-stored").
    """
    refuse_old(model, generation, now=now)
    found = reading.find(list(dict.fromkeys(keys)))
    missing = [key for key in keys if key not in found]
    if missing:
        seen = [f"{key} is not among the {generation.keys:,} that were computed" for key in missing[:_SHOWN]]
        if len(missing) > _SHOWN:
            seen.append(f"and {len(missing) - _SHOWN:,} more")
        raise NotFound(
            f"{len(missing)} of {len(keys)} keys of {model.name} have no stored prediction",
            why=f"they were computed of {generation.origin}",
            seen=tuple(seen),
            mend=f"see that they are in it, or send their rows to POST /v1/models/{model.name}/predict",
            code="not-stored",
        )
    return [found[key] for key in keys]


def refuse_old(model: Model, generation: Generation, *, now: datetime) -> None:
    """Refuse predictions that are older than the model's ``max_age``. Raises ServingError ("too-old")."""
    age = max(now - generation.computed_at, timedelta(0))
    if model.max_age is not None and age > model.max_age:
        raise ServingError(
            f"the stored predictions of {model.name} are too old",
            why=f"they are {_about(age)} old; max_age is {show_duration(model.max_age)}",
            mend=f"perene predict {model.name} --store computes them again"
            + ("" if model.fallback is None else "; POST …/lookup with rows computes them at once"),
            code="too-old",
        )


def look_up(
    model: Model, kept: Sequence[Kept], generation: Generation, *, now: datetime, recorded_at: datetime
) -> LookedUp:
    """The stored answers, with the post steps done again that must hold at this moment.

    ``model`` is the project's newest declaration: what it blocks today is not given out, though it was stored.

    Raises ServingError: an answer is no number.
    """
    stored = [StoredRow(*msgspec.msgpack.decode(each.body)) for each in kept]
    outputs, removed = _again(model, stored, generation)
    final = [row[-1] if row else each.raw for row, each in zip(outputs, stored, strict=True)]
    refuse_no_numbers(model.name, final)
    request_id, height, logged = new_id(recorded_at), len(kept), set(logged_fields(model))
    features = [each.features for each in stored]
    rows = AnsweredRows(
        prediction_id=new_ids(recorded_at, height),
        request_id=[request_id] * height,
        position=list(range(height)),
        model_version=generation.version,
        recipe=generation.recipe,
        event_at=[each.event_at for each in kept],
        predicted_at=instant(now),
        recorded_at=instant(recorded_at),
        request={
            name: [each.values[place] for each in stored]
            for place, name in enumerate(generation.fields)
            if name in logged
        },
        raw=[each.raw for each in stored],
        steps=[[_as_number(output) for output in row[:-1]] for row in outputs],
        final=final,
        features=features if any(features) else None,
        mode=STORED,
        removed=removed,
        computed_at=instant(generation.computed_at),
    )
    return LookedUp(generation=generation, request_id=request_id, rows=rows)


def table_of(model: Model, lines: pl.DataFrame, *, outdated: bool) -> pl.DataFrame:
    """Lines of the log as a table of answers: ids, key and time, prediction, version, and when that was computed."""
    named = lines["request"].struct.unnest().select(*dict.fromkeys((*model.key, model.at)))
    said = lines.select(
        prediction="final", model_version="model_version", computed_at="computed_at", outdated=pl.lit(outdated)
    )
    return pl.concat([lines.select("prediction_id"), named, said], how="horizontal")


def _again(
    model: Model, stored: Sequence[StoredRow], generation: Generation
) -> tuple[list[list[object]], list[str | None]]:
    """What each post step gave, those that are done again as of now, and why each row is removed."""
    hooks = [hook for hook in model.posts if hook.recheck]
    outputs: list[list[object]] = [list(each.outputs) for each in stored]
    removed = [each.removed for each in stored]
    if not hooks or not stored:
        return outputs, removed
    _refuse_blind(model, generation)
    kept = next((n for n, (_, again) in enumerate(generation.steps) if again), len(generation.steps))
    rows = _rows(model, stored, generation)
    before = _array([row[kept - 1] if kept else each.raw for row, each in zip(outputs, stored, strict=True)])
    done, reasons = redo_posts(model, rows, before)
    ours = {hook.step.settings["reason"] for hook in hooks if hook.step is not None and hook.removes}
    redone = [values(step) for step in done]
    return (
        [[*row[:kept], *(step[n] for step in redone)] for n, row in enumerate(outputs)],
        [new or (old if old not in ours else None) for old, new in zip(removed, reasons, strict=True)],
    )


def _refuse_blind(model: Model, generation: Generation) -> None:
    """Refuse to give out what a step that must hold now may not be able to judge: its field was not stored."""
    missing = [field.name for field in model.schema.fields if field.name not in generation.fields]
    if blind := blind_steps(model, missing):
        raise NotAllowed(
            f"stored predictions of {model.name} cannot be given out",
            why=f"{', '.join(blind)} must hold now, and may read {', '.join(missing)}, which was not stored with them",
            mend=f"compute them again: perene predict {model.name} --store",
        )


def _rows(model: Model, stored: Sequence[StoredRow], generation: Generation) -> pl.DataFrame:
    """Stored rows as the frame that they were; a field that is not stored, and that nobody reads, has its default."""
    columns: dict[str, pl.Series] = {}
    for field in model.schema.fields:
        if field.name in generation.fields:
            place = generation.fields.index(field.name)
            cells = [each.values[place] for each in stored]
            held = pl.Int64() if field.dtype.is_temporal() else field.dtype
            columns[field.name] = pl.Series(cells, dtype=held).cast(field.dtype)
        else:
            columns[field.name] = pl.Series([field.default], dtype=field.dtype).new_from_index(0, len(stored))
    return pl.DataFrame(columns)


def _as_number(output: object) -> object:
    """What a step gave, as the log holds it: true is 1, a text is null."""
    if isinstance(output, str):
        return None
    return float(output) if isinstance(output, bool | int) else output


def _array(outputs: Sequence[Any]) -> Array:
    return np.asarray(outputs, dtype=object if outputs and isinstance(outputs[0], str) else None)


def _about(age: timedelta) -> str:
    return show_duration(timedelta(seconds=age // timedelta(seconds=1)))
