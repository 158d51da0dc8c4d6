"""How soon perene answers: ``import perene``, ``perene --help``, ``perene version`` and ``status``, ``perene serve``.

    python -m benchmarks.start           about a minute
    python -m benchmarks.start 20        as many starts of each (default 10; 5 of serve)

Medians of starts of new processes, with the quickest and the slowest, and a bare Python beside them: it tells a slow
machine from slow code. Run it with .pyc files allowed (no PYTHONDONTWRITEBYTECODE), as an installed perene has them.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, sleep

TINY = Path(__file__).parent.parent / "tests" / "tiny"
PERENE = str(Path(sys.executable).with_name("perene"))
_ROW = {"number": 1, "sent_at": "2026-05-01T12:00:00Z", "grams": 500.0}


def main(starts: int) -> None:
    """Measure and print."""
    print(f"{'':28} {'median':>9} {'quickest':>9} {'slowest':>9}")
    for name, command in (
        ("python -c pass", [sys.executable, "-c", "pass"]),
        ("import perene", [sys.executable, "-c", "import perene"]),
        ("perene --help", [PERENE, "--help"]),
        ("perene version", [PERENE, "version"]),
    ):
        show(name, [seconds(partial(call, command)) for _ in range(starts)])
    with tempfile.TemporaryDirectory() as folder:
        project = Path(shutil.copytree(TINY, Path(folder) / "tiny"))
        subprocess.run([PERENE, "train", "parcel-hours", "--project", project], check=True, capture_output=True)
        status = [PERENE, "status", "--project", str(project)]
        show("perene status", [seconds(partial(call, status)) for _ in range(starts)])
        show("perene serve, first answer", [first_answer(project) for _ in range(max(starts // 2, 1))])


def seconds(deed: Callable[[], object]) -> float:
    """How long it takes."""
    started = perf_counter()
    deed()
    return perf_counter() - started


def call(command: list[str]) -> None:
    """Run a command to its end."""
    subprocess.run(command, check=True, capture_output=True)


def first_answer(project: Path) -> float:
    """From the start of a server to its first prediction over HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    body = json.dumps({"rows": [_ROW]}).encode()
    url = f"http://127.0.0.1:{port}/v1/models/parcel-hours/predict"
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    started = perf_counter()
    command = [PERENE, "serve", "--port", str(port), "--project", str(project)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        while server.poll() is None:
            with suppress(OSError), urllib.request.urlopen(request, timeout=10) as response:
                json.load(response)
                break
            sleep(0.01)
        took = perf_counter() - started
        server.terminate()
    return took


def show(name: str, times: list[float]) -> None:
    """A line of the table, in milliseconds."""
    print(
        f"{name:28} {median(times) * 1000:6.0f} ms {min(times) * 1000:6.0f} ms {max(times) * 1000:6.0f} ms", flush=True
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
