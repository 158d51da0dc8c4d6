"""How a replay is shown while it works: a bar on a terminal, else a line per month. Both go to stderr."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from perene.demo.replay import Plan, Told
from perene.demo.replay import Progress as Heard

_DAY = timedelta(days=1)


@contextmanager
def shown(plan: Plan, console: Console) -> Iterator[Heard]:
    """Give what hears of each day, and show it."""
    if not console.is_terminal:
        yield _Months(console)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=20), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("learning from January and February", total=(plan.until - plan.since).days)

        def heard(at: datetime, told: Told) -> None:
            how = "over HTTP" if at > plan.http_from else "in bulk"
            said = f"{at:%d %b}: {told.bulk + told.http:,} flights, {how}; {len(told.runs)} cycles"
            progress.update(task, completed=(at - plan.since) // _DAY, description=said)

        yield heard


class _Months:
    """A line at the end of each month."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._flights = self._runs = 0

    def __call__(self, at: datetime, told: Told) -> None:
        if at.day != 1:
            return
        flights, runs = told.bulk + told.http, told.runs[self._runs :]
        outcomes = ", ".join(run.outcome or run.state.value for run in runs)
        elapsed = time.monotonic() - self._began
        self._console.out(
            f"{at - _DAY:%B}: {flights - self._flights:,} flights answered; cycles: {outcomes} ({elapsed:.0f} s)",
            highlight=False,
        )
        self._flights, self._runs = flights, len(told.runs)
