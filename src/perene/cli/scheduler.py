"""``perene scheduler``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import click

from perene.cli.door import Door
from perene.cli.verbs import Verb

if TYPE_CHECKING:
    from perene.app import App

log = logging.getLogger("perene.scheduler")
LOOK_EVERY_S = 1.0  # sooner than the clock of a replay runs down
AWAY_S = 5.0  # until it looks again for a database that cannot be reached
_ACTOR = "scheduler"


@click.command(
    "scheduler",
    cls=Verb,
    prints=False,
    examples="""
      perene scheduler              until Ctrl-C
      perene scheduler --once       what is due now, then end
    """,
)
@click.option("--once", is_flag=True, help="Create what is due now, then end.")
@click.pass_obj
def command(door: Door, once: bool) -> None:
    """Create the runs that are due, as time goes on.

    Any number may run: a run is created once. In a project that was replayed, time goes on while one runs, at
    time.speed of perene.toml; it stands while none does, and while a run works.
    """
    from perene.cli.children import end_with_parent
    from perene.cli.edits import Edits
    from perene.cli.logs import log_to_stderr
    from perene.cli.stopping import Stopping
    from perene.errors import StorageError

    log_to_stderr()
    is_alone = not end_with_parent()
    app = door.app(may_begin=True)
    if once:
        _schedule(app)
        return
    edits = Edits(door.folder(), app.settings.models) if is_alone else None
    with Stopping() as stopping:
        while not stopping.asked:
            if edits is not None and (line := edits.told("this scheduler goes on", again="perene scheduler")):
                log.warning("project_changed what=%s", line)
            try:
                app.wind(actor=_ACTOR)
                _schedule(app)
            except StorageError as error:
                log.warning("database_away pause_s=%g what=%s why=%s", AWAY_S, error.what, error.why)
                stopping.wait(AWAY_S)
            stopping.wait(LOOK_EVERY_S)
        app.time.run(0.0, actor=_ACTOR, why="the scheduler was asked to stop")


def _schedule(app: App) -> None:
    for run in app.schedule():
        log.info("run_queued run=%d model=%s due=%s", run.id, run.model, run.due_at.isoformat())
