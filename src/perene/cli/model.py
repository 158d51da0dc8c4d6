"""``perene model``: models, their versions, and holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from perene.cli.completing import versions
from perene.cli.door import Door
from perene.cli.naming import model_and_version
from perene.cli.options import limit_option, model_argument, version_of_model, version_option, why_option
from perene.cli.output import Column
from perene.cli.rivals import rival_fields
from perene.cli.verbs import Noun, Verb
from perene.cli.words import counted, instant, size, span, version

if TYPE_CHECKING:
    from perene.app import App
    from perene.records.audit import AuditLine
    from perene.records.model import ModelVersion, RegisteredModel


@click.group("model", cls=Noun)
def command() -> None:
    """Models and their versions."""


@command.command(
    "list",
    cls=Verb,
    examples="""
      perene model list
      perene model list -q        the names only
    """,
)
@click.pass_obj
def list_models(door: Door) -> None:
    """List models, with the version that is live."""
    app = door.app()
    models = app.models.list()
    since = {model.name: _live_since(app, model.name) for model in models}
    columns: list[Column[RegisteredModel]] = [
        Column(title="model", value=lambda m: m.name),
        Column(title="live", value=lambda m: m.champion, text=lambda m: version(m.champion)),
        Column(title="since", value=lambda m: since[m.name], text=lambda m: instant(since[m.name])),
        Column(title="hold", value=lambda m: m.held_why, text=lambda m: f"‖ {m.held_why}" if m.held_at else "-"),
    ]
    data = [{**asdict(model), "live_since": since[model.name]} for model in models]
    door.out.table(
        "model.list", models, columns=columns, id_of=lambda m: m.name, empty="no models: perene init", data=data
    )


@command.command(
    "show",
    cls=Verb,
    examples="""
      perene model show late-arrival
      perene model show late-arrival@3
      perene model show late-arrival --json        with its declaration
    """,
)
@version_of_model
@version_option
@click.pass_obj
def show_model(door: Door, model: str, wanted: int | None) -> None:
    """Show a model, and the version that is live or asked for."""
    model, wanted = model_and_version(model, wanted)
    app = door.app()
    found = app.models.get(model)
    live = app.models.champion(model) if wanted is None else app.models.version(model, wanted)
    rivals = app.rivals(model)
    fields: list[tuple[str, object]] = [
        ("model", found.name),
        ("live", version(found.champion)),
        ("hold", f"{found.held_why} ({found.held_by}, {instant(found.held_at)})" if found.held_at else "no"),
        *rival_fields(rivals),
        *(_of_version(live) if live else []),
        ("versions", ", ".join(version(v.version) for v in app.models.versions(model, limit=10)) or "none yet"),
    ]
    named = f"{found.name}@{live.version}" if live else found.name
    door.out.record("model", {"model": found, "version": live, "rivals": rivals}, fields, id=named)
    door.out.next(f"perene model history {model}" if live else f"perene train {model}")


@command.command(
    "history",
    cls=Verb,
    examples="""
      perene model history late-arrival
      perene model history late-arrival --limit 100 --json
      perene model history late-arrival -q        the version in each line
    """,
)
@model_argument
@limit_option
@click.pass_obj
def show_history(door: Door, model: str, limit: int) -> None:
    """Show everything that happened to a model, newest first: releases, verdicts, holds."""
    app = door.app()
    app.models.get(model)
    columns: list[Column[_Event]] = [
        Column(title="at", value=lambda e: e.at, text=lambda e: instant(e.at)),
        Column(title="version", value=lambda e: e.version, text=lambda e: version(e.version)),
        Column(title="what", value=lambda e: e.what),
        Column(title="by", value=lambda e: e.actor, spare=1),
        Column(title="why", value=lambda e: e.why),
    ]
    door.out.table(
        "model.history",
        _events(app, model),
        columns=columns,
        id_of=lambda e: model if e.version is None else f"{model}@{e.version}",
        empty=f"nothing yet: perene train {model}",
        limit=limit,
    )


@command.command(
    "hold",
    cls=Verb,
    examples="""
      perene model hold late-arrival --why "weather feed is broken"
    """,
)
@model_argument
@why_option
@click.pass_obj
def hold_model(door: Door, model: str, why: str) -> None:
    """Stop automatic releases of a model; it goes on training."""
    held = door.app(may_begin=True).hold(model, actor=door.actor, why=why)
    door.out.done("model.hold", held, text=f"{model} is on hold: {why}", id=model)
    door.out.next(f"perene model resume {model}")


@command.command(
    "resume",
    cls=Verb,
    examples="""
      perene model resume late-arrival
      perene model resume late-arrival --why "the feed is back"
    """,
)
@model_argument
@click.option("--why", default="", metavar="TEXT", help="The reason; the audit log keeps it.")
@click.pass_obj
def resume_model(door: Door, model: str, why: str) -> None:
    """Start automatic releases of a model again."""
    resumed = door.app(may_begin=True).resume(model, actor=door.actor, why=why)
    door.out.done("model.resume", resumed, text=f"{model} releases by itself again", id=model)
    door.out.next(f"perene status {model}")


@command.command(
    "shadow",
    cls=Verb,
    examples="""
      perene model shadow late-arrival 4       scores v4 on live traffic
      perene model shadow late-arrival --off
    """,
)
@model_argument
@click.argument("wanted", metavar="V", type=int, required=False, shell_complete=versions)
@click.option("--off", is_flag=True, help="Ask none any more.")
@click.option("--why", default="", metavar="TEXT", help="The reason; the audit log keeps it.")
@click.pass_obj
def shadow_model(door: Door, model: str, wanted: int | None, off: bool, why: str) -> None:
    """Ask a version what the live one is asked, after each answer; it never answers.

    Its predictions are logged with the role shadow. It delays no answer: what it cannot keep up with is dropped, and
    counted.
    """
    if off == (wanted is not None):
        raise click.UsageError("name a version, or --off")
    changed = door.app().shadow(model, wanted, actor=door.actor, why=why)
    text = f"{model} asks no shadow" if wanted is None else f"{model} asks {version(wanted)} beside what is live"
    door.out.done("model.shadow", changed, text=text, id=model)
    door.out.next(f"perene model show {model}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    """One line of a model's history."""

    at: datetime
    what: str
    version: int | None
    actor: str
    why: str


def _events(app: App, model: str) -> list[_Event]:
    """The ledger's lines and the holds of a model, newest first."""
    ledger = [
        _Event(at=e.at, what=f"release {e.release} {e.state}", version=e.version, actor=e.actor, why=e.why)
        for e in app.releases.events(model)
    ]
    holds = [
        _Event(at=line.at, what=_deed(line), version=None, actor=line.actor, why=line.why)
        for line in app.audits.list(about=f"model {model}")
        if line.verb in ("hold", "resume", "shadow")
    ]
    return sorted([*reversed(ledger), *holds], key=lambda event: event.at, reverse=True)


def _deed(line: AuditLine) -> str:
    """What was done, with the version that it was done to."""
    if line.verb != "shadow":
        return line.verb
    shadow = (line.after or {}).get("shadow")
    return "shadow off" if shadow is None else f"shadow v{shadow}"


def _live_since(app: App, model: str) -> datetime | None:
    """When the version that is live went live."""
    return next((period.since for period in app.releases.history(model) if period.until is None), None)


def _of_version(made: ModelVersion) -> list[tuple[str, object]]:
    return [
        ("version", f"{version(made.version)}, made {instant(made.created_at)} by run {made.run or '-'}"),
        ("learnt from", f"{counted(made.rows, 'row')} of dataset {version(made.dataset)}"),
        ("window", f"{instant(made.trained_from)} → {instant(made.trained_until)}"),
        ("training", f"{span(timedelta(seconds=made.seconds))}, {size(made.peak_memory)}, seed {made.seed}"),
        ("parameters", ", ".join(f"{name}={value}" for name, value in made.parameters.items()) or "-"),
        ("commit", made.git_commit or "-"),
        ("bundle", made.bundle),
    ]
