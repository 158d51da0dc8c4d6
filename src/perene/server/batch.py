"""One batch: the rows of several requests, computed at once by the versions that are asked, and answered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import cast

import msgspec
import polars as pl

from perene.clock import MachineClock, ProjectClock
from perene.definition.groups import Groups
from perene.definition.label import Task
from perene.definition.model import Model
from perene.errors import PereneError, ServingError
from perene.pipelines.journaling import AnsweredRows, instant, row_digest
from perene.pipelines.predictor import Output, Predictor
from perene.records.identity import new_ids
from perene.records.roles import CANARY, CHAMPION
from perene.server.again import hold_again
from perene.server.answered import Said, said_of
from perene.server.aside import Aside, Asked
from perene.server.given import Given, GivenIds, Logged
from perene.server.lineup import Lineup
from perene.server.losses import Losses
from perene.server.meter import Meter
from perene.server.ranked import Item, answer_of, check_groups, requests_as_groups
from perene.server.tally import Served, Tally, numbers_of
from perene.storage.envelope import keys
from perene.storage.journal import Journal

log = logging.getLogger("perene.server")

Render = Callable[[Mapping[str, object]], bytes]
native: Render = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """The rows of one request as they came, and the prediction ids that the caller gave (None when it gave none).

    ``render`` writes the answer (model, model_version, request_id, predictions) in the caller's protocol.
    """

    rows: list[object]
    ids: list[str | None] | None
    render: Render = native


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What every model of a server shares."""

    time: ProjectClock
    machine: MachineClock
    journal: Journal
    given: GivenIds
    losses: Losses
    tally: Tally
    aside: Aside
    durability: str
    refuse_unlogged: bool
    queue_rows: int = 20_000  # that may wait for a model
    timeout_s: float | None = None  # of a request that names none
    meter: Meter | None = None  # a model counts for itself where there is none


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of a batch that one version answered: their places in it, and what it said."""

    served: Served
    predictor: Predictor
    places: list[int]
    rows: pl.DataFrame
    output: Output
    said: Said
    seconds: float


class Batch:
    """The rows of several requests, computed at once.

    Rows whose given id was answered before are not computed again: they get the logged answer. Rows on which a canary
    fails get the champion's.
    """

    def __init__(self, model: Model, lineup: Lineup, requests: Sequence[PredictRequest], desk: Desk) -> None:
        self._model = model
        self._is_ranking = model.label.task is Task.RANKING
        self._requests = requests
        self._lineup = lineup
        self._desk = desk
        self._now = desk.time.now()
        self._recorded_at = desk.machine()
        self._rows, self._records = model.schema.read_json([row for request in requests for row in request.rows])
        self._request_ids = new_ids(self._recorded_at, len(requests))
        self._request_of = [(n, k) for n, request in enumerate(requests) for k in range(len(request.rows))]
        self._ids = new_ids(self._recorded_at, len(self._records))
        check_groups(model, self._records, [n for n, (_, k) in enumerate(self._request_of) if k == 0])
        self._given: dict[int, Given] = self._place_given(desk.given)
        self._parts: list[_Part] = []

    def _place_given(self, known: GivenIds) -> dict[int, Given]:
        """The rows that have an id of the caller's, by place in the batch."""
        wanted: dict[int, Given] = {}
        start = 0
        for request in self._requests:
            for offset, id_ in enumerate(request.ids or ()):
                if id_ is not None:
                    place = start + offset
                    wanted[place] = Given(id_, row_digest(self._records[place]))
                    self._ids[place] = id_
            start += len(request.rows)
        if not wanted:
            return {}
        requests = [request for request, _ in self._request_of]
        return hold_again(self._model, self._rows, known.look_up(self._model, wanted), requests)

    def compute(self) -> None:
        """Ask the versions, and count it. Raises what the champion's code raised, as a ServingError."""
        new = [i for i in range(len(self._records)) if i not in self._given or self._given[i].logged is None]
        canary, failed = self._lineup.canary, 0
        if canary is not None:
            new, failed = self._ask_canary(canary, new)
        if new:
            try:
                self._parts.append(self._ask(CHAMPION, self._lineup.champion, new))
            except BaseException:  # sys.exit() in a hook too
                self._blame_champion(new)
                raise
        if canary is not None and failed:
            self._desk.tally.failed((self._model.name, canary.version.version, CANARY), failed)
        for part in self._parts:
            self._count(part)

    def _ask_canary(self, canary: Predictor, new: Sequence[int]) -> tuple[list[int], int]:
        """Have the canary answer its rows. Gives those that are left to the champion, and how many requests failed."""
        is_of_canary = self._lineup.of_canary(self._model, self._rows)
        mine = [i for i in new if is_of_canary[i]]
        left = [i for i in new if not is_of_canary[i]]
        if not mine:
            return left, 0
        try:
            self._parts.append(self._ask(CANARY, canary, mine))
            return left, 0
        except BaseException:  # noqa: BLE001 - what its code raises, sys.exit() too, is counted; the champion answers
            pass
        failed = 0
        for request in {self._request_of[i][0]: None for i in mine}:
            places = [i for i in mine if self._request_of[i][0] == request]
            try:
                self._parts.append(self._ask(CANARY, canary, places))
            except BaseException as error:  # noqa: BLE001 - as above
                log.warning("canary_failed model=%s version=%d why=%s", self._model.name, canary.version.version, error)
                left += places
                failed += 1
        return sorted(left), failed

    def _ask(self, role: str, predictor: Predictor, places: list[int]) -> _Part:
        rows = self._rows if len(places) == len(self._records) else self._rows[places]
        version = predictor.version.version
        started = perf_counter()
        try:
            output = predictor.predict(rows, groups=self._groups(places))
            said = said_of(self._model, predictor, rows, output)
        except PereneError:
            raise
        except Exception as error:  # the user's code: what it raised is the request's answer
            why = f"{type(error).__name__}: {error}"
            what = f"{self._model.name} v{version} failed on these rows"
            raise ServingError(
                what, why=why, mend="see its features, its post steps and what train() returned"
            ) from error
        seconds = perf_counter() - started
        predictor.took(len(places), seconds)
        return _Part((self._model.name, version, role), predictor, places, rows, output, said, seconds)

    def _groups(self, places: Sequence[int]) -> Groups | None:
        """Which rows are ranked together: those of one request."""
        return requests_as_groups(self._model, [self._request_of[i][0] for i in places])

    def _count(self, part: _Part) -> None:
        budget = self._model.latency
        whole = len(part.places) == len(self._records)
        self._desk.tally.answered(
            part.served,
            requests=len(self._requests) if whole else len({self._request_of[i][0] for i in part.places}),
            rows=len(part.places),
            seconds=part.seconds,
            budget_s=None if budget is None else budget.total_seconds(),
        )

    def _blame_champion(self, places: Sequence[int]) -> None:
        """Count a request that fails alone, but not where the version before fails on it too: then it is the rows."""
        if len(self._requests) > 1:
            return  # each is run again alone
        former = self._lineup.former
        if former is not None:
            try:
                former.predict(self._rows[places], groups=self._groups(places))
            except Exception:  # noqa: BLE001 - whatever it is
                return
        self._desk.tally.failed((self._model.name, self._lineup.champion.version.version, CHAMPION))

    def ask_others(self, answered: Sequence[AnsweredRows]) -> None:
        """Ask the shadow what the champion was asked, and compare a version that is tried with the one before it."""
        shadow, aside = self._lineup.shadow, self._desk.aside
        for part, mine in zip(self._parts, answered, strict=True):
            is_canary, groups = part.served[2] == CANARY, self._groups(part.places)
            if shadow is not None and not is_canary:
                aside.shadow(Asked(model=self._model, predictor=shadow, rows=part.rows, groups=groups, answered=mine))
            before = self._lineup.champion if is_canary else self._lineup.former
            numbers = None if before is None else numbers_of(part.output)
            if before is not None and numbers is not None:
                aside.compare(
                    Asked(
                        model=self._model, predictor=before, rows=part.rows, groups=groups, served=part.served,
                        numbers=numbers,
                    )
                )  # fmt: skip

    def answered(self, logged: Sequence[str]) -> list[AnsweredRows]:
        """What goes into the journal, part after part."""
        return [self._answered(part, logged) for part in self._parts]

    def _answered(self, part: _Part, logged: Sequence[str]) -> AnsweredRows:
        has_key = set(self._model.key) <= set(logged)
        records = [self._records[i] for i in part.places]
        requests = [self._request_ids[self._request_of[i][0]] for i in part.places]
        given, version = self._given, part.predictor.version
        return AnsweredRows(
            model_version=version.version,
            recipe=version.recipe,
            predicted_at=instant(self._now),
            recorded_at=instant(self._recorded_at),
            prediction_id=[self._ids[i] for i in part.places],
            request_id=requests,
            position=[self._request_of[i][1] for i in part.places],
            event_at=[cast(int, record[self._model.at]) for record in records],
            request={name: [record[name] for record in records] for name in logged},
            key=None if has_key else keys(part.rows, self._model.key).to_list(),
            row_digest=[given[i].digest if i in given else "" for i in part.places] if given else None,
            role=part.served[2],
            group=requests if self._is_ranking else None,
            **part.said.columns(),
        )

    def answers(self) -> list[bytes]:
        """One answer per request. It names the champion, or the canary where that answered all of its rows; a row that
        another version answered names that."""
        finals = {i: (part, n) for part in self._parts for n, i in enumerate(part.places)}
        answers, start = [], 0
        for request, request_id in zip(self._requests, self._request_ids, strict=True):
            places = range(start, start + len(request.rows))
            start += len(request.rows)
            version = self._version_of(places, finals)
            content = {"model": self._model.name, "model_version": version, "request_id": request_id}
            if self._is_ranking:
                content |= answer_of(self._model, [self._item(i, finals, version) for i in places])
            else:
                content |= {"predictions": [self._answer(i, finals, version) for i in places]}
            answers.append(request.render(content))
        return answers

    def _version_of(self, places: Sequence[int], finals: Mapping[int, tuple[_Part, int]]) -> int:
        """The version that a request's answer names."""
        if self._lineup.canary is not None:
            versions = {finals[i][0].served[1] for i in places if i in finals}
            if len(versions) == 1:
                return versions.pop()
        return self._lineup.champion.version.version

    def _answer(self, place: int, finals: Mapping[int, tuple[_Part, int]], version: int) -> dict[str, object]:
        if place in finals:
            part, n = finals[place]
            answer = {"prediction_id": self._ids[place], "prediction": part.said.final[n]}
            if part.said.removed is not None and part.said.removed[n] is not None:
                answer["removed"] = part.said.removed[n]
            return answer if part.served[1] == version else answer | {"model_version": part.served[1]}
        before = self._before(place)
        answer = {"prediction_id": self._ids[place], "prediction": before.prediction}
        if before.removed is not None:
            answer["removed"] = before.removed
        return answer | {"model_version": before.version, "repeated": True}

    def _item(self, place: int, finals: Mapping[int, tuple[_Part, int]], version: int) -> Item:
        """A row of a ranking's answer."""
        id_, item = self._ids[place], self._request_of[place][1]
        if place not in finals:
            before = self._before(place)
            more = {"model_version": before.version, "repeated": True}
            return Item(
                prediction_id=id_, item=item, score=before.prediction, rank=before.rank, removed=before.removed,
                more=more,
            )  # fmt: skip
        part, n = finals[place]
        assert part.said.rank is not None and part.said.removed is not None
        return Item(
            prediction_id=id_, item=item, score=part.said.final[n], rank=part.said.rank[n] or None,
            removed=part.said.removed[n],
            more={} if part.served[1] == version else {"model_version": part.served[1]},
        )  # fmt: skip

    def _before(self, place: int) -> Logged:
        """What was answered before of a row that is not computed."""
        before = self._given[place].logged
        assert before is not None
        return before
