"""Features: rows per second as the product computes them, beside the user's function called bare; equal bit for bit.

    python -m benchmarks.features
    python -m benchmarks.features --rows 2000

The demo's features of real flights. The product never evaluates a frame, or a chunk, of one row, since polars may give
other last bits then; that is what it costs at one row. Law 1: each row alone, in batches of 64 and in one of 10,000
gives the same features, bit for bit, with nulls in every column that may have them, and texts that nobody has seen.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import polars as pl

import perene
from perene.definition.model import Model
from perene.demo.flights import read_flights

TEMPLATE = Path(perene.__file__).parent / "demo" / "template" / "models" / "late_arrival.py"
SIZES = (1, 64, 10_000)
_LEAST_S, _ROUNDS = 0.5, 7


def main(rows: int) -> None:
    """Measure and print."""
    model = demo_model()
    flights = read_flights().select(list(model.schema.polars)).sample(rows, seed=1, shuffle=True)
    print(f"{'rows at once':>12}{'product rows/s':>16}{'bare rows/s':>14}{'product beside bare':>21}")
    for size in SIZES:
        frames = [part for part in flights.iter_slices(size) if part.height == min(size, rows)][:200]
        product, bare = alternately(model.compute_features, model.features_hook.function, frames)
        count = sum(frame.height for frame in frames)
        ratio = median(b / p for p, b in zip(product, bare, strict=True))
        print(f"{size:>12,}{count / median(product):>16,.0f}{count / median(bare):>14,.0f}{ratio:>19.2f} ×")
    spoilt = spoil(model, flights.head(2_000))
    differ = {size: unequal_rows(model, spoilt, size) for size in (1, 64)}
    told = ", ".join(f"{count} in frames of {size}" for size, count in differ.items())
    print(f"\n{spoilt.height:,} rows with nulls and unseen texts; other features than in one frame of all: {told}")
    if any(differ.values()):
        raise SystemExit("the features of a row depend on the rows beside it")


def demo_model() -> Model:
    """The model of the demo, as its file declares it."""
    spec = importlib.util.spec_from_file_location("late_arrival_measured", TEMPLATE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model: Model = module.late
    return model


Compute = Callable[[pl.DataFrame], pl.DataFrame]


def alternately(one: Compute, other: Compute, frames: list[pl.DataFrame]) -> tuple[list[float], list[float]]:
    """Seconds for all frames by either function, in rounds that take turns."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(_ROUNDS):
        for compute, found in zip((one, other), times, strict=True):
            repeats, started = 0, perf_counter()
            while perf_counter() - started < _LEAST_S / _ROUNDS or not repeats:
                for frame in frames:
                    compute(frame)
                repeats += 1
            found.append((perf_counter() - started) / repeats)
    return times


def spoil(model: Model, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with every third value of each column that may be null taken away, and some texts made up."""
    random = np.random.default_rng(1)
    for field in model.schema.fields:
        if field.nullable:
            gone = pl.Series(random.random(rows.height) < 1 / 3)
            rows = rows.with_columns(pl.when(gone).then(None).otherwise(pl.col(field.name)).alias(field.name))
    made_up = pl.Series(random.random(rows.height) < 0.1)
    return rows.with_columns(carrier=pl.when(made_up).then(pl.lit("??")).otherwise(pl.col("carrier")))


def unequal_rows(model: Model, rows: pl.DataFrame, size: int) -> int:
    """How many rows get other features in frames of a size than in one frame of all, to the last bit."""
    whole = model.compute_features(rows)
    parts = pl.concat([model.compute_features(part) for part in rows.iter_slices(size)])
    differ = np.zeros(rows.height, dtype=bool)
    for name, dtype in whole.schema.items():
        a, b = whole[name], parts[name]
        differ |= (a.is_null() != b.is_null()).to_numpy()
        if dtype == pl.Float64:
            bits = [column.fill_null(0.0).to_numpy().view(np.uint64) for column in (a, b)]
            differ |= bits[0] != bits[1]
        else:
            differ |= (a.ne_missing(b)).to_numpy()
    return int(differ.sum())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    main(parser.parse_args().rows)
