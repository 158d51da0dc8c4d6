"""What a rehearsal of a model version measured: how a server would answer with it, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from perene.records.verdict import Check, Decision

REST = "the rest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Seconds of many requests: their mean, and what 50, 95 and 99 of 100 stay within."""

    mean_s: float
    p50_s: float
    p95_s: float
    p99_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Paced:
    """Requests of so many rows, one after another. Each was sent in ``tries`` rounds, and its quickest try counts:
    what else a machine does only makes a request slower. ``disturbed`` is of all tries.

    ``whole`` is from the bytes of a request's body to the bytes of its answer; ``stages`` its parts by name, in their
    order, the last of them ``REST``: their means add up to that of the whole. ``rows`` is a mean where groups of rows
    are ranked, which differ.
    """

    rows: float
    requests: int
    tries: int
    whole: Spread
    stages: Mapping[str, Spread]
    disturbed: Spread

    @property
    def rows_per_s(self) -> float:
        """Rows answered in a second, one usual request after another."""
        return self.rows / self.whole.p50_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """One version, loaded and asked in a process of its own.

    ``rows`` were replayed; ``paced`` has one entry per size of a request, the first that of which the latency budget
    speaks (one row; of a ranking, one group). ``load_s`` is how long loading took, ``bundle`` the bytes of its files.
    ``loaded`` are the bytes that the process grew by while it loaded, ``memory`` those after it answered requests of 1
    and 100 rows too, ``process`` all that it had then. ``detour`` says why the model is not called natively, and is
    empty where it is. ``failed`` requests were not answered, and ``failure`` says why the first of them was not.
    """

    model: str
    version: int
    rows: int
    load_s: float
    bundle: int
    loaded: int
    memory: int
    process: int
    detour: str
    paced: tuple[Paced, ...]
    failed: int = 0
    failure: str = ""

    @property
    def latency_s(self) -> float:
        """What 95 of 100 of the smallest requests stay within."""
        return self.paced[0].whole.p95_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A declared budget, what was found, and whether it holds; seconds of ``latency``, bytes of ``memory``."""

    name: str
    limit: float
    found: float
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingCheck:
    """A rehearsal, and what it says of a version: ``origin`` is where the replayed rows are from, ``golden`` what
    became of the golden rows, None where there are none.
    """

    rehearsal: Rehearsal
    origin: str
    budgets: tuple[Budget, ...]
    golden: Check | None

    @property
    def holds(self) -> bool:
        """Whether every request was answered, every budget holds, and every golden row is right."""
        is_right = self.golden is None or self.golden.decision is Decision.PASS
        return is_right and not self.rehearsal.failed and all(budget.holds for budget in self.budgets)
