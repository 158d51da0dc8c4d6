"""Commands, called as people and programs call them."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

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
