"""Validation: a candidate against the champion, on rows that neither has seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Literal, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perene.definition.hooks import Hook
from perene.definition.label import Task
from perene.definition.model import Model
from perene.pipelines.predictor import Output, Predictor
from perene.pipelines.scoring import Truthful, metric_of_all, metric_values
from perene.records.dataset import DatasetVersion
from perene.records.verdict import Decision, Evaluation, Verdict
from perene.repositories import Fence
from perene.repositories.datasets import Datasets
from perene.repositories.evaluations import Evaluations
from perene.statistics.comparisons import Comparison, compare_rows, compare_whole
from perene.statistics.gate import Against, Evidence, judge
from perene.statistics.intervals import Values, day_sums

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Who stands against whom. ``failure`` says why the champion cannot be asked, when there is one that cannot."""

    model: Model
    dataset: DatasetVersion
    candidate: Predictor
    champion: Predictor | None = None
    champion_version: int | None = None
    failure: str = ""

    @property
    def against(self) -> Against:
        """A first model is judged against a constant prediction."""
        return "baseline" if self.champion_version is None else "champion"


def validate(
    contest: Contest,
    *,
    datasets: Datasets,
    evaluations: Evaluations,
    now: datetime,
    run: int | None = None,
    fence: Fence | None = None,
) -> Evaluation:
    """Judge a candidate and remember what the gate said; the same run again gives the evaluation that it made.

    Whatever goes wrong while the models are asked is a refusal with its reason: the gate fails closed.
    """
    outputs: dict[Predictor, Output] = {}
    test = _Test(contest, datasets, outputs)
    past_deadline = _is_past_deadline(contest, now)
    verdict = test.verdict(past_deadline=past_deadline)
    if verdict.decision in (Decision.PASS, Decision.INCONCLUSIVE) and _answers_are_comparable(contest):
        answers = _Test(contest, datasets, outputs, of="final").verdict(past_deadline=past_deadline)
        verdict = _with_answers(verdict, answers)
    evaluation = Evaluation(
        id=0,
        model=contest.model.name,
        run=run,
        created_at=now,
        candidate=contest.candidate.version.version,
        champion=contest.champion_version,
        dataset=contest.dataset.version,
        verdict=verdict,
        by_day=test.by_day(),
        slices=test.slices,
    )
    return evaluations.add(evaluation, fence=fence)


def unseen_since(contest: Contest) -> datetime:
    """From when on test rows are unseen by both: no label that either learnt from was still to come then."""
    versions = [contest.candidate.version, *([contest.champion.version] if contest.champion else [])]
    return max(contest.dataset.split, *(version.trained_until + contest.model.label.wait for version in versions))


def _is_past_deadline(contest: Contest, now: datetime) -> bool:
    limit = contest.model.stale_after
    return (
        contest.champion is not None and limit is not None and now - contest.champion.version.trained_through >= limit
    )


def _answers_are_comparable(contest: Contest) -> bool:
    """Whether what the post steps make of both models' output is of the kind that the metric measures."""
    both = [contest.candidate.model, *([contest.champion.model] if contest.champion else [])]
    kind = pl.List(pl.Float64()) if contest.model.label.task is Task.MULTICLASS else pl.Float64()
    return len(both) == 2 and any(m.posts for m in both) and all(m.answer_dtype == kind for m in both)


def _with_answers(verdict: Verdict, answers: Verdict) -> Verdict:
    """The verdict on the raw output, unless the answers are worse: the post steps are judged too, and a person decides.

    Where the champion's answers have no score (the steps change the scale), the raw output alone is judged.
    """
    if answers.champion_score is None or answers.decision not in (Decision.WORSE, Decision.REFUSED):
        return verdict
    return replace(answers, decision=Decision.REFUSED, reason=f"after the post steps, {answers.reason}")


class _Test:
    """One test: its rows, both models' output (or answers), and what they cost by the gate's metric.

    ``outputs`` keeps what the models said, so that each is asked once.
    """

    def __init__(
        self,
        contest: Contest,
        datasets: Datasets,
        outputs: dict[Predictor, Output],
        *,
        of: Literal["raw", "final"] = "raw",
    ) -> None:
        self._of = of
        self._outputs = outputs
        self._model = contest.model
        self._contest = contest
        self._metric = contest.model.gate_metric
        self._better = contest.model.gate_metric.better
        rows = datasets.read(contest.model, contest.dataset, part="test")
        since = unseen_since(contest)
        judged = rows.filter(pl.col("label").is_not_null() & (pl.col("event_at") >= since))
        self._failure = contest.failure or _too_late(contest, since, judged)
        self._truth = Truthful(
            rows=judged.select(list(contest.model.schema.polars)), y=judged["label"].to_numpy(), at=judged["event_at"]
        )
        self._key = judged["key"].to_numpy()
        self._day = judged["event_at"].dt.date().to_numpy()
        self._candidate = self._ask(contest.candidate, "candidate")
        self._other = self._ask_other()
        self._costs = self._reckon_costs()
        self._comparison = self._compare()
        self.slices = self._compare_slices()

    def verdict(self, *, past_deadline: bool) -> Verdict:
        """What the gate says."""
        gate = self._model.gate
        assert gate.margin is not None  # the model fills it in
        evidence = Evidence(
            expected_rows=len(self._day),
            minority_rows=self._minority_rows(),
            is_constant=self._candidate is not None and bool(len(self._candidate)) and _is_constant(self._candidate),
            failure=self._failure,
        )
        return judge(
            self._comparison,
            gate,
            margin=gate.margin,
            metric=self._metric.name,
            evidence=evidence,
            against=self._contest.against,
            past_deadline=past_deadline,
            baseline_score=self._baseline_score(),
        )

    def by_day(self) -> Mapping[str, list[float]]:
        """Rows and sums of the metric per day, for figures and later questions."""
        if self._costs is None:
            return {}
        sums = day_sums(self._day, *self._costs)
        names = ("candidate", "champion")
        return {
            "day": sums.groups.astype("datetime64[D]").astype(np.int64).astype(float).tolist(),
            "rows": sums.rows.tolist(),
            **{name: values.tolist() for name, values in zip(names, sums.sums, strict=True)},
        }

    def _compare_slices(self) -> Mapping[str, object]:
        """The comparison within each value of each declared slice; shown, not judged."""
        if self._costs is None:
            return {}
        found: dict[str, object] = {}
        for hook in self._model.slices:
            names = self._closed(f"the slice {hook.name} failed", partial(self._names_of_slices, hook))
            if names is None:
                return {}
            found[hook.name] = {
                str(value): self._slice((names == value).fill_null(value=False).to_numpy())
                for value in names.drop_nulls().unique().sort()
            }
        return found

    def _names_of_slices(self, hook: Hook) -> pl.Series:
        given: dict[str, object] = {"rows": self._truth.rows, "at": self._truth.at}
        if "x" in hook.parameters:
            given["x"] = self._model.compute_features(self._truth.rows)
        names: pl.Series = hook(**given)
        return names

    def _slice(self, mask: NDArray[np.bool_]) -> dict[str, object]:
        assert self._costs is not None
        part = compare_rows(
            self._day[mask],
            self._costs[0][mask],
            self._costs[1][mask],
            better=self._better,
            alpha=self._model.gate.alpha,
        )
        names = ("candidate_score", "champion_score", "difference", "lower", "upper")
        return {"rows": int(mask.sum()), "days": part.days} | {name: float(getattr(part, name)) for name in names}

    def _ask(self, predictor: Predictor, who: str) -> Values | None:
        """What a model says of the test rows; what it raises refuses the candidate."""
        if self._failure or not len(self._day):
            return None
        who = f"the {who} v{predictor.version.version} cannot score"
        return self._closed(who, lambda: self._said(predictor))

    def _said(self, predictor: Predictor) -> Values:
        if predictor not in self._outputs:
            self._outputs[predictor] = predictor.predict(self._truth.rows)
        output = self._outputs[predictor]
        return output.raw if self._of == "raw" else np.asarray(output.final, dtype=np.float64)

    def _closed(self, what: str, deed: Callable[[], T]) -> T | None:
        """Do what runs the user's code; whatever it raises is a failure: the gate fails closed."""
        try:
            return deed()
        except Exception as error:  # noqa: BLE001 - the edge to the user's code: recorded as the reason of the refusal
            self._failure = f"{what}: {type(error).__name__}: {error}"
            return None

    def _ask_other(self) -> Values | None:
        if self._contest.champion is not None:
            return self._ask(self._contest.champion, "champion")
        return self._contest.candidate.baseline.predict(len(self._day))

    def _reckon_costs(self) -> tuple[Values, Values] | None:
        """The metric per row of both; None for a metric of all rows together."""
        if self._candidate is None or self._other is None or self._metric.whole:
            return None
        both = (self._candidate, self._other)
        return self._closed(
            f"the metric {self._metric.name} failed",
            lambda: (self._values(both[0]), self._values(both[1])),
        )

    def _values(self, p: Values) -> Values:
        return metric_values(self._model, self._metric, self._truth, p)

    def _compare(self) -> Comparison | None:
        if self._failure or self._candidate is None or self._other is None:
            return None
        alpha = self._model.gate.alpha
        if self._costs is not None:
            return compare_rows(self._day, *self._costs, key=self._key, better=self._better, alpha=alpha)
        candidate, other = self._candidate, self._other
        return self._closed(
            f"the metric {self._metric.name} failed",
            lambda: compare_whole(
                self._day,
                lambda mask: metric_of_all(self._model, self._metric, self._truth, candidate, mask),
                lambda mask: metric_of_all(self._model, self._metric, self._truth, other, mask),
                better=self._better,
                alpha=alpha,
            ),
        )

    def _baseline_score(self) -> float | None:
        if self._comparison is None:
            return None
        constant = self._contest.candidate.baseline.predict(len(self._day))
        return metric_of_all(self._model, self._metric, self._truth, constant)

    def _minority_rows(self) -> int | None:
        if self._model.label.task is not Task.BINARY:
            return None
        hits = int(self._truth.y.astype(bool).sum())
        return min(hits, len(self._truth.y) - hits)


def _too_late(contest: Contest, since: datetime, judged: pl.DataFrame) -> str:
    """Why no test row is unseen by both, if there is none for that reason."""
    if judged.height or since <= contest.dataset.split:
        return ""
    return (
        f"no test row is unseen by both: the newest of them learnt from rows up to {since - contest.model.label.wait}"
    )


def _is_constant(raw: Values) -> bool:
    return bool((raw == raw[:1]).all())
