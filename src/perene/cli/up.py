"""``perene up``: the whole of it on this machine, in one command."""

from __future__ import annotations

import click

from perene.cli.door import Door
from perene.cli.verbs import Verb


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
    import signal
    import sys

    from perene.cli.children import Children

    # Opened once before the processes do: mistakes are shown once, the database is made.
    settings = door.app(may_begin=True).settings
    number = settings.port if port is None else port
    common = ["--project", str(door.folder()), *(["--env", door.environment] if door.environment else [])]
    program = [sys.executable, "-m", "perene.cli"]
    children = Children(
        commands={
            "server": [*program, "serve", *common, "--port", str(number)],
            "scheduler": [*program, "scheduler", *common],
            "worker": [*program, "worker", *common],
        },
        err=sys.stderr,
    )
    door.close()
    for number_of_signal in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number_of_signal, lambda *_: children.stop())
    door.out.note(f"perene up: http://{settings.host}:{number}   Ctrl-C stops")
    children.run()
    door.out.note("stopped; perene up goes on where it was")
