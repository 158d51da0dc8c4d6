"""``perene serve``."""

from __future__ import annotations

import click

from perene.cli.door import Door
from perene.cli.verbs import Verb


@click.command(
    "serve",
    cls=Verb,
    prints=False,
    examples="""
      perene serve
      perene serve --port 9000
    """,
)
@click.option("--host", metavar="ADDRESS", help="A loopback address (default: that of perene.toml).")
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="The port (default: that of perene.toml).")
@click.pass_obj
def command(door: Door, host: str | None, port: int | None) -> None:
    """Run the server that answers predictions over HTTP.

    It follows the releases and finishes what it took in before it stops. SIGTERM and Ctrl-C stop it.
    """
    import os

    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of a few rows, threads wait for each other longer than they work
    from perene.cli.children import end_with_parent
    from perene.cli.logs import log_to_stderr
    from perene.server.process import serve

    log_to_stderr()
    end_with_parent()
    app = door.app(may_begin=True)
    serve(app, host=host, port=port, ready=lambda address: door.out.note(f"listening on {address}"))
