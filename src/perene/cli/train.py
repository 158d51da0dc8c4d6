"""``perene train``: a model's cycle, in front of who asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perene.cli.door import Door
from perene.cli.failures import NEGATIVE, PENDING
from perene.cli.options import model_argument
from perene.cli.timeouts import Span, StillAtWork, TimedOut, within
from perene.cli.verbs import Verb
from perene.cli.verdicts import evaluation_data, unit_of, verdict_fields
from perene.cli.words import instant, state, version

if TYPE_CHECKING:
    from perene.app import App
    from perene.errors import PereneError
    from perene.records.release import Release
    from perene.records.run import Run
    from perene.records.verdict import Evaluation

_SAID = {
    "released": "{new} is live",
    "rolling out": "{new} rolls out beside {old}, by steps",
    "waiting": "{new} waits for review; {old} stays live",
    "held": "{new} waits, because the model is on hold; {old} stays live",
    "worse": "{new} is rejected; {old} stays live",
    "unfit": "{new} is too slow or too big to be served, so it is rejected; {old} stays live",
    "inconclusive": "the test rows could not decide, so {old} stays live",
    "refused": "{new} could not be judged, so it is not released; {old} stays live",
    "stale": "another version went live meanwhile, so {new} is rejected",
}


@click.command(
    "train",
    cls=Verb,
    examples="""
      perene train late-arrival
      perene train late-arrival --check          code 3 for a worse candidate
      perene train late-arrival --timeout 30m    code 124 when it takes longer
    """,
)
@model_argument
@click.option(
    "--check",
    is_flag=True,
    help="Exit with code 3 when the candidate is worse, too slow, too big or could not be judged, 8 when it waits.",
)
@click.option("--timeout", type=Span(), metavar="SPAN", help="Stop waiting after this long, as 30m or 2h.")
@click.pass_context
def command(context: click.Context, model: str, check: bool, timeout: float | None) -> None:
    """Build the dataset, train, validate, and release by policy, now.

    Each step is told on stderr as it ends. The exit code is 1 when one fails; a candidate that is not released is no
    failure. Beside perene up, its worker may take the run; this command waits for its end.
    """
    from perene.cli.following import followed

    door: Door = context.obj
    app = door.app(may_begin=True)
    app.model(model)
    try:
        with within(timeout), followed(app.runs, model, actor=door.actor, out=door.out):
            run = app.train(model, actor=door.actor)
    except TimedOut:
        raise StillAtWork(
            f"the run of {model} had not ended when its time was over",
            why="it is queued again, and goes on where it stood",
            mend=f"perene worker --once --model {model}, or a longer --timeout",
        ) from None
    except KeyboardInterrupt:
        door.out.note(f"\nthe run is queued again: perene worker --once --model {model} goes on where it stood")
        raise
    if run.outcome in (None, "failed", "cancelled"):
        raise _failure(app, run)
    release, evaluation = _made(app, run)
    data = {"run": run, "evaluation": evaluation_data(evaluation), "release": release}
    door.out.record(
        "train", data, _fields(run, release, evaluation, unit=unit_of(app.model(model), evaluation.verdict)), id=run.id
    )
    door.out.next(*_next(run, release))
    if check:
        context.exit(
            dict.fromkeys(("worse", "unfit", "refused"), NEGATIVE).get(run.outcome or "")
            or dict.fromkeys(("waiting", "held"), PENDING).get(run.outcome or "", 0)
        )


def _made(app: App, run: Run) -> tuple[Release, Evaluation]:
    """The release that a run proposed, and the evaluation that it rests on."""
    results = {step.name: step.result or {} for step in run.steps}
    release, evaluation = (
        int(str(results[step][name])) for step, name in (("release",) * 2, ("validate", "evaluation"))
    )
    return app.releases.get(release), app.evaluations.get(evaluation)


def _fields(run: Run, release: Release, evaluation: Evaluation, *, unit: str | None) -> list[tuple[str, object]]:
    new, old = version(release.version), version(release.replaces) if release.replaces else "nothing"
    outcome = run.outcome or ""
    said = _SAID.get(outcome, "{new}").format(new=new, old=old)
    return [
        ("outcome", f"{state(outcome)}: {said}"),
        ("run", run.id),
        ("release", release.id),
        *verdict_fields(evaluation.verdict, unit=unit),
    ]


def _failure(app: App, run: Run) -> PereneError:
    """The error that ended a run, as the command's own; with what serves on, and for how long it is fresh."""
    from perene.errors import PereneError

    told = run.error or {"what": f"run {run.id} of {run.model} was {run.outcome or run.state.value}"}
    parts = {name: str(told.get(name) or "") for name in ("what", "why", "mend")}
    seen = told.get("seen")
    return PereneError(
        parts["what"],
        why=parts["why"],
        seen=(*(str(line) for line in (seen if isinstance(seen, list | tuple) else ())), *_serving_on(app, run.model)),
        mend=parts["mend"] or f"perene run show {run.id}",
        code=str(told.get("code") or "run-ended"),
    )


def _serving_on(app: App, model: str) -> list[str]:
    (status,) = app.status(model)
    if status.live is None:
        return []
    stale_at = status.freshness.stale_at
    age = f"; it is {status.freshness.state.value}" + (f", its limit is {instant(stale_at)}" if stale_at else "")
    return [f"{version(status.live)} stays live{age}"]


def _next(run: Run, release: Release) -> list[str]:
    if run.outcome == "waiting":
        return [f"perene release approve {release.id} --why TEXT", f"perene release reject {release.id} --why TEXT"]
    if run.outcome == "held":
        return [f"perene model resume {run.model}", f"perene release approve {release.id} --why TEXT"]
    if run.outcome == "released":
        return [f"perene status {run.model}", f"perene release rollback {run.model} --why TEXT   takes it back"]
    return [f"perene release show {release.id}"]
