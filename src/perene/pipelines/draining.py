"""Bringing what servers have answered so far into the log, before something is made of it."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from pathlib import Path

from perene.pipelines.drain import Logs, drain_orphans
from perene.repositories.servers import Servers

log = logging.getLogger("perene.drain")

_SILENT = timedelta(seconds=15)  # a server that has not beaten for so long is dead: its journal is an orphan
_LOOK_S = 0.05


def bring_in(servers: Servers, folder: Path, logs: Logs, *, patience: timedelta) -> bool:
    """Ask living servers to drain, drain what dead ones left, and wait; whether everything is in the log.

    What is not there in time comes with the next call: nothing is lost.
    """
    is_drained = _bring_in_dead(servers, folder, logs)
    if not servers.alive(_SILENT):
        return is_drained
    asked_at = servers.request_drain()
    until = time.monotonic() + patience.total_seconds()
    while any(s.drained_at is None or s.drained_at < asked_at for s in servers.alive(_SILENT)):
        if time.monotonic() > until:
            log.warning("drain_late patience=%s", patience)
            return False
        time.sleep(_LOOK_S)
    return _bring_in_dead(servers, folder, logs)  # of a server that died meanwhile


def _bring_in_dead(servers: Servers, folder: Path, logs: Logs) -> bool:
    """Drain what dead servers left, and forget them, so that nobody waits for them; whether nothing is left."""
    done = drain_orphans(folder, logs)
    for error in done.failures:
        log.error("drain_failed what=%s why=%s", error.what, error.why)
    for writer in done.ended:
        servers.forget(writer)
    return not done.failures
