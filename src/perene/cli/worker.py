"""``perene worker``."""

from __future__ import annotations

import logging

import click

from perene.cli.door import Door
from perene.cli.verbs import Verb

LOOK_EVERY_S = 1.0
AWAY_S = 5.0  # until it looks again for a database that cannot be reached
log = logging.getLogger("perene.worker")


@click.command(
    "worker",
    cls=Verb,
    prints=False,
    examples="""
      perene worker                 until Ctrl-C
      perene worker --once          what is queued now, then end
      perene worker --model eta     runs of one model only
    """,
)
@click.option("--model", metavar="NAME", help="Work on this model's runs only.")
@click.option("--once", is_flag=True, help="End when nothing is queued.")
@click.pass_obj
def command(door: Door, model: str | None, once: bool) -> None:
    """Work on runs, one after another.

    A run that a stopped or killed worker left is taken up at the step where it stood. The first SIGTERM or Ctrl-C lets
    the run that it works on finish; a second one leaves it.
    """
    from perene.cli.children import WORKER, end_with_parent, give_way
    from perene.cli.edits import Edits
    from perene.cli.logs import log_to_stderr
    from perene.cli.stopping import Stopping
    from perene.errors import StorageError

    log_to_stderr()
    is_alone = not end_with_parent()
    give_way(WORKER)
    app = door.app(may_begin=True)
    if model is not None:
        app.model(model)
    worker = app.worker()
    edits = Edits(door.folder(), app.settings.models) if is_alone else None
    with Stopping() as stopping:
        while not stopping.asked:
            if edits is not None and (line := edits.told("this worker goes on", again="perene worker")):
                log.warning("project_changed what=%s", line)
            try:
                run = worker.work_one(model)
            except StorageError as error:
                if once:
                    raise
                log.warning("database_away pause_s=%g what=%s why=%s", AWAY_S, error.what, error.why)
                stopping.wait(AWAY_S)
                continue
            if run is not None:
                log.info("run_ended run=%d model=%s outcome=%s", run.id, run.model, run.outcome or run.state.value)
            elif once:
                return
            else:
                stopping.wait(LOOK_EVERY_S)
