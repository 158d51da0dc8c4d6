"""How long `perene demo` takes, and how much memory its processes have together at most.

    python benchmarks/demo.py             the whole replay, into a temporary folder

Wall time depends on what else the machine does; CPU time, of all its processes, does so less. Memory is the sum of the
resident sets of the process and all below it, five times a second: pages that they share count more than once.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

LOOK_EVERY_S = 0.2


def main() -> None:
    """Run it, and print what it took."""
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "perene.cli", "demo", "--into", str(Path(place) / "perene-demo")]
        began = time.monotonic()
        process = subprocess.Popen(command)
        peak = 0
        while process.poll() is None:
            peak = max(peak, _resident(process.pid))
            time.sleep(LOOK_EVERY_S)
        wall = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    load = os.getloadavg()[1]
    print(f"\nwall {wall:.0f} s, CPU {used.ru_utime + used.ru_stime:.0f} s on {os.cpu_count()} cores", end="")
    print(f" (load of the last five minutes {load:.1f}), peak memory {peak / 2**30:.2f} GiB")
    sys.exit(process.returncode)


def _resident(pid: int) -> int:
    total = 0
    try:
        top = psutil.Process(pid)
        for process in (top, *top.children(recursive=True)):
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
    except psutil.NoSuchProcess:
        pass
    return total


if __name__ == "__main__":
    main()
