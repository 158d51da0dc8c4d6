"""Faults in flights: what the gate says of candidates whose fault is known, beside the healthy ones.

    python -m benchmarks.faults                     the weeks of March to November
    python -m benchmarks.faults --until 2013-04-15 --share 0.2

The demo's replay is lived, with its own model, data and steps. Each week, after the healthy candidate was judged and
before it is released, one candidate with each fault is judged against the same champion on the same rows; the release
ledger never hears of them, so that next week's champion is a healthy one. A fault of training changes the rows that
train() gets; one of serving changes what features() gives when the candidate, trained well, is asked for its answers.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console

from perene.app import App
from perene.definition.model import Model
from perene.definition.project import load_project
from perene.demo.flights import read_flights
from perene.demo.folder import write_folder
from perene.demo.progress import shown
from perene.demo.replay import Plan, replay
from perene.pipelines.contests import Contest
from perene.pipelines.predictor import Predictor
from perene.pipelines.training import train
from perene.pipelines.validation import validate
from perene.records.dataset import DatasetVersion
from perene.records.verdict import Decision, Evaluation, Verdict
from perene.repositories.datasets import Datasets, Part
from perene.scheduling.cycle import Cycle
from perene.scheduling.worker import RunContext, Step
from perene.storage.database import Database
from perene.storage.lake import Lake

HEALTHY = "healthy"
WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
OLD, LEAST = timedelta(days=60), timedelta(days=31)  # an old snapshot is judged once it has a month of rows
_SEED = 2013

Spoil = Callable[[pl.DataFrame, DatasetVersion], pl.DataFrame]
Features = Callable[[pl.DataFrame], pl.DataFrame]


def a_tenth(rows: pl.DataFrame, dataset: DatasetVersion) -> pl.DataFrame:
    """One training row in ten."""
    return rows.sample(fraction=0.1, seed=_SEED + dataset.version)


def flipped(rows: pl.DataFrame, dataset: DatasetVersion) -> pl.DataFrame:
    """One label in five is turned round."""
    chosen = np.random.default_rng(_SEED + dataset.version).random(rows.height) < 0.2
    return rows.with_columns(label=rows["label"] ^ pl.Series(chosen))


def an_old_snapshot(rows: pl.DataFrame, dataset: DatasetVersion) -> pl.DataFrame:
    """The newest rows are of 60 days ago."""
    return rows.filter(pl.col("event_at") < dataset.trained_until - OLD)


def without_weather(features: Features, rows: pl.DataFrame) -> pl.DataFrame:
    """The weather is not known when answers are asked for."""
    return features(rows.with_columns(pl.lit(None).cast(rows.schema[name]).alias(name) for name in WEATHER))


def in_minutes(features: Features, rows: pl.DataFrame) -> pl.DataFrame:
    """The hour of the day comes in minutes."""
    return features(rows).with_columns(pl.col("hour") * 60)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault of training, or one of serving."""

    training: Spoil | None = None
    serving: Callable[[Features, pl.DataFrame], pl.DataFrame] | None = None


FAULTS: dict[str, Fault] = {
    "trained on 10 % of the rows": Fault(training=a_tenth),
    "20 % of the labels flipped": Fault(training=flipped),
    "weather missing at serving": Fault(serving=without_weather),
    "hour in minutes at serving": Fault(serving=in_minutes),
    "a snapshot 60 days old": Fault(training=an_old_snapshot),
}
STUDY = {  # released, worse, effect in an earlier study, of another model: see docs/explanation/gate-faults.md
    HEALTHY: (0.73, 0.02, -0.014),
    "trained on 10 % of the rows": (0.02, 0.71, 0.099),
    "20 % of the labels flipped": (0.07, 0.41, 0.057),
    "weather missing at serving": (0.00, 0.41, 0.233),
    "hour in minutes at serving": (0.02, 0.44, 0.194),
    "a snapshot 60 days old": (0.07, 0.24, 0.074),
}


class FaultyRows(Datasets):
    """The dataset versions of a project, with a fault in their training rows."""

    def __init__(self, database: Database, lake: Lake, fault: Spoil) -> None:
        super().__init__(database, lake)
        self._fault = fault

    def read(self, model: Model, version: DatasetVersion | int, *, part: Part | None = None) -> pl.DataFrame:
        """The rows; of the training rows, what the fault makes of them."""
        asked = self.get(model.name, version) if isinstance(version, int) else version
        rows = super().read(model, asked, part=part)
        return self._fault(rows, asked) if part == "train" else rows


class FaultyCycle(Cycle):
    """The cycle of a run, in which faulty candidates are judged before the healthy one is released."""

    def steps(self) -> Mapping[str, Step]:
        """The usual steps, with one more before the last."""
        usual = dict(super().steps())
        release = usual.pop("release")
        return {**usual, "faults": self._judge_faults, "release": release}

    def _judge_faults(self, context: RunContext) -> Mapping[str, object]:
        model = self.shop.project.models[context.run.model]
        version, dataset = (int(str(context.results[step]["version"])) for step in ("train", "dataset"))
        contest = self.contest(model, version, dataset=dataset)
        if contest.champion is None:  # the first candidate stands against a constant
            return {}
        judged = self._fit_to_judge(contest.dataset)
        return {name: self._judge(contest, fault, context.now).id for name, fault in judged.items()}

    def _fit_to_judge(self, dataset: DatasetVersion) -> dict[str, Fault]:
        first = datetime.fromisoformat(str(dataset.statistics["first_day"])).replace(tzinfo=UTC)
        is_long = first + LEAST + OLD <= dataset.trained_until
        return {name: fault for name, fault in FAULTS.items() if is_long or fault.training is not an_old_snapshot}

    def _judge(self, contest: Contest, fault: Fault, now: datetime) -> Evaluation:
        faulty = replace(contest, candidate=self._candidate(contest, fault, now))
        return validate(faulty, datasets=self.shop.datasets, evaluations=self.evaluations, now=now)

    def _candidate(self, contest: Contest, fault: Fault, now: datetime) -> Predictor:
        if fault.training is not None:
            shop = replace(self.shop, datasets=FaultyRows(self.database, self.lake, fault.training))
            made = train(shop, contest.model, contest.dataset, run=None, now=now)
            return self.predictor(contest.model.name, made.version)
        return served_with(contest.candidate, fault.serving)


def served_with(healthy: Predictor, serving: Callable[[Features, pl.DataFrame], pl.DataFrame]) -> Predictor:
    """The same version, but at serving its features come with a fault. The test rows are still the right ones."""
    faulty, model = copy(healthy), copy(healthy.model)
    model.compute_features = lambda rows: serving(healthy.model.compute_features, rows)
    faulty.model = model
    return faulty


class FaultyApp(App):
    """A project whose runs judge faulty candidates too."""

    def cycle(self) -> Cycle:
        """The steps of a run."""
        usual = super().cycle()
        return FaultyCycle(**{field.name: getattr(usual, field.name) for field in fields(Cycle)})


def live(folder: Path, flights: pl.DataFrame, plan: Plan) -> dict[str, list[Evaluation]]:
    """Live the plan's months in a project of a folder's; gives what the gate said, by kind of candidate."""
    write_folder(folder, flights, since=plan.since, until=plan.until)
    app = FaultyApp(load_project(folder, environment=None, variables={}))
    try:
        with shown(plan, Console(stderr=True)) as progress:
            runs = replay(app, flights, plan, progress).runs
        said: dict[str, list[Evaluation]] = {name: [] for name in (HEALTHY, *FAULTS)}
        for run in runs:
            results = {step.name: step.result or {} for step in run.steps}
            if run.error is not None:
                raise SystemExit(f"a run failed: {run.error['what']}: {run.error['why']}; try a larger --share")
            if results["faults"]:
                said[HEALTHY].append(app.evaluations.get(int(str(results["validate"]["evaluation"]))))
            for name, id in results["faults"].items():
                said[name].append(app.evaluations.get(int(str(id))))
        return said
    finally:
        app.close()


def table(said: Mapping[str, list[Evaluation]]) -> str:
    """What the gate said, in shares of the weeks, as a table in Markdown."""
    head = ["candidate", "weeks", "released", "on the deadline", "worse", "inconclusive", "refused", "effect",
            "of the released", "study: released, worse, effect"]  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for name, evaluations in said.items():
        verdicts = [evaluation.verdict for evaluation in evaluations]
        released, worse, effect = STUDY[name]
        study = f"{released:.2f}, {worse:.2f}, {effect:+.1%}"
        lines.append(f"| {' | '.join([name, str(len(verdicts)), *_cells(verdicts), study])} |")
    return "\n".join(lines)


def _cells(verdicts: list[Verdict]) -> list[str]:
    """The shares of what became of them, and how much more than the champion they cost on the test rows."""
    ends = Counter("late" if verdict.released_on_deadline else verdict.decision.value for verdict in verdicts)
    shares = [
        f"{ends[end] / max(len(verdicts), 1):.2f}" for end in ("pass", "late", "worse", "inconclusive", "refused")
    ]
    return [*shares, _effect(verdicts), _effect([v for v in verdicts if v.decision is Decision.PASS])]


def _effect(verdicts: list[Verdict]) -> str:
    """The mean difference from the champion's score, as a share of it."""
    effects = [v.candidate_score / v.champion_score - 1 for v in verdicts if v.candidate_score and v.champion_score]
    return f"{sum(effects) / len(effects):+.1%}" if effects else "-"


def checks(said: Mapping[str, list[Evaluation]]) -> str:
    """What objected to a release, and in which share of the weeks, as a table in Markdown."""
    kinds = ("champion", "anchor", "after the post steps", "slices")
    lines = [f"| objected | {' | '.join(kinds)} |", "|---" + "|---:" * len(kinds) + "|"]
    for name, evaluations in said.items():
        total = max(len(evaluations), 1)
        objected = Counter(
            kind
            for evaluation in evaluations
            for check in evaluation.verdict.checks
            for kind in kinds
            if check.name.startswith(kind) and check.decision is not Decision.PASS
        )
        lines.append(f"| {name} | {' | '.join(f'{objected[kind] / total:.2f}' for kind in kinds)} |")
    return "\n".join(lines)


def main() -> None:
    """Live it, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--until", type=datetime.fromisoformat, default="2013-12-01", help="a day of 2013 after March 8"
    )
    parser.add_argument("--share", type=float, default=1.0, help="the share of flights that take part")
    options = parser.parse_args()
    until = options.until.replace(tzinfo=UTC)
    plan, began = Plan(http_from=until, until=until), time.monotonic()
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as in the demo: waiting threads leave the cores to the others
    flights = read_flights().sample(fraction=options.share, seed=_SEED, shuffle=True)
    with tempfile.TemporaryDirectory() as folder:
        said = live(Path(folder) / "flights", flights, plan)
    first, last = (said[HEALTHY][i].created_at for i in (0, -1))
    test = said[HEALTHY][-1].verdict
    tested = f"the last was tested on {test.rows:,} flights of {test.days} days"
    seconds = time.monotonic() - began
    print(f"{len(said[HEALTHY])} weekly candidates, {first:%d %B} to {last:%d %B} 2013; {tested}; {seconds:.0f} s\n")
    print(f"{table(said)}\n\n{checks(said)}")


if __name__ == "__main__":
    main()
