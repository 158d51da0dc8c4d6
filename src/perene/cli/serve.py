"""``perene serve``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from perene.cli.door import Door
from perene.cli.verbs import Verb
from perene.definition.keys import MOST_WORKERS

if TYPE_CHECKING:
    import asyncio

    from perene.cli.edits import Edits
    from perene.definition.settings import Settings

log = logging.getLogger("perene.server")
_SERVE = [sys.executable, "-m", "perene.cli", "serve"]
_NO_DEADLINE = timedelta(minutes=1)
_SPARE_S = 10.0  # to drain what was answered


@click.command(
    "serve",
    cls=Verb,
    prints=False,
    examples="""
      perene serve
      perene serve --port 9000
      perene serve --workers 4      four processes, one port
    """,
)
@click.option("--host", metavar="ADDRESS", help="A loopback address (default: that of perene.toml).")
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="The port (default: that of perene.toml).")
@click.option(
    "--workers",
    type=click.IntRange(1, MOST_WORKERS),
    metavar="N",
    help="Processes that share the port (default: that of perene.toml, or 1).",
)
@click.option("--share-port", is_flag=True, hidden=True, help="Be one of several processes at this port.")
@click.option("--only-check", is_flag=True, hidden=True, help="Open the project, and end.")
@click.pass_obj
def command(
    door: Door, host: str | None, port: int | None, workers: int | None, share_port: bool, only_check: bool
) -> None:
    """Run the server that answers predictions over HTTP.

    It follows the releases and finishes what it took in before it stops. SIGTERM and Ctrl-C stop it; a second one does
    not wait. Of several processes, one that dies is started again, and the others go on meanwhile.
    """
    import os

    from perene.cli.children import end_with_parent
    from perene.cli.logs import log_to_stderr
    from perene.definition.settings import load_settings

    if only_check:
        door.app(may_begin=True)
        return
    log_to_stderr()
    is_alone = not end_with_parent()
    settings = load_settings(door.folder(), environment=door.environment, variables=os.environ)
    host, port = settings.host if host is None else host, settings.port if port is None else port
    workers = settings.workers if workers is None else workers
    if share_port or workers == 1:
        _serve_alone(door, host=host, port=port, share_port=share_port, is_alone=is_alone)
    else:
        _serve_together(door, settings, host=host, port=port, workers=workers)


def _serve_alone(door: Door, *, host: str, port: int, share_port: bool, is_alone: bool) -> None:
    import asyncio
    import os

    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of a few rows, threads wait for each other longer than they work
    from perene.cli.children import LISTENING
    from perene.cli.edits import Edits
    from perene.server.process import serve

    app = door.app(may_begin=True)
    edits = Edits(door.folder(), app.settings.models) if is_alone else None

    def ready(address: str) -> None:
        door.out.note(f"{LISTENING}{address}")
        if edits is not None:
            _tell_of(edits, asyncio.get_running_loop())

    serve(app, host=host, port=port, share_port=share_port, ready=ready)


def _tell_of(edits: Edits, loop: asyncio.AbstractEventLoop) -> None:
    """Log the edits that there are, now and every second from now on."""
    from perene.cli.edits import LOOK_EVERY_S

    if line := edits.told("this server goes on", again="perene serve"):
        log.warning("project_changed what=%s", line)
    loop.call_later(LOOK_EVERY_S, _tell_of, edits, loop)


def _serve_together(door: Door, settings: Settings, *, host: str, port: int, workers: int) -> None:
    import signal
    import subprocess

    from perene.cli.children import LISTENING, Children
    from perene.cli.edits import Edits
    from perene.server.ports import reserved

    # Opened once, so that mistakes are shown once and the database is made; elsewhere, for this process only watches.
    code = subprocess.run([*_SERVE, *common_options(door), "--only-check"], check=False).returncode
    if code:
        raise SystemExit(code)
    edits = Edits(door.folder(), settings.models)
    with reserved(host, port) as number:
        commands = server_commands(common_options(door), host=host, port=number, workers=workers)
        children = Children(
            commands=commands,
            err=sys.stderr,
            grace_s=grace_of(settings),
            servers=list(commands),
            ready=lambda address: door.out.note(f"{LISTENING}{address}"),
            news=lambda: edits.told("the servers go on", again="perene serve"),
        )
        for number_of_signal in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number_of_signal, lambda *_: children.stop())
        children.run()


def common_options(door: Door) -> list[str]:
    """What every process of a project is told."""
    return ["--project", str(door.folder()), *(["--env", door.environment] if door.environment else [])]


def server_commands(common: Sequence[str], *, host: str, port: int, workers: int) -> dict[str, list[str]]:
    """The commands of a project's server processes, by name; several of them share the port."""
    one = [*_SERVE, *common, "--host", host, "--port", str(port)]
    if workers == 1:
        return {"server": [*one, "--workers", "1"]}
    return {f"server {number}": [*one, "--share-port"] for number in range(1, workers + 1)}


def grace_of(settings: Settings) -> float:
    """The seconds that a server gets to finish: until the last request is answered or refused, and a little more."""
    return (settings.deadline or _NO_DEADLINE).total_seconds() + _SPARE_S
