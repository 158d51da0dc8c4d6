"""What came of a replay, month by month: out of the prediction log, the ground truth and the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from perene.app import App
from perene.demo.replay import MODEL, Plan, Told
from perene.figures.glyphs import EventKind
from perene.monitoring.bias import label_means
from perene.monitoring.periods import Period, months, weeks
from perene.monitoring.quality import PeriodQuality, measure_quality
from perene.records.run import Run

LOSS, AUC = "log_loss", "auc"
_KINDS = {
    "released": EventKind.RELEASE,
    "worse": EventKind.REJECTION,
    "unfit": EventKind.REJECTION,
    "refused": EventKind.REJECTION,
    "inconclusive": EventKind.INCONCLUSIVE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """One run of the model's cycle: what became of its candidate, and why. ``kind`` is None for a run that failed."""

    at: datetime
    version: int | None
    kind: EventKind | None
    reason: str
    on_deadline: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A month, or all of them: the quality of the answers, and the cycles."""

    name: str
    quality: PeriodQuality
    cycles: tuple[Cycle, ...]

    def count(self, kind: EventKind | None) -> int:
        """How many cycles ended so."""
        return Counter(cycle.kind for cycle in self.cycles)[kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All that the table and the report show.

    ``first`` is the first version that was released; it is what the live answers are compared with. ``later`` counts
    answered flights that leave after the last month.
    """

    plan: Plan
    as_of: datetime
    mature_until: datetime
    first: int | None
    live: int | None
    lines: tuple[Line, ...]
    total: Line
    weeks: tuple[PeriodQuality, ...]
    told: Told
    later: int


def measure(app: App, plan: Plan, told: Told) -> Results:
    """Measure what was answered, and what the first released version would have answered to the same requests."""
    model, as_of = app.model(MODEL), app.time.now()
    history = app.releases.history(MODEL)
    first = history[0].version if history else None
    by_month, by_week = months(plan.since, plan.until), weeks(plan.since, plan.until)
    whole = Period(since=plan.since, until=plan.until)
    measured = measure_quality(
        model,
        app.predictions,
        [*by_month, *by_week, whole],
        as_of=as_of,
        metrics=[LOSS, AUC],
        rescore=None if first is None else app.predictor(MODEL, first),
        means=label_means(app.models, MODEL),
    )
    cycles = [_cycle(app, run) for run in sorted(app.runs.list(MODEL), key=lambda run: run.id)]
    return Results(
        plan=plan,
        as_of=as_of,
        mature_until=as_of - model.label.wait,
        first=first,
        live=history[-1].version if history else None,
        lines=tuple(
            _line(f"{period.since:%B}", quality, cycles)
            for period, quality in zip(by_month, measured[: len(by_month)], strict=True)
        ),
        total=_line("all", measured[-1], cycles),
        weeks=tuple(measured[len(by_month) : -1]),
        told=told,
        later=told.bulk + told.http - measured[-1].answered,
    )


def _cycle(app: App, run: Run) -> Cycle:
    evaluation = next((app.evaluations.get(id) for id in _evaluation_of(run)), None)
    if evaluation is None:
        return Cycle(
            at=run.created_at,
            version=None,
            kind=None,
            reason=str((run.error or {}).get("what", run.state.value)),
            on_deadline=False,
        )
    return Cycle(
        at=run.created_at,
        version=evaluation.candidate,
        kind=_KINDS.get(run.outcome or ""),
        reason=evaluation.verdict.reason,
        on_deadline=evaluation.verdict.released_on_deadline,
    )


def _evaluation_of(run: Run) -> list[int]:
    return [int(str(step.result["evaluation"])) for step in run.steps if step.name == "validate" and step.result]


def _line(name: str, quality: PeriodQuality, cycles: Sequence[Cycle]) -> Line:
    inside = tuple(cycle for cycle in cycles if quality.since <= cycle.at < quality.until)
    return Line(name=name, quality=quality, cycles=inside)
