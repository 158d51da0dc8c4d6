"""``perene release``: the ledger of what was released, by whom and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from perene.cli.completing import versions
from perene.cli.door import Door
from perene.cli.failures import NEGATIVE, PENDING
from perene.cli.options import limit_option, model_argument, model_if_given, release_argument, why_option
from perene.cli.output import Column
from perene.cli.rivals import rival_fields
from perene.cli.verbs import Noun, Verb
from perene.cli.verdicts import evaluation_data, unit_of, verdict_fields
from perene.cli.words import ago, instant, span, state, tone_of, version

if TYPE_CHECKING:
    from datetime import datetime

    from perene.app import App
    from perene.records.model import ModelVersion
    from perene.records.release import Release, ReleaseEvent
    from perene.records.status import Freshness
    from perene.records.verdict import Evaluation

_STATES = (
    "proposed",
    "waiting",
    "approved",
    "rolling out",
    "rejected",
    "superseded",
    "live",
    "replaced",
    "rolled back",
)


@click.group("release", cls=Noun)
def command() -> None:
    """Releases: what was proposed, what became of it."""


@command.command(
    "list",
    cls=Verb,
    examples="""
      perene release list                         the newest, of all models
      perene release list late-arrival
      perene release list --state waiting         what waits for a person
    """,
)
@model_if_given
@click.option("--state", "wanted", type=click.Choice(_STATES), metavar="STATE", help=f"Only: {', '.join(_STATES)}.")
@limit_option
@click.pass_obj
def list_releases(door: Door, model: str | None, wanted: str | None, limit: int) -> None:
    """List releases, newest first."""
    from perene.records.release import ReleaseState

    app = door.app()
    if model is not None:
        app.models.get(model)
    releases = app.releases.list(model, state=ReleaseState(wanted) if wanted else None, limit=limit + 1)
    told = _told(app, releases)
    door.out.table(
        "release.list", releases, columns=_columns(told, app.time.now()), id_of=lambda r: r.id, empty="no releases",
        data=[{**asdict(release), **told[release.id]} for release in releases], limit=limit,
    )  # fmt: skip
    waiting = [release for release in releases[:limit] if release.state == "waiting"]
    if waiting:
        door.out.next(f"perene release show {waiting[0].id}")


@command.command(
    "show",
    cls=Verb,
    examples="""
      perene release show 7
      perene release show 7 --json        with the verdict's numbers
      perene release show 7 --check       code 3 for a bad verdict
    """,
)
@release_argument
@click.option(
    "--check", is_flag=True, help="Exit with code 3 when the verdict is worse or refused, 8 while a person must decide."
)
@click.pass_context
def show_release(context: click.Context, number: int, check: bool) -> None:
    """Show a release: what it replaces, its verdict, and every event since."""
    door: Door = context.obj
    app = door.app()
    release = app.releases.get(number)
    events = app.releases.events(release.model, release=number)
    evaluation = app.evaluations.get(release.evaluation) if release.evaluation else None
    rivals = [rival for rival in app.rivals(release.model) if rival.version == release.version]
    reason = evaluation.verdict.reason if evaluation else ""
    unit = unit_of(app.model(release.model), evaluation.verdict) if evaluation else None
    fields: list[tuple[str, object]] = [
        ("release", release.id),
        ("model", release.model),
        ("version", f"{version(release.version)}, in place of {version(release.replaces)}"),
        ("state", state(release.state)),
        ("kind", release.kind),
        ("run", release.run or "-"),
        *rival_fields(rivals),
        *(verdict_fields(evaluation.verdict, unit=unit) if evaluation else []),
        ("ledger", "\n".join(_event(event, reason) for event in events)),
        ("bundle", release.bundle),
        ("dataset", release.dataset_digest),
    ]
    data = {"release": release, "events": events, "evaluation": evaluation_data(evaluation), "rivals": rivals}
    door.out.record("release", data, fields, id=release.id)
    if release.state == "waiting":
        door.out.next(f"perene release approve {number} --why TEXT", f"perene release reject {number} --why TEXT")
    if check:
        context.exit(_checked(release, evaluation))


@command.command(
    "approve",
    cls=Verb,
    examples="""
      perene release approve 7 --why "seen with the team"
      perene release approve 7 --canary 10% --why "a new feature"
      perene release approve 7 --canary "5% 1h, 25% 4h" --why "a new feature"
    """,
)
@release_argument
@click.option(
    "--canary", metavar="STEPS", help='The share of the keys that it answers first, as 10%, or steps; "none" for none.'
)
@why_option
@click.pass_obj
def approve_release(door: Door, number: int, canary: str | None, why: str) -> None:
    """Approve an open release: it goes live, at once or by steps.

    The steps are those of --canary, else those that its model declares; a scheduler raises them, and takes the release
    back when it regresses. One that is on its way goes live at once when it is approved again without --canary.

    Open is one that waits, or whose verdict is inconclusive or refused, until another takes its place. A person may so
    decide against the gate; the ledger keeps who and why. One that is rejected stays so.
    """
    from perene.pipelines.releasing import course_of

    app = door.app()
    before = app.releases.get(number)
    course = course_of(app.model(before.model), canary)
    if before.state == "live":
        _nothing_changed(door, "release.approve", before, f"{version(before.version)} is live already")
        return
    if before.state == "rolling out" and course.is_asked and course.steps:
        what = f"{version(before.version)} is on its way already ({', '.join(map(str, before.canary))})"
        _nothing_changed(door, "release.approve", before, what)
        door.out.next(f"perene release approve {number} --why TEXT   makes it live now")
        return
    release = app.approve(number, actor=door.actor, why=why, canary=canary)
    verdict = app.evaluations.get(release.evaluation).verdict if release.evaluation else None
    against = f"\nagainst the gate: {verdict.reason}" if verdict and verdict.decision != "pass" else ""
    if release.state == "rolling out":
        way = f"{version(release.version)} rolls out beside {version(release.replaces)}"
        text = f"{release.model}: {way}: {', '.join(map(str, release.canary))}{against}"
        door.out.done("release.approve", release, text=text, id=release.id)
        door.out.next(
            f"perene release show {release.id}",
            f"perene release approve {release.id} --why TEXT   makes it live now",
            f"perene release reject {release.id} --why TEXT   takes it back",
        )
        return
    text = f"{release.model}: {version(release.replaces)} → {version(release.version)}{against}"
    door.out.done("release.approve", release, text=text, id=release.id)
    door.out.next(
        f"perene status {release.model}", f"perene release rollback {release.model} --why TEXT   takes it back"
    )


@command.command(
    "reject",
    cls=Verb,
    examples="""
      perene release reject 7 --why "worse at small airports"
    """,
)
@release_argument
@why_option
@click.pass_obj
def reject_release(door: Door, number: int, why: str) -> None:
    """Refuse a waiting release, or one that is on its way by steps: what is live stays."""
    app = door.app()
    if (before := app.releases.get(number)).state == "rejected":
        _nothing_changed(door, "release.reject", before, f"{version(before.version)} is rejected already")
        return
    release = app.reject(number, actor=door.actor, why=why)
    text = f"{release.model} {version(release.version)} is rejected; {version(release.replaces)} stays live"
    door.out.done("release.reject", release, text=text, id=release.id)
    door.out.next(f"perene status {release.model}")


@command.command(
    "rollback",
    cls=Verb,
    examples="""
      perene release rollback late-arrival --why "errors at ATL"
      perene release rollback late-arrival --to 3 --why "errors at ATL"
      perene release rollback late-arrival --dry-run --why test   tries it
    """,
)
@model_argument
@click.option(
    "--to",
    "wanted",
    type=int,
    metavar="V",
    shell_complete=versions,
    help="The version to go back to (default: the one before).",
)
@click.option("--dry-run", is_flag=True, help="Say what would be live; change nothing.")
@why_option
@click.pass_obj
def rollback_model(door: Door, model: str, wanted: int | None, dry_run: bool, why: str) -> None:
    """Serve an earlier version now, and hold the model.

    While a release is on its way by steps, that is taken back, and what is live stays; --to goes further back.
    """
    app = door.app()
    target = app.rollback_target(model, to=wanted)
    fresh = app.freshness(target)
    if dry_run:
        live = app.models.get(model).champion
        way = f"{model}: {version(live)} → {version(target.version)}{_how_old(fresh)}"
        if target.version == live:
            way = f"{model}: what rolls out would be taken back; {version(live)} stays live{_how_old(fresh)}"
        text = f"{way}, and the model would be held; nothing is changed"
        data: dict[str, object] = {"model": model, "from": live, "to": target.version, "freshness": fresh}
        door.out.done("release.rollback.plan", data, text=text, id=target.version)
        _warn_of_age(door, target, fresh)
        return
    release = app.rollback(model, to=wanted, actor=door.actor, why=why)
    way = f"{version(release.replaces)} → {version(release.version)}"
    if release.kind == "release":
        way = f"{version(release.version)} is taken back, and {version(release.replaces)} answers all keys"
    text = f"{model}: {way}{_how_old(fresh)}\nautomatic releases are on hold, or the next candidate would replace it"
    door.out.done("release.rollback", {**asdict(release), "freshness": fresh}, text=text, id=release.id)
    _warn_of_age(door, target, fresh)
    door.out.next(f"perene model resume {model}   lets releases go on")


def _how_old(fresh: Freshness) -> str:
    if fresh.age is None:
        return ""
    return f" ({span(fresh.age)} old{f'; limit {span(fresh.limit)}' if fresh.limit else ''})"


def _warn_of_age(door: Door, target: ModelVersion, fresh: Freshness) -> None:
    """Say on stderr that a version is stale, or soon will be, while the hold keeps fresher ones away."""
    if fresh.age is None or fresh.limit is None or fresh.state not in ("ageing", "stale"):
        return
    left = fresh.limit - fresh.age
    when = f"turns stale in {span(left)}" if fresh.state == "ageing" else f"has been stale for {span(-left)}"
    door.out.note(
        f"warning: {version(target.version)} {when} ({instant(fresh.stale_at)}), and the hold keeps fresher versions "
        f"away; perene model resume {target.model} lets them come"
    )


def _checked(release: Release, evaluation: Evaluation | None) -> int:
    """The exit code that a release gives to whoever asks for a verdict."""
    if release.state == "waiting":
        return PENDING
    bad = evaluation is not None and evaluation.verdict.decision in ("worse", "unfit", "refused")
    return NEGATIVE if bad else 0


def _told(app: App, releases: Sequence[Release]) -> dict[int, dict[str, object]]:
    """Of each release what the gate said, and why it was or was not released."""
    decided = app.releases.decided(releases)
    said = app.evaluations.decisions(r.evaluation for r in releases if r.evaluation is not None)
    return {r.id: {"verdict": said.get(r.evaluation or 0), "why": decided[r.id].why} for r in releases}


def _nothing_changed(door: Door, kind: str, release: Release, why: str) -> None:
    door.out.done(kind, release, text=f"{release.model}: {why}; nothing is changed", id=release.id)
    door.out.next(f"perene release show {release.id}")


def _event(event: ReleaseEvent, reason: str) -> str:
    """A line of the ledger; a reason that is the verdict's is not said again."""
    said = event.why.replace(reason, "").strip(": ;") if reason else event.why
    return f"{instant(event.at)}  {event.state} by {event.actor}" + (f": {said}" if said else "")


def _columns(told: Mapping[int, Mapping[str, Any]], now: datetime) -> list[Column[Release]]:
    def verdict(release: Release) -> str:
        return told[release.id]["verdict"] or ""

    return [
        Column(title="release", value=lambda r: r.id, right=True),
        Column(title="model", value=lambda r: r.model),
        Column(title="version", value=lambda r: r.version, text=lambda r: version(r.version)),
        Column(title="replaces", value=lambda r: r.replaces, text=lambda r: version(r.replaces), spare=2),
        Column(title="kind", value=lambda r: r.kind, spare=3),
        Column(title="state", value=lambda r: r.state, text=lambda r: state(r.state), tone=lambda r: tone_of(r.state)),
        Column(title="verdict", value=verdict, text=lambda r: state(verdict(r)), tone=lambda r: tone_of(verdict(r))),
        Column(title="proposed", value=lambda r: r.created_at, text=lambda r: ago(r.created_at, now), spare=1),
        Column(title="why", value=lambda r: told[r.id]["why"]),
    ]
