"""Which versions of each model are asked: follows the release ledger, loads beside, swaps between two batches."""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import perf_counter

from perene.app import App
from perene.errors import BundleError, PereneError
from perene.pipelines.predictor import Predictor
from perene.records.model import RegisteredModel
from perene.server.answering import Answering
from perene.server.lineup import Lineup

log = logging.getLogger("perene.server")

_GC_EVERY = 50_000  # new objects: a batch makes thousands, and few of them outlive it
_QUIET_S, _AT_LAST_S = 0.5, 600.0  # without a batch; after an exchange
_SWITCH_S = 0.0001  # fifty times sooner than by default, the thread that drains gives way to the one that answers

LOOK_EVERY_S = 0.5
_TRY_AGAIN = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotLoaded:
    """A version that this server could not load, why, and when (machine time) it tried last."""

    version: int
    error: PereneError
    at: datetime


class Roster:
    """Keeps every model's ``lineup`` at the versions that the ledger says: live, canary, shadow.

    ``not_loaded`` says by model which live version it could not load; what answered before goes on answering. Without
    a canary that cannot be loaded the champion answers every key.
    """

    def __init__(self, app: App, models: Mapping[str, Answering]) -> None:
        self._app = app
        self._models = models
        self.not_loaded: dict[str, NotLoaded] = {}
        self._unusable: dict[tuple[str, str], NotLoaded] = {}  # of canaries and their like, by model and role
        self._exchanged_at: float | None = None  # when something was, whose rest is still held
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="perene-roster", daemon=True)

    def start(self) -> None:
        """Load what is live now, then follow the ledger in a thread."""
        self.look()
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a load that has begun is finished first."""
        self._stopping.set()
        if self._thread.ident is not None:  # not where it was asked to stop while it loaded for the first time
            self._thread.join(60)

    @property
    def serves(self) -> dict[str, int]:
        """The version that each loaded model answers with."""
        return {n: a.predictor.version.version for n, a in self._models.items() if a.predictor is not None}

    def look(self) -> None:
        """Read the ledger once and load what has changed. The database being away changes nothing."""
        try:
            known = {model.name: model for model in self._app.models.list()}
        except PereneError as error:
            log.warning("ledger_unreadable why=%s", error)
            return
        changed = [self._follow(answering, known[name]) for name, answering in self._models.items() if name in known]
        if any(changed):
            _freeze()
            self._exchanged_at = perf_counter()

    def _follow(self, answering: Answering, model: RegisteredModel) -> bool:
        """Bring a model's lineup to what the ledger says; whether there was something to load."""
        name, wanted, before = model.name, model.champion, answering.lineup
        champion, is_new = answering.predictor, False
        if wanted is None or wanted == self.serves.get(name):
            if name in self.not_loaded:
                self._settle(name, f"v{wanted} is live, and loaded" if wanted else "nothing is live")
        elif (loaded := self._load(answering, wanted)) is not None:
            champion, is_new = loaded, True
        if champion is None:
            return False
        former = model.former if model.former != champion.version.version else None
        lineup = Lineup(
            champion=champion,
            canary=self._beside(answering, model.canary, "canary"),
            share=model.canary_share,
            shadow=self._beside(answering, model.shadow, "shadow"),
            former=self._beside(answering, former, "former"),
        )
        if lineup == before:
            return False
        answering.lineup = lineup
        if is_new:
            log.info("version_live model=%s version=%d", name, champion.version.version)
        if not (lineup.is_alone and (before is None or before.is_alone)):
            log.info("lineup model=%s %s", name, _shown(lineup))
        return is_new or before is None or not lineup.loaded.keys() <= before.loaded.keys()

    def _load(self, answering: Answering, version: int) -> Predictor | None:
        """Load a live version beside the one that answers; one that fails is tried again later."""
        name = answering.model.name
        found = _loaded(answering, version)
        if found is None:
            before = self.not_loaded.get(name)
            made = self._try(name, version, before)
            if isinstance(made, NotLoaded):
                if made is not before:
                    self.not_loaded[name] = made
                    self._alert(name, version, made.error)
                return None
            found = made
        self._settle(name, f"v{version} is loaded")  # also where the server that failed is gone
        return found

    def _beside(self, answering: Answering, version: int | None, role: str) -> Predictor | None:
        """A version that is asked beside the champion; None where there is none, or it cannot be loaded."""
        name = answering.model.name
        if version is None:
            self._unusable.pop((name, role), None)
            return None
        found = _loaded(answering, version)
        if found is not None:
            return found
        before = self._unusable.get((name, role))
        made = self._try(name, version, before)
        if isinstance(made, NotLoaded):
            self._unusable[name, role] = made
            if made is not before and role != "former":
                self._alert_beside(name, version, role, made.error)
            return None
        self._unusable.pop((name, role), None)
        return made

    def _try(self, name: str, version: int, before: NotLoaded | None) -> Predictor | NotLoaded:
        """Load a version, unless it failed a moment ago."""
        now = self._app.machine()
        if before is not None and before.version == version and now - before.at < _TRY_AGAIN:
            return before
        try:
            return self._app.predictor(name, version)
        except Exception as error:  # the edge of a step: what a bundle raises must not end the server
            log.error("load_failed model=%s version=%d", name, version, exc_info=error)
            if not isinstance(error, PereneError):
                what, why = f"{name} v{version} cannot be loaded", f"{type(error).__name__}: {error}"
                error = BundleError(what, why=why, mend="see the server's log", code="bundle-load")
            return NotLoaded(version=version, error=error, at=now)

    def _alert(self, name: str, version: int, error: PereneError) -> None:
        answers = self.serves.get(name)
        stays = "nothing answers" if answers is None else f"v{answers} goes on answering"
        what = f"a server cannot load {name} v{version}: {stays}"
        self._raise(name, "load-failed", what, error, f"perene release rollback {name} --why TEXT")

    def _alert_beside(self, name: str, version: int, role: str, error: PereneError) -> None:
        what = f"a server cannot load the {role} {name} v{version}: what is live answers alone there"
        mend = f"perene model shadow {name} --off" if role == "shadow" else f"perene release list {name}"
        self._raise(name, f"{role}-not-loaded", what, error, mend, page=False)

    def _raise(self, name: str, rule: str, what: str, error: PereneError, deed: str, *, page: bool = True) -> None:
        why = f"{error.what}: {error.why}" if error.why else error.what
        mend = deed + (f", or {error.mend}" if error.mend else "")
        severity = "page" if page else "notice"
        try:
            now = self._app.time.now()
            self._app.alerts.raise_(name, rule, severity=severity, what=what, why=why, mend=mend, at=now)
        except PereneError as unreachable:
            log.warning("alert_not_raised why=%s", unreachable)

    def _settle(self, name: str, why: str) -> None:
        self.not_loaded.pop(name, None)
        try:
            self._app.alerts.resolve(name, "load-failed", at=self._app.time.now(), why=why)
        except PereneError as unreachable:
            log.warning("alert_not_resolved why=%s", unreachable)

    def _let_go(self) -> None:
        """Free what exchanged versions left, in a quiet moment: to find it stops everything for a tenth of a second."""
        if self._exchanged_at is None:
            return
        now = perf_counter()
        is_quiet = all(now - answering.worked_at > _QUIET_S for answering in self._models.values())
        if is_quiet or now - self._exchanged_at > _AT_LAST_S:
            gc.unfreeze()
            _freeze()
            self._exchanged_at = None

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_EVERY_S):
            try:
                self.look()
                self._let_go()
            except BaseException:  # the edge of a thread (a panic of polars is no Exception): recorded, and tried again
                log.exception("roster_failed")


def _loaded(answering: Answering, version: int) -> Predictor | None:
    """A version that the server has loaded already, in whichever role."""
    return None if answering.lineup is None else answering.lineup.loaded.get(version)


def _shown(lineup: Lineup) -> str:
    roles = {"canary": lineup.canary, "shadow": lineup.shadow, "former": lineup.former}
    beside = [f"{role}={p.version.version}" for role, p in roles.items() if p is not None]
    share = [f"share={lineup.share:g}"] if lineup.canary is not None else []
    return " ".join([f"version={lineup.champion.version.version}", *beside, *share])


def _freeze() -> None:
    """Keep the collector from walking over what stays: modules and models (p99 at one connection 56 → 3 ms)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_EVERY)
    sys.setswitchinterval(_SWITCH_S)
