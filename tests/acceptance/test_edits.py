"""Edits of a project under the processes that run it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

MODEL = "models/parcel_hours.py"
CHANGED = f"{MODEL} changed: "


def edit(folder: Path, name: str = MODEL) -> None:
    """Add a comment to a file of the project."""
    with (folder / name).open("a") as file:
        file.write(f"# edited at {time.monotonic_ns()}\n")


def test_up_says_once_that_the_project_was_edited(tiny, up, wait_for) -> None:
    """One line for a change, of all processes together, with the mend; none as long as there is no change."""
    with up(tiny) as running:
        before = running.log
        edit(tiny)
        wait_for(lambda: CHANGED in running.log)
        edit(tiny, "perene.toml")
        wait_for(lambda: "perene.toml changed: " in running.log)
        running.end(signal.SIGINT)

    assert "changed: " not in before
    first, second = (line for line in running.log.splitlines() if "changed: " in line)
    assert first.startswith(f"perene    │ {CHANGED}server, scheduler and worker go on by what was read at the start")
    assert first.endswith("perene check, then start perene up again")
    assert second.startswith(f"perene    │ {MODEL}, perene.toml changed: ")


@pytest.mark.parametrize("arguments", [["worker"], ["scheduler"], ["serve"], ["serve", "--workers", "2"]], ids=" ".join)
def test_each_process_alone_says_so_too(tiny, wait_for, arguments) -> None:
    """A worker, a scheduler, a server or several, started by themselves."""
    if arguments[0] == "serve":
        with socket.create_server(("127.0.0.1", 0)) as free:
            arguments = [*arguments, "--port", str(free.getsockname()[1])]
    log = tiny / "process.log"
    with log.open("wb") as stderr:
        command = [sys.executable, "-m", "perene.cli", *arguments]
        process = subprocess.Popen(command, cwd=tiny, stderr=stderr, start_new_session=True)
    edited_at = 0.0

    def is_told() -> bool:
        """Edit again and again: an edit that comes before the process has read the project is none."""
        nonlocal edited_at
        assert process.poll() is None, log.read_text()
        if CHANGED not in log.read_text() and time.monotonic() - edited_at > 5:
            edit(tiny)
            edited_at = time.monotonic()
        return CHANGED in log.read_text()

    try:
        wait_for(is_told, seconds=90)
    finally:
        process.terminate()
        code = process.wait(60)

    line = next(line for line in log.read_text().splitlines() if CHANGED in line)
    assert f"perene check, then start perene {arguments[0]} again" in line
    assert code == 0
