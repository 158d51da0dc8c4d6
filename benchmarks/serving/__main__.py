"""Serving: requests per second, latency and processor time, beside HTTP alone and a service written by hand.

    python -m benchmarks.serving                 five rounds of ten seconds for each server
    python -m benchmarks.serving --rounds 1 --seconds 2

LightGBM, 200 trees of 63 leaves, trained through perene on the flights of 2013; single rows, each request another; 64
connections by wrk (Debian: apt-get install wrk) from a process of its own; perene journals every prediction before it
answers (durability "group"). Servers: perene with one process; the same uvicorn that only echoes the body; FastAPI,
pydantic → pandas → predict, with two workers (by_hand.py, in an environment of its own under .benchmarks/). Rounds
alternate; figures are medians; ratios are of one run. Answers are compared with the model called directly, and at the
end the log must hold every prediction that was answered.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

import joblib
import numpy as np
import polars as pl
import psutil
from benchmarks.serving.project import MODEL, bodies_of, make_project, rows_of

from perene.app import App, open_project

HERE = Path(__file__).parent
SCRATCH = HERE.parent.parent / ".benchmarks"
SAME = ("numpy", "pandas", "scikit-learn", "lightgbm", "scipy", "pydantic", "uvicorn", "uvloop", "httptools")
CONNECTIONS, ASKED, CHECKED = 64, 60_000, 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server, and where it predicts."""

    name: str
    url: str
    process: psutil.Process


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round measured."""

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    failed: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=10)
    asked = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing: apt-get install wrk")
    SCRATCH.mkdir(exist_ok=True)
    folder = SCRATCH / "serving"
    app = open_project(folder) if (folder / ".perene").exists() else make_project(folder)
    rows = rows_of(app).sample(ASKED, seed=1, shuffle=True)
    (SCRATCH / "bodies.txt").write_bytes(b"\n".join(bodies_of(rows)))
    joblib.dump(app.predictor(MODEL)._fitted, SCRATCH / "model.joblib")
    python = environment()
    before = logged(app)
    with ExitStack() as stack:
        servers = [stack.enter_context(server) for server in (perene(folder), echo(), by_hand(python))]
        mine = servers[0]
        off = furthest(app, mine, rows), furthest(app, servers[2], rows)
        warm = {server.name: load(server, seconds=2) for server in servers}
        rounds: dict[str, list[Round]] = {server.name: [] for server in servers}
        for _ in range(asked.rounds):
            for server in servers:
                rounds[server.name].append(load(server, seconds=asked.seconds))
    show(rounds)
    check_log(
        folder, before, answered=sum(r.requests for r in (warm[mine.name], *rounds[mine.name])) + CHECKED, off=off
    )


def check_log(folder: Path, before: int, *, answered: int, off: tuple[float, float]) -> None:
    """Say whether the log holds every prediction that was answered, and whether the answers were right."""
    app = open_project(folder)
    app.drained()
    kept = logged(app) - before
    print(f"\n{answered:,} predictions were answered and counted; {kept:,} are in the log")
    print("(more, since wrk hangs up at the end of each round on those that are under way)")
    print(f"{CHECKED} answers beside the model called directly: perene {off[0]:.0e} off at most, FastAPI {off[1]:.0e}")
    if kept < answered:
        raise SystemExit("the log does not hold what was answered")


def show(rounds: dict[str, list[Round]]) -> None:
    """A line for each server, and the ratios that are wanted."""
    print(f"{'':28}{'requests/s':>11}{'p50 ms':>9}{'p99 ms':>9}{'CPU ms/request':>16}{'failed':>8}")
    rate = {}
    for name, found in rounds.items():
        rate[name] = median(one.per_second for one in found)
        print(
            f"{name:28}{rate[name]:>11,.0f}{median(one.p50_ms for one in found):>9.2f}"
            f"{median(one.p99_ms for one in found):>9.2f}{median(one.cpu_ms for one in found):>16.3f}"
            f"{sum(one.failed for one in found):>8}"
        )
    mine, *others = rate
    for other in others:
        ratio = median(a.per_second / b.per_second for a, b in zip(rounds[mine], rounds[other], strict=True))
        print(f"{mine} beside {other}: {ratio:.2f} × the requests/s")


def load(server: Server, *, seconds: int) -> Round:
    """Ask a server for so long, and see what it takes."""
    before = cpu_s(server.process)
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(HERE / "load.lua"), server.url]
    done = subprocess.run([*command, "--", SCRATCH / "bodies.txt"], check=True, capture_output=True, text=True)
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    used = cpu_s(server.process) - before
    return Round(
        requests=found["requests"],
        per_second=found["requests"] / found["seconds"],
        p50_ms=found["p50_ms"],
        p99_ms=found["p99_ms"],
        cpu_ms=1_000 * used / found["requests"],
        failed=found["failed"],
    )


def cpu_s(process: psutil.Process) -> float:
    """Processor seconds of a process and its children so far."""
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(t.user + t.system for t in times)


def furthest(app: App, server: Server, rows: pl.DataFrame) -> float:
    """By how much a server's answers differ at most from the model called directly."""
    sample = rows.head(CHECKED)
    said = []
    for body in bodies_of(sample):
        request = urllib.request.Request(server.url, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request) as response:
            answer = json.load(response)["predictions"][0]
        said.append(answer["prediction"] if isinstance(answer, dict) else answer)
    final = app.predictor(MODEL).predict(sample).final
    return float(np.abs(np.asarray(said) - np.asarray(final, dtype=float)).max())


def logged(app: App) -> int:
    """How many predictions the log holds."""
    return int(app.predictions.scan(app.model(MODEL)).select(pl.len()).collect().item())


def perene(folder: Path) -> AbstractContextManager[Server]:
    """perene serve, as anybody runs it."""
    command = [str(Path(sys.executable).with_name("perene")), "serve", "--project", str(folder), "--port", "9101"]
    return running("perene", command, f"http://127.0.0.1:9101/v1/models/{MODEL}/predict")


def echo() -> AbstractContextManager[Server]:
    """HTTP alone."""
    return running("uvicorn echoing", [sys.executable, str(HERE / "echo.py"), "9102"], "http://127.0.0.1:9102/")


def by_hand(python: Path) -> AbstractContextManager[Server]:
    """FastAPI with two workers."""
    command = [str(python), "-m", "uvicorn", "by_hand:app", "--port", "9103", "--workers", "2", "--log-level", "error"]
    return running(
        "FastAPI, two workers", command, "http://127.0.0.1:9103/predict", FITTED=str(SCRATCH / "model.joblib")
    )


@contextmanager
def running(name: str, command: list[str], url: str, **variables: str) -> Iterator[Server]:
    """A server in a process of its own, from when it answers until the end."""
    variables = {"OMP_NUM_THREADS": "1", **os.environ, **variables}
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=HERE, env=variables, stdout=nowhere, stderr=nowhere)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(urllib.request.Request(url, b"{}", {"content-type": "application/json"})).close()
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                if process.poll() is not None:
                    raise SystemExit(f"{name} ended: {' '.join(command)}") from None
                time.sleep(0.1)
        yield Server(name=name, url=url, process=psutil.Process(process.pid))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def environment() -> Path:
    """The Python of the service by hand: made once, with this environment's versions of what both use."""
    folder = SCRATCH / "by-hand"
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        wanted = [f"{name}=={version(name)}" for name in SAME]
        subprocess.run([python, "-m", "pip", "install", "-q", "fastapi", *wanted], check=True)
        (folder / ".ready").touch()
    return python


if __name__ == "__main__":
    main()
