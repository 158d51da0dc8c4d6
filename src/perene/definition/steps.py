"""Ready-made post steps, as a model's declaration knows them. ``perene.post`` makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from perene.definition.items import Items
from perene.definition.label import Label, Task
from perene.definition.row import RowSchema
from perene.definition.spelling import did_you_mean
from perene.errors import Mistake

if TYPE_CHECKING:
    from perene.definition.hooks import Hook
    from perene.definition.model import Model

Wrong = tuple[str, str]  # what is wrong, and how to mend it
_PYTHON: tuple[tuple[type[pl.DataType], tuple[type, ...]], ...] = (
    (pl.Boolean, (bool,)),
    (pl.Int64, (int,)),
    (pl.String, (str,)),
    (pl.Float64, (int, float)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """Why rows are taken out: ``reasons(rows, p, folder)`` gives a text per row, null where the row stays.

    ``instead`` is what a model of single rows answers of such a row; a ranking leaves it out of its answer.
    """

    reasons: Callable[..., pl.Series]
    instead: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A ready-made post step: ``Model.post`` takes it as it takes a function.

    ``settings`` is all that it was given, as JSON; a declaration holds it. ``line`` is where it was made, ``wrong``
    what is wrong with it alone, and ``misfits`` finds what does not fit the model's Row and label. ``values`` is the
    function of one value per row, ``items`` that of a group that is ranked; None where it has no sense.
    ``recheck``: it holds of stored answers too, whenever they are given out, and nothing may come after it. ``order``
    says whether the items then lie by ``"score"``, or in an order of the step's ``"own"``.
    """

    name: str
    settings: Mapping[str, Any]
    line: str
    wrong: tuple[Wrong, ...] = ()
    misfits: Callable[[RowSchema, Label], Iterable[Wrong]] = lambda schema, label: ()
    values: Callable[..., Any] | None = None
    items: Callable[[pl.DataFrame, Items, Path], Items] | None = None
    removal: Removal | None = None
    recheck: bool = False
    order: Literal["score", "own"] | None = None

    def __call__(self, **given: Any) -> Any:
        """Do it: with ``rows`` and ``items``, with ``rows`` and ``p``, or with ``p`` alone, as the step needs.

        A removal from single rows gives their reasons.
        """
        if "items" in given and self.items is not None:
            return self.items(given["rows"], Items.of(given["items"]), given.get("folder", Path())).frame()
        if "items" in given or self._single is None:
            raise TypeError(f"{self.name} is no step of {'items' if 'items' in given else 'single values'}")
        return self._single(**given)

    @property
    def _single(self) -> Callable[..., Any] | None:
        """What it does to single rows; of a removal, that which gives the reasons."""
        return self.removal.reasons if self.removal else self.values

    def function(self, label: Label | None) -> Callable[..., Any] | None:
        """What it does for a label's task; None where it has no sense."""
        if label is not None and label.task is Task.RANKING:
            return self.items or self.values
        return self._single

    def mistakes(self, label: Label | None) -> list[Mistake]:
        """What is wrong with it alone, or with it in a model of this label."""
        wrong = list(self.wrong)
        if not wrong and self.function(label) is None:
            wrong.append(("ranks items, but this model answers single rows", 'a ranking has Label(…, group="field")'))
        return [self._mistake(*what) for what in wrong]

    def unfit(self, schema: RowSchema, label: Label, answer: pl.DataType) -> list[Mistake]:
        """What does not fit the model's Row, its label, or the type of its answers."""
        wrong = [*self.misfits(schema, label), *self._wrong_instead(label, answer)]
        return [self._mistake(*what) for what in wrong]

    def _wrong_instead(self, label: Label, answer: pl.DataType) -> Iterator[Wrong]:
        if self.removal is None:
            return
        instead = self.removal.instead
        if label.task is Task.RANKING:
            if instead is not None:
                yield "says instead=…, but what is removed from a ranking is not answered at all", "take instead away"
        elif instead is None:
            yield "does not say what is answered of a removed row", "say instead=…, as the model's other answers"
        elif not _is_answer(instead, answer, label):
            yield f"answers instead={instead!r}, but the model's answers are {answer}", "give one of that type"

    def _mistake(self, what: str, mend: str) -> Mistake:
        return Mistake(where=self.line, what=f"post {self.name} {what}", mend=mend)


def unsound_order(hooks: Sequence[Hook]) -> Iterator[Mistake]:
    """Steps that undo what another did before them: each is named with what it would undo."""
    last, placed, single = None, None, None
    for hook in hooks:
        step = hook.step
        if hook.recheck:
            last = hook
        elif last is not None and not (step is not None and step.settings["step"] == "top"):
            what = f"post {hook.name} comes after {last.name}, which must have the last word"
            yield Mistake(where=hook.line, what=what, mend=f"declare {last.name} after it; only top may follow")
        if single is not None and not hook.removes:
            what = f"post {hook.name} comes after {single.name}, which says what is answered instead"
            yield Mistake(where=hook.line, what=what, mend=f"declare {single.name} after it")
        if hook.removes and "items" not in hook.parameters:
            single = hook
        if placed is not None and step is not None and step.order is not None:
            what = f"post {hook.name} orders the items anew, and undoes {placed.name}"
            mend = f"declare {hook.name} before {placed.name}, or take one away"
            yield Mistake(where=hook.line, what=what, mend=mend)
        if step is not None and step.order == "own":
            placed = hook


def unfit_steps(model: Model) -> Iterator[Mistake]:
    """What of the ready-made steps does not fit a model whose Row and label could be read."""
    for hook in model.posts:
        if hook.step is not None:
            yield from hook.step.unfit(model.schema, model.label, model.answer_dtype)


def named(schema: RowSchema, *fields: str) -> Iterator[Wrong]:
    """The fields that a Row does not have."""
    for field in fields:
        if field not in schema:
            yield f"reads {field!r}, which is no field of {schema.name}{did_you_mean(field, schema.polars)}", ""


def _is_answer(value: object, answer: pl.DataType, label: Label) -> bool:
    if isinstance(answer, pl.List):
        if not isinstance(value, list | tuple) or len(value) != len(label.classes):
            return False
        return all(_is_answer(item, pl.Float64(), label) for item in value)
    kinds = next((kinds for dtype, kinds in _PYTHON if isinstance(answer, dtype)), ())
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool)) and value == value
