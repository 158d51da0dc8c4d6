"""How one model answers: a batch of requests in, answers out, and the journal in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import msgspec

from perene.clock import MachineClock, ProjectClock
from perene.definition.model import Model
from perene.errors import PereneError, ServingError, StorageError
from perene.pipelines.journaling import AnsweredRow, AnswerValue, instant, records_of, row_digest
from perene.pipelines.predictor import Output, Predictor
from perene.pipelines.serving import features_of_rows, logged_fields, refuse_no_numbers, steps_of_rows, values
from perene.records.identity import new_ids
from perene.server.batcher import Batcher
from perene.server.given import Given, GivenIds
from perene.server.losses import Losses
from perene.storage.envelope import keys
from perene.storage.journal import Entry, Journal

QUEUE_ROWS = 20_000
_LIGHT_ROWS, _LIGHT_S = 64, 0.005  # up to these, another thread costs more than it gives
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
    durability: str
    refuse_unlogged: bool


class Answering:
    """One model's worker: ``predictor`` may be exchanged at any time and is read once per batch."""

    def __init__(self, model: Model, desk: Desk) -> None:
        self.model = model
        self.predictor: Predictor | None = None
        self._desk = desk
        self._logged = logged_fields(model)
        self._waits_for_disk = desk.durability == "fsync"
        self._all_logged = len(self._logged) == len(model.schema.fields)
        self.batcher = Batcher[PredictRequest, bytes](model.name, self._work, limit_rows=QUEUE_ROWS)

    def submit(
        self, rows: list[object], ids: list[str | None] | None, render: Render = native
    ) -> asyncio.Future[bytes]:
        """Queue a request; see ``PredictRequest``. Raises ServingError where nothing is live, or too many wait."""
        predictor = self.predictor
        if predictor is None:
            raise no_live_version(self.model.name)
        is_small = len(rows) <= _LIGHT_ROWS and predictor.batch_s <= _LIGHT_S
        is_light = is_small and ids is None and not self._waits_for_disk  # given ids are looked up in the lake
        return self.batcher.submit(PredictRequest(rows, ids, render), len(rows), is_light=is_light)

    def _work(self, requests: Sequence[PredictRequest], deliver: Callable[[Sequence[bytes]], None]) -> None:
        predictor = self.predictor
        if predictor is None:
            raise no_live_version(self.model.name)
        batch = _Batch(self.model, predictor, requests, self._desk)
        entries = [line.entry(self.model.name) for line in batch.lines(self._logged, whole=self._all_logged)]
        answers = batch.answers()
        if self._desk.durability == "background":
            with self._desk.journal.turn():  # so that a rotation comes before both or after both
                deliver(answers)
                self._log(entries, answered=True)
        else:
            self._log(entries, answered=not self._desk.refuse_unlogged)
            deliver(answers)

    def _log(self, entries: Sequence[Entry], *, answered: bool) -> None:
        """Write to the journal. What cannot be written is refused, or counted as lost when it is answered anyway."""
        if not entries:
            return
        try:
            self._desk.journal.write(entries)
        except StorageError as error:
            if not answered:
                mend = f'{error.mend}; on_log_failure = "answer" would answer and count it as lost'
                raise ServingError(
                    "the prediction cannot be logged", why=error.why, mend=mend, code="not-logged"
                ) from error
            self._desk.losses.add(self.model.name, len(entries), error)


def no_live_version(model: str) -> ServingError:
    """There is nothing to answer with."""
    why = "no version of it has been released, or the server is still loading it"
    return ServingError(f"{model} has no live version", why=why, mend=f"perene train {model}", code="no-live-version")


class _Batch:
    """The rows of several requests, computed at once.

    Rows whose given id was answered before are not computed again: they get the logged answer.
    """

    def __init__(self, model: Model, predictor: Predictor, requests: Sequence[PredictRequest], desk: Desk) -> None:
        self._model = model
        self._requests = requests
        self._predictor = predictor
        self._version = predictor.version
        self._now = desk.time.now()
        self._recorded_at = desk.machine()
        self._rows = model.schema.parse_json([row for request in requests for row in request.rows])
        self._records = records_of(self._rows)
        self._request_ids = new_ids(self._recorded_at, len(requests))
        self._ids = new_ids(self._recorded_at, len(self._records))
        self._given: dict[int, Given] = self._place_given(desk.given)
        self._new = [i for i in range(len(self._records)) if i not in self._given or self._given[i].logged is None]
        self._output = self._predict()
        self._final = [] if self._output is None else values(self._output.final)
        refuse_no_numbers(model.name, self._final)

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
        return known.look_up(self._model, wanted) if wanted else {}

    def _predict(self) -> Output | None:
        if not self._new:
            return None
        rows = self._rows if len(self._new) == len(self._records) else self._rows[self._new]
        try:
            output = self._predictor.predict(rows)
        except PereneError:
            raise
        except Exception as error:  # the user's code: what it raised is the request's answer
            why = f"{type(error).__name__}: {error}"
            what = f"{self._model.name} v{self._version.version} failed on these rows"
            raise ServingError(
                what, why=why, mend="see its features, its post steps and what train() returned"
            ) from error
        return output

    def lines(self, logged: Sequence[str], *, whole: bool) -> list[AnsweredRow]:
        """What goes into the journal: a line per row that was computed."""
        if self._output is None:
            return []
        rows = self._rows if len(self._new) == len(self._records) else self._rows[self._new]
        raw = self._output.raw.tolist()
        steps = steps_of_rows(self._predictor, self._output)
        named = None if set(self._model.key) <= set(logged) else keys(rows, self._model.key).to_list()
        features = features_of_rows(self._model, self._predictor, rows)
        request_of = self._request_of_row()
        now, recorded_at = instant(self._now), instant(self._recorded_at)
        lines = []
        for n, i in enumerate(self._new):
            record = self._records[i]
            request, position = request_of[i]
            lines.append(
                AnsweredRow(
                    prediction_id=self._ids[i],
                    request_id=self._request_ids[request],
                    position=position,
                    model_version=self._version.version,
                    recipe=self._version.recipe,
                    event_at=cast(int, record[self._model.at]),
                    predicted_at=now,
                    recorded_at=recorded_at,
                    request=record if whole else {name: record[name] for name in logged},
                    raw=raw[n],
                    steps=steps[n],
                    final=cast(AnswerValue, self._final[n]),
                    key=named[n] if named else "",
                    row_digest=self._given[i].digest if i in self._given else "",
                    features=features[n] if features else None,
                )
            )
        return lines

    def _request_of_row(self) -> list[tuple[int, int]]:
        """For each row of the batch: which request, and where in it."""
        return [(n, k) for n, request in enumerate(self._requests) for k in range(len(request.rows))]

    def answers(self) -> list[bytes]:
        """One answer per request."""
        finals = dict(zip(self._new, self._final, strict=True))
        answers, start = [], 0
        for request, request_id in zip(self._requests, self._request_ids, strict=True):
            places = range(start, start + len(request.rows))
            start += len(request.rows)
            content = {
                "model": self._model.name,
                "model_version": self._version.version,
                "request_id": request_id,
                "predictions": [self._answer(i, finals) for i in places],
            }
            answers.append(request.render(content))
        return answers

    def _answer(self, place: int, finals: dict[int, object]) -> dict[str, object]:
        if place in finals:
            return {"prediction_id": self._ids[place], "prediction": finals[place]}
        before = self._given[place].logged
        assert before is not None  # a row is computed or was answered before
        version, prediction = before
        return {"prediction_id": self._ids[place], "prediction": prediction, "model_version": version, "repeated": True}
