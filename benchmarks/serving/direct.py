"""The model of a project called in Python, one row at a time: what a request costs before there is a server.

    python -m benchmarks.serving.direct FOLDER MODEL ROWS.parquet SECONDS

Prints one line of JSON with medians in milliseconds: ``user`` is the user's features and what train() returned, called
as they are; ``perene`` is what the server calls (features, the model's short way where it has one, post steps).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import polars as pl

from perene.app import open_project
from perene.definition.frames import handed_table


def main(folder: str, name: str, rows: str, seconds: str) -> None:
    """Measure in turns, and print."""
    app = open_project(Path(folder), may_begin=False)
    predictor = app.predictor(name)
    model, fitted = predictor.model, predictor._fitted
    kind = model.train_hook.frame["x"]
    predict = getattr(fitted, "predict_proba", fitted.predict)
    sent = pl.read_parquet(rows).to_dicts()
    schema = model.schema.polars

    def user(row: dict[str, object]) -> None:
        predict(handed_table(model.features_hook.function(pl.DataFrame([row], schema=schema)), kind))

    def perene(row: dict[str, object]) -> None:
        predictor.predict(pl.DataFrame([row], schema=schema))

    times: dict[str, list[float]] = {"user": [], "perene": []}
    ways: dict[str, Callable[[dict[str, object]], None]] = {"user": user, "perene": perene}
    until, turn = perf_counter() + float(seconds), 0
    while perf_counter() < until:
        for way, call in ways.items():
            for row in sent[turn * 20 % len(sent) :][:20]:
                started = perf_counter()
                call(row)
                times[way].append(1_000 * (perf_counter() - started))
        turn += 1
    print(json.dumps({way: median(found) for way, found in times.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
