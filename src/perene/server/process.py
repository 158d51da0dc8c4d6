"""The server process: uvicorn with uvloop and httptools, on this machine's loopback, until a signal asks it to end."""

from __future__ import annotations

import contextlib
import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import uvicorn

from perene.app import App
from perene.errors import NotAllowed, ServingError
from perene.server.api import build_api
from perene.server.hot import HotRoute
from perene.server.service import Service

_KEEP_ALIVE_S = 75  # longer than clients keep idle connections, so that they close them, not we
_FINISH_S = 20


def serve(
    app: App, *, host: str | None = None, port: int | None = None, ready: Callable[[str], None] | None = None
) -> None:
    """Answer HTTP until SIGTERM or SIGINT; then finish what was taken in, drain the journal, and return.

    Args:
        app: The opened project.
        host: A loopback address; the settings' when None.
        port: 0 takes a free one; the settings' when None.
        ready: Called with the address (``http://127.0.0.1:8780``) as soon as requests are answered.
    """
    host = app.settings.host if host is None else host
    listener = _listen(host, app.settings.port if port is None else port)
    with contextlib.closing(listener):
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listener.getsockname()[1]}"
        service = Service(app, address=address)
        try:
            service.start()
            server = _Server(_config(service), lambda: ready(address) if ready else None)
            server.run(sockets=[listener])
        finally:
            service.stop()


def _config(service: Service) -> uvicorn.Config:
    return uvicorn.Config(
        HotRoute(service.models, build_api(service)),
        http="httptools",
        lifespan="off",
        interface="asgi3",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_FINISH_S,
    )


class _Server(uvicorn.Server):
    """uvicorn's server, but a signal that it has obeyed is not raised again: a clean shutdown ends with exit code 0."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept, then say so."""
        await super().startup(sockets)
        self._tell_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take SIGTERM and SIGINT as a wish to end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {sig: signal.signal(sig, self.handle_exit) for sig in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. Nothing listens beyond loopback before there is authentication."""
    name = "127.0.0.1" if host == "localhost" else host
    try:
        is_loopback = ipaddress.ip_address(name).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        why = "perene has no authentication yet, so it answers this machine only"
        raise NotAllowed(f"the server may not listen on {host}", why=why, mend='serve.host = "127.0.0.1"')
    listener = socket.socket(socket.AF_INET6 if ":" in name else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
    try:
        listener.bind((name, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        mend = "stop what listens there, or choose another with serve.port or --port"
        what = f"port {port} of {host} cannot be used"
        raise ServingError(what, why=str(error), mend=mend, code="port-unusable") from error
    return listener
