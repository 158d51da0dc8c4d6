"""Whether what is live can be loaded, stands on the packages that it was made with, and is not too old."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from perene.clock import MachineClock
from perene.definition.model import Model
from perene.definition.project import Project
from perene.definition.settings import Settings
from perene.errors import PereneError
from perene.monitoring.doctor.attempts import attempt, broken, fine, warning
from perene.monitoring.freshness import freshness_of
from perene.pipelines.predictor import load_predictor
from perene.pipelines.surroundings import locked_packages
from perene.pipelines.training import LOCK
from perene.records.finding import Finding
from perene.records.model import ModelVersion
from perene.records.status import FreshnessState
from perene.repositories.models import Models
from perene.repositories.releases import Releases
from perene.repositories.time import ProjectTime
from perene.storage.bundles import Bundles
from perene.storage.database import Database

_SHOWN = 5


def check_models(
    database: Database, settings: Settings, machine: MachineClock, project: Project | None
) -> Iterator[Finding]:
    """Each model that is known: its live version, the one that a rollback would bring back, and its freshness."""
    models, bundles = Models(database), Bundles(Path(settings.storage) / "bundles")
    folder = Path() if project is None else project.folder
    names: list[str] = []
    yield from attempt("models", lambda: _named(models, names))
    for name in names:
        yield from attempt(f"live version of {name}", partial(_live, name, models, bundles, folder))
        yield from attempt(f"rollback of {name}", partial(_earlier, name, models, Releases(database), bundles))
        if project is not None and name in project.models:
            time = ProjectTime(database, machine)
            yield from attempt(f"freshness of {name}", partial(_age, project.models[name], models, time))


def _named(models: Models, names: list[str]) -> Iterator[Finding]:
    names += [model.name for model in models.list()]
    yield from ()


def _live(name: str, models: Models, bundles: Bundles, folder: Path) -> Iterator[Finding]:
    champion = models.champion(name)
    if champion is None:
        mend = f"perene train {name}; perene release list {name}"
        yield warning(f"live version of {name}", "there is none", mend=mend)
        return
    try:
        load_predictor(bundles, champion, project=folder).forget()
    except PereneError as error:
        mend = f"{error.mend}, or perene release rollback {name} --why TEXT"
        what = f"v{champion.version} cannot answer: {error.what}"
        yield broken(f"live version of {name}", what, why=error.why, mend=mend)
    else:
        yield fine(
            f"live version of {name}", f"v{champion.version} is whole, can be loaded and answers as when it was made"
        )
    yield from attempt(f"packages of {name}", lambda: _packages(champion, bundles))


def _packages(version: ModelVersion, bundles: Bundles) -> Iterator[Finding]:
    """Where the packages of a version have changed since it was made; new ones do not matter."""
    try:
        then = _versions(bundles.open(version.bundle).read(LOCK).decode())
    except PereneError:
        return  # it is said of the version already
    now = _versions(locked_packages())
    changed = [f"{name} {was} then, {now.get(name, 'none')} now" for name, was in then.items() if now.get(name) != was]
    if changed:
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        what = f"not those that v{version.version} was made with: {', '.join(changed[:_SHOWN])}{more}"
        yield warning(
            f"packages of {version.model}", what, mend=f"perene train {version.model} makes a version of these"
        )


def _versions(lock: str) -> dict[str, str]:
    lines = (line.partition("==") for line in lock.splitlines() if not line.startswith("#"))
    return {name: version for name, _, version in lines if name != "perene"}


def _earlier(name: str, models: Models, releases: Releases, bundles: Bundles) -> Iterator[Finding]:
    """Whether the version that a rollback would make live is whole."""
    try:
        target = models.version(name, releases.rollback_target(name, None))
    except PereneError:
        return  # there is none, which is no fault
    try:
        bundles.open(target.bundle)
    except PereneError as error:
        what = f"v{target.version}, to which a rollback would go, is not whole: {error.what}"
        yield warning(f"rollback of {name}", what, why=error.why, mend=error.mend)
    else:
        yield fine(f"rollback of {name}", f"v{target.version} is whole")


def _age(model: Model, models: Models, time: ProjectTime) -> Iterator[Finding]:
    name = model.name
    champion = models.champion(name)
    if champion is None:
        return
    found = freshness_of(model, champion, time.now())
    what = f"{found.state.value}: it has learnt up to {champion.trained_through:%Y-%m-%d %H:%M} UTC"
    if found.state is FreshnessState.STALE:
        yield warning(f"freshness of {name}", what, mend=f"perene status {name} says why nothing newer is live")
    elif found.state is FreshnessState.UNKNOWN:
        why = "that is in the future: a clock is wrong, or was"
        yield warning(f"freshness of {name}", what, why=why, mend="see the clocks of the source and of this machine")
    else:
        yield fine(f"freshness of {name}", what)
