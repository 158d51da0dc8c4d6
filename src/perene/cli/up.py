"""``perene up``: the whole of it on this machine, in one command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perene.cli.door import Door
from perene.cli.verbs import Verb

if TYPE_CHECKING:
    from perene.cli.edits import Edits
    from perene.definition.settings import Settings


@click.command(
    "up",
    cls=Verb,
    prints=False,
    examples="""
      perene up                    the project here, until Ctrl-C
      perene up --port 9000
      perene up 2> perene.log &    its log goes to stderr
    """,
)
@click.option(
    "--port", type=click.IntRange(0, 65535), metavar="N", help="The server's port (default: that of perene.toml)."
)
@click.pass_obj
def command(door: Door, port: int | None) -> None:
    """Run server, scheduler and one worker on this machine.

    Ctrl-C lets each finish what it took; a second one does not wait. Runs that were cut short go on at the next start.
    In a project that was replayed, time goes on meanwhile, at time.speed of perene.toml, and stands from the end.
    """
    from contextlib import nullcontext

    from perene.cli.edits import Edits
    from perene.server.ports import address_of, reserved

    # Opened once before the processes do: mistakes are shown once, the database is made.
    settings = door.app(may_begin=True).settings
    edits = Edits(door.folder(), settings.models)
    number = settings.port if port is None else port
    door.close()
    with nullcontext(number) if settings.workers == 1 else reserved(settings.host, number) as number:
        door.out.note(f"perene up: {address_of(settings.host, number)}   Ctrl-C stops")
        _run(door, settings, number, edits)
    door.out.note("stopped; perene up goes on where it was")


def _run(door: Door, settings: Settings, port: int, edits: Edits) -> None:
    import signal
    import sys

    from perene.cli.children import GRACE_S, LISTENING, Children
    from perene.cli.serve import common_options, grace_of, server_commands

    common = common_options(door)
    program = [sys.executable, "-m", "perene.cli"]
    servers = server_commands(common, host=settings.host, port=port, workers=settings.workers)
    children = Children(
        commands={
            **servers,
            "scheduler": [*program, "scheduler", *common],
            "worker": [*program, "worker", *common],
        },
        err=sys.stderr,
        grace_s=max(GRACE_S, grace_of(settings)),
        servers=list(servers),
        ready=lambda address: door.out.note(f"{LISTENING}{address}"),
        news=lambda: edits.told("server, scheduler and worker go on", again="perene up"),
    )
    for number_of_signal in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number_of_signal, lambda *_: children.stop())
    children.run()
