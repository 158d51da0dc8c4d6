"""Generations of stored predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class GenerationState(StrEnum):
    """loading → ready | failed; what look-ups no longer need is removed."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One load of a model's offline predictions: the newest ready one is what look-ups read.

    ``rows`` counts those that are stored so far, ``keys`` the things that they are about, ``aside`` the rows that do
    not fit the Row. ``fields`` is the order of each stored row's values, ``steps`` the version's post steps: their
    names, and whether each is done again at a look-up. ``origin`` is "population", or the file's name.
    """

    id: int
    model: str
    version: int
    recipe: str
    state: GenerationState
    origin: str
    run: int | None
    actor: str
    computed_at: datetime  # project time of its beginning
    ended_at: datetime | None  # machine time
    rows: int
    keys: int
    aside: int
    fields: tuple[str, ...]
    steps: tuple[tuple[str, bool], ...]
    error: Mapping[str, object] | None
