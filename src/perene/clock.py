"""Project time and machine time.

*Project time* drives schedules, windows, as-of questions and freshness. Every process of a project reads the same
one: an anchor
that the database holds, and the speed at which it runs. It never goes backwards. *Machine time* drives leases,
heartbeats, timeouts and drains, and is always real. Both come in as arguments; only the doors call ``machine_clock``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

MachineClock = Callable[[], datetime]


def machine_clock() -> datetime:
    """The real time, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """Project time was ``project`` when machine time was ``machine``, and runs at ``speed`` (0 stands still, 1 is
    real time)."""

    project: datetime
    machine: datetime
    speed: float = 1.0

    def at(self, machine_now: datetime) -> datetime:
        """Project time at a machine time; a machine clock that was set back does not take project time back."""
        elapsed = max((machine_now - self.machine).total_seconds(), 0.0)
        return self.project if self.speed == 0 else self.project + timedelta(seconds=elapsed * self.speed)

    @property
    def is_real(self) -> bool:
        """Whether project time is machine time."""
        return self.speed == 1.0 and self.project == self.machine


class ProjectClock(Protocol):
    """Project time, as every process of the project reads it. ``now`` never returns less than it returned before."""

    def now(self) -> datetime: ...

