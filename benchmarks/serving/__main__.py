"""Serving: perene beside its peers, with the same models, the same rows and on the same machine.

    python -m benchmarks.serving                          everything; about an hour, the first time 10 minutes more
    python -m benchmarks.serving --cases native           one case
    python -m benchmarks.serving --servers perene,echo    some servers; perene always runs
    python -m benchmarks.serving --rounds 1 --seconds 2   a look

LightGBM with 200 trees of 63 leaves on the flights of 2013, trained through perene, in three cases: *native* (features
in polars, declared as the demo declares its own), *as is* (a scikit-learn Pipeline on pandas, unchanged) and *called*
(the same with a step more, so that perene cannot call its booster; beside FastAPI and BentoML only). Peers serve
the same model as their documentation recommends, with two workers, in environments of their own (peers/*.txt, made
here under .benchmarks/envs). Load comes from wrk (Debian: apt-get install wrk) in a process of its own: single rows by
1 and by 64 connections, 100 rows by 8; each request has other rows. perene journals every prediction before it answers.

Servers take turns in rounds of one shape after another; figures are medians of the rounds, ratios medians of ratios
within a round. Answers are compared with the model's own. At the end the log must hold every prediction answered.
Results are kept after every round (.benchmarks/serving.json): cut off, the same command goes on. The tables are in
.benchmarks/serving.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

import polars as pl
from benchmarks.serving import recipes
from benchmarks.serving.project import CALLED, CASES, Case, ensure_project, rows_of, write_model
from benchmarks.serving.protocols import Rows
from benchmarks.serving.recipes import PEERS_OF, Place
from benchmarks.serving.results import Results
from benchmarks.serving.rounds import Running, starts
from benchmarks.serving.servers import Recipe
from benchmarks.serving.tables import tables

from perene.app import App, open_project

SCRATCH = Path(__file__).parents[2] / ".benchmarks"
SERVERS = ("echo", "workers", "durability", *(name.lower() for name in PEERS_OF))


def main() -> None:
    """Measure what is not measured yet, and print the tables."""
    asked = options()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing: apt-get install wrk")
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("asked to end; the same command goes on"))  # servers end too
    SCRATCH.mkdir(exist_ok=True)
    if asked.fresh:
        shutil.rmtree(SCRATCH / "serving", ignore_errors=True)
    results = Results(SCRATCH / "serving.json", seconds=asked.seconds, fresh=asked.fresh)
    for key in asked.cases:
        measure(CASES[key], asked, results)
    told = tables(results, [CASES[key] for key in asked.cases], machine=machine())
    (SCRATCH / "serving.md").write_text(told)
    print(told)


def options() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of each load")
    parser.add_argument("--cases", type=lambda text: chosen(text, tuple(CASES)), default=list(CASES))
    parser.add_argument("--servers", type=lambda text: chosen(text, SERVERS), default=list(SERVERS))
    parser.add_argument("--fresh", action="store_true", help="train again and forget what was measured")
    return parser.parse_args()


def chosen(text: str, among: tuple[str, ...]) -> list[str]:
    """Names of a list that are known."""
    names = [name for name in text.split(",") if name and name != "perene"]
    if unknown := set(names) - set(among):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(among)}")
    return names


def measure(case: Case, asked: argparse.Namespace, results: Results) -> None:
    """Bring a case's rounds up to the number that is wanted."""
    rounds, cold = results.rounds(case.key), results.rounds(f"{case.key} starts")
    if len(rounds) >= asked.rounds and len(cold) >= asked.rounds:
        return
    place = Place(case=case, scratch=SCRATCH)
    print(f"{case.title}: the model …", flush=True)
    app = ensure_project(case, place.project)
    frame = rows_of(app, case).sample(20_000, seed=1, shuffle=True)
    frame.write_parquet(place.folder / "rows.parquet")
    rows = frame.with_columns(pl.col("sched_dep").dt.strftime("%Y-%m-%dT%H:%M:%SZ")).to_dicts()
    expected = write_model(app, case, place.model, rows[:200])
    place.write_requests(rows)
    wanted = wanted_recipes(place, asked.servers)
    while len(cold) < asked.rounds:
        print(f"{case.title}: starts, round {len(cold) + 1} of {asked.rounds}", flush=True)
        results.add(f"{case.key} starts", starts(place, wanted, rows))
        cold = results.rounds(f"{case.key} starts")
    load_rounds(place, wanted, rows, expected, asked, results, before=logged(app, case))


def load_rounds(place, wanted: list[Recipe], rows: Rows, expected, asked, results: Results, *, before: int) -> None:
    """The rounds of loads, while all servers run, and what became of the log."""
    case = place.case
    with ExitStack() as stack:
        servers = Running(place, wanted, rows, stack)
        results.add(f"{case.key} answers", servers.check(expected, rows))
        servers.warm()
        while (number := len(results.rounds(case.key))) < asked.rounds:
            print(f"{case.title}: round {number + 1} of {asked.rounds}", flush=True)
            results.add(case.key, servers.measure(number, asked.seconds))
    app = open_project(place.project)
    app.drained()
    results.add(f"{case.key} log", {"answered": servers.answered, "logged": logged(app, case) - before})
    app.close()


def wanted_recipes(place: Place, names: list[str]) -> list[Recipe]:
    """What is compared: perene, and what was asked for beside it."""
    if place.case is CALLED:
        names = [name for name in names if name in ("workers", "fastapi", "bentoml")]
    found = [recipes.perene(place)]
    if "workers" in names:
        found.append(recipes.perene(place, workers=2))
    if "durability" in names:
        found += [recipes.perene(place, durability=durability) for durability in ("fsync", "background")]
    if "echo" in names:
        found.append(recipes.echo(place))
    return found + [recipe(place) for name, recipe in PEERS_OF.items() if name.lower() in names]


def logged(app: App, case: Case) -> int:
    """How many predictions the log holds."""
    return int(app.predictions.scan(app.model(case.model)).select(pl.len()).collect().item())


def machine() -> str:
    """Where it was measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{os.cpu_count()} cores of {name}, {platform.system()}, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
