"""GET /metrics: what Prometheus scrapes. Counters come from the meter, the rest from the project's status.

The status is read in a thread of its own at most every 15 s, what needs the logs (scores, bias, coverage) at most every
5 minutes; a scrape that comes meanwhile gets what was read last. The database being away leaves its gauges out and
sets ``perene_project_up`` to 0. Names, labels and units follow Prometheus' own advice: base units, moments and not
ages, 0 before the first event. A model's version is a label of ``perene_model_info`` only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Generic, TypeVar

from perene.app import App
from perene.errors import PereneError
from perene.pipelines.releasing import OUTCOMES
from perene.records.run import Run, RunState
from perene.records.status import ModelStatus
from perene.server import meter
from perene.server.service import Service

if TYPE_CHECKING:
    from prometheus_client.core import Metric

log = logging.getLogger("perene.server")

_STATUS_S, _MEASURED_S = 15.0, 300.0
_PATIENCE_S = 2.0  # a scrape has ten seconds by default
_OUTCOMES = (*OUTCOMES, "failed")
_SEVERITIES = ("page", "notice")

Answer = TypeVar("Answer")
_Values = dict[tuple[str, ...], float]


class Metrics:
    """What a server shows at /metrics."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._project = _Lately(lambda: _Project(service.app), every_s=_STATUS_S)
        self._measured = _Lately(service.app.status, every_s=_MEASURED_S)

    async def page(self, accept: str) -> tuple[bytes, str]:
        """The page and its content type: OpenMetrics where it is asked for, else Prometheus' text format."""
        project, measured = await asyncio.gather(self._project.get(), self._measured.get())
        return await asyncio.to_thread(self._written, accept, project, measured or [])

    def _written(self, accept: str, project: _Project | None, measured: list[ModelStatus]) -> tuple[bytes, str]:
        """In a thread: to import the client takes as long as many predictions."""
        from prometheus_client.exposition import choose_encoder
        from prometheus_client.registry import CollectorRegistry

        registry = CollectorRegistry()
        registry.register(_Said([*_of_server(self._service), *_of_project(project), *_of_logs(measured)]))
        encode, kind = choose_encoder(accept)
        return encode(registry), kind


class _Said:
    """Families as a registry collects them."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> list[Metric]:
        return self._families


class _Lately(Generic[Answer]):
    """The last answer to a question, which is asked in a thread at most every ``every_s`` seconds."""

    def __init__(self, question: Callable[[], Answer], *, every_s: float) -> None:
        self._question = question
        self._every_s = every_s
        self._answer: Answer | None = None
        self._asked_at = -every_s
        self._asking: asyncio.Task[None] | None = None

    async def get(self) -> Answer | None:
        """The answer; None before there is one, and where the last question failed."""
        now = asyncio.get_running_loop().time()
        if self._asking is None and now - self._asked_at >= self._every_s:
            self._asked_at = now
            self._asking = asyncio.create_task(self._ask())
        if self._asking is not None:
            await asyncio.wait([self._asking], timeout=_PATIENCE_S)
        return self._answer

    async def _ask(self) -> None:
        try:
            self._answer = await asyncio.to_thread(self._question)
        except PereneError as error:
            self._answer = None
            log.warning("metrics_unreadable what=%s why=%s", error.what, error.why)
        except Exception:  # the edge of a thread, in which a model's metrics are asked: recorded, and asked again later
            self._answer = None
            log.exception("metrics_failed")
        finally:
            self._asking = None


class _Project:
    """What the database says."""

    def __init__(self, app: App) -> None:
        self.environment = app.settings.environment
        self.now = app.time.now()
        self.statuses = app.status(measured=False)
        self.runs: _Values = {ended: float(count) for ended, count in app.runs.counts().items()}
        self.last = {
            status.model: app.runs.list(status.model, state=RunState.SUCCEEDED, limit=1) for status in self.statuses
        }
        self.alerts: _Values = {}
        for alert in app.alerts.list(state="firing"):
            named = (alert.model or "", alert.severity)
            self.alerts[named] = self.alerts.get(named, 0) + 1


def _of_server(service: Service) -> Iterator[Metric]:
    """What the processes of this server counted, and what they are."""
    environment = service.app.settings.environment
    yield _gauge("perene_build_info", "perene's version.", {(version("perene"), environment): 1}, "version environment")
    serves: _Values = {(name, str(live)): 1.0 for name, live in service.roster.serves.items()}
    yield _gauge("perene_model_info", "The version that answers.", serves, "model version")
    counted = service.meter.total()
    yield _counter(
        "perene_predictions", "Rows that were asked for.", _named(counted, "predictions"), "model mode outcome"
    )
    yield _counter("perene_predictions_lost", "Rows answered but not logged.", _named(counted, "lost"), "model")
    yield _counter("perene_labels", "Rows of ground truth that came in.", _named(counted, "labels"), "model status")
    yield _durations(
        "perene_prediction_duration_seconds",
        "How long a request waited for its answer, and a batch took to be computed and to be logged.",
        _named(counted, "seconds"), "model stage",
    )  # fmt: skip
    yield _counter(
        "perene_version_requests", "Requests that the version in a role was asked.",
        _named(counted, "asked"), "model role outcome",
    )  # fmt: skip
    yield _durations(
        "perene_version_duration_seconds", "How long the version in a role took for its part of a batch.",
        _named(counted, "version_seconds"), "model role",
    )  # fmt: skip
    yield _counter(
        "perene_shadow_dropped", "Rows that a shadow was not asked: it could not keep up.",
        _named(counted, "dropped"), "model",
    )  # fmt: skip


def _of_project(project: _Project | None) -> Iterator[Metric]:
    """Freshness, releases, runs and alerts, as the database has them."""
    yield _gauge("perene_project_up", "Whether the project's database answers.", {(): float(project is not None)}, "")
    if project is None:
        return
    yield _gauge("perene_project_time_seconds", "Project time; a replay's is not now.", {(): _unix(project.now)}, "")
    statuses = project.statuses
    yield _by_model(
        "perene_model_trained_through_timestamp_seconds", "The newest event time that the live model learnt from.",
        statuses, lambda status: _unix(status.freshness.trained_through),
    )  # fmt: skip
    yield _by_model(
        "perene_model_live_since_timestamp_seconds", "Since when the live version is live.",
        statuses, lambda status: _unix(status.since),
    )  # fmt: skip
    yield _by_model(
        "perene_model_stale_after_seconds", "The age at which the model is stale.",
        statuses, _limit_s,
    )  # fmt: skip
    yield _by_model("perene_model_servers", "Server processes that live.", statuses, lambda status: status.servers)
    yield _by_model(
        "perene_model_servers_in_step", "Those that answer with the version that shall be live.",
        statuses, lambda status: status.servers_in_step,
    )  # fmt: skip
    yield _by_model("perene_reviews_waiting", "Releases that wait for review.", statuses, lambda status: status.waiting)
    models = [status.model for status in statuses]
    yield from _of_runs(project, models)
    firing: _Values = {(model, severity): 0.0 for model in models for severity in _SEVERITIES}
    yield _gauge("perene_alerts_firing", "Open alerts.", firing | project.alerts, "model severity")


def _of_runs(project: _Project, models: Iterable[str]) -> Iterator[Metric]:
    none: _Values = {(model, outcome): 0.0 for model in models for outcome in _OUTCOMES}
    yield _counter("perene_runs", "Runs that ended, by how.", none | project.runs, "model outcome")
    ended: _Values = {}
    took: _Values = {}
    for run in (run for found in project.last.values() for run in found):
        moments = [step.ended_at for step in run.steps if step.ended_at is not None]
        if moments:
            ended[(run.model,)] = max(moments).timestamp()
        took |= _took(run)
    about = "When the newest run that succeeded ended (machine time)."
    yield _gauge("perene_run_last_success_timestamp_seconds", about, ended, "model")
    yield _gauge("perene_run_duration_seconds", "How long each step of that run took.", took, "model step")


def _took(run: Run) -> _Values:
    return {
        (run.model, step.name): (step.ended_at - step.started_at).total_seconds()
        for step in run.steps
        if step.ended_at is not None
    }


def _of_logs(statuses: list[ModelStatus]) -> Iterator[Metric]:
    """What is measured on logged predictions and their ground truth."""
    yield _by_model(
        "perene_model_error_ratio", "Live score against the validated one; above 1 is worse than when it was released.",
        statuses, _error_ratio,
    )  # fmt: skip
    yield _by_model(
        "perene_prediction_bias_ratio", "Mean prediction against mean label; 1 is right.", statuses, _bias_ratio
    )
    yield _by_model(
        "perene_label_coverage_ratio", "Share of rows old enough to have a label that have one.",
        statuses, lambda status: status.coverage,
    )  # fmt: skip
    yield _by_model(
        "perene_label_lag_seconds", "How long after its event a label is known: the median of the days' medians.",
        statuses, lambda status: None if status.label_lag is None else status.label_lag.total_seconds(),
    )  # fmt: skip
    yield _by_model(
        "perene_labels_unmatched", "Labels of late that belong to no prediction.",
        statuses, lambda status: status.unmatched_labels,
    )  # fmt: skip


def _error_ratio(status: ModelStatus) -> float | None:
    """None where one of the two is not known, or is not above 0."""
    live, validated = status.live_score and status.live_score.value, status.validated
    if not live or not validated or min(live, validated) <= 0:
        return None
    return live / validated if status.better == "lower" else validated / live


def _bias_ratio(status: ModelStatus) -> float | None:
    bias = status.bias
    if bias is None or bias.mean_prediction is None or not bias.mean_label:
        return None
    return bias.mean_prediction / bias.mean_label


def _named(counted: Mapping[meter.Slot, float], name: str) -> _Values:
    return {slot[1:]: number for slot, number in counted.items() if slot[0] == name}


def _limit_s(status: ModelStatus) -> float | None:
    limit = status.freshness.limit
    return None if limit is None else limit.total_seconds()


def _unix(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _by_model(
    name: str, about: str, statuses: Iterable[ModelStatus], value: Callable[[ModelStatus], float | None]
) -> Metric:
    """A gauge of each model for which there is a value."""
    found = {(status.model,): value(status) for status in statuses}
    return _gauge(name, about, {key: number for key, number in found.items() if number is not None}, "model")


def _gauge(name: str, about: str, values: Mapping[tuple[str, ...], float | None], labels: str) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, about, labels=labels.split())
    for key, number in values.items():
        if number is not None:
            family.add_metric(key, number)
    return family


def _counter(name: str, about: str, values: _Values, labels: str) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(name, about, labels=labels.split())
    for key, number in values.items():
        family.add_metric(key, number)
    return family


def _durations(name: str, about: str, seconds: _Values, labels: str) -> Metric:
    """A histogram of what the meter counted, each value under its labels' and its bucket's name."""
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(name, about, labels=labels.split())
    for key in dict.fromkeys(key[:-1] for key in seconds):
        reached, buckets = 0.0, []
        for bound in meter.bounds():
            reached += seconds.get((*key, bound), 0.0)
            buckets.append((bound, reached))
        family.add_metric(key, buckets, seconds.get((*key, "sum"), 0.0))
    return family
