"""Releasing: what becomes of a candidate that the gate has judged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from perene.definition.canary import read_canary
from perene.definition.model import Model
from perene.errors import Conflict, NotAllowed
from perene.records.release import GATE, Course, Release, ReleaseState
from perene.records.verdict import Decision, Evaluation, Verdict
from perene.repositories import Fence
from perene.repositories.alerts import Alerts
from perene.repositories.releases import Releases

WORSE, UNFIT, REFUSED = "candidate-worse", "candidate-unfit", "gate-refused"
OUTCOMES = ("released", "rolling out", "waiting", "held", "worse", "unfit", "inconclusive", "refused", "stale")


def course_of(model: Model, canary: str | None) -> Course:
    """The way to live traffic that was asked for ("10% 1h, 50% 1h", or "none"); else what the model declares.

    Raises NotAllowed for what cannot be read.
    """
    if canary is None:
        return Course(steps=model.canary, watch=model.watch)
    try:
        steps = () if canary == "none" else read_canary(canary, declared=model.canary)
    except ValueError as error:
        mend = 'give "10%", or "none" for no steps'
        raise NotAllowed("these are no steps of a canary", why=str(error), mend=mend) from error
    return Course(steps=steps, watch=model.watch, is_asked=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """What became of a candidate, in a word: one of ``OUTCOMES``."""

    release: Release
    outcome: str


def release(
    model: Model,
    evaluation: Evaluation,
    *,
    releases: Releases,
    alerts: Alerts,
    now: datetime,
    run: int | None = None,
    fence: Fence | None = None,
) -> Released:
    """Propose the candidate of an evaluation, and release it, leave it to a person, reject it or let it stand.

    An inconclusive or refused candidate stays proposed: a person may approve it, and the next release supersedes it.
    A repeat goes on where it was cut off.
    """
    verdict = evaluation.verdict
    known = [r for r in releases.list(model.name) if run is not None and r.run == run]
    proposed = (
        known[0]
        if known
        else releases.propose(
            model.name, evaluation.candidate, run=run, evaluation=evaluation.id, at=now, actor=GATE,
            why=verdict.reason, fence=fence,
        )
    )  # fmt: skip
    deed = _Deed(model=model, verdict=verdict, proposed=proposed, releases=releases, now=now, fence=fence)
    released = deed.do()
    _tell(model, verdict, released, alerts=alerts, now=now)
    return released


@dataclass(frozen=True, slots=True, kw_only=True)
class _Deed:
    model: Model
    verdict: Verdict
    proposed: Release
    releases: Releases
    now: datetime
    fence: Fence | None

    def do(self) -> Released:
        match self.verdict.decision:
            case Decision.PASS:
                return self._pass()
            case Decision.WORSE:
                return Released(release=self._reject(self.verdict.reason), outcome="worse")
            case Decision.UNFIT:
                return Released(release=self._reject(self.verdict.reason), outcome="unfit")
            case Decision.INCONCLUSIVE:
                return Released(release=self.proposed, outcome="inconclusive")
            case Decision.REFUSED:
                return Released(release=self.proposed, outcome="refused")

    def _pass(self) -> Released:
        if self.model.release == "review":
            return Released(release=self._wait("the project asks a person"), outcome="waiting")
        if self.verdict.released_on_deadline and self.model.gate.on_deadline == "review":
            return Released(release=self._wait("past the deadline, the gate asks a person"), outcome="waiting")
        if self.proposed.state is ReleaseState.WAITING:  # a hold made it wait, in a try that was cut off
            return Released(release=self.proposed, outcome="held")
        try:
            live = self.releases.approve(
                self.proposed.id, actor=GATE, why=self._why(), at=self.now, automatic=True, fence=self.fence,
                course=Course(steps=self.model.canary, watch=self.model.watch),
            )  # fmt: skip
        except NotAllowed as error:
            if error.code == "rolling-out":
                return Released(release=self._wait(error.what), outcome="waiting")
            if error.code != "held":
                raise
            return Released(release=self._wait(f"the model is on hold: {error.why}"), outcome="held")
        except Conflict as error:  # a person released or rolled back meanwhile: it was judged against another champion
            if error.code != "approval-stale":
                raise
            return Released(release=self._reject(error.why), outcome="stale")
        rolls_out = live.state is ReleaseState.ROLLING_OUT
        return Released(release=live, outcome="rolling out" if rolls_out else "released")

    def _why(self) -> str:
        if not self.verdict.released_on_deadline:
            return self.verdict.reason
        return f"released on the deadline: {self.verdict.reason}"

    def _wait(self, why: str) -> Release:
        return self.releases.wait(
            self.proposed.id, actor=GATE, why=f"{self.verdict.reason}; {why}", at=self.now, fence=self.fence
        )

    def _reject(self, why: str) -> Release:
        return self.releases.reject(self.proposed.id, actor=GATE, why=why, at=self.now, fence=self.fence)


def _tell(model: Model, verdict: Verdict, released: Released, *, alerts: Alerts, now: datetime) -> None:
    """Raise the alert of a bad candidate; a good one takes it back."""
    name, id = model.name, released.release.id
    version = f"v{released.release.version}"
    if verdict.decision is Decision.WORSE:
        what = f"{name} {version} is worse than {_than(verdict)}"
        mend = f"perene release show {id}; look at the newest data first, then at what changed in the code"
        alerts.raise_(name, WORSE, severity="notice", what=what, why=verdict.reason, mend=mend, at=now)
    elif verdict.decision is Decision.UNFIT:
        what = f"{name} {version} is too slow or too big to be served; what is live stays"
        look = f"perene check {name} --serving --version {released.release.version}"
        mend = f"{look} shows where time and memory go; make it lighter, or declare a larger budget"
        alerts.raise_(name, UNFIT, severity="notice", what=what, why=verdict.reason, mend=mend, at=now)
    elif verdict.decision is Decision.REFUSED:
        what = f"{name} {version} could not be judged, so it was not released"
        mend = f"perene release show {id}"
        alerts.raise_(name, REFUSED, severity="notice", what=what, why=verdict.reason, mend=mend, at=now)
    elif verdict.decision is Decision.PASS:
        for rule in (WORSE, UNFIT, REFUSED):
            alerts.resolve(name, rule, at=now, why=f"{version}: {verdict.reason}")


def _than(verdict: Verdict) -> str:
    """What a candidate is worse than."""
    against = next((check.name for check in verdict.checks if check.decision is Decision.WORSE), verdict.against)
    if against == "baseline":
        return "a constant prediction"
    if against == "slices":
        return "what is live for some rows; what is live stays"
    return "what is live, which stays" if against == "champion" else f"the {against}; what is live stays"
