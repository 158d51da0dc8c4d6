"""Which days a dataset reaches over, and where it is cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from perene.definition.model import Model
from perene.repositories.examples import midnight

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Training rows are of [since, trained_until), test rows of [split, until)."""

    since: datetime
    trained_until: datetime
    split: datetime
    until: datetime

    @property
    def days(self) -> list[date]:
        """The days that it reaches into."""
        first, last = self.since.date(), (self.until - timedelta.resolution).date()
        return [first + timedelta(days=i) for i in range((last - first).days + 1)]


def window_of(model: Model, now: datetime) -> Window:
    """The window of a dataset that is cut now.

    It ends with the last whole day whose labels have had their ``wait``. Training rows are those whose labels were due
    before the test began.
    """
    until = midnight((now.astimezone(UTC) - model.label.wait).date())
    split = until - model.test_on
    return Window(since=split - model.train_on, trained_until=split - model.label.wait, split=split, until=until)


def ranges(days: Iterable[date]) -> Iterator[tuple[date, date]]:
    """Days as ranges [first, until) of days that follow each other."""
    first = last = None
    for day in sorted(days):
        if first is not None and last is not None and day != last + DAY:
            yield first, last + DAY
            first = day
        first, last = first or day, day
    if first is not None and last is not None:
        yield first, last + DAY


def shown(first: date, until: date) -> str:
    """A range of days as people read it."""
    return f"{first.isoformat()} → {until.isoformat()} UTC"
