"""Periods of time over which answers are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from perene.repositories.examples import midnight


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Period:
    """Event times of [since, until), in UTC whatever zone they were given in."""

    since: datetime
    until: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "since", self.since.astimezone(UTC))
        object.__setattr__(self, "until", self.until.astimezone(UTC))


def months(since: datetime, until: datetime) -> list[Period]:
    """The calendar months (UTC) of [since, until); the first and the last may be parts of one."""
    return _cut(since, until, lambda at: midnight((at.replace(day=1) + timedelta(days=32)).date().replace(day=1)))


def weeks(since: datetime, until: datetime) -> list[Period]:
    """The weeks of [since, until), each from Monday (UTC); the first and the last may be parts of one."""
    return _cut(since, until, lambda at: midnight((at + timedelta(days=7 - at.weekday())).date()))


def spans(periods: Iterable[Period]) -> list[Period]:
    """What periods cover, in order, as periods that neither overlap nor touch."""
    found: list[Period] = []
    for period in sorted(periods):
        if found and period.since <= found[-1].until:
            found[-1] = Period(since=found[-1].since, until=max(found[-1].until, period.until))
        elif period.since < period.until:
            found.append(period)
    return found


def _cut(since: datetime, until: datetime, following: Callable[[datetime], datetime]) -> list[Period]:
    parts, at = [], since.astimezone(UTC)
    while at < until:
        end = min(following(at), until)
        parts.append(Period(since=at, until=end))
        at = end
    return parts
