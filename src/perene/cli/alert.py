"""``perene alert``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perene.cli.door import Door
from perene.cli.options import alert_argument, limit_option, model_if_given
from perene.cli.output import Column
from perene.cli.verbs import Noun, Verb
from perene.cli.words import ago, counted, instant, state, tone_of

if TYPE_CHECKING:
    from datetime import datetime

    from perene.records.alert import Alert


@click.group("alert", cls=Noun)
def command() -> None:
    """What someone should know."""


@command.command(
    "list",
    cls=Verb,
    examples="""
      perene alert list                  what is firing
      perene alert list late-arrival
      perene alert list --all            resolved ones too
    """,
)
@model_if_given
@click.option("--all", "resolved", is_flag=True, help="Show resolved alerts too.")
@limit_option
@click.pass_obj
def list_alerts(door: Door, model: str | None, resolved: bool, limit: int) -> None:
    """List alerts, those that fire now unless --all is given."""
    app = door.app()
    if model is not None:
        app.models.get(model)
    alerts = app.alerts.list(state=None if resolved else "firing", model=model, limit=limit + 1)
    door.out.table(
        "alert.list", alerts, columns=_columns(app.time.now()), id_of=lambda a: a.id, empty="● nothing is firing",
        limit=limit,
    )  # fmt: skip
    door.out.next(*(f"perene alert show {alert.id}" for alert in alerts[:1]))


@command.command(
    "show",
    cls=Verb,
    examples="""
      perene alert show 3
      perene alert show 3 --json
    """,
)
@alert_argument
@click.pass_obj
def show_alert(door: Door, number: int) -> None:
    """Show an alert: what is wrong, since when, why, and what mends it."""
    alert = door.app().alerts.get(number)
    fields: list[tuple[str, object]] = [
        ("alert", alert.id),
        ("state", state(alert.state)),
        ("model", alert.model or "the whole project"),
        ("rule", f"{alert.rule}, {alert.severity}"),
        ("what", alert.what),
        ("why", alert.why or "-"),
        ("mend", alert.mend or "-"),
        ("first", instant(alert.first_at)),
        ("last", f"{instant(alert.last_at)}, {counted(alert.count, 'time')} in all"),
        *([("resolved", instant(alert.resolved_at))] if alert.resolved_at else []),
    ]
    door.out.record("alert", alert, fields, id=alert.id)
    door.out.next(f"perene status {alert.model}" if alert.model else "perene status")


def _columns(now: datetime) -> list[Column[Alert]]:
    return [
        Column(title="alert", value=lambda a: a.id, right=True),
        Column(title="state", value=lambda a: a.state, text=lambda a: state(a.state), tone=lambda a: tone_of(a.state)),
        Column(title="model", value=lambda a: a.model),
        Column(title="rule", value=lambda a: a.rule),
        Column(title="severity", value=lambda a: a.severity, spare=3),
        Column(title="first", value=lambda a: a.first_at, text=lambda a: ago(a.first_at, now), spare=1),
        Column(title="times", value=lambda a: a.count, right=True, spare=2),
        Column(title="what", value=lambda a: a.what),
    ]
