"""A server process without its HTTP: models that answer, their journal, and what keeps both going."""

from __future__ import annotations

import os
import socket

from perene.app import App
from perene.errors import PereneError
from perene.records.identity import new_id
from perene.server.answering import Answering
from perene.server.aside import Aside
from perene.server.batch import Desk
from perene.server.given import GivenIds
from perene.server.keeper import Keeper
from perene.server.losses import Losses
from perene.server.meter import Meter
from perene.server.requests import Limits
from perene.server.roster import Roster
from perene.server.stored import StoredAnswers
from perene.server.tally import Tally
from perene.storage.journal import Journal, journal_folder, read_open


class Service:
    """Put together from an App. ``start`` before the first request, ``stop`` after the last."""

    def __init__(self, app: App, *, address: str) -> None:
        settings = app.settings
        folder = journal_folder(app.project.folder)
        self.app = app
        self.limits = Limits(max_body=settings.max_body, max_rows=settings.max_rows, deadline=settings.deadline)
        self.losses = Losses()
        self.journal = Journal(folder, _writer_id(app), durability=settings.durability)
        self.meter = Meter(app.project.models, folder=folder.parent / "metrics", server=_slug(address))
        self.tally = Tally(self.meter)
        self.aside = Aside(self.journal, self.tally)
        desk = Desk(
            time=app.time,
            machine=app.machine,
            journal=self.journal,
            given=GivenIds(read_open(folder), app.database, app.predictions),
            losses=self.losses,
            tally=self.tally,
            aside=self.aside,
            durability=settings.durability,
            refuse_unlogged=settings.on_log_failure == "refuse",
            queue_rows=settings.queue_rows,
            timeout_s=self.limits.timeout_s(()),
            meter=self.meter,
        )
        self.models = {name: Answering(model, desk) for name, model in app.project.models.items()}
        self.stored = StoredAnswers(app, desk)
        self.roster = Roster(app, self.models)
        self.keeper = Keeper(
            app, self.journal, self.losses, self.tally, address=address, serves=lambda: self.roster.serves
        )
        self.stopping = False

    @property
    def troubles(self) -> dict[str, PereneError]:
        """What does not work at this moment, by part: "journal", "drain", "orphans" or "database"."""
        failure = self.journal.failure
        return dict(self.keeper.troubles) | ({} if failure is None else {"journal": failure})

    @property
    def is_ready(self) -> bool:
        """Whether requests are answered: live versions are loaded, and the log can be written or is not waited for."""
        refuses = "journal" in self.troubles and self.app.settings.on_log_failure == "refuse"
        return not (self.stopping or self.roster.not_loaded or refuses)

    def start(self) -> None:
        """Load what is live, then begin to follow the ledger and to drain."""
        self.roster.start()
        self.keeper.start()

    def stop(self) -> None:
        """Finish what was taken in, drain it, and go."""
        self.stopping = True
        self.roster.stop()
        for answering in self.models.values():
            answering.batcher.close()
        self.aside.stop()
        self.stored.close()
        self.keeper.stop()
        self.journal.close()
        self.meter.close()


def _slug(address: str) -> str:
    """An address of this machine as part of a file's name: another machine may share the folder."""
    return f"{socket.gethostname().partition('.')[0]}-{address.rpartition('/')[2].replace(':', '-')}"


def _writer_id(app: App) -> str:
    """A name for this process that no other has had: it names journals, and appends to the lake."""
    return f"{socket.gethostname().partition('.')[0]}-{os.getpid()}-{new_id(app.machine())[:13]}"
