"""Offline predictions: computed in bulk for a table of things, and stored for look-ups by key.

A load writes a generation of its own and replaces the one before when all of it is on the disk. Three threads share
the work: one reads and checks, one predicts, one encodes and writes. Memory holds a few batches, however many there
are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, repeat
from typing import Any, NamedTuple

import msgspec
import polars as pl

from perene.definition.arrivals import Frame
from perene.definition.hooks import Hook
from perene.definition.label import Task
from perene.definition.model import Model
from perene.errors import DataError, NotAllowed, PereneError, ServingError
from perene.pipelines.bulk import ahead, batches_of, refuse_bad
from perene.pipelines.predictor import Output, Predictor
from perene.pipelines.serving import features_of_rows, logged_fields, refuse_no_numbers
from perene.records.generation import Generation, GenerationState
from perene.repositories import Fence
from perene.repositories.generations import Generations
from perene.repositories.sources import Sources, quarantined
from perene.storage.envelope import keys
from perene.storage.generations import GenerationStore, Writing

POPULATION = "population"
_Part = tuple[pl.DataFrame, Output | None, int]
_encode = msgspec.msgpack.Encoder().encode


class StoredRow(NamedTuple):
    """What is stored of a row: its logged values in the generation's order of fields (instants and days as integers),
    the raw output, what each post step gave, why it was removed, and its features as JSON where they are logged.
    """

    values: list[Any]
    raw: Any
    outputs: list[Any]
    removed: str | None
    features: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Where stored predictions lie, which of them are read, and where rows that do not fit are remembered."""

    generations: Generations
    store: GenerationStore
    sources: Sources


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One load: where its rows come from, its project time, and for whom; ``fence`` guards the effects of a run."""

    origin: str
    computed_at: datetime
    actor: str
    run: int | None = None
    fence: Fence | None = None


@dataclass(slots=True, kw_only=True)
class _Load:
    """A load at work."""

    shelf: Shelf
    predictor: Predictor
    model: Model
    asked: Asked
    rows: int = 0
    aside: int = 0

    def checked(self, frames: Frame | Iterable[Frame]) -> Iterator[tuple[pl.DataFrame, int]]:
        """The good rows of each batch, and how many were set aside."""
        for batch in self._come(frames):
            found = self.model.schema.check(batch)
            if found.bad and self.asked.origin != POPULATION:
                refuse_bad(self.model, found)
            if found.bad:
                at, run = self.asked.computed_at, self.asked.run
                self.shelf.sources.set_aside(quarantined(self.model.name, found.bad, run=run, origin=POPULATION, at=at))
            yield found.good, batch.height - found.good.height

    def _come(self, frames: Frame | Iterable[Frame]) -> Iterator[pl.DataFrame]:
        try:
            yield from batches_of(frames)
        except PereneError:
            raise
        except Exception as error:  # frames that the user's code makes one after another
            raise _population_failed(self.model, error) from error

    def answered(self, batches: Iterable[tuple[pl.DataFrame, int]]) -> Iterator[_Part]:
        """Each batch with what the version says of it."""
        for rows, aside in batches:
            yield rows, self._predict(rows) if rows.height else None, aside

    def _predict(self, rows: pl.DataFrame) -> Output:
        try:
            return self.predictor.predict(rows)
        except PereneError:
            raise
        except Exception as error:  # the user's code: what it raised ends the load
            what = f"{self.model.name} v{self.predictor.version.version} failed on these rows"
            mend = "see its features, its post steps and what train() returned"
            raise ServingError(what, why=f"{type(error).__name__}: {error}", mend=mend) from error

    def write(self, frames: Frame | Iterable[Frame], writing: Writing, number: int) -> None:
        """Everything, from the rows to what is stored of them."""
        fields = logged_fields(self.model)
        with closing(ahead(self.answered(ahead(self.checked(frames))))) as parts:
            for rows, output, aside in parts:
                if output is not None:
                    refuse_no_numbers(self.model.name, output.final)
                    named, at = keys(rows, self.model.key).to_list(), rows[self.model.at].cast(pl.Int64).to_list()
                    writing.add(named, at, encoded(self.model, self.predictor, rows.select(fields), output, whole=rows))
                self.rows += rows.height
                self.aside += aside
                told = {"rows": self.rows, "aside": self.aside}
                self.shelf.generations.progress(number, **told, fence=self.asked.fence)

    def refuse_unfit(self) -> None:
        """Refuse a load without rows, or one with more bad rows than the model allows."""
        name, total = self.model.name, self.rows + self.aside
        if not total:
            why = f"{self.asked.origin} gave no rows; what is stored stays"
            raise DataError(f"nothing to store for {name}", why=why, mend="give a row at least", code="data-empty")
        if self.aside / total > self.model.max_bad:
            raise DataError(
                f"{self.aside:,} of {total:,} rows of the population do not fit {self.model.schema.name}",
                why=f"{self.aside / total:.1%} are bad; max_bad allows {self.model.max_bad:.1%}",
                seen=tuple(f"{q.field} {q.what} ({q.rows:,} rows)" for q in self._aside()),
                mend="mend population(), or declare a larger max_bad",
                code="bad-rows",
            )

    def _aside(self) -> Sequence[Any]:
        found = self.shelf.sources.quarantined(self.model.name, run=self.asked.run, limit=5)
        return [each for each in found if each.origin == POPULATION and each.at == self.asked.computed_at]


def store_predictions(
    frames: Frame | Iterable[Frame], *, predictor: Predictor, model: Model, shelf: Shelf, asked: Asked
) -> Generation:
    """Predict rows and store them; they replace what is stored of the model as soon as all are on the disk.

    Of several rows of one key, the newest event is found. ``model`` is the project's newest declaration.

    Raises:
        NotAllowed: the model ranks groups, or its post steps would miss what is not logged.
        DataError: there are no rows, or bad ones (of the population more than ``max_bad``).
    """
    refuse_unstorable(model)
    generation, writing = shelf.generations.begin(
        _begun(model, predictor, asked), lambda number: shelf.store.begin(model.name, number)
    )
    load = _Load(shelf=shelf, predictor=predictor, model=model, asked=asked)
    try:
        with closing(writing):
            load.write(frames, writing, generation.id)
            load.refuse_unfit()
            told = {"rows": load.rows, "keys": writing.finish(), "aside": load.aside}
            done = shelf.generations.finish(generation.id, **told, fence=asked.fence)
    except BaseException as error:
        with suppress(PereneError):  # what cannot be taken away now is swept by the next load
            if shelf.generations.get(generation.id).state is not GenerationState.READY:  # else its commit was unheard
                shelf.store.remove(model.name, generation.id)
                shelf.generations.fail(generation.id, _told(error))
        raise
    sweep(model.name, shelf)
    return done


def population_of(model: Model, at: datetime) -> Frame | Iterable[Frame]:
    """Whom to predict at a project time.

    Raises NotAllowed: the model does not say; DataError: its code failed ("population-failed").
    """
    hook = require_population(model)
    try:
        return hook(at=at)
    except PereneError:
        raise
    except Exception as error:
        raise _population_failed(model, error) from error


def require_population(model: Model) -> Hook:
    """What says whom to predict. Raises NotAllowed where the model has none."""
    hook = model.population_hook
    if hook is None:
        what, why = f"nobody says whom {model.name} shall predict", "it has no population"
        mend = f"decorate a function with .population, or name a file: perene predict {model.name} FILE --store"
        raise NotAllowed(what, why=why, mend=mend)
    return hook


def sweep(model: str, shelf: Shelf) -> None:
    """Take away generations that nobody reads any more, and what dead loads left."""
    store = shelf.store
    shelf.generations.sweep(
        model,
        is_written=lambda number: store.is_written(model, number),
        remove=lambda number: store.remove(model, number),
    )


def refuse_unstorable(model: Model) -> None:
    """Refuse models whose answers cannot be given out later. Raises NotAllowed."""
    what = f"predictions of {model.name} cannot be stored"
    if model.label.task is Task.RANKING:
        why = "a ranking answers the rows of a group together, and look-ups are of one thing each"
        raise NotAllowed(what, why=why, mend=f"ask POST /v1/models/{model.name}/predict")
    hidden = [item.name for item in model.schema.fields if not item.logged]
    if blind := blind_steps(model, hidden):
        why = f"{', '.join(blind)} is done again at each look-up, but {', '.join(hidden)} is Log(False): it is not kept"
        raise NotAllowed(what, why=why, mend="log the field, or let the step read another: block(FIELD, …)")


def blind_steps(model: Model, missing: Sequence[str]) -> list[str]:
    """The steps that are done again at each look-up and may read one of these fields, which are not stored."""
    return [hook.name for hook in model.posts if hook.recheck and _may_read(hook, missing)]


def _may_read(hook: Hook, fields: Sequence[str]) -> bool:
    """Whether a post step may read one of these fields: a ready-made one that names its field reads that alone."""
    named = None if hook.step is None else hook.step.settings.get("field")
    return named in fields if named is not None else bool(fields)


def encoded(
    model: Model, predictor: Predictor, logged: pl.DataFrame, output: Output, *, whole: pl.DataFrame
) -> list[bytes]:
    """What is stored of each row."""
    columns = [s.cast(pl.Int64).to_list() if s.dtype.is_temporal() else s.to_list() for s in logged.iter_columns()]
    steps = [step.tolist() for step in output.steps]
    outputs: Iterable[Any] = zip(*steps, strict=True) if steps else repeat((), len(output.raw))
    removed = repeat(None) if output.removed is None else output.removed
    features = features_of_rows(model, predictor, whole)
    rows = zip(
        zip(*columns, strict=True), output.raw.tolist(), outputs, removed, features or repeat(None), strict=False
    )
    return [_encode(row) for row in rows]


def applied(model: Model) -> list[tuple[str, bool]]:
    """A model's post steps in the order in which they are done, and whether each is done again at a look-up."""
    changing = [hook for hook in model.posts if not hook.removes]
    removing = [hook for hook in model.posts if hook.removes]
    return [(hook.name, hook.recheck) for hook in chain(changing, removing)]


def _begun(model: Model, predictor: Predictor, asked: Asked) -> Generation:
    return Generation(
        id=0, model=model.name, version=predictor.version.version, recipe=predictor.version.recipe,
        state=GenerationState.LOADING, origin=asked.origin, run=asked.run, actor=asked.actor,
        computed_at=asked.computed_at, ended_at=None, rows=0, keys=0, aside=0,
        fields=tuple(logged_fields(model)), steps=tuple(applied(predictor.model)), error=None,
    )  # fmt: skip


def _population_failed(model: Model, error: Exception) -> DataError:
    line = "" if model.population_hook is None else f" at {model.population_hook.line}"
    what, why = f"the population of {model.name} could not be read", f"{type(error).__name__}: {error}"
    return DataError(
        what, why=why, mend=f"mend what gives the rows{line}; what is stored stays", code="population-failed"
    )


def _told(error: BaseException) -> dict[str, object]:
    if isinstance(error, PereneError):
        return {"code": error.code, "what": error.what, "why": error.why, "mend": error.mend}
    return {"code": "unexpected", "what": f"{type(error).__name__}: {error}", "why": "", "mend": ""}
