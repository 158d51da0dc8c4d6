"""``perene status``: how every model does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perene.cli.door import Door
from perene.cli.failures import NEGATIVE
from perene.cli.options import model_if_given
from perene.cli.output import Column, Mode
from perene.cli.rivals import rival_fields
from perene.cli.verbs import Verb
from perene.cli.words import ago, counted, estimate, instant, number, share, span, state, tone_of, version

if TYPE_CHECKING:
    from datetime import datetime

    from perene.records.status import Freshness, ModelStatus

_ROOMY = 110  # columns of a terminal that has room for intervals


@click.command(
    "status",
    cls=Verb,
    examples="""
      perene status                   every model, worst first
      perene status late-arrival      one, with its reasons
      perene status --check           exit code 3 when one is stale or degraded
    """,
)
@model_if_given
@click.option("--check", is_flag=True, help="Exit with code 3 when a model is stale or degraded.")
@click.pass_context
def command(context: click.Context, model: str | None, check: bool) -> None:
    """Show freshness, health and release of every model, worst first."""
    door: Door = context.obj
    app = door.app()
    found = app.status(model)
    if model is None:
        _show_all(door, found, app.time.now())
    else:
        now = app.time.now() if door.out.mode is Mode.HUMAN else None  # machines get no relative times
        door.out.record("model.status", found[0], _fields(found[0], now), id=model)
    door.out.next(*_next(found, all_of_them=model is None))
    if check and any(_is_bad(status) for status in found):
        context.exit(NEGATIVE)


def _is_bad(status: ModelStatus) -> bool:
    return status.freshness.state == "stale" or status.health == "degraded"


def _show_all(door: Door, found: list[ModelStatus], now: datetime) -> None:
    human = door.out.mode is Mode.HUMAN
    columns = _columns(now, brief=door.out.width < _ROOMY) if human else _exact_columns()
    door.out.table("model.status.list", found, columns=columns, id_of=lambda s: s.model, empty="no models: perene init")
    for status in found:
        for said in _said(status):
            door.out.text(f"{status.model}: {said}")


def _said(status: ModelStatus) -> list[str]:
    """What a person should know beside the numbers."""
    waits = f"{counted(status.waiting, 'release waits', 'releases wait')} for review" if status.waiting else ""
    return [*status.reasons, *([waits] if waits else [])]


def _columns(now: datetime, *, brief: bool) -> list[Column[ModelStatus]]:
    """What people read; a brief score has no interval."""
    fresh: Column[ModelStatus] = Column(
        title="freshness",
        value=lambda s: s.freshness.state,
        text=lambda s: state(s.freshness.state),
        tone=lambda s: tone_of(s.freshness.state),
    )
    health: Column[ModelStatus] = Column(
        title="health", value=lambda s: s.health, text=lambda s: state(s.health), tone=lambda s: tone_of(s.health)
    )
    return [
        Column(title="model", value=lambda s: s.model),
        fresh,
        Column(title="data age", value=lambda s: _age(s.freshness)),
        health,
        Column(title="release", value=_release),
        Column(title="live score", value=lambda s: _live_score(s, brief=brief)),
        Column(title="validated", value=lambda s: number(s.validated), spare=1),
        Column(title="bias", value=lambda s: _bias(s, short=True), spare=5),
        Column(title="labels", value=lambda s: share(s.coverage), right=True, spare=3),
        Column(title="next run", value=lambda s: _due(s.next_due, now), spare=2),
        Column(title="waits", value=lambda s: s.waiting or "-", right=True, spare=4),
    ]


def _exact_columns() -> list[Column[ModelStatus]]:
    """What machines get: one number or word in each."""
    return [
        Column(title="model", value=lambda s: s.model),
        Column(title="freshness", value=lambda s: s.freshness.state),
        Column(title="age_s", value=lambda s: s.freshness.age),
        Column(title="limit_s", value=lambda s: s.freshness.limit),
        Column(title="trained_through", value=lambda s: s.freshness.trained_through),
        Column(title="health", value=lambda s: s.health),
        Column(title="standing", value=lambda s: s.standing),
        Column(title="live", value=lambda s: s.live),
        Column(title="since", value=lambda s: s.since),
        Column(title="metric", value=lambda s: s.metric),
        Column(title="live_score", value=lambda s: s.live_score.value if s.live_score else None),
        Column(title="lower", value=lambda s: s.live_score.lower if s.live_score else None),
        Column(title="upper", value=lambda s: s.live_score.upper if s.live_score else None),
        Column(title="validated", value=lambda s: s.validated),
        Column(title="bias", value=lambda s: s.bias.observed.value if s.bias and s.bias.observed else None),
        Column(title="coverage", value=lambda s: s.coverage),
        Column(title="label_lag_s", value=lambda s: s.label_lag),
        Column(title="unmatched_labels", value=lambda s: s.unmatched_labels),
        Column(title="next_due", value=lambda s: s.next_due),
        Column(title="waiting", value=lambda s: s.waiting),
    ]


def _release(status: ModelStatus) -> str:
    return f"{version(status.live)} {status.standing}" if status.live else status.standing


def _live_score(status: ModelStatus, *, brief: bool) -> str:
    found = status.live_score
    return number(found.value, status.unit) if found and brief else estimate(found, status.unit)


def _fields(status: ModelStatus, now: datetime | None) -> list[tuple[str, object]]:
    unit = status.unit
    fields: list[tuple[str, object]] = [
        ("model", f"{status.model}, of {status.owner}" if status.owner else status.model),
        ("freshness", f"{state(status.freshness.state)}: {_of_age(status.freshness)}"),
        *_limits(status.freshness, now),
        ("health", state(status.health)),
        *([("reasons", "\n".join(status.reasons))] if status.reasons else []),
        ("release", state(status.standing)),
        ("live", f"{version(status.live)}, since {instant(status.since)}" if status.live else "nothing yet"),
        ("servers", f"{status.servers_in_step} of {status.servers} run it" if status.servers else "none runs"),
        *rival_fields(status.rivals),
        ("judged by", f"{status.metric}: {status.better} is better"),
        ("live score", _score(status)),
        ("validated", number(status.validated, unit)),
        ("bias", _bias(status)),
        ("labels", _labels(status)),
        ("next run", _next_run(status.next_due, now)),
        ("last run", f"{status.last_run}: {status.last_outcome}" if status.last_run else "none yet"),
        ("waits", f"{counted(status.waiting, 'release')} for review" if status.waiting else "nothing"),
    ]
    return fields


def _labels(status: ModelStatus) -> str:
    lines = []
    if status.coverage is not None:
        known = f", {span(status.label_lag)} after their events" if status.label_lag is not None else ""
        lines.append(f"{share(status.coverage)} of those that could be known{known}")
    if status.unmatched_labels:
        lines.append(f"{counted(status.unmatched_labels, 'belongs', 'belong')} to no prediction that was answered")
    return "\n".join(lines) or "-"


def _age(fresh: Freshness) -> str:
    if fresh.age is None:
        return "-"
    return span(fresh.age) if fresh.limit is None else f"{span(fresh.age)} of {span(fresh.limit)}"


def _of_age(fresh: Freshness) -> str:
    """The age in words, and how much of it is there because the newest rows tested the model."""
    if fresh.age is None:
        return "no version has learnt from anything yet"
    return f"{_age(fresh)}, of which {span(fresh.held_out)} are hold-out: the newest rows judge a version"


def _limits(fresh: Freshness, now: datetime | None) -> list[tuple[str, object]]:
    if fresh.trained_through is None:
        return []
    lines: list[tuple[str, object]] = [("learnt up to", instant(fresh.trained_through))]
    for name, at in (("ageing from", fresh.warn_at), ("stale from", fresh.stale_at)):
        if at is not None:
            lines.append((name, _when(at, now)))
    return lines


def _score(status: ModelStatus) -> str:
    found = status.live_score
    if found is None:
        return "not known: no answer has its ground truth yet"
    on = f"{counted(found.rows, 'answer')} of {counted(found.days, 'day')}"
    return f"{estimate(found, status.unit)}, on {on}"


def _bias(status: ModelStatus, *, short: bool = False) -> str:
    """How far predictions lie above what happened."""
    bias = status.bias
    if bias is None or bias.observed is None:
        return "-"
    said = estimate(bias.observed, None if short else status.unit, signed=True)
    if short:
        return said
    return f"{said}: predicted {number(bias.mean_prediction)} on average, was {number(bias.mean_label)}"


def _when(at: datetime, now: datetime | None) -> str:
    return instant(at) if now is None else f"{instant(at)} ({ago(at, now)})"


def _next_run(at: datetime | None, now: datetime | None) -> str:
    if at is None:
        return "no schedule"
    return _when(at, now) if now is None or at > now else "due now"


def _due(at: datetime | None, now: datetime) -> str:
    if at is None:
        return "-"
    return "due now" if at <= now else ago(at, now)


def _next(found: list[ModelStatus], *, all_of_them: bool) -> list[str]:
    if not found:
        return []
    worst = found[0]
    if any(status.waiting for status in found):
        return ["perene release list --state waiting"]
    if worst.live is None:
        return [f"perene train {worst.model}"]
    if all_of_them:
        return [f"perene status {worst.model}"]
    return [f"perene model history {worst.model}"]
