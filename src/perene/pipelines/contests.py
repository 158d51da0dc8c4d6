"""Contests: who stands against whom, on which rows, and what each costs there by the gate's metric."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perene.definition.groups import Groups, groups_of
from perene.definition.label import Task
from perene.definition.model import Model
from perene.pipelines.predictor import Output, Predictor
from perene.pipelines.scoring import Truthful, metric_of_all, metric_values
from perene.records.dataset import DatasetVersion
from perene.repositories.datasets import Datasets
from perene.statistics.comparisons import Comparison, compare_rows, compare_whole
from perene.statistics.gate import Against, Evidence
from perene.statistics.intervals import Mask, Values, day_sums
from perene.storage.envelope import keys

_MISSING = " (a version's code runs from its bundle: put its files beside the code, or name them in bundle.include)"


class CannotJudge(Exception):
    """Why the gate cannot judge; it refuses."""


@contextmanager
def closed(what: str) -> Iterator[None]:
    """The edge to the user's code: whatever it raises is a reason to refuse, for the gate fails closed."""
    try:
        yield
    except CannotJudge:
        raise
    except Exception as error:
        mend = _MISSING if isinstance(error, FileNotFoundError) else ""
        raise CannotJudge(f"{what}: {type(error).__name__}: {error}{mend}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Who stands against whom.

    ``anchor`` is the last version that was certified better or approved by a person, None where it is the champion;
    ``previous`` the version that was live before the champion. ``failure`` says why the champion or the anchor cannot
    be asked, when there is one that cannot.
    """

    model: Model
    dataset: DatasetVersion
    candidate: Predictor
    champion: Predictor | None = None
    champion_version: int | None = None
    anchor: Predictor | None = None
    previous: Predictor | None = None
    failure: str = ""

    @property
    def against(self) -> Against:
        """A first model is judged against a constant prediction."""
        return "baseline" if self.champion_version is None else "champion"


def unseen_since(contest: Contest) -> datetime:
    """From when on test rows are unseen by all: no label that one of them learnt from was still to come then."""
    asked = (contest.candidate, contest.champion, contest.anchor)
    return max(contest.dataset.split, *(p.version.trained_until + p.model.label.wait for p in asked if p is not None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one of them predicts of the test rows, and what each row costs it; None of a metric of all rows together."""

    p: Values
    costs: Values | None


class TestSet:
    """The test rows that no contestant has seen, and what they say of them. Each is asked once.

    ``failure`` says why nobody can be asked. Everything that runs the user's code raises CannotJudge.
    """

    __test__ = False  # pytest: it is none of its classes

    def __init__(self, contest: Contest, datasets: Datasets) -> None:
        self.model = contest.model
        self.metric = contest.model.gate_metric
        since = unseen_since(contest)
        unseen = datasets.read(contest.model, contest.dataset, part="test").filter(pl.col("event_at") >= since)
        is_judged = unseen["label"].is_not_null()
        judged = unseen.filter(is_judged)
        fields = list(contest.model.schema.polars)
        groups = _groups(contest.model, judged)
        self.truth = Truthful(
            rows=judged.select(fields), y=judged["label"].to_numpy(), at=judged["event_at"], groups=groups
        )
        self.key = _key_numbers(contest.model, judged)
        self.day = judged["event_at"].dt.date().to_numpy()
        self._firsts = self.truth.firsts(self.metric)
        self._asked = self.truth.rows if groups is None else unseen.select(fields)  # steps see whole groups
        self._is_judged = np.ones(judged.height, dtype=np.bool_) if groups is None else is_judged.to_numpy()
        self.failure = contest.failure or _too_late(since, judged, split=contest.dataset.split) or self._features()
        self._outputs: dict[Predictor, Output] = {}

    def _features(self) -> str:
        """Compute the features, once, where the metric or a slice asks for them; why it failed, if it did."""
        if not any("x" in hook.parameters for hook in (self.metric, *self.model.slices)):
            return ""
        try:
            with closed("the features failed"):
                self.truth = replace(self.truth, x=self.truth.features(self.model))
        except CannotJudge as error:
            return str(error)
        return ""

    def said(self, predictor: Predictor, who: str, *, of: Literal["raw", "final"] = "raw") -> Said:
        """What a version says of the rows, before its post steps or after."""
        if self.failure:
            raise CannotJudge(self.failure)
        with closed(f"the {who} v{predictor.version.version} cannot score"):
            if predictor not in self._outputs:
                self._outputs[predictor] = predictor.predict(self._asked)
            output = self._outputs[predictor]
            p = output.raw if of == "raw" else _answered(output)
            return self.reckoned(p[self._is_judged])

    def reckoned(self, p: Values) -> Said:
        """Predictions, with what they cost by the gate's metric."""
        if self.metric.whole:
            return Said(p=p, costs=None)
        with closed(f"the metric {self.metric.name} failed"):
            return Said(p=p, costs=metric_values(self.model, self.metric, self.truth, p))

    def score(self, said: Said) -> float:
        """The gate's metric of all rows."""
        if said.costs is not None:
            return float(said.costs.mean())
        with closed(f"the metric {self.metric.name} failed"):
            return metric_of_all(self.model, self.metric, self.truth, said.p)

    def compare(self, candidate: Said, other: Said, *, rows: Mask | None = None) -> Comparison:
        """The two on all rows, or on those of a mask."""
        part: Mask = np.ones(len(self.day), dtype=np.bool_) if rows is None else rows
        better, alpha = self.metric.better, self.model.gate.alpha
        if candidate.costs is not None and other.costs is not None:
            mine, theirs, first = candidate.costs, other.costs, self._firsts
            if rows is not None:
                mine, theirs, first = self._costs(candidate, part), self._costs(other, part), self._firsts_of(part)
            return compare_rows(self.day[first], mine, theirs, key=self.key[first], better=better, alpha=alpha)
        day, key = self.day[part], self.key[part]
        truth = self.truth.part(part)

        def metric(p: Values, mask: Mask) -> float:
            return metric_of_all(self.model, self.metric, truth, p, mask)

        mine, theirs = candidate.p[part], other.p[part]
        with closed(f"the metric {self.metric.name} failed"):
            return compare_whole(
                day, lambda mask: metric(mine, mask), lambda mask: metric(theirs, mask),
                key=key, better=better, alpha=alpha,
            )  # fmt: skip

    def count(self, rows: Mask | None = None) -> int:
        """How many values the metric has, of all rows or of those of a mask: one each, or one for each group."""
        return len(self._firsts if rows is None else self._firsts_of(rows))

    def _firsts_of(self, rows: Mask) -> NDArray[np.intp]:
        return np.asarray(np.flatnonzero(rows)[self.truth.part(rows).firsts(self.metric)])

    def _costs(self, said: Said, rows: Mask) -> Values:
        """What the rows of a mask cost; a group of which the mask has some costs what these do."""
        assert said.costs is not None
        if self.metric.per == "row":
            return said.costs[rows]
        with closed(f"the metric {self.metric.name} failed"):
            return metric_values(self.model, self.metric, self.truth, said.p, rows)

    def minority_rows(self, rows: Mask | None = None) -> int | None:
        """How many rows are of the rarer class; None where there are no two."""
        if self.model.label.dtype != pl.Boolean:
            return None
        y = (self.truth.y if rows is None else self.truth.y[rows]).astype(bool)
        return min(int(y.sum()), int((~y).sum()))

    def evidence(self, candidate: Said | None = None, *, failure: str = "") -> Evidence:
        """What the gate must know beside a comparison."""
        p = None if candidate is None else candidate.p
        is_constant = p is not None and bool(len(p)) and bool((p == p[:1]).all())
        return Evidence(
            expected_rows=self.count(),
            minority_rows=self.minority_rows(),
            is_constant=is_constant,
            failure=failure,
        )

    def by_day(self, candidate: Said, other: Said) -> Mapping[str, list[float]]:
        """Rows and sums of the metric per day, for figures and later questions; empty of a metric of all rows."""
        if candidate.costs is None or other.costs is None:
            return {}
        sums = day_sums(self.day[self._firsts], candidate.costs, other.costs)
        return {
            "day": sums.groups.astype("datetime64[D]").astype(np.int64).astype(float).tolist(),
            "rows": sums.rows.tolist(),
            "candidate": sums.sums[0].tolist(),
            "champion": sums.sums[1].tolist(),
        }


def _groups(model: Model, rows: pl.DataFrame) -> Groups | None:
    """Which rows are ranked together; None where none are."""
    return groups_of(model, rows) if model.label.task is Task.RANKING else None


def _key_numbers(model: Model, rows: pl.DataFrame) -> NDArray[Any]:
    """Which thing each row is about, and of a ranking who is asked: as numbers, for sorting texts takes seconds."""
    texts = keys(rows, model.label.group) if model.label.group else rows["key"]
    return texts.rank("dense").to_numpy()


def _answered(output: Output) -> Values:
    """The answers as outputs: of a ranking the places in it, of which a lower one is better, what is removed last."""
    if output.rank is None:
        return np.asarray(output.final, dtype=np.float64)
    last = output.rank.max(initial=0) + 1
    return -np.where(output.rank > 0, output.rank, last).astype(np.float64)


def _too_late(since: datetime, judged: pl.DataFrame, *, split: datetime) -> str:
    """Why no test row is unseen by all, if there is none for that reason."""
    if judged.height or since <= split:
        return ""
    return (
        f"no test row is unseen by all: one of them learnt from labels that were known up to {since:%Y-%m-%d %H:%M} UTC"
    )
