"""Signals that ask a process to stop."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType

from perene.cli.children import SAME_WISH_S


class Stopping:
    """While it is entered, the first SIGTERM or SIGINT asks to stop (``asked``); a later one interrupts."""

    def __init__(self, *, same_wish_s: float = SAME_WISH_S) -> None:
        self._same_wish_s = same_wish_s
        self._event = threading.Event()
        self._before: dict[signal.Signals, object] = {}
        self._asked_at = 0.0

    @property
    def asked(self) -> bool:
        """Whether it is time to end."""
        return self._event.is_set()

    def wait(self, seconds: float) -> None:
        """Wait, or less when asked to stop."""
        self._event.wait(seconds)

    def __enter__(self) -> Stopping:
        self._before = {sign: signal.signal(sign, self._ask) for sign in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sign, handler in self._before.items():
            signal.signal(sign, handler)  # type: ignore[arg-type]

    def _ask(self, sign: int, frame: FrameType | None) -> None:
        if not self._event.is_set():
            self._asked_at = time.monotonic()
            self._event.set()
        elif time.monotonic() - self._asked_at >= self._same_wish_s:
            raise KeyboardInterrupt
