"""A project whose model stores predictions: the tiny one, with what it says about them written in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from perene.app import App, open_project

MODEL = "parcel-hours"
AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
POPULATION = '''

@hours.population
def parcels_on_the_way(at: datetime) -> pl.DataFrame:
    """Five parcels, sent as the question is asked."""
    return pl.DataFrame({"number": range(5), "grams": [100.0 * n + 50 for n in range(5)]}).with_columns(
        sent_at=pl.lit(at)
    )
'''


class Later:
    """Machine time, which can be moved on."""

    def __init__(self) -> None:
        self.shift = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.shift

    def move(self, **by: float) -> None:
        """Go on."""
        self.shift += timedelta(**by)


@pytest.fixture
def later() -> Later:
    """A clock that goes on, and further when it is told to."""
    return Later()


@pytest.fixture
def declare(tiny: Path) -> Callable[..., Path]:
    """Write more into the project's model: arguments of it, and code after it. Gives the folder."""

    def write(terms: str = "", code: str = "", *, every: str = '"1d"') -> Path:
        file = tiny / "models" / "parcel_hours.py"
        text = file.read_text()
        assert text.count('    every="1d",\n') == 1
        file.write_text(text.replace('    every="1d",\n', f"    every={every},\n    {terms}\n") + code)
        return tiny

    return write


@pytest.fixture
def opened() -> Iterator[Callable[[Path], App]]:
    """Open projects; they are closed at the end."""
    apps: list[App] = []

    def open_(folder: Path, **terms: Any) -> App:
        apps.append(open_project(folder, **terms))
        return apps[-1]

    yield open_
    for app in apps:
        app.close()


@pytest.fixture
def app(tiny: Path, opened: Callable[[Path], App]) -> App:
    """The tiny project, whose model says nothing about stored predictions."""
    return opened(tiny)


@pytest.fixture(scope="session")
def parcels() -> Callable[..., pl.DataFrame]:
    """Make rows of the tiny model."""

    def make(count: int = 4, *, first: int = 0, at: datetime = AT) -> pl.DataFrame:
        numbers = range(first, first + count)
        return pl.DataFrame(
            {
                "number": list(numbers),
                "sent_at": [at + timedelta(minutes=n) for n in numbers],
                "grams": [150.0 + 7 * (n % 100) for n in numbers],
                "note": [f"note {n}" for n in numbers],
            }
        )

    return make
