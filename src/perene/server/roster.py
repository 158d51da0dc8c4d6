"""Which version of each model answers: follows the release ledger, loads beside, swaps between two batches."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta

from perene.app import App
from perene.errors import PereneError
from perene.server.answering import Answering

log = logging.getLogger("perene.server")

LOOK_EVERY_S = 0.5
_TRY_AGAIN = timedelta(seconds=30)


class Roster:
    """Keeps every model's ``predictor`` at the version that the ledger says is live."""

    def __init__(self, app: App, models: Mapping[str, Answering]) -> None:
        self._app = app
        self._models = models
        self._failed: dict[tuple[str, int], datetime] = {}  # versions that would not load, and when that was tried
        self._missing: set[str] = set()
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

    @property
    def missing(self) -> list[str]:
        """The models that have a live version which this server has not loaded."""
        return sorted(self._missing)

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
                self._missing.discard(name)
            elif self._load(answering, wanted):
                changed = True
                self._missing.discard(name)
            else:
                self._missing.add(name)
        if changed:
            _freeze()

    def _load(self, answering: Answering, version: int) -> bool:
        """Load a version beside the one that answers, then exchange them; a version that fails is tried again later."""
        name, now = answering.model.name, self._app.machine()
        failed_at = self._failed.get((name, version))
        if failed_at is not None and now - failed_at < _TRY_AGAIN:
            return False
        try:
            answering.predictor = self._app.predictor(name, version)
        except Exception as error:  # noqa: BLE001 - the edge of a step: what a bundle raises must not end the server
            self._failed[(name, version)] = now
            self._alert(name, version, error)
            return False
        if self._failed.pop((name, version), None) is not None:
            self._settle(name)
        log.info("version_live model=%s version=%d", name, version)
        return True

    def _alert(self, name: str, version: int, error: Exception) -> None:
        log.error("load_failed model=%s version=%d", name, version, exc_info=error)
        what = f"a server cannot load {name} v{version}"
        why = error.what if isinstance(error, PereneError) else f"{type(error).__name__}: {error}"
        mend = f"perene release rollback {name}, or mend the bundle"
        try:
            now = self._app.time.now()
            self._app.alerts.raise_(name, "load-failed", severity="page", what=what, why=why, mend=mend, at=now)
        except PereneError as unreachable:
            log.warning("alert_not_raised why=%s", unreachable)

    def _settle(self, name: str) -> None:
        try:
            self._app.alerts.resolve(name, "load-failed", at=self._app.time.now())
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
