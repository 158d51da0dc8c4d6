"""Keeps house for a server process: rotates and drains the journal, beats, and tells what was lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from perene.app import App
from perene.errors import PereneError
from perene.pipelines.drain import Drained, drain, drain_orphans
from perene.server.losses import Losses
from perene.server.tally import Tally
from perene.storage.journal import Journal

log = logging.getLogger("perene.server")

TURN_EVERY_S = 0.25
_BEAT_EVERY = timedelta(seconds=2)
_ORPHANS_EVERY = timedelta(seconds=30)
_TRY_AGAIN = timedelta(seconds=5)
_LONG_AGO = timedelta(days=1)
_DRAINS = {"drain", "orphans"}
_REST_S = 0.02  # in which those who wait are answered (p99 at half load: 80 ms with a rest of 5 ms, 33 with this)

Answer = TypeVar("Answer")


class Keeper:
    """One thread. What fails is alarmed and tried again; it never stops the answering.

    ``drained_at``: everything that this process answered before that machine time is in the lake. ``troubles``: what
    does not work at this moment, of "journal", "drain", "orphans" (those of dead servers) and "database", and why.
    """

    def __init__(
        self,
        app: App,
        journal: Journal,
        losses: Losses,
        tally: Tally,
        *,
        address: str,
        serves: Callable[[], Mapping[str, int]],
    ) -> None:
        self.drained_at: datetime | None = None
        self.troubles: dict[str, PereneError] = {}
        self._app = app
        self._journal = journal
        self._losses = losses
        self._tally = tally
        self._address = address
        self._serves = serves
        self._logs = app.logs
        self._rotated_at = app.machine()
        self._beat_at = self._orphans_at = self._failed_at = self._rotated_at - _LONG_AGO
        self._is_alarmed = True  # perhaps, by a server that died since
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="perene-keeper", daemon=True)

    def start(self) -> None:
        """Tell the database that this server lives, then keep house in a thread."""
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        """Drain everything, forget this server in the database. What cannot be drained stays as an orphan."""
        self._stopping.set()
        if self._thread.ident is not None:  # not where it was asked to stop before it began
            self._thread.join(60)
        self._rotate_and_drain(self._app.machine())
        self._tell_losses()
        self._tell_counts()
        try:
            self._app.servers.forget(self._journal.writer)
        except PereneError as error:
            log.warning("server_not_forgotten why=%s", error)

    def turn(self) -> None:
        """What there is to do at this moment."""
        now = self._app.machine()
        self._see("journal", self._journal.check())
        if self._is_due(now):
            self._rotate_and_drain(now)
        if now - self._orphans_at >= _ORPHANS_EVERY:
            self._orphans_at = now
            self._drain_dead()
        self._tell_losses()
        if now - self._beat_at >= _BEAT_EVERY:
            self._beat()
            self._tell_counts()

    def _is_due(self, now: datetime) -> bool:
        """Whether the journal is full or old enough, a reader asks for a drain, or an earlier drain failed."""
        if now - self._failed_at < _TRY_AGAIN:
            return False
        settings = self._app.settings
        rows = self._journal.rows
        age_s = (now - self._rotated_at).total_seconds()
        if rows >= settings.journal_rows or (rows and age_s >= settings.journal_seconds) or "drain" in self.troubles:
            return True
        return self._quietly(self._is_asked) or False

    def _is_asked(self) -> bool:
        """Whether a reader waits for what this server answered since its last drain."""
        asked_at = self._app.servers.drain_requested_at()
        return asked_at is not None and (self.drained_at is None or asked_at > self.drained_at)

    def _drain_dead(self) -> None:
        """Drain what dead servers left, and forget them."""
        done = drain_orphans(self._journal.folder, self._logs, rest=self._rest)
        self._settle("orphans", done)
        for writer in done.ended:
            self._do(partial(self._app.servers.forget, writer))

    def _rotate_and_drain(self, now: datetime) -> None:
        before, failures = self._rotate(now)
        files = self._journal.closed()  # also where there is no room for a new file: a drain makes room
        done = drain(files, self._logs, rest=self._rest)
        done.failures += failures
        self._settle("drain", done)
        if done.failures:
            self._failed_at = now
        else:
            self.drained_at = before
        self._beat()

    def _rest(self) -> None:
        """Let others answer, unless so much came in meanwhile that this drain must not take longer."""
        if self._journal.rows < self._app.settings.journal_rows:
            time.sleep(_REST_S)

    def _rotate(self, now: datetime) -> tuple[datetime, list[PereneError]]:
        """Begin a new file; from when on what is answered lies in it, or what kept it from being made."""
        with self._journal.turn():
            before = self._app.machine()
            try:
                self._journal.rotate()
            except PereneError as error:
                return before, [error]
        self._rotated_at = now
        return before, []

    def _settle(self, part: str, done: Drained) -> None:
        """Tell what was drained, and what was not; take the alert back when all of it works again."""
        self._report(done)
        self._see(part, done.failures[0] if done.failures else None)
        if done.failures:
            self._is_alarmed = True
        elif self._is_alarmed and not _DRAINS & self.troubles.keys():
            self._is_alarmed = not self._do(
                lambda: self._app.alerts.resolve(None, "drain-failed", at=self._app.time.now())
            )

    def _report(self, done: Drained) -> None:
        if done.files:
            log.info("drained files=%d predictions=%d truths=%d", done.files, done.predictions, done.truths)
        for error in done.failures:
            log.error("drain_failed what=%s why=%s", error.what, error.why)
            what = "answered predictions wait in a journal and cannot be brought into the log"
            self._alert(None, "drain-failed", what, why=str(error.what), mend=error.mend or error.why)
        for model, count in done.again.items():
            what = f"{count} predictions of {model} were answered twice under one prediction id"
            why = "two server processes were asked at the same moment; the log keeps the first answer"
            self._alert(
                model, "answered-twice", what, why=why, mend="send a prediction id to one server only", page=False
            )

    def _tell_losses(self) -> None:
        for model, count in self._losses.take_untold().items():
            what = f"{count} predictions of {model} were answered but not logged"
            mend = 'free disk space; on_log_failure = "refuse" answers 503 instead'
            why = "the journal could not be written"
            if not self._alert(model, "predictions-lost", what, why=why, mend=mend):
                self._losses.put_back(model, count)

    def _tell_counts(self) -> None:
        untold = self._tally.take_untold()
        if untold and not self._do(lambda: self._app.servings.add(untold)):
            self._tally.put_back(untold)

    def _alert(self, model: str | None, rule: str, what: str, *, why: str, mend: str, page: bool = True) -> bool:
        severity = "page" if page else "notice"
        return self._do(
            lambda: self._app.alerts.raise_(
                model, rule, severity=severity, what=what, why=why, mend=mend, at=self._app.time.now()
            )
        )

    def _beat(self) -> None:
        self._beat_at = self._app.machine()
        self._do(
            lambda: self._app.servers.beat(
                self._journal.writer,
                address=self._address,
                serves=dict(self._serves()),
                lost=self._losses.total,
                drained_at=self.drained_at,
            )
        )

    def _do(self, deed: Callable[[], object]) -> bool:
        """Do what needs the database; whether it worked."""
        return self._quietly(lambda: (deed(), True)[1]) is True

    def _quietly(self, question: Callable[[], Answer]) -> Answer | None:
        """What needs the database, or None: the database being away must not stop the house-keeping."""
        try:
            answer = question()
        except PereneError as error:
            self._see("database", error)
            return None
        self._see("database", None)
        return answer

    def _see(self, part: str, trouble: PereneError | None) -> None:
        """Remember what does not work; the log hears of its beginning and of its end."""
        if trouble is not None:
            if part not in self.troubles:
                log.error("%s_failed what=%s why=%s", part, trouble.what, trouble.why)
            self.troubles[part] = trouble
        elif self.troubles.pop(part, None) is not None:
            log.info("%s_works_again", part)

    def _run(self) -> None:
        while not self._stopping.wait(TURN_EVERY_S):
            try:
                self.turn()
            except BaseException:  # the edge of a thread (a panic of polars is no Exception): recorded, and tried again
                log.exception("housekeeping_failed")
