"""How long `perene demo` takes, and how much memory its processes have together at most.

    python benchmarks/demo.py             the whole replay, into a temporary folder

Wall time depends on what else the machine does, which is printed beside it. Memory is the sum of the
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
        began, busy_before = time.monotonic(), _busy()
        process = subprocess.Popen(command)
        peak = 0
        while process.poll() is None:
            peak = max(peak, _resident(process.pid))
            time.sleep(LOOK_EVERY_S)
        wall = time.monotonic() - began
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = usage.ru_utime + usage.ru_stime
    others = max(_busy() - busy_before - used, 0)
    print(f"\nwall {wall:.0f} s, CPU {used:.0f} s on {os.cpu_count()} cores, peak memory {peak / 2**30:.2f} GiB")
    print(f"other processes of the machine used {others:.0f} s of CPU meanwhile")
    sys.exit(process.returncode)


def _busy() -> float:
    """CPU seconds that all processes of the machine have used."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


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
