"""A run, followed while it works: a line on stderr for each step that ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from perene.cli.steps import made_by, took
from perene.cli.terminal import can_rewrite, cut, is_terminal, paint
from perene.cli.words import state, tone_of
from perene.errors import StorageError

if TYPE_CHECKING:
    from perene.cli.output import Output
    from perene.records.run import Run, Step
    from perene.repositories.runs import Runs

_LOOK_S = 0.1
_PATIENCE = 10  # looks before a run that waits is said to wait

_BEFORE = 34  # columns before what a step made


@contextmanager
def followed(runs: Runs, model: str, *, actor: str, out: Output) -> Iterator[None]:
    """While the body works a manual run of a model, tell how far it is. The run is the first that comes from now on."""
    before = max((run.id for run in runs.list(model, limit=1)), default=0)
    done = threading.Event()
    telling = _Telling(out)

    def look() -> None:
        mine = [r for r in runs.list(model, limit=10) if r.id > before and r.trigger == "manual" and r.actor == actor]
        if mine:
            telling.hear(mine[-1])

    def follow() -> None:
        while not done.wait(_LOOK_S):
            try:
                look()
            except StorageError:  # the next look tries again; the run itself meets what is wrong
                continue

    thread = threading.Thread(target=follow, name="follow", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    look()


class _Telling:
    """Says each thing once. On a terminal the step that works stands in the last line, and its end takes its place."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._ended: set[str] = set()
        self._works = ""  # what stands in the last line
        self._looks = 0

    def hear(self, run: Run) -> None:
        self._looks += 1
        if self._looks == 1:
            self._out.note(f"run {run.id} of {run.model}")
        if self._looks == _PATIENCE and run.state == "queued":
            self._out.note(f"  it waits: another run of {run.model} works")
        for step in run.steps:
            if step.ended_at is not None and step.name not in self._ended:
                self._ended.add(step.name)
                self._say(step, end="\n")
        at_work = [step for step in run.steps if step.ended_at is None]
        if at_work and can_rewrite(self._out.err) and self._works != at_work[-1].name:
            self._say(at_work[-1], end="")

    def _say(self, step: Step, *, end: str) -> None:
        err = self._out.err
        lead = "\r\x1b[K" if self._works else ""
        self._works = "" if end else step.name
        word = paint(f"{state(step.state):12}", tone_of(step.state), coloured=self._out.err_coloured)
        made = made_by(step)
        if is_terminal(err):
            made = cut(made, max(self._out.width - _BEFORE, 20))
        err.write(f"{lead}{f'  {step.name:8}  {word}  {took(step):>6}  {made}'.rstrip()}{end}")
        err.flush()
