"""When an outcome can be known at all: not before the instant for which its prediction is asked."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypeVar

import polars as pl

from perene.definition.durations import show_duration
from perene.definition.model import Model

CLOCKS = timedelta(minutes=10)  # by how much the clocks of those who tell may disagree
FUTURE = "lies in the future, but comes with a label"

Instants = TypeVar("Instants", datetime, pl.Series)


def too_early(model: Model) -> str:
    """What is wrong with a label that was known before its prediction is asked for: clocks, zones or units differ."""
    before = f" - {show_duration(model.asked)}" if model.asked else ""
    return f"must not be before {model.at}{before}, when the prediction is asked for"


def latest_event(model: Model, known_at: Instants) -> Instants:
    """The last event whose label can be known at this time."""
    return known_at + (model.asked + CLOCKS)
