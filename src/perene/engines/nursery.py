"""A process that has imported what tasks need, and forks a child for each: ``python -m perene.engines.nursery PACKAGE
…``.

A task comes as a line of JSON on stdin, ``{"task": "module:function", "folder": "…"}``, and its end goes to stdout as
another: the wait status, the seconds and the peak memory of the child. When stdin ends, whoever asked is gone: the
child is killed, with all that it started. The nursery itself computes nothing, so it has no threads that a fork would
break.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

PRINTED = "printed.txt"
_LOOK_S = 0.01


def main(packages: list[str]) -> None:
    """Import the packages, then serve tasks until stdin ends."""
    for name in packages:
        with suppress(Exception):  # whoever needs it will say what is wrong with it
            importlib.import_module(name)
    gc.collect()
    gc.freeze()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what packages print must not be taken for an answer
    while line := sys.stdin.readline():
        answers.write(json.dumps(_run(**json.loads(line))) + "\n")
        answers.flush()


def _run(task: str, folder: str) -> dict[str, Any]:
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _be_child(task, Path(folder))
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            return {"status": status, "seconds": time.monotonic() - started, "peak_memory": _bytes(usage.ru_maxrss)}
        if select.select([sys.stdin], [], [], _LOOK_S)[0]:  # nothing is asked while a task runs: stdin has ended
            os.killpg(0, signal.SIGKILL)  # the child, what it has started, and this process


def _be_child(task: str, folder: Path) -> None:
    """Run the task, with its prints in a file, and end."""
    code = 1
    try:
        with (folder / PRINTED).open("wb") as printed, Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), 0)
            os.dup2(printed.fileno(), 1)
            os.dup2(printed.fileno(), 2)
        module, _, function = task.partition(":")
        getattr(importlib.import_module(module), function)(folder)
        code = 0
    except BaseException:  # noqa: BLE001 - the edge of a process: whatever it is, it is printed and the code says so
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _bytes(maxrss: int) -> int:
    return maxrss if sys.platform == "darwin" else maxrss * 1024


if __name__ == "__main__":
    main(sys.argv[1:])
