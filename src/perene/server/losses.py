"""Predictions that were answered but not logged: counted here, alarmed by the drainer, reported with each heartbeat."""

from __future__ import annotations

import logging
import threading

from perene.errors import PereneError

log = logging.getLogger("perene.server")


class Losses:
    """Counts, by model. Any thread may add."""

    def __init__(self) -> None:
        self.total = 0
        self._untold: dict[str, int] = {}
        self._turn = threading.Lock()

    def add(self, model: str, count: int, error: PereneError) -> None:
        """Count predictions of a model that the journal refused."""
        with self._turn:
            self.total += count
            self._untold[model] = self._untold.get(model, 0) + count
        log.error("predictions_lost model=%s count=%d why=%s", model, count, error.why or error.what)

    def take_untold(self) -> dict[str, int]:
        """What has been lost since the last call, by model."""
        with self._turn:
            untold, self._untold = self._untold, {}
        return untold

    def put_back(self, model: str, count: int) -> None:
        """The alert could not be raised: it is still to be told."""
        with self._turn:
            self._untold[model] = self._untold.get(model, 0) + count
