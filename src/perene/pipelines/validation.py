"""Validation: a candidate against the champion, on rows that neither has seen.

Six things are looked at, each a ``Check`` of the verdict, and the worst decides: the champion (or, of a first model, a
constant), the anchor (so that many releases, each a little worse within the margin, do not add up), what the post steps
make of the output, the slices, the golden rows, and whether the declared serving budgets hold.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from math import isfinite

import polars as pl

from perene.definition.label import Task
from perene.pipelines.budgets import NAME, check_budgets
from perene.pipelines.contests import CannotJudge, Contest, Said, TestSet
from perene.pipelines.golden import check_golden
from perene.pipelines.predictor import Predictor
from perene.pipelines.rehearsing import sampled
from perene.pipelines.slicing import Slice, check_slices, compare_slices, shown_slices
from perene.records.model import ModelVersion
from perene.records.rehearsal import Rehearsal
from perene.records.verdict import Check, Decision, Evaluation, Verdict
from perene.repositories import Fence
from perene.repositories.datasets import Datasets
from perene.repositories.evaluations import Evaluations
from perene.statistics.comparisons import Comparison
from perene.statistics.gate import Against, Evidence, judge

_STEPS = "after the post steps"
_SEVERITY = (Decision.PASS, Decision.INCONCLUSIVE, Decision.REFUSED, Decision.UNFIT, Decision.WORSE)
Rehearse = Callable[[ModelVersion, pl.DataFrame], Rehearsal]


def validate(
    contest: Contest,
    *,
    datasets: Datasets,
    evaluations: Evaluations,
    now: datetime,
    run: int | None = None,
    fence: Fence | None = None,
    rehearse: Rehearse | None = None,
) -> Evaluation:
    """Judge a candidate and remember what the gate said; the same run again gives the evaluation that it made.

    Whatever goes wrong while the models are asked is a refusal with its reason: the gate fails closed. ``rehearse``
    measures how a version serves rows; without it no model with a serving budget is released.
    """
    test = TestSet(contest, datasets)
    trial = _Trial(contest, test, past_deadline=_is_past_deadline(contest, now), rehearse=rehearse)
    verdict = trial.verdict()
    evaluation = Evaluation(
        id=0,
        model=contest.model.name,
        run=run,
        created_at=now,
        candidate=contest.candidate.version.version,
        champion=contest.champion_version,
        dataset=contest.dataset.version,
        verdict=verdict,
        by_day=trial.test.by_day(*trial.said) if trial.said else {},
        slices=shown_slices(trial.slices),
    )
    return evaluations.add(evaluation, fence=fence)


def _is_past_deadline(contest: Contest, now: datetime) -> bool:
    limit = contest.model.stale_after
    return (
        contest.champion is not None and limit is not None and now - contest.champion.version.trained_through >= limit
    )


class _Trial:
    """One candidate before the gate. ``said`` is what it and its opponent say of the test rows, once they could."""

    def __init__(self, contest: Contest, test: TestSet, *, past_deadline: bool, rehearse: Rehearse | None) -> None:
        self.test = test
        self.said: tuple[Said, Said] | None = None
        self.slices: list[Slice] = []
        self._contest = contest
        self._past_deadline = past_deadline
        self._rehearse = rehearse

    def verdict(self) -> Verdict:
        """What the gate says: against the champion first; where that can be judged, of the rest."""
        against = self._contest.against
        try:
            mine, other = self.said = self._both()
            main = self._ask_gate(
                self.test.compare(mine, other), self._with_references(self.test.evidence(mine)), against
            )
        except CannotJudge as error:
            main = self._refused(against, error)
        first = Check(name=main.against, decision=main.decision, reason=main.reason)
        if self.said is None or main.decision is Decision.REFUSED:
            return replace(main, checks=(first,))
        anchor = self._against_anchor(mine)
        rest = [self._closed(_STEPS, self._answers), self._closed("slices", lambda: self._slices(mine, other))]
        rest.append(self._closed("golden rows", lambda: check_golden(self._contest.model, self._contest.candidate)))
        rest.append(self._closed(NAME, lambda: check_budgets(self._contest.model, self._rehearsed)))
        return self._together(main, anchor, [check for check in rest if check is not None])

    def _together(self, main: Verdict, anchor: Verdict | None, rest: list[Check]) -> Verdict:
        """The verdict against the champion, with the worst of all that was looked at as its decision."""
        checks = [Check(name=main.against, decision=main.decision, reason=main.reason)]
        if anchor is not None and self._contest.anchor is not None:
            name = f"anchor v{self._contest.anchor.version.version}"
            checks.append(Check(name=name, decision=anchor.decision, reason=anchor.reason))
        checks += rest
        worst = max(checks, key=lambda check: _SEVERITY.index(check.decision))  # the first of equals
        judged = [verdict for verdict in (main, anchor) if verdict is not None]
        passes = worst.decision is Decision.PASS
        return replace(
            main,
            decision=worst.decision,
            reason=worst.reason if worst.name == main.against else f"{worst.name}: {worst.reason}",
            days_needed=next((v.days_needed for v in judged if v.decision is worst.decision), None),
            released_on_deadline=passes and any(verdict.released_on_deadline for verdict in judged),
            certified=judged[-1].certified,
            checks=tuple(checks),
        )

    def _both(self) -> tuple[Said, Said]:
        contest, test = self._contest, self.test
        mine = test.said(contest.candidate, "candidate")
        if contest.champion is not None:
            return mine, test.said(contest.champion, "champion")
        return mine, self._constant()

    def _constant(self) -> Said:
        return self.test.reckoned(self._contest.candidate.baseline.predict(len(self.test.day)))

    def _with_references(self, evidence: Evidence) -> Evidence:
        """What a constant and the version before the champion score too; of one that cannot there is none."""
        previous, test = self._contest.previous, self.test
        if self._contest.champion is None:
            return evidence
        with suppress(CannotJudge):
            evidence = replace(evidence, baseline_score=test.score(self._constant()))
        if previous is not None:
            with suppress(CannotJudge):
                evidence = replace(evidence, previous_score=test.score(test.said(previous, "previous")))
        return evidence

    def _judge(self, mine: Said, other: Said, against: Against) -> Verdict:
        return self._ask_gate(self.test.compare(mine, other), self.test.evidence(mine), against)

    def _refused(self, against: Against, error: CannotJudge) -> Verdict:
        return self._ask_gate(None, self.test.evidence(failure=str(error)), against)

    def _ask_gate(self, comparison: Comparison | None, evidence: Evidence, against: Against) -> Verdict:
        gate, metric = self.test.model.gate, self.test.metric.name
        assert gate.margin is not None  # the model fills it in
        late = self._past_deadline
        verdict = judge(
            comparison, gate, margin=gate.margin, metric=metric, evidence=evidence, against=against, past_deadline=late
        )
        return replace(verdict, per=self.test.metric.per)

    def _against_anchor(self, mine: Said) -> Verdict | None:
        anchor = self._contest.anchor
        if anchor is None:
            return None
        try:
            return self._judge(mine, self.test.said(anchor, "anchor"), "anchor")
        except CannotJudge as error:
            return self._refused("anchor", error)

    def _answers(self) -> Check | None:
        """What the post steps make of both models' output, where that is of the kind that the metric measures.

        Worse answers are left to a person. Where the champion's have no score (the steps change the scale), the raw
        output alone is judged.
        """
        candidate, champion = self._contest.candidate, self._contest.champion
        kind = pl.List(pl.Float64()) if self.test.model.label.task is Task.MULTICLASS else pl.Float64()
        if champion is None or not (candidate.model.posts or champion.model.posts):
            return None
        if candidate.model.answer_dtype != kind or champion.model.answer_dtype != kind:
            return None
        other = self._scored_answers(champion)
        if other is None:
            return None
        mine = self.test.said(candidate, "candidate", of="final")
        evidence = self.test.evidence(mine)
        if self.test.evidence(other).is_constant:  # steps that cut off may leave one answer, of the champion's too
            evidence = replace(evidence, is_constant=False)
        verdict = self._ask_gate(self.test.compare(mine, other), evidence, "champion")
        if verdict.decision in (Decision.WORSE, Decision.REFUSED):
            return Check(name=_STEPS, decision=Decision.REFUSED, reason=verdict.reason)
        return Check(name=_STEPS, decision=Decision.PASS, reason="the answers are not shown to be worse")

    def _scored_answers(self, champion: Predictor) -> Said | None:
        """The champion's answers, where the metric has a number for them."""
        with suppress(CannotJudge):
            said = self.test.said(champion, "champion", of="final")
            return said if isfinite(self.test.score(said)) else None
        return None

    def _slices(self, mine: Said, other: Said) -> Check | None:
        self.slices = compare_slices(self.test, mine, other)
        if not self.slices or self._contest.champion is None:
            return None  # a first model stands against a constant; its groups are shown
        gate = self.test.model.gate
        assert gate.margin is not None  # the model fills it in
        return check_slices(self.slices, alpha=gate.alpha, margin=gate.margin)

    def _rehearsed(self) -> Rehearsal:
        if self._rehearse is None:
            raise CannotJudge("a budget is declared, and nothing here can measure it")
        return self._rehearse(self._contest.candidate.version, sampled(self._contest.model, self.test.truth.rows))

    def _closed(self, name: str, look: Callable[[], Check | None]) -> Check | None:
        try:
            return look()
        except CannotJudge as error:
            return Check(name=name, decision=Decision.REFUSED, reason=str(error))
