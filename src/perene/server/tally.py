"""What this process counts of the versions that it asks; the keeper brings it to where all processes' numbers meet."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from perene.pipelines.predictor import Output
from perene.records.serving import COUNTED
from perene.server.meter import Meter

Served = tuple[str, int, str]  # model, version, role


class Tally:
    """Counts by model, version and role, under the names of ``records.serving.ServingCounts``. Any thread may add.

    ``meter`` is told by model and role.
    """

    def __init__(self, meter: Meter | None = None) -> None:
        self._meter = meter
        self._untold: dict[Served, dict[str, float]] = {}
        self._turn = threading.Lock()

    def answered(
        self, served: Served, *, requests: int, rows: int, seconds: float, budget_s: float | None = None
    ) -> None:
        """One batch was answered; ``budget_s`` is for requests of one row."""
        with self._turn:
            counts = self._of(served)
            counts["requests"] += requests
            counts["rows"] += rows
            counts["batches"] += 1
            if budget_s is not None and requests == rows:
                counts["singles"] += 1
                counts["slow"] += seconds > budget_s
            counts["seconds"] += seconds
            counts["seconds_sq"] += seconds * seconds
        if self._meter is not None:
            self._meter.of(served[0]).version_answered(served[2], requests, seconds)

    def failed(self, served: Served, requests: int = 1) -> None:
        """The version's code failed on requests."""
        with self._turn:
            self._of(served)["errors"] += requests
        if self._meter is not None:
            self._meter.of(served[0]).version_failed(served[2], requests)

    def dropped(self, served: Served, rows: int) -> None:
        """A shadow could not keep up."""
        with self._turn:
            self._of(served)["dropped"] += rows
        if self._meter is not None:
            self._meter.of(served[0]).shadow_dropped(rows)

    def paired(self, served: Served, mine: NDArray[np.float64], other: NDArray[np.float64]) -> None:
        """Another version was asked the same rows."""
        known = np.isfinite(mine) & np.isfinite(other)
        gap, other = (mine - other)[known], other[known]
        with self._turn:
            counts = self._of(served)
            counts["pairs"] += len(gap)
            counts["gap"] += float(gap.sum())
            counts["gap_sq"] += float(gap @ gap)
            counts["other"] += float(other.sum())
            counts["other_sq"] += float(other @ other)

    def take_untold(self) -> dict[Served, dict[str, float]]:
        """What was counted since the last call."""
        with self._turn:
            untold, self._untold = self._untold, {}
        return untold

    def put_back(self, untold: Mapping[Served, Mapping[str, float]]) -> None:
        """It could not be told: it is still to be."""
        with self._turn:
            for served, more in untold.items():
                counts = self._of(served)
                for name, count in more.items():
                    counts[name] += count

    def _of(self, served: Served) -> dict[str, float]:
        found = self._untold.get(served)
        if found is None:
            found = self._untold[served] = dict.fromkeys(COUNTED, 0.0)
        return found


def numbers_of(output: Output) -> NDArray[np.float64] | None:
    """One number per row to compare versions by: the answers, else the raw output; None of classes."""
    for values in (output.final, output.raw):
        column = np.asarray(values)
        if column.ndim == 1 and column.dtype.kind == "f":
            return column.astype(np.float64, copy=False)
    return None
