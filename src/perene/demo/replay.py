"""The replay: flights are asked for an hour before they leave, their truth comes when they land, and every week the
model's cycle runs. Everything goes through what a user's own project would go through; only project time is set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter

import polars as pl

from perene.app import App
from perene.definition.model import Model
from perene.demo.calls import Client, Server
from perene.demo.flights import ASKED
from perene.pipelines.serving import serve_bulk
from perene.records.run import Run

MODEL = "late-arrival"
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_INSTANT = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """When the replay begins, from when on it goes over HTTP, and when it ends: midnights, UTC."""

    since: datetime = datetime(2013, 3, 1, tzinfo=UTC)
    http_from: datetime = datetime(2013, 11, 16, tzinfo=UTC)
    until: datetime = datetime(2013, 12, 1, tzinfo=UTC)


@dataclass(slots=True, kw_only=True)
class Told:
    """What happened so far: flights that were answered, in bulk and over HTTP, those that came before the first
    release, and the runs that ended."""

    bulk: int = 0
    http: int = 0
    unanswered: int = 0
    runs: list[Run] = field(default_factory=list)


Progress = Callable[[datetime, Told], None]


def replay(app: App, flights: pl.DataFrame, plan: Plan, progress: Progress) -> Told:
    """Live the plan's months in an opened project whose clock was never set.

    At every instant the logs hold what was asked and what had landed before it, and nothing later. Before a first
    version is live no flight is answered.

    Args:
        flights: as ``read_flights`` gives them.
        progress: hears of each day.
    """
    asked = flights.with_columns(asked_at=pl.col("sched_dep") - ASKED).filter(
        pl.col("asked_at").is_between(plan.since, plan.until, closed="left")
    )
    lived = _Lived(app, app.model(MODEL), asked.sort("asked_at", maintain_order=True), progress)
    app.time.start_replay(plan.since, actor="perene demo", why="the flights of 2013")
    lived.work_what_is_due()
    lived.in_bulk(plan.since, plan.http_from)
    if plan.http_from < plan.until:
        with Server(app.project.folder) as server:
            client = server.client()
            try:
                lived.over_http(plan.http_from, plan.until, client)
            finally:
                client.close()
    return lived.told


class _Lived:
    def __init__(self, app: App, model: Model, flights: pl.DataFrame, progress: Progress) -> None:
        self.told = Told()
        self._app = app
        self._model = model
        self._flights = flights
        self._landed = flights.filter(pl.col("landed_at").is_not_null()).sort("landed_at", maintain_order=True)
        self._progress = progress
        self._worker = app.worker()

    def work_what_is_due(self) -> None:
        """What scheduler and worker do at this instant."""
        for _ in self._app.schedule():
            run = self._worker.work_one()
            if run is not None:
                self.told.runs.append(run)

    def in_bulk(self, since: datetime, until: datetime) -> None:
        """Day by day; what was asked and what landed since the last cycle comes into the logs before the next."""
        told_until = at = since
        while at < until:
            at += _DAY
            self._app.time.advance(at)
            if self._is_cycle_due(at) or at == until:
                self._log(told_until, at)
                told_until = at
            self.work_what_is_due()
            self._progress(at, self.told)

    def over_http(self, since: datetime, until: datetime, client: Client) -> None:
        """Minute by minute: each flight's request at its minute, the truth of what landed at every full hour."""
        at = since
        self._wait_for_champion(client)
        while at < until:
            self._ask_hour(at, client)
            at += _HOUR
            self._app.time.advance(at)
            self._tell_hour(at - _HOUR, client)
            if at.hour == 0:
                self.work_what_is_due()
                self._wait_for_champion(client)
                self._progress(at, self.told)

    def _is_cycle_due(self, at: datetime) -> bool:
        last = self._app.runs.last_due().get(self._model.name)
        every = self._model.every
        return last is None or every is None or at >= last + every

    def _log(self, since: datetime, until: datetime) -> None:
        """Answer the flights that were asked for in [since, until), and take in the truth of those that landed then."""
        rows = _between(self._flights, "asked_at", since, until)
        if self._app.models.champion(self._model.name) is None:
            self.told.unanswered += rows.height
        elif rows.height:
            serve_bulk(
                self._app.predictor(self._model.name),
                self._model.schema.check(rows).good,
                model=self._model,
                predicted_at=rows["asked_at"],
                recorded_at=self._app.machine(),
                log=self._app.predictions,
            )
            self.told.bulk += rows.height
        truth = _between(self._landed, "landed_at", since, until)
        if truth.height:
            self._app.add_truths(self._model.name, truth.select(self._truth_fields), source="airline")

    def _ask_hour(self, since: datetime, client: Client) -> None:
        """One request for all flights that are asked for in the same minute."""
        rows = _between(self._flights, "asked_at", since, since + _HOUR)
        if self._app.models.champion(self._model.name) is None:
            self.told.unanswered += rows.height
            return
        sent = rows.select(list(self._model.schema.polars)).with_columns(pl.col("sched_dep").dt.strftime(_INSTANT))
        by_minute = groupby(zip(rows["asked_at"], sent.to_dicts(), strict=True), key=itemgetter(0))
        for asked_at, asked in by_minute:
            self._app.time.advance(asked_at)
            self.told.http += client.predict(self._model.name, [row for _, row in asked])

    def _tell_hour(self, since: datetime, client: Client) -> None:
        truth = _between(self._landed, "landed_at", since, since + _HOUR).select(self._truth_fields)
        said = truth.with_columns(pl.col("sched_dep", "landed_at").dt.strftime(_INSTANT))
        if said.height:
            client.tell(self._model.name, said.to_dicts())

    def _wait_for_champion(self, client: Client) -> None:
        champion = self._app.models.champion(self._model.name)
        if champion is not None:
            client.wait_for(self._model.name, champion.version)

    @property
    def _truth_fields(self) -> list[str]:
        return [*self._model.key, self._model.at, self._model.label.name, "landed_at"]


def _between(frame: pl.DataFrame, column: str, since: datetime, until: datetime) -> pl.DataFrame:
    """The rows of [since, until) of a frame that is sorted by this column."""
    start, end = (
        int(frame[column].search_sorted(pl.Series([at]).cast(frame[column].dtype))[0]) for at in (since, until)
    )
    return frame[start:end]
