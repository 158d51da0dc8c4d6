"""The one place where the parts are put together: ``open_project(folder)`` gives an App.

Command line, HTTP, Python and console call the same methods of it. Every method that changes something takes ``actor``.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from datetime import datetime, timedelta
from functools import cached_property, partial
from pathlib import Path

import polars as pl

from perene.clock import MachineClock, machine_clock
from perene.definition.arrivals import Frame, arrived
from perene.definition.label import Task
from perene.definition.model import Model
from perene.definition.project import Project, load_project
from perene.engines.local import LocalEngine
from perene.errors import NotFound, StorageError
from perene.monitoring.freshness import freshness_of
from perene.monitoring.rivals import rivals_of
from perene.monitoring.rollouts import watch_rollouts
from perene.monitoring.status import statuses
from perene.monitoring.watch import hear_of_run, watch_clock, watch_freshness
from perene.pipelines.budgets import measured
from perene.pipelines.bulk import refuse_bad
from perene.pipelines.data import import_examples
from perene.pipelines.drain import Logs
from perene.pipelines.draining import bring_in
from perene.pipelines.golden import judged_golden
from perene.pipelines.journaling import envelope_of
from perene.pipelines.keying import parse_keys
from perene.pipelines.listing import Answers
from perene.pipelines.looking import find_fresh, look_up, nothing_stored, table_of
from perene.pipelines.offline import (
    POPULATION,
    Asked,
    Shelf,
    population_of,
    refuse_unstorable,
    require_population,
    store_predictions,
)
from perene.pipelines.predictor import Predictor, load_predictor
from perene.pipelines.registering import register
from perene.pipelines.rehearsing import Stage, rows_to_replay
from perene.pipelines.releasing import course_of
from perene.pipelines.serving import ranking_of, serve_bulk
from perene.pipelines.tracing import find_group, find_prediction, find_truth, traced
from perene.pipelines.training import Workshop
from perene.pipelines.truths import check_truths
from perene.pipelines.trying import Tried, try_models
from perene.records.generation import Generation
from perene.records.identity import new_id
from perene.records.model import ModelVersion, RegisteredModel
from perene.records.rehearsal import ServingCheck
from perene.records.release import Release, ReleaseState
from perene.records.run import OFFLINE, Run, RunState
from perene.records.status import Freshness, ModelStatus, Rival
from perene.repositories.alerts import Alerts
from perene.repositories.audits import Audits
from perene.repositories.datasets import Datasets
from perene.repositories.evaluations import Evaluations
from perene.repositories.generations import Generations
from perene.repositories.models import Models
from perene.repositories.predictions import Predictions
from perene.repositories.releases import Releases
from perene.repositories.runs import Runs
from perene.repositories.servers import Servers
from perene.repositories.servings import Servings
from perene.repositories.sources import Sources
from perene.repositories.time import ProjectTime
from perene.repositories.truths import Truths
from perene.scheduling.cycle import Cycle
from perene.scheduling.schedule import MANUAL, create_due, create_offline, next_due, queue
from perene.scheduling.worker import LEASE, Worker
from perene.storage.bundles import Bundles
from perene.storage.database import Database
from perene.storage.generations import open_generations
from perene.storage.journal import journal_folder, read_open
from perene.storage.lake import Lake
from perene.storage.snapshot import imported_packages

_KEPT_PREDICTORS = 8
_LOOK_S = 0.1
_TASK_PACKAGES = ("perene.pipelines.fitting",)


def open_project(
    folder: Path | str = ".",
    *,
    environment: str | None = None,
    variables: Mapping[str, str] = os.environ,
    machine: MachineClock = machine_clock,
    may_begin: bool = True,
) -> App:
    """Open the project in a folder: load its models, bring its database up to date.

    Args:
        environment: The ``[env.NAME]`` of perene.toml that holds; the variable PERENE_ENV, or ``dev``, when None.
        variables: Settings as ``PERENE__SERVE__PORT`` win over the file.
        machine: The machine's clock.
        may_begin: Whether a project in which nothing has run yet gets its database now.

    Raises:
        SettingsError, DeclarationError: with every mistake in perene.toml or in the models, or with every change of a
            model that its data cannot follow.
        StorageError: the database cannot be opened, or a newer perene wrote it.
        NotFound: nothing has run here yet, and ``may_begin`` is false.
    """
    project = load_project(Path(folder), environment=environment, variables=variables)
    return App(project, machine=machine, may_begin=may_begin)


def try_project(project: Project, name: str | None = None, *, machine: MachineClock = machine_clock) -> list[Tried]:
    """Try the hooks of a project's models, or of one, on rows of the source and on golden rows; nothing is written.

    Raises:
        DeclarationError: with everything that went wrong.
        NotFound: there is no model of this name.
    """
    models = list(project.models.values()) if name is None else [project.model(name)]
    now = machine()
    with suppress(StorageError), closing(Database(project.settings.database)) as database:
        if not database.is_new and database.is_current:
            now = ProjectTime(database, machine).now()
    return try_models(models, now=now)


class App:
    """An open project. Its attributes are its repositories; its methods are what can be done. Close it at the end."""

    def __init__(self, project: Project, *, machine: MachineClock = machine_clock, may_begin: bool = True) -> None:
        settings = project.settings
        self.project = project
        self.settings = settings
        self.machine = machine
        self.database = Database(settings.database)
        if not may_begin and self.database.is_new:
            self.database.close()
            raise _never_run(project, self.database)
        _make_folder(settings.database)
        self.database.migrate()
        self.lake = Lake(settings.storage, self.database, machine)
        self.bundles = Bundles(Path(settings.storage) / "bundles")
        self.time = ProjectTime(self.database, machine)
        self.models = Models(self.database)
        self.datasets = Datasets(self.database, self.lake)
        self.evaluations = Evaluations(self.database)
        self.releases = Releases(self.database)
        self.runs = Runs(self.database, machine)
        self.alerts = Alerts(self.database)
        self.audits = Audits(self.database)
        self.servers = Servers(self.database, machine)
        self.servings = Servings(self.database)
        self.sources = Sources(self.database)
        self.predictions = Predictions(self.lake, self.database)
        self.generations = Generations(self.database, machine)
        self.shelf = Shelf(
            generations=self.generations, store=open_generations(self.database, project.folder), sources=self.sources
        )
        self.truths = Truths(self.lake)
        self.journals = read_open(journal_folder(project.folder))
        self.answers = Answers(lake=self.lake, predictions=self.predictions, truths=self.truths, journals=self.journals)
        self._predictors: dict[str, Predictor] = {}
        self._loading = threading.Lock()  # a server loads in one thread and traces in others
        try:
            register(project.models, models=self.models, lake=self.lake, now=self.time.now())
        except BaseException:
            self.database.close()
            raise

    def model(self, name: str) -> Model:
        """The declaration of a model. Raises NotFound with the names that exist."""
        return self.project.model(name)

    # ── the cycle ────────────────────────────────────────────────────────────────────────────────────────────────────

    def train(self, name: str, *, actor: str) -> Run:
        """Run a model's whole cycle now, and give its run as it ended: data, training, validation, release."""
        self.model(name)
        run = queue(self.runs, name, trigger=MANUAL, now=self.time.now(), actor=actor)
        worker = self.worker()
        while run.state in (RunState.QUEUED, RunState.RUNNING):
            if worker.work_one(name) is None:
                time.sleep(_LOOK_S)  # another worker has it
            run = self.runs.get(run.id)
        return run

    def wind(self, *, actor: str) -> None:
        """Let a replay's time run on for a moment, at the speed of the settings; it stands while a run works."""
        working = self.runs.list(state=RunState.RUNNING, limit=1)
        stands = any(r.heartbeat_at is not None and self.machine() - r.heartbeat_at < LEASE for r in working)
        why = "a run works" if stands else "the scheduler runs"
        self.time.run(0.0 if stands else self.settings.speed, actor=actor, why=why)

    def schedule(self) -> list[Run]:
        """Create the runs that are due now, and look after rollouts, freshness and the clock."""
        now = self.time.now()
        models = self.project.models
        every = {name: model.every for name, model in models.items() if model.every is not None}
        offline = {name: model.offline for name, model in models.items() if model.offline is not None}
        periods = {name: self.releases.history(name)[-1:] for name in offline}
        live = {name: period.since for name, newest in periods.items() for period in newest if period.until is None}
        made = create_due(self.runs, every, now=now) + create_offline(self.runs, offline, live, now=now)
        watch_rollouts(self.project.models.values(), self, now=now)
        watch_freshness(self.project.models.values(), self, now=now)
        if self.time.anchor() is None:
            watch_clock(self, now=now, machine_now=self.machine())
        return made

    def worker(self, owner: str | None = None) -> Worker:
        """A worker of this project's runs, by a name of its own."""
        name = owner or f"{socket.gethostname().partition('.')[0]}-{os.getpid()}-{new_id(self.machine())[:13]}"
        cycle = self.cycle()
        others = {OFFLINE: cycle.offline_steps()}
        hear = partial(hear_of_run, alerts=self.alerts, now=self.time.now)
        return Worker(self.runs, cycle.steps(), owner=name, others=others, on_end=hear)

    def cycle(self) -> Cycle:
        """The steps of a run, with what they work with."""
        return Cycle(
            shop=Workshop(
                project=self.project, datasets=self.datasets, models=self.models, bundles=self.bundles,
                engine=self.engine, scratch=self.project.folder / ".perene" / "work",
            ),
            stage=self.stage, lake=self.lake, database=self.database, evaluations=self.evaluations,
            releases=self.releases, alerts=self.alerts, predictor=self.predictor, drained=self.drained,
            now=self.time.now, shelf=self.shelf,
        )  # fmt: skip

    @cached_property
    def engine(self) -> LocalEngine:
        """Where training runs."""
        return LocalEngine([*imported_packages(self.project.folder), *_TASK_PACKAGES])

    @property
    def stage(self) -> Stage:
        """Where versions are rehearsed."""
        folder, settings = self.project.folder, self.settings
        return Stage(
            engine=self.engine, project=folder, bundles=Path(settings.storage) / "bundles",
            scratch=folder / ".perene" / "work", durability=settings.durability,
        )  # fmt: skip

    def check_serving(self, name: str, version: int | None = None) -> ServingCheck:
        """How a version (the newest when None) would serve: loaded and asked in a process of its own, and measured.

        Rows of the log or of its dataset are replayed; nothing is logged. The golden rows are asked too.
        Raises ServingError where it cannot be measured, NotFound where there is no version.
        """
        model = self.model(name)
        found = self.models.newest(name) if version is None else self.models.version(name, version)
        rows, origin = rows_to_replay(model, found, predictions=self.predictions, datasets=self.datasets)
        now = self.time.now()
        rehearsal, budgets = measured(model, lambda: self.stage.rehearse(found, rows, now=now))
        golden = judged_golden(model, lambda: self.predictor(name, found.version))
        return ServingCheck(rehearsal=rehearsal, origin=origin, budgets=tuple(budgets), golden=golden)

    # ── predictions and their truth ──────────────────────────────────────────────────────────────────────────────────

    def predictor(self, name: str, version: int | None = None) -> Predictor:
        """A version of a model, the live one when None, ready to answer; verified when it is loaded."""
        found = self._live(name) if version is None else self.models.version(name, version)
        with self._loading:
            if found.bundle not in self._predictors:
                while len(self._predictors) >= _KEPT_PREDICTORS:
                    self._predictors.pop(next(iter(self._predictors))).forget()
                self._predictors[found.bundle] = load_predictor(self.bundles, found, project=self.project.folder)
            return self._predictors[found.bundle]

    def predict(self, name: str, rows: Frame, *, log: bool = False) -> pl.DataFrame:
        """Predict rows with the live version; ``log`` keeps them in the prediction log.

        Returns one line per row: ``prediction_id``, the key fields and the time field, ``prediction``,
        ``model_version``. Of a ranking the lines of each group lie together, best first, with ``score``, ``rank`` and
        ``removed`` (why it has no rank) for ``prediction``.
        Raises DataError with what is wrong with which rows; then none is predicted.
        """
        model = self.model(name)
        checked = model.schema.check(rows)
        refuse_bad(model, checked)
        if not checked.good.height:
            return pl.DataFrame(schema={"prediction_id": pl.String(), "prediction": model.answer_dtype})
        lines = serve_bulk(
            self.predictor(name), checked.good, model=model, predicted_at=self.time.now(),
            recorded_at=self.machine(), log=self.predictions if log else None,
        )  # fmt: skip
        named = checked.good.select(*dict.fromkeys((*model.label.group, *model.key, model.at)))
        if model.label.task is Task.RANKING:
            return ranking_of(lines, named)
        return pl.concat(
            [lines.select("prediction_id"), named, lines.select(prediction="final", model_version="model_version")],
            how="horizontal",
        )

    def store(
        self, name: str, rows: Frame | Iterable[Frame] | None = None, *, actor: str, origin: str = "rows"
    ) -> Generation:
        """Predict rows in bulk with the live version, and store the answers for ``lookup``; they replace those before.

        Args:
            rows: A frame, a lazy one, or frames one after another; None for the model's population.
            origin: What look-ups say that they were computed of, as a file's name.

        Raises DataError with what is wrong with which rows; then what is stored stays.
        """
        model, now = self.model(name), self.time.now()
        come = population_of(model, now) if rows is None else rows
        asked = Asked(origin=POPULATION if rows is None else origin, computed_at=now, actor=actor)
        return store_predictions(come, predictor=self.predictor(name), model=model, shelf=self.shelf, asked=asked)

    def ask_offline(self, name: str, *, actor: str) -> Run:
        """Queue a run that predicts the model's population and stores the answers; a worker does it.

        One that waits already is given, and no second one made.
        """
        model = self.model(name)
        refuse_unstorable(model)
        require_population(model)
        self._live(name)
        waiting = [run for run in self.runs.list(name, state=RunState.QUEUED) if run.trigger == OFFLINE]
        return waiting[-1] if waiting else queue(self.runs, name, trigger=OFFLINE, now=self.time.now(), actor=actor)

    def lookup(self, name: str, keys: Sequence[object], *, log: bool = False) -> pl.DataFrame:
        """Stored predictions by key; ``log`` keeps them in the prediction log, as answers that were given.

        Args:
            keys: Of each thing its value of the model's key, a list of several, or a mapping of the key's fields.

        Returns one line per key: ``prediction_id``, the key fields and the time field, ``prediction``,
        ``model_version``, ``computed_at``, ``outdated`` (whether another version is live by now).
        Raises NotFound where nothing is stored of a key, ServingError where it is older than ``max_age``.
        """
        model, now = self.model(name), self.time.now()
        named = parse_keys(model, keys, is_json=False)
        generation = self.generations.current(name)
        if generation is None:
            raise nothing_stored(name)
        with closing(self.shelf.store.open(name, generation.id)) as reading:
            kept = find_fresh(model, named, generation, reading, now=now)
        found = look_up(model, kept, generation, now=now, recorded_at=self.machine())
        lines = envelope_of(model, [found.rows])
        if log:
            self.predictions.append(model, lines, f"request:{found.request_id}")
        live = self.models.champion(name)
        return table_of(model, lines, outdated=live is None or live.version != generation.version)

    def add_truths(self, name: str, rows: Frame, *, source: str) -> int:
        """Take ground truth in, by prediction id or by key and time; returns how many rows."""
        model, now = self.model(name), self.time.now()
        said = check_truths(model, arrived(rows), now=now, recorded_at=self.machine(), source=source)
        self.truths.append(model, said, source=f"{source}@{new_id(self.machine())}")
        return said.height

    def import_examples(self, name: str, rows: Frame, *, who: str = "the import") -> dict[str, object]:
        """Bring in examples of the past: rows, their labels, and when those were known."""
        model = self.model(name)
        return import_examples(model, rows, now=self.time.now(), lake=self.lake, database=self.database, who=who)

    def trace(self, prediction_id: str, *, model: str | None = None) -> dict[str, object]:
        """Everything that is known of one prediction: of a model, or of the first that has this id. Raises NotFound."""
        for asked in self.project.models.values() if model is None else [self.model(model)]:
            line = find_prediction(asked, prediction_id, journals=self.journals, predictions=self.predictions)
            if line is not None:
                truth = find_truth(asked, line, self.answers)
                group = find_group(asked, line, journals=self.journals, predictions=self.predictions)
                return traced(asked, line, truth, predictor=partial(self.predictor, asked.name), group=group)
        whose = "" if model is None else f" of {model}"
        mend = f"perene prediction list {model or 'MODEL'} shows the newest"
        raise NotFound(f"there is no prediction {prediction_id!r}{whose}", mend=mend)

    def newest_predictions(
        self, name: str, *, since: datetime | None = None, until: datetime | None = None, limit: int = 20
    ) -> pl.DataFrame:
        """A model's newest predictions, of events of [since, until), with what came true; see ``Answers.newest``."""
        return self.answers.newest(self.model(name), since=since, until=until, limit=limit)

    def drained(self, patience: timedelta = timedelta(seconds=30)) -> bool:
        """Bring what servers answered so far into the log; whether all of it is there."""
        return bring_in(self.servers, journal_folder(self.project.folder), self.logs, patience=patience)

    @property
    def logs(self) -> Logs:
        """Where journals are drained to."""
        return Logs(
            models=self.project.models, predictions=self.predictions, truths=self.truths, database=self.database
        )

    # ── what people decide ───────────────────────────────────────────────────────────────────────────────────────────

    def approve(self, release: int, *, actor: str, why: str, canary: str | None = None) -> Release:
        """Approve a release: it goes live, by the steps that its model declares, or by these.

        Args:
            release: Its number. One that is on its way by steps goes live at once, unless ``canary`` names steps.
            actor: Who approves.
            why: The reason, for the ledger.
            canary: ``"10%"`` to begin there, ``"10% 1h, 50% 1h"`` for other steps, ``"none"`` for no steps.

        Raises NotAllowed or Conflict as the ledger does, NotAllowed for steps that cannot be read.
        """
        asked = self.releases.get(release)
        model = self.model(asked.model)
        course = course_of(model, canary)
        self._try(self.models.version(asked.model, asked.version))
        return self.releases.approve(release, actor=actor, why=why, at=self.time.now(), course=course)

    def shadow(self, name: str, version: int | None, *, actor: str, why: str = "") -> RegisteredModel:
        """Ask a version beside the champion from now on, without answering by it; None asks none any more."""
        self.model(name)
        if version is not None:
            self._try(self.models.version(name, version))
        return self.models.set_shadow(name, version, actor=actor, why=why, at=self.time.now())

    def reject(self, release: int, *, actor: str, why: str) -> Release:
        """Refuse a release: what is live stays."""
        return self.releases.reject(release, actor=actor, why=why, at=self.time.now())

    def rollback(self, name: str, *, to: int | None = None, actor: str, why: str) -> Release:
        """Make an earlier version live, and put the model on hold."""
        self._try(self.rollback_target(name, to=to))
        return self.releases.rollback(name, to, actor=actor, why=why, at=self.time.now())

    def rollback_target(self, name: str, *, to: int | None = None) -> ModelVersion:
        """The version that a rollback would make live. Raises NotAllowed when there is none."""
        self.model(name)
        return self.models.version(name, self.releases.rollback_target(name, to))

    def freshness(self, version: ModelVersion) -> Freshness:
        """How fresh its model is, or would be, while this version is live."""
        return freshness_of(self.model(version.model), version, self.time.now())

    def hold(self, name: str, *, actor: str, why: str) -> RegisteredModel:
        """Stop automatic releases of a model; it goes on training."""
        return self.models.hold(name, actor=actor, why=why, at=self.time.now())

    def resume(self, name: str, *, actor: str, why: str = "") -> RegisteredModel:
        """Allow automatic releases of a model again."""
        return self.models.resume(name, actor=actor, why=why, at=self.time.now())

    # ── how it is ────────────────────────────────────────────────────────────────────────────────────────────────────

    def status(self, name: str | None = None, *, measured: bool = True) -> list[ModelStatus]:
        """How fresh and how good each model is (or one of them), the worst first.

        ``measured``: whether to read the logs too, for the live score, bias and coverage.
        """
        wanted = self.project.models.values() if name is None else [self.model(name)]
        now = self.time.now()
        last = self.runs.last_cycles()
        due = {model.name: next_due(model.every, last.get(model.name), now=now) for model in wanted}
        pace = 1.0 if self.time.anchor() is None else self.settings.speed
        return statuses(wanted, self, now=now, next_due=due, pace=pace, measured=measured)

    def rivals(self, name: str) -> tuple[Rival, ...]:
        """The versions of a model that are new to live traffic, and how each compares."""
        return rivals_of(self.model(name), self.models.get(name), self, now=self.time.now())

    def close(self) -> None:
        """End what it started and close what it opened."""
        if "engine" in self.__dict__:
            self.engine.close()
        self.database.close()

    def _try(self, version: ModelVersion) -> None:
        """Load a version, so that what cannot be loaded does not go live. Raises BundleError."""
        load_predictor(self.bundles, version, project=self.project.folder).forget()

    def _live(self, name: str) -> ModelVersion:
        self.model(name)
        live = self.models.champion(name)
        if live is None:
            waiting = self.releases.list(name, state=ReleaseState.WAITING, limit=1)
            raise NotFound(
                f"{name} has no live version",
                why="a release waits for review" if waiting else "none was released yet",
                mend=f"perene release approve {waiting[0].id} --why TEXT" if waiting else f"perene train {name}",
                code="no-live-version",
            )
        return live


def _never_run(project: Project, database: Database) -> NotFound:
    return NotFound(
        "nothing has run here yet",
        why=f"the database {database.name} is not there, or empty",
        mend=f"perene train {next(iter(project.models), 'MODEL')} makes it; if there was one, bring it back",
        code="never-run",
    )


def _make_folder(database: str) -> None:
    """SQLite makes files, not folders."""
    if database.startswith("sqlite:///"):
        Path(database.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
