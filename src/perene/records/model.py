"""Models and their versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredModel:
    """A model of the project as the database knows it. ``held_why`` is set while a person stops automatic releases.

    ``canary`` is the version that answers ``canary_share`` of the keys, ``shadow`` the one that is asked beside the
    champion and never answers. ``former`` was live before the champion, and is compared with it while a fresh release
    is watched, until ``watched_until``. Instants are project time.
    """

    name: str
    created_at: datetime
    declaration: Mapping[str, object]
    champion: int | None = None
    held_at: datetime | None = None
    held_by: str | None = None
    held_why: str | None = None
    canary: int | None = None
    canary_share: float = 0.0
    shadow: int | None = None
    shadow_since: datetime | None = None
    former: int | None = None
    watched_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One trained model: code, fitted state and environment, in the bundle that ``bundle`` (a SHA-256) names.

    It learnt from the dataset version ``dataset``, rows of [trained_from, trained_until); ``trained_through`` is the
    newest event time
    among them. ``recipe`` is the digest of its code and declaration; ``label_mean`` the mean of the training labels
    (None for classes).
    """

    model: str
    version: int
    run: int | None
    created_at: datetime
    bundle: str
    recipe: str
    dataset: int
    trained_from: datetime
    trained_until: datetime
    trained_through: datetime
    rows: int
    label_mean: float | None
    seed: int
    seconds: float
    peak_memory: int  # bytes
    parameters: Mapping[str, object]
    git_commit: str | None
    lock: str  # digest of the installed packages
    code: str  # digest of the project's files
