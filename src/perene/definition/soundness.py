"""Whether the parts of a model fit together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl

from perene.definition.columns import INSTANT
from perene.definition.durations import show_duration
from perene.definition.label import Label, Task
from perene.definition.metrics import built_in, built_in_metric
from perene.definition.row import RowSchema
from perene.definition.spelling import did_you_mean
from perene.definition.steps import unfit_steps, unsound_order
from perene.errors import Mistake

if TYPE_CHECKING:
    from perene.definition.model import Model
    from perene.definition.terms import Terms

SLACK = timedelta(days=1, hours=1)  # the default of stale_after: windows end at midnight, and a run takes its time


def youngest(terms: Terms) -> timedelta:
    """The age that a model reaches before its successor can be released.

    The successor's last training row must have its label when the test begins, and the last test row when the test
    ends; the steps of a canary come after.
    """
    wait = terms.label.wait if terms.label else timedelta(0)
    steps = sum((step.lasts for step in terms.canary), timedelta(0))
    return terms.test_on + 2 * wait + (terms.every or timedelta(0)) + steps


def unsound(model: Model, terms: Terms) -> Iterator[Mistake]:
    """What does not fit together, with its line."""
    parts = (_of_row(terms), _of_windows(terms), _of_examples(model, terms), _of_hooks(model, terms))
    for what, mend in (mistake for part in (*parts, _of_offline(model, terms)) for mistake in part):
        yield Mistake(where=model.line, what=what, mend=mend)
    for hook in [hook for hook in model.posts if not hook.removes][:-1]:
        if hook.answer is not None and not isinstance(hook.answer, pl.Float64 | pl.List):
            what = f"post {hook.name} returns {hook.answer}, but only the last step may change the answer's type"
            yield Mistake(where=hook.line, what=what)
    yield from _of_ranking(model, terms)
    yield from unsound_order(model.posts)
    if terms.schema is not None and terms.label is not None:
        yield from unfit_steps(model)


def _of_ranking(model: Model, terms: Terms) -> Iterator[Mistake]:
    """Hooks that need groups where there are none, and answers that are no scores where there are."""
    if terms.label is None:
        return
    is_ranking = terms.label.task is Task.RANKING
    for hook in model.hooks:
        needs = next((name for name in ("items", "groups") if name in hook.parameters), "")
        if (needs or hook.per == "group") and not is_ranking:
            takes = f"takes {needs}" if needs else "is per group"
            what = f"{hook.kind} {hook.name} {takes}, but the model ranks nothing"
            yield Mistake(where=hook.line, what=what, mend='Label(…, group="visit") ranks')
        elif is_ranking and hook.answer is not None and hook.step is None and hook.answer != pl.Float64:
            what = f"post {hook.name} returns {hook.answer}, but the items of a ranking have scores"
            yield Mistake(where=hook.line, what=what, mend="return numbers; a ranking is answered by its order")


def _of_row(terms: Terms) -> Iterator[tuple[str, str]]:
    schema = terms.schema
    if schema is None:
        return
    for name in terms.label.group if terms.label else ():
        yield from _named(schema, "group", name)
    for name in terms.key:
        yield from _named(schema, "key", name)
        if name in schema and isinstance(schema[name].dtype, pl.Float64):
            yield f"the key field {name} is a float, which identifies nothing", "use str or int"
    yield from _named(schema, "at", terms.at)
    if terms.at in schema and schema[terms.at].dtype != INSTANT:
        yield f'at="{terms.at}" is not an instant', f"declare {terms.at}: AwareDatetime"
    for later in (terms.label.name, terms.label.known_at) if terms.label else ():
        if later in schema:
            yield (
                f"{later} is known only after the prediction, but it is a field of {schema.name}",
                f"take {later} out of the Row",
            )


def _named(schema: RowSchema, argument: str, name: object) -> Iterator[tuple[str, str]]:
    if name not in schema:
        yield (
            f"{argument} names {name!r}, which is no field of {schema.name}{did_you_mean(str(name), schema.polars)}",
            "",
        )
        return
    field = schema[str(name)]
    if field.nullable:
        yield f"the {argument} field {name} may be null", "take | None away"
    if not field.logged:
        yield (
            f"the {argument} field {name} is Log(False), but every logged prediction says what it is about",
            "take Log(False) away",
        )


def _of_windows(terms: Terms) -> Iterator[tuple[str, str]]:
    least = youngest(terms)
    if isinstance(terms.stale_after, timedelta) and terms.stale_after <= least:
        yield (
            f"stale_after={show_duration(terms.stale_after)} is not longer than test_on + 2 × wait + every = "
            f"{show_duration(least)}: every model would be stale before its successor can be released",
            f'stale_after="{show_duration(least + timedelta(days=1))}", or a shorter test_on, wait or every',
        )
    if terms.label is not None and terms.train_on <= terms.label.wait:
        yield (
            f"train_on={show_duration(terms.train_on)} is not longer than the label's "
            f"wait={show_duration(terms.label.wait)}: no row would have its label before the test begins",
            "a longer train_on, or a shorter wait",
        )
    days = terms.gate.min_days
    if terms.test_on < timedelta(days=days):
        yield (
            f"test_on={show_duration(terms.test_on)} has fewer days than the {days} that the gate needs to decide",
            f'test_on="{days}d", or gate(min_days=…)',
        )


def _of_examples(model: Model, terms: Terms) -> Iterator[tuple[str, str]]:
    if not model.has("source") and "source" in model.examples:
        yield f'examples="{model.examples}", but the model has no source', "decorate a function with .source"
    if terms.schema is None:
        return
    for field in terms.schema.fields:
        if not field.logged and terms.log_features:
            yield (
                f"{terms.schema.name}.{field.name} is Log(False), but log_features would log what comes of it",
                "take Log(False) away, or log_features=False",
            )
        if not field.logged and "log" in model.examples:
            yield (
                f"{terms.schema.name}.{field.name} is Log(False), but the model learns from its log",
                'take Log(False) away, or examples="source"',
            )


def _of_offline(model: Model, terms: Terms) -> Iterator[tuple[str, str]]:
    if terms.offline is not None and not model.has("population"):
        yield (
            f'offline="{show_duration(terms.offline)}", but the model does not say whom to predict',
            "decorate a function with .population",
        )
    if terms.offline is not None and terms.max_age is not None and terms.max_age <= terms.offline:
        yield (
            f"max_age={show_duration(terms.max_age)} is not longer than offline={show_duration(terms.offline)}: "
            "stored predictions would be too old before the next are there",
            f'max_age="{show_duration(2 * terms.offline)}", or a shorter offline',
        )
    is_ranking = terms.label is not None and terms.label.task is Task.RANKING
    if is_ranking and (terms.offline is not None or model.has("population")):
        yield (
            "the model ranks groups, and stored predictions are of one thing each",
            "take offline and population away; POST …/predict ranks a group",
        )


def _of_hooks(model: Model, terms: Terms) -> Iterator[tuple[str, str]]:
    for kind in ("features", "train"):
        if not model.has(kind):
            yield f"the model has no {kind}", f"decorate a function with .{kind}"
    for kind, hooks in (("metric", model.metrics), ("slice", model.slices), ("post", model.posts)):
        for name, count in Counter(hook.name for hook in hooks).items():
            if count > 1:
                yield f"{count} hooks of kind {kind} are called {name}", "give each its own name"
    if terms.label is not None and not model.refused("metric"):
        yield from _of_gate(model, terms, terms.label)


def _of_gate(model: Model, terms: Terms, label: Label) -> Iterator[tuple[str, str]]:
    declared = [hook.name for hook in model.metrics]
    known = (*declared, *built_in(label))
    if terms.gate.metric is None and len(declared) > 1:
        yield (
            f"the model has {len(declared)} metrics, and its gate does not say which decides",
            f'gate=gate(metric="{declared[0]}")',
        )
    named = terms.gate.metric
    if named is not None and named not in declared and built_in_metric(label, named) is None:
        hint = did_you_mean(named, known)
        yield f'gate(metric="{named}") is not a metric of this model{hint}', f"there are {', '.join(known)}"
