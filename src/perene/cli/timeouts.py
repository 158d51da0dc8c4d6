"""Waiting for something that long, and no longer."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click

from perene.errors import PereneError


class TimedOut(KeyboardInterrupt):
    """The time of --timeout is over: what works is interrupted, as by Ctrl-C."""


class StillAtWork(PereneError):
    """What was waited for had not ended when the time of --timeout was over."""

    code = "timeout"


class Span(click.ParamType["float"]):
    """A duration as people type it, as 30m or 2h; in seconds."""

    name = "span"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        from perene.definition.durations import duration

        if isinstance(value, float):
            return value
        try:
            seconds = duration(value).total_seconds()
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return seconds or self.fail("must be longer than nothing", param, ctx)


@contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """Raise TimedOut in the body when it takes longer; None waits for ever."""
    if seconds is None:
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise TimedOut

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
