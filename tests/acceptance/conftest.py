"""Commands, called as people and programs call them."""

from __future__ import annotations

import io
import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from perene.cli import main


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines on stdout."""
        return self.out.splitlines()

    @property
    def data(self) -> Any:
        """The data of its one JSON document."""
        document = json.loads(self.out)
        assert set(document) == {"kind", "v", "data"}
        assert document["v"] == 1
        return document["data"]


class _Stream(io.StringIO):
    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal


def failing(code: str) -> str:
    """The code of the tiny model, whose train() fails."""
    return code.replace("    slope, base", '    raise ValueError("no parcels today")\n    slope, base', 1)


@pytest.fixture
def call(monkeypatch) -> Callable[..., Said]:
    """Call perene with a project's folder and arguments; ``width`` makes a terminal of stdout and stderr."""

    def called(folder: Path, *arguments: object, width: int | None = None) -> Said:
        out, err = (_Stream(is_terminal=width is not None) for _ in range(2))
        with monkeypatch.context() as patched:
            patched.chdir(folder)
            patched.setattr(sys, "stdout", out)
            patched.setattr(sys, "stderr", err)
            patched.setenv("PERENE_ACTOR", "ana")
            patched.setenv("COLUMNS", str(width or 0))
            patched.setenv("NO_COLOR", "1")
            code = main([str(argument) for argument in arguments])
        return Said(code, out.getvalue(), err.getvalue())

    return called


@pytest.fixture(scope="session")
def lived(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny project with two versions, a rollback, a failed run, an alert, predictions and truths. Do not touch it."""
    folder = Path(shutil.copytree(trained, tmp_path_factory.mktemp("lived") / "tiny"))
    now = datetime.now(UTC).replace(microsecond=0)
    at = [now - timedelta(hours=hours) for hours in (2, 3, 30)]
    sent = [{"number": i, "sent_at": t.isoformat(), "grams": 500.0 + i} for i, t in enumerate(at)]
    known = [{"number": i, "sent_at": t.isoformat(), "hours": 0.5, "arrived_at": now.isoformat()} for i, t in
             enumerate(at) if i]  # fmt: skip
    (folder / "sent.json").write_text(json.dumps(sent))
    (folder / "known.json").write_text(json.dumps(known))
    for arguments in (
        ["train", "parcel-hours"],
        ["predict", "parcel-hours", folder / "sent.json", "--log"],
        ["predict", "parcel-hours", folder / "sent.json", "--store"],
        ["label", "import", "parcel-hours", folder / "known.json"],
        ["release", "rollback", "parcel-hours", "--why", "a test"],
    ):
        assert main([*map(str, arguments), "--project", str(folder), "-q"]) == 0
    code = (folder / "models" / "parcel_hours.py").read_text()
    broken = code.replace(
        "    slope, base = np.polyfit(", '    raise ValueError("no parcels today")\n    slope, base = np.polyfit('
    )
    (folder / "models" / "parcel_hours.py").write_text(broken)
    assert main(["train", "parcel-hours", "--project", str(folder)]) == 1
    (folder / "models" / "parcel_hours.py").write_text(code)
    return folder


@dataclass
class Up:
    """A running ``perene up``."""

    folder: Path
    process: subprocess.Popen[bytes]
    port: int

    @property
    def log(self) -> str:
        """What it wrote since its start."""
        return (self.folder / "up.log").read_text()

    def end(self, sig: signal.Signals) -> int:
        """Send a signal and wait; the exit code."""
        self.process.send_signal(sig)
        return self.process.wait(60)

    def children(self) -> list[psutil.Process]:
        """Server, scheduler, worker, and what they started."""
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def up(wait_for) -> Callable[[Path], Any]:
    """Start ``perene up`` in a project's folder on a free port, wait until its server is ready; end it in any case."""

    @contextmanager
    def started(folder: Path) -> Iterator[Up]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with (folder / "up.log").open("wb") as log:
            command = [sys.executable, "-m", "perene.cli", "up", "--port", str(port)]
            process = subprocess.Popen(command, cwd=folder, stderr=log, start_new_session=True)
        running = Up(folder, process, port)
        try:
            wait_for(lambda: "listening on" in running.log or process.poll() is not None, seconds=60)
            assert process.poll() is None, running.log
            yield running
        finally:
            left = [] if process.poll() is not None else running.children()
            process.kill()
            process.wait()
            for child in left:
                if child.is_running():
                    child.kill()

    return started
