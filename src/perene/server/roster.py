"""Which version of each model answers: follows the release ledger, loads beside, swaps between two batches."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from perene.app import App
from perene.errors import BundleError, PereneError
from perene.server.answering import Answering

log = logging.getLogger("perene.server")

_GC_EVERY = 50_000  # new objects: a batch makes thousands, and few of them outlive it

LOOK_EVERY_S = 0.5
_TRY_AGAIN = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotLoaded:
    """A live version that this server could not load, why, and when (machine time) it tried last."""

    version: int
    error: PereneError
    at: datetime


class Roster:
    """Keeps every model's ``predictor`` at the version that the ledger says is live.

    ``not_loaded`` says by model which live version it could not load; what answered before goes on answering.
    """

    def __init__(self, app: App, models: Mapping[str, Answering]) -> None:
        self._app = app
        self._models = models
        self.not_loaded: dict[str, NotLoaded] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="perene-roster", daemon=True)

    def start(self) -> None:
        """Load what is live now, then follow the ledger in a thread."""
        self.look()
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a load that has begun is finished first."""
        self._stopping.set()
        self._thread.join(60)

    @property
    def serves(self) -> dict[str, int]:
        """The version that each loaded model answers with."""
        return {n: a.predictor.version.version for n, a in self._models.items() if a.predictor is not None}

    def look(self) -> None:
        """Read the ledger once and load what has changed. The database being away changes nothing."""
        try:
            champions = {model.name: model.champion for model in self._app.models.list()}
        except PereneError as error:
            log.warning("ledger_unreadable why=%s", error)
            return
        changed = False
        for name, answering in self._models.items():
            wanted = champions.get(name)
            if wanted is None or wanted == self.serves.get(name):
                if name in self.not_loaded:
                    self._settle(name, f"v{wanted} is live, and loaded" if wanted else "nothing is live")
            elif self._load(answering, wanted):
                changed = True
        if changed:
            _freeze()

    def _load(self, answering: Answering, version: int) -> bool:
        """Load a version beside the one that answers, then exchange them; a version that fails is tried again later."""
        name, now = answering.model.name, self._app.machine()
        before = self.not_loaded.get(name)
        if before is not None and before.version == version and now - before.at < _TRY_AGAIN:
            return False
        try:
            answering.predictor = self._app.predictor(name, version)
        except Exception as error:  # the edge of a step: what a bundle raises must not end the server
            log.error("load_failed model=%s version=%d", name, version, exc_info=error)
            if not isinstance(error, PereneError):
                what, why = f"{name} v{version} cannot be loaded", f"{type(error).__name__}: {error}"
                error = BundleError(what, why=why, mend="see the server's log", code="bundle-load")
            self.not_loaded[name] = NotLoaded(version=version, error=error, at=now)
            self._alert(name, version, error)
            return False
        self._settle(name, f"v{version} is loaded")  # also where the server that failed is gone
        log.info("version_live model=%s version=%d", name, version)
        return True

    def _alert(self, name: str, version: int, error: PereneError) -> None:
        answers = self.serves.get(name)
        stays = "nothing answers" if answers is None else f"v{answers} goes on answering"
        what = f"a server cannot load {name} v{version}: {stays}"
        why = f"{error.what}: {error.why}" if error.why else error.what
        mend = f"perene release rollback {name} --why TEXT" + (f", or {error.mend}" if error.mend else "")
        try:
            now = self._app.time.now()
            self._app.alerts.raise_(name, "load-failed", severity="page", what=what, why=why, mend=mend, at=now)
        except PereneError as unreachable:
            log.warning("alert_not_raised why=%s", unreachable)

    def _settle(self, name: str, why: str) -> None:
        self.not_loaded.pop(name, None)
        try:
            self._app.alerts.resolve(name, "load-failed", at=self._app.time.now(), why=why)
        except PereneError as unreachable:
            log.warning("alert_not_resolved why=%s", unreachable)

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_EVERY_S):
            self.look()


def _freeze() -> None:
    """Keep the collector from walking over what stays: modules and models (p99 at one connection 56 → 3 ms)."""
    gc.unfreeze()  # so that a version that was exchanged can go
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_EVERY)
