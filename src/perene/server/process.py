"""The server process: uvicorn with uvloop and httptools, on this machine's loopback, until a signal asks it to end."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn

from perene.app import App
from perene.server.api import build_api
from perene.server.hot import HotRoute
from perene.server.ports import address_of, listen
from perene.server.service import Service
from perene.server.slow import SlowConnections

_KEEP_ALIVE_S = 75  # longer than clients keep idle connections, so that they close them, not we
_FINISH_S = 60  # where requests have no deadline of their own
_SPARE_S = 5
_TICKS = 10
_SAME_WISH_S = 0.5  # a second signal within this is the first one again: some wrappers pass on what the terminal sent


def serve(
    app: App,
    *,
    host: str | None = None,
    port: int | None = None,
    share_port: bool = False,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Answer HTTP until SIGTERM or SIGINT; then finish what was taken in, drain the journal, and return.

    Args:
        app: The opened project.
        host: A loopback address; the settings' when None.
        port: 0 takes a free one; the settings' when None.
        share_port: Whether other servers of the project may answer at the same port.
        ready: Called with the address (``http://127.0.0.1:8780``) as soon as requests are answered.
    """
    host = app.settings.host if host is None else host
    port = app.settings.port if port is None else port
    with contextlib.ExitStack() as stack:
        ending = stack.enter_context(_Ending())
        listener = None if share_port else stack.enter_context(contextlib.closing(listen(host, port)))
        address = address_of(host, port if listener is None else listener.getsockname()[1])
        service = Service(app, address=address)
        stack.callback(service.stop)
        service.start()
        if listener is None:  # not before: what is sent to this socket waits for this process alone
            listener = stack.enter_context(contextlib.closing(listen(host, port, share=True)))
        server = ending.server = _Server(_config(service), lambda: ready(address) if ready else None)
        server.run(sockets=[listener])


def _config(service: Service) -> uvicorn.Config:
    timeout_s = service.limits.timeout_s(())
    return uvicorn.Config(
        HotRoute(service.models, build_api(service), service.limits),
        http="httptools",
        lifespan="off",
        interface="asgi3",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_FINISH_S if timeout_s is None else math.ceil(timeout_s) + _SPARE_S,
    )


class _Server(uvicorn.Server):
    """uvicorn's server, but it says when it accepts, ends slow connections, and leaves signals to ``_Ending``."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell_started = started
        self._slow = SlowConnections()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept, then say so."""
        await super().startup(sockets)
        self._tell_started()

    async def on_tick(self, counter: int) -> bool:
        """What uvicorn does ten times a second."""
        if counter % _TICKS == 0:
            self._slow.end(self.server_state.connections, time.monotonic())
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: a signal that uvicorn has obeyed it raises again, and the exit code would not be 0."""
        yield


class _Ending:
    """While it is entered, the first SIGTERM or SIGINT lets the server finish; a later one ends the process at once.

    What was answered is in the journal by then, and another server drains it.
    """

    def __init__(self) -> None:
        self.server: _Server | None = None
        self._asked_at: float | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _Ending:
        if threading.current_thread() is threading.main_thread():
            self._before = {sig: signal.signal(sig, self._ask) for sig in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *error: object) -> None:
        for sig, handler in self._before.items():
            signal.signal(sig, handler)

    def _ask(self, sig: int, frame: FrameType | None) -> None:
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            if self.server is None:
                raise SystemExit(0)  # still loading
            self.server.should_exit = True
        elif time.monotonic() - self._asked_at >= _SAME_WISH_S:
            os._exit(128 + sig)
