"""Where the time of a request goes: the parts of a server, watched from outside.

The methods of a few objects are wrapped, in a process that serves nobody: what serves carries no clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from time import perf_counter
from typing import ParamSpec, TypeVar

from perene.definition.hooks import Hook

P = ParamSpec("P")
T = TypeVar("T")


class Stopwatch:
    """Counts the seconds of each stage of one request at a time; a stage within a stage counts for itself only.

    A request may go from thread to thread, but no two of its stages may run at once. ``clock`` tells seconds.
    """

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self._clock = clock
        self._laps: dict[str, float] = {}
        self._inner = 0.0  # seconds of the stages within the present one

    def around(self, stage: str, function: Callable[P, T]) -> Callable[P, T]:
        """The function, watched as a stage."""

        def watched(*args: P.args, **kwargs: P.kwargs) -> T:
            outer, self._inner = self._inner, 0.0
            started = self._clock()
            try:
                return function(*args, **kwargs)
            finally:
                took = self._clock() - started
                self._laps[stage] = self._laps.get(stage, 0.0) + took - self._inner
                self._inner = outer + took

        return watched

    def watch(self, owner: object, method: str, stage: str) -> None:
        """Watch a method of an object as a stage."""
        setattr(owner, method, self.around(stage, getattr(owner, method)))

    def watched_hook(self, hook: Hook) -> Hook:
        """A post step, watched as a stage of its name; any other hook as it is."""
        if hook.kind != "post":
            return hook
        parts = {field.name: getattr(hook, field.name) for field in fields(hook)}
        return _WatchedHook(**parts, stopwatch=self)

    def take_laps(self) -> dict[str, float]:
        """The seconds of each stage since the last call."""
        laps, self._laps = self._laps, {}
        self._inner = 0.0
        return laps


@dataclass(frozen=True, slots=True, kw_only=True)
class _WatchedHook(Hook):
    stopwatch: Stopwatch

    def __call__(self, **available: object) -> object:
        return self.stopwatch.around(f"post {self.name}", Hook.__call__)(self, **available)
