"""The cycle of a model: the steps of a run, and what each gives to the next.

collect brings examples in, dataset cuts a version, train makes a candidate, validate judges it, release acts on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from perene.definition.model import Model
from perene.definition.project import as_set
from perene.errors import NotFound, PereneError
from perene.pipelines.contests import Contest
from perene.pipelines.data import collect, cut
from perene.pipelines.offline import POPULATION, Asked, Shelf, population_of, store_predictions
from perene.pipelines.predictor import Predictor
from perene.pipelines.rehearsing import SIZES, Stage
from perene.pipelines.releasing import release
from perene.pipelines.training import Workshop, train
from perene.pipelines.validation import validate
from perene.repositories.alerts import Alerts
from perene.repositories.evaluations import Evaluations
from perene.repositories.releases import Releases
from perene.scheduling.worker import RunContext, Step
from perene.storage.database import Database
from perene.storage.lake import Lake


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """What the steps work with. ``drained`` brings what servers have journaled into the lake; ``now`` is project time,
    at which a version goes live: the run's own is that of its data.
    """

    shop: Workshop
    stage: Stage
    lake: Lake
    database: Database
    evaluations: Evaluations
    releases: Releases
    alerts: Alerts
    predictor: Callable[[str, int], Predictor]
    drained: Callable[[], object]
    now: Callable[[], datetime]
    shelf: Shelf

    def steps(self) -> Mapping[str, Step]:
        """The steps by name, in order."""
        return {
            "collect": self._collect,
            "dataset": self._dataset,
            "train": self._train,
            "validate": self._validate,
            "release": self._release,
        }

    def offline_steps(self) -> Mapping[str, Step]:
        """The steps of a run that computes and stores predictions."""
        return {"store": self._store}

    def contest(self, model: Model, version: int, *, dataset: int) -> Contest:
        """Candidate, champion and anchor; one that cannot be loaded is a reason to refuse, not an end of the run."""
        live, anchor = self.shop.models.champion(model.name), self.releases.anchor(model.name)
        failures: list[str] = []

        def loaded(number: int | None, who: str) -> Predictor | None:
            try:
                return None if number is None else self.predictor(model.name, number)
            except PereneError as error:
                failures.append(f"the {who} v{number} cannot be loaded: {error.what}: {error.why}")
                return None

        champion = loaded(None if live is None else live.version, "champion")
        stands = loaded(None if live is None or anchor == live.version else anchor, "anchor")
        failure = "; ".join(failures)
        return Contest(
            model=model,
            dataset=self.shop.datasets.get(model.name, dataset),
            candidate=self.predictor(model.name, version),
            champion=champion,
            champion_version=None if live is None else live.version,
            anchor=stands,
            previous=loaded(self.releases.before(model.name), "previous"),  # a reference: it may be gone
            failure=failure,
        )

    def _collect(self, context: RunContext) -> Mapping[str, object]:
        model = self._model(context)
        if "log" in model.examples:
            self.drained()
        return collect(
            model, now=context.now, lake=self.lake, database=self.database, run=context.run.id, fence=context.fence
        )

    def _dataset(self, context: RunContext) -> Mapping[str, object]:
        made = cut(
            self._model(context),
            now=context.now,
            lake=self.lake,
            database=self.database,
            run=context.run.id,
            fence=context.fence,
        )
        return {"version": made.version, "rows": made.rows, "train_rows": made.train_rows, "test_rows": made.test_rows}

    def _train(self, context: RunContext) -> Mapping[str, object]:
        model = self._model(context)
        dataset = self.shop.datasets.get(model.name, _number(context, "dataset", "version"))
        made = train(
            self.shop, model, dataset, run=context.run.id, now=context.now, fence=context.fence, lost=context.lost
        )
        return {"version": made.version, "rows": made.rows, "seconds": made.seconds, "peak_memory": made.peak_memory}

    def _validate(self, context: RunContext) -> Mapping[str, object]:
        contest = self.contest(
            self._judged_by(context),
            _number(context, "train", "version"),
            dataset=_number(context, "dataset", "version"),
        )
        evaluation = validate(
            contest,
            datasets=self.shop.datasets,
            evaluations=self.evaluations,
            now=context.now,
            run=context.run.id,
            fence=context.fence,
            rehearse=lambda version, rows: self.stage.rehearse(
                version, rows, now=context.now, sizes=SIZES, lost=context.lost
            ),
        )
        return {
            "evaluation": evaluation.id,
            "decision": evaluation.verdict.decision.value,
            "reason": evaluation.verdict.reason,
        }

    def _release(self, context: RunContext) -> Mapping[str, object]:
        released = release(
            self._judged_by(context),
            self.evaluations.get(_number(context, "validate", "evaluation")),
            releases=self.releases,
            alerts=self.alerts,
            now=self.now(),
            run=context.run.id,
            fence=context.fence,
        )
        context.outcome = released.outcome
        return {"release": released.release.id, "outcome": released.outcome}

    def _store(self, context: RunContext) -> Mapping[str, object]:
        model = self._model(context)
        live = self.shop.models.champion(model.name)
        if live is None:
            raise NotFound(
                f"{model.name} has no live version", mend=f"perene train {model.name}", code="no-live-version"
            )
        made = store_predictions(
            population_of(model, context.now),
            predictor=self.predictor(model.name, live.version),
            model=model,
            shelf=self.shelf,
            asked=Asked(
                origin=POPULATION,
                computed_at=context.now,
                actor=context.run.actor,
                run=context.run.id,
                fence=context.fence,
            ),
        )
        context.outcome = "stored"
        return {"generation": made.id, "version": made.version, "rows": made.rows, "aside": made.aside}

    def _judged_by(self, context: RunContext) -> Model:
        """The model by which a candidate is judged and released: its own code's, with its metrics and golden rows.

        Training reads the project's files anew; this process may have read them before somebody edited the gate, a
        metric, or asked for reviews. The settings are this process's.
        """
        own = self.predictor(context.run.model, _number(context, "train", "version")).model
        return as_set(own, self.shop.project.settings)

    def _model(self, context: RunContext) -> Model:
        models = self.shop.project.models
        if context.run.model not in models:
            raise NotFound(
                f"the project does not declare {context.run.model} any more",
                why=f"it declares {', '.join(models)}",
                mend="declare it again, or cancel its runs",
            )
        return models[context.run.model]


def _number(context: RunContext, step: str, name: str) -> int:
    """A number that an earlier step recorded."""
    return int(str(context.results[step][name]))
