"""The release ledger against a plain dict: whatever is done in whatever order, both tell the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from perene.errors import Conflict, NotAllowed
from perene.records.model import ModelVersion
from perene.records.release import ReleaseEvent, ReleaseState
from perene.repositories.models import Models
from perene.repositories.releases import Releases
from perene.storage.database import Database

S = ReleaseState
OPEN = (S.PROPOSED, S.WAITING)


class Ledger(RuleBasedStateMachine):
    """The dicts: state, version and what it replaces by release id; ``stack``: where rollbacks go back through."""

    emptied: Callable[[], Database]
    train: Callable[..., ModelVersion]
    releases = Bundle("releases")

    @initialize()
    def open(self) -> None:
        self.database = type(self).emptied()
        self.ledger, self.models = Releases(self.database), Models(self.database)
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.state: dict[int, ReleaseState] = {}
        self.version: dict[int, int] = {}
        self.replaces: dict[int, int | None] = {}
        self.live: int | None = None  # a version
        self.stack: list[int] = []
        self.was_live: list[tuple[datetime, int]] = []
        self.held = False
        self.seen: list[ReleaseEvent] = []
        type(self).train(self.database)

    def who(self) -> dict[str, object]:
        self.now += timedelta(hours=1)
        return {"actor": "ana", "why": "why", "at": self.now}

    def go_live(self, id: int, *, before: ReleaseState) -> None:
        for other, state in self.state.items():
            if state is S.LIVE:
                self.state[other] = before
            elif state in OPEN and other != id:
                self.state[other] = S.SUPERSEDED
        self.state[id] = S.LIVE
        self.live = self.version[id]
        self.was_live.append((self.now, self.live))

    @rule(target=releases)
    def propose(self) -> int:
        version = type(self).train(self.database).version
        release = self.ledger.propose("m", version, run=None, evaluation=None, **self.who())
        self.state[release.id], self.version[release.id] = S.PROPOSED, version
        self.replaces[release.id] = self.live
        return release.id

    @rule(id=releases)
    def wait(self, id: int) -> None:
        if self.state[id] not in OPEN:
            with pytest.raises(NotAllowed):
                self.ledger.wait(id, **self.who())
            return
        was = self.state[id]
        self.ledger.wait(id, **self.who())
        if was is S.PROPOSED:
            self.state |= {other: S.SUPERSEDED for other, state in self.state.items() if state is S.WAITING}
        self.state[id] = S.WAITING

    @rule(id=releases, automatic=st.booleans(), reviewed=st.sampled_from(["this", "other", None]))
    def approve(self, id: int, automatic: bool, reviewed: str | None) -> None:
        bundle = {"this": self.ledger.get(id).bundle, "other": "other", None: None}[reviewed]
        deed = {"automatic": automatic, "bundle": bundle, **self.who()}
        was = self.state[id]
        if was is S.LIVE:
            self.ledger.approve(id, **deed)
        elif was not in OPEN or (automatic and self.held):
            with pytest.raises(NotAllowed):
                self.ledger.approve(id, **deed)
        elif reviewed == "other" or self.replaces[id] != self.live:
            with pytest.raises(Conflict):
                self.ledger.approve(id, **deed)
        else:
            self.ledger.approve(id, **deed)
            self.go_live(id, before=S.REPLACED)
            self.stack.append(self.version[id])

    @rule()
    def propose_and_approve(self) -> None:
        self.approve(self.propose(), automatic=False, reviewed=None)

    @rule(id=consumes(releases))
    def reject(self, id: int) -> None:
        if self.state[id] in (*OPEN, S.REJECTED):
            self.ledger.reject(id, **self.who())
            self.state[id] = S.REJECTED
        else:
            with pytest.raises(NotAllowed):
                self.ledger.reject(id, **self.who())

    @precondition(lambda self: len(self.stack) > 1)
    @rule(data=st.data())
    def rollback(self, data: st.DataObject) -> None:
        to = data.draw(st.sampled_from([None, *sorted(set(self.stack))]), label="to")
        if to == self.live:
            with pytest.raises(Conflict):
                self.ledger.rollback("m", to, **self.who())
            return
        release = self.ledger.rollback("m", to, **self.who())
        target = self.stack[-2] if to is None else to
        del self.stack[self.stack.index(target) + 1 :]
        self.version[release.id] = target
        self.go_live(release.id, before=S.ROLLED_BACK)
        self.held = True
        assert release.version == target

    @rule(hold=st.booleans())
    def hold_or_resume(self, hold: bool) -> None:
        (self.models.hold if hold else self.models.resume)("m", **self.who())
        self.held = hold

    @invariant()
    def the_ledger_tells_what_the_dict_tells(self) -> None:
        if hasattr(self, "ledger"):
            assert {release.id: release.state for release in self.ledger.list("m")} == self.state
            assert self.models.get("m").champion == self.live
            assert (self.models.get("m").held_at is not None) == self.held

    @invariant()
    def at_most_one_is_live_and_it_is_the_champion(self) -> None:
        if hasattr(self, "ledger"):
            live = [release.version for release in self.ledger.list("m", state=S.LIVE)]
            assert live == ([] if self.live is None else [self.live])

    @invariant()
    def lines_are_only_added(self) -> None:
        if hasattr(self, "ledger"):
            events = self.ledger.events("m")
            assert events[: len(self.seen)] == self.seen
            self.seen = events

    @invariant()
    def the_past_stays_as_it_was(self) -> None:
        if hasattr(self, "ledger") and self.was_live:
            for (at, version), (until, _) in zip(self.was_live, [*self.was_live[1:], (self.now, 0)], strict=True):
                assert self.ledger.live_at("m", at) == version
                assert self.ledger.live_at("m", max(at, until - timedelta(microseconds=1))) == version
            periods = [(period.since, period.version) for period in self.ledger.history("m")]
            assert periods == self.was_live


@pytest.fixture
def ledger_machine(emptied: Callable[[], Database], train: Callable[..., ModelVersion]) -> Iterator[type[Ledger]]:
    yield type("LedgerOfOneTest", (Ledger,), {"emptied": staticmethod(emptied), "train": staticmethod(train)})


def test_the_ledger_is_what_a_dict_says(ledger_machine: type[Ledger], dialect: str) -> None:
    """In any order of verbs: one live version at most, the champion is the ledger's, and lines are only added."""
    run_state_machine_as_test(
        ledger_machine,
        settings=settings(
            max_examples=25 if dialect == "sqlite" else 8,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
