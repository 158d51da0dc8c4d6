"""Project time and machine time.

*Project time* drives schedules, windows, as-of questions and freshness. Every process of a project reads the same one:
real time, or (in a project that was replayed) an anchor that the database holds, and the speed at which it runs. It
never goes backwards. *Machine time* drives leases, heartbeats, timeouts and drains, and is always real. Both come in as
arguments; only the doors call ``machine_clock``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

MachineClock = Callable[[], datetime]
WOUND_FOR = timedelta(seconds=5)  # machine time


def machine_clock() -> datetime:
    """The real time, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """Project time was ``project`` when machine time was ``machine``, and runs at ``speed`` (1 is real time, 0 stands).

    It runs for ``WOUND_FOR`` and then stands, unless it is wound again. So time does not run on without those who live
    in it, however they ended, and needs nobody to stop it.
    """

    project: datetime
    machine: datetime
    speed: float = 1.0

    def at(self, machine_now: datetime) -> datetime:
        """Project time at a machine time.

        Before its own the machine's clock was set back: project time is the latest that it can have led to.
        """
        elapsed = machine_now - self.machine
        return self.project + (WOUND_FOR if elapsed < timedelta(0) else min(elapsed, WOUND_FOR)) * self.speed

    def has_run_down(self, machine_now: datetime) -> bool:
        """Whether it runs no more, because nobody wound it."""
        return machine_now - self.machine >= WOUND_FOR


class ProjectClock(Protocol):
    """Project time, as every process of the project reads it. ``now`` never returns less than it returned before."""

    def now(self) -> datetime: ...
