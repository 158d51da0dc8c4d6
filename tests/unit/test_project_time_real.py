"""Real time: several processes, whose machines' clocks are set back, or disagree."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perene.errors import NotAllowed
from perene.monitoring.watch import watch_clock
from perene.repositories import audits
from perene.repositories.alerts import Alerts
from perene.repositories.time import ProjectTime
from perene.storage.database import Database

START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


class Machine:
    """A machine's clock."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def record(database: Database, at: datetime) -> None:
    """Some deed of a project time."""
    with database.write() as connection:
        audits.record(connection, "hold", "model m", at=at, actor="ana")


def test_a_clock_that_is_set_back_does_not_take_project_time_back(database: Database) -> None:
    """A process that starts after it waits where the last deed was, until the clock has caught up."""
    machine = Machine()
    record(database, ProjectTime(database, machine).now())

    machine.now -= 5 * HOUR

    later = ProjectTime(database, machine)
    assert later.now() == START
    machine.now += 4 * HOUR
    assert later.now() == START
    machine.now += 2 * HOUR
    assert later.now() == machine.now


def test_a_process_whose_clock_is_behind_follows_the_others(database: Database) -> None:
    """Machines that disagree by minutes: what one has recorded is not before the time of another, a second later."""
    ahead, behind = Machine(START + 3 * MINUTE), Machine(START - 4 * MINUTE)
    first, second = ProjectTime(database, ahead), ProjectTime(database, behind)
    second.now()

    for _ in range(5):
        record(database, first.now())
        ahead.now += MINUTE
        behind.now += MINUTE
        assert second.now() == ahead.now - MINUTE


def test_a_young_project_is_replayed_whatever_real_time_was(database: Database) -> None:
    """What was recorded in real time holds no replay up."""
    record(database, START)
    time = ProjectTime(database, Machine())
    time.now()

    time.start_replay(START - 365 * 24 * HOUR)

    assert time.now() == ProjectTime(database, Machine()).now() == START - 365 * 24 * HOUR


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.sampled_from([0.2, 1.5, 3600.0])),
        st.tuples(st.just("set back"), st.just(5000.7)),  # never to the second of an earlier look
        st.tuples(st.just("record"), st.integers(0, 1)),
        st.tuples(st.just("read"), st.integers(0, 1)),
        st.tuples(st.just("restart"), st.integers(0, 1)),
    ),
    max_size=25,
)


@given(steps=STEPS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nobody_reads_less_than_was_recorded(emptied: Callable[[], Database], steps) -> None:
    """Of two processes neither, restarted or not, reads a time before that of any deed, or than it read itself."""
    machine, database = Machine(), emptied()
    record(database, START)
    times = [ProjectTime(database, machine) for _ in range(2)]
    recorded, own = START, [START, START]

    for verb, value in steps:
        if verb == "wait":
            machine.now += timedelta(seconds=value)
        elif verb == "set back":
            machine.now -= timedelta(seconds=value)
        elif verb == "restart":
            times[value], own[value] = ProjectTime(database, machine), recorded
        else:
            now = times[value].now()
            assert now >= max(recorded, own[value])
            own[value] = now
            if verb == "record":
                record(database, now)
                recorded = now


CHILD = """
import sys
from datetime import UTC, datetime, timedelta
from perene.repositories.time import ProjectTime
from perene.storage.database import Database

back = timedelta(hours=float(sys.argv[2]))
time = ProjectTime(Database(sys.argv[1]), lambda: datetime.now(UTC) - back)
print(time.now().isoformat())
"""


def test_another_process_reads_the_same(sqlite_database: Database) -> None:
    """A real second process, whose clock is hours behind, starts where the first one's last deed was."""
    done = ProjectTime(sqlite_database, lambda: datetime.now(UTC)).now()
    record(sqlite_database, done)

    url = str(sqlite_database.engine.url)
    said = [
        subprocess.run([sys.executable, "-c", CHILD, url, back], capture_output=True, text=True, check=True).stdout
        for back in ("3", "0")
    ]

    behind, right = (datetime.fromisoformat(text.strip()) for text in said)
    assert behind == done
    assert right > done


def test_of_racing_moves_the_latest_holds(database: Database) -> None:
    """Processes that move a replay on at one time do not take it back."""
    ProjectTime(database, Machine()).start_replay(START)
    hours, start = range(1, 7), threading.Barrier(6)

    def advance(hour: int) -> None:
        mine = ProjectTime(database, Machine())
        start.wait()
        with suppress(NotAllowed):
            mine.advance(START + hour * HOUR)

    threads = [threading.Thread(target=advance, args=(hour,)) for hour in hours]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert ProjectTime(database, Machine()).now() == START + 6 * HOUR


@pytest.mark.parametrize(("behind", "told"), [(0, False), (10, False), (11, True), (600, True)])
def test_time_that_stands_is_told(database: Database, behind: int, told: bool) -> None:
    """An alert fires while the machine's clock is behind, once a day at most, and is taken back."""
    alerts = Alerts(database)
    remembered = SimpleNamespace(alerts=alerts)
    for _ in range(3):
        watch_clock(remembered, now=START, machine_now=START - behind * MINUTE)

    firing = [(alert.rule, alert.count) for alert in alerts.list(state="firing")]
    assert firing == [("clock-behind", 1)] * told
    watch_clock(remembered, now=START, machine_now=START)
    assert alerts.list(state="firing") == []
