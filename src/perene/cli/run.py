"""``perene run``: pipeline runs and their steps."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from perene.cli.door import Door
from perene.cli.options import limit_option, model_if_given, run_argument
from perene.cli.output import Column
from perene.cli.steps import made_by, took
from perene.cli.verbs import Noun, Verb
from perene.cli.words import ago, instant, span, state, tone_of

if TYPE_CHECKING:
    from datetime import datetime

    from perene.records.run import Run, Step


@click.group("run", cls=Noun)
def command() -> None:
    """Pipeline runs and their steps."""


@command.command(
    "list",
    cls=Verb,
    examples="""
      perene run list                        the newest, of all models
      perene run list late-arrival --limit 5
    """,
)
@model_if_given
@limit_option
@click.pass_obj
def list_runs(door: Door, model: str | None, limit: int) -> None:
    """List runs, newest first."""
    app = door.app()
    if model is not None:
        app.models.get(model)
    runs = app.runs.list(model, limit=limit + 1)
    hint = f"perene train {model or next(iter(app.project.models), 'MODEL')}"
    door.out.table(
        "run.list",
        runs,
        columns=_columns(app.time.now()),
        id_of=lambda r: r.id,
        empty=f"no runs yet: {hint}",
        limit=limit,
    )
    failed = [run for run in runs[:limit] if run.state == "failed"]
    if failed:
        door.out.next(f"perene run show {failed[0].id}")


@command.command(
    "show",
    cls=Verb,
    examples="""
      perene run show 12
      perene run show 12 --json        with what each step recorded
    """,
)
@run_argument
@click.pass_obj
def show_run(door: Door, number: int) -> None:
    """Show a run: its steps, how it ended, and why it failed if it did."""
    run = door.app().runs.get(number)
    fields: list[tuple[str, object]] = [
        ("run", run.id),
        ("model", run.model),
        ("trigger", f"{run.trigger}, by {run.actor}"),
        ("due", instant(run.due_at)),
        ("state", state(run.state)),
        ("outcome", run.outcome or "-"),
        ("attempts", run.attempt),
        *((f"{step.name}", _step(step)) for step in run.steps),
        *_error(run.error),
    ]
    door.out.record("run", run, fields, id=run.id)
    door.out.next(*_next(run))


def _columns(now: datetime) -> list[Column[Run]]:
    return [
        Column(title="run", value=lambda r: r.id, right=True),
        Column(title="model", value=lambda r: r.model),
        Column(title="trigger", value=lambda r: r.trigger, spare=2),
        Column(title="due", value=lambda r: r.due_at, text=lambda r: ago(r.due_at, now)),
        Column(title="state", value=lambda r: r.state, text=lambda r: state(r.state), tone=lambda r: tone_of(r.state)),
        Column(title="step", value=lambda r: r.steps[-1].name if r.steps else None, spare=1),
        Column(
            title="took",
            value=_took,
            text=lambda r: span(_took(r)),
            right=True,
        ),
        Column(title="outcome", value=lambda r: r.outcome or (r.error or {}).get("what")),
    ]


def _took(run: Run) -> timedelta | None:
    ended = [step.ended_at - step.started_at for step in run.steps if step.ended_at]
    return sum(ended, timedelta()) if ended else None


def _step(step: Step) -> str:
    again = f"attempt {step.attempt}" if step.attempt > 1 else ""
    parts = (f"{state(step.state):11}", f"{took(step):>6}", again, made_by(step))
    return "  ".join(part for part in parts if part)


def _error(error: Mapping[str, object] | None) -> list[tuple[str, object]]:
    if not error:
        return []
    seen = error.get("seen") or ()
    lines = "\n".join(str(line) for line in seen) if isinstance(seen, list | tuple) else str(seen)
    parts = (("error", error.get("what")), ("why", error.get("why")), ("seen", lines), ("mend", error.get("mend")))
    return [(name, text) for name, text in parts if text]


def _next(run: Run) -> list[str]:
    if run.outcome == "waiting":
        return [f"perene release list {run.model}"]
    if run.state == "failed":
        return [f"perene train {run.model}"]
    return [f"perene status {run.model}"]
