"""What ``perene check`` tries before anything is trained: golden rows, and the features on rows of the source."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar

import numpy as np
import polars as pl

from perene.definition.checks import check_features_rowwise
from perene.definition.hooks import Hook
from perene.definition.items import Items
from perene.definition.model import Model
from perene.definition.posts import given_to_posts
from perene.errors import DeclarationError, Mistake, PereneError
from perene.pipelines.checking import check_examples, refuse_many
from perene.pipelines.contests import CannotJudge
from perene.pipelines.golden import golden_rows
from perene.pipelines.rehearsing import sampled
from perene.pipelines.windows import DAY, window_of
from perene.repositories.examples import midnight

T = TypeVar("T")
_DAYS = (1, 7, 30)  # that the source is asked for, until it gives rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What the hooks of a model made of real rows: how many rows of the source and how many golden rows were tried,
    None where the model has no such hook; and what went wrong.
    """

    model: str
    rows: int | None
    golden: int | None
    mistakes: tuple[Mistake, ...]


class _Failed(Exception):
    """A hook went wrong."""

    def __init__(self, *mistakes: Mistake) -> None:
        self.mistakes = mistakes


def try_models(models: Sequence[Model], *, now: datetime) -> list[Tried]:
    """Try the hooks of each model. Raises DeclarationError with everything that went wrong."""
    tried = [try_hooks(model, now=now) for model in models]
    mistakes = tuple(mistake for one in tried for mistake in one.mistakes)
    if mistakes:
        names = ", ".join(one.model for one in tried if one.mistakes)
        raise DeclarationError(f"the hooks of {names} do not go with their rows", mistakes)
    return tried


def try_hooks(model: Model, *, now: datetime) -> Tried:
    """Call the golden hook, the source (for its newest days as training would ask for them), the features, and the
    ready-made post steps.

    Nothing is written. ``now`` is project time.
    """
    source = model.source_hook if "source" in model.examples else None
    golden = model.golden_hook
    mistakes: list[Mistake] = []

    def tried(rows_of: Callable[[], pl.DataFrame]) -> int:
        try:
            rows = rows_of()
            _try_features(model, rows)
            _try_steps(model, rows)
        except _Failed as failed:
            mistakes.extend(mistake for mistake in failed.mistakes if mistake not in mistakes)
            return 0
        return rows.height

    return Tried(
        model=model.name,
        rows=None if source is None else tried(lambda: _source_rows(model, source, now)),
        golden=None if golden is None else tried(lambda: _golden_rows(model, golden)),
        mistakes=tuple(mistakes),
    )


def _source_rows(model: Model, hook: Hook, now: datetime) -> pl.DataFrame:
    """Checked rows of the newest days that training would learn from; none where there are none of late."""
    until = window_of(model, now).until
    for days in _DAYS:
        since = midnight((until - days * DAY).date())
        who = f"{hook.name}() for {since:%Y-%m-%d} to {until:%Y-%m-%d}"
        given = _called(hook, lambda since=since: hook(since=since, until=until))  # type: ignore[misc]
        try:
            arrived = check_examples(model, given, now=now, who=who, span=(since, until))
            refuse_many(model, arrived, who)
        except PereneError as error:
            raise _Failed(_told(hook, error)) from error
        if arrived.examples.height:
            return sampled(model, arrived.examples["row"].struct.unnest())
    return pl.DataFrame(schema=model.schema.polars)


def _golden_rows(model: Model, hook: Hook) -> pl.DataFrame:
    try:
        return golden_rows(model, hook)[1]
    except CannotJudge as error:
        raise _Failed(Mistake(where=hook.line, what=str(error))) from error


def _try_features(model: Model, rows: pl.DataFrame) -> None:
    if rows.height:
        _called(model.features_hook, lambda: model.compute_features(rows))
        _called(model.features_hook, lambda: check_features_rowwise(model, rows, seed=0))


def _try_steps(model: Model, rows: pl.DataFrame) -> None:
    """Do each ready-made post step that reads rows to scores of a half: its lists, expressions and functions."""
    if not rows.height or not any(hook.step is not None for hook in model.posts):
        return
    given, halves = given_to_posts(model, rows), np.full(max(rows.height, 2), 0.5)
    for hook in model.posts:
        if hook.step is not None and "rows" in hook.parameters:
            p = {"items": Items.by_score(halves)} if "items" in hook.parameters else {"p": halves}
            _called(hook, partial(hook, **given, **p))


def _called(hook: Hook, call: Callable[[], T]) -> T:
    """What a hook gives; what it raises is a mistake at its place."""
    try:
        return call()
    except DeclarationError as error:
        raise _Failed(*error.mistakes) from error
    except PereneError as error:
        raise _Failed(_told(hook, error)) from error
    except Exception as error:
        what = f"{hook.kind} {hook.name} raised {type(error).__name__}: {error}"
        raise _Failed(Mistake(where=_place(hook, error), what=what)) from error


def _told(hook: Hook, error: PereneError) -> Mistake:
    """An error of a hook's rows as a mistake at its place."""
    parts = [error.what, *([error.why] if error.why else []), *error.seen[:3]]
    return Mistake(where=hook.line, what="; ".join(parts), mend=error.mend)


def _place(hook: Hook, error: Exception) -> str:
    """The line of the hook's own file that the error came through last; where the hook begins, if there is none."""
    code = getattr(hook.function, "__code__", None)
    file = hook.line.partition(":")[0]
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if code is not None and frame.filename == code.co_filename]
    return f"{file}:{own[-1].lineno}" if own else hook.line
