"""The port that a server answers at: its own, or shared with other processes of the same project.

Processes share a port by SO_REUSEPORT, each with a socket of its own. On Linux new connections are spread evenly (64
that come at once go 22:42 to 32:32 to two processes; with one inherited socket 0:64 to 27:37), and a process that dies
takes no more along than the connections that it has. Elsewhere, macOS for one, one of them may get all connections.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterator

from perene.errors import NotAllowed, ServingError

_BACKLOG = 2048


def listen(host: str, port: int, *, share: bool = False) -> socket.socket:
    """A listening socket; 0 takes a free port. Nothing listens beyond loopback before there is authentication."""
    listener = _bound(host, port, share=share)
    try:
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _unusable(host, port, error) from error
    return listener


@contextlib.contextmanager
def reserved(host: str, port: int) -> Iterator[int]:
    """Keep a port, 0 for a free one, for processes that share it; gives its number. Nothing answers at it by this."""
    with contextlib.closing(listen(host, port)) as alone:  # fails where another server shares the port already
        number = int(alone.getsockname()[1])
    with contextlib.closing(_bound(host, number, share=True)):
        yield number


def address_of(host: str, port: int) -> str:
    """What a client asks for."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _bound(host: str, port: int, *, share: bool) -> socket.socket:
    name = "127.0.0.1" if host == "localhost" else host
    try:
        is_loopback = ipaddress.ip_address(name).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        why = "perene has no authentication yet, so it answers this machine only"
        raise NotAllowed(f"the server may not listen on {host}", why=why, mend='serve.host = "127.0.0.1"')
    bound = socket.socket(socket.AF_INET6 if ":" in name else socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
    try:
        if share:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((name, port))
    except OSError as error:
        bound.close()
        raise _unusable(host, port, error) from error
    return bound


def _unusable(host: str, port: int, error: OSError) -> ServingError:
    mend = "stop what listens there, or choose another with serve.port or --port"
    return ServingError(f"port {port} of {host} cannot be used", why=str(error), mend=mend, code="port-unusable")
