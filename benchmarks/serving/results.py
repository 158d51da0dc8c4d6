"""What was measured, kept after every round, so that a benchmark that was cut off goes on where it stood."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import perene

_CODE = (Path(perene.__file__).parent, Path(__file__).parent)
Round = dict[str, Any]


class Results:
    """Rounds by case, in a file; those of other code or of another length of loads are forgotten."""

    def __init__(self, path: Path, *, seconds: float, fresh: bool) -> None:
        self._path = path
        self._setup = {"seconds": seconds, "code": _digest()}
        kept = json.loads(path.read_text()) if path.exists() and not fresh else {}
        self.was_cut_off = kept.get("setup") == self._setup
        self._kept: dict[str, Any] = kept if self.was_cut_off else {"setup": self._setup, "rounds": {}}

    def rounds(self, kind: str) -> list[Round]:
        """Every round of a kind so far."""
        found: list[Round] = self._kept["rounds"].get(kind, [])
        return found

    def add(self, kind: str, found: Round) -> None:
        """Keep a round."""
        self._kept["rounds"].setdefault(kind, []).append(found)
        written = self._path.with_suffix(".part")
        written.write_text(json.dumps(self._kept, indent=1))
        written.replace(self._path)


def middle(rounds: list[Round], get: Callable[[Round], float | None]) -> float | None:
    """The median over the rounds that have the value; None where none has."""
    found = [value for one in rounds if (value := _got(one, get)) is not None]
    return median(found) if found else None


def _got(one: Round, get: Callable[[Round], float | None]) -> float | None:
    try:
        return get(one)
    except (KeyError, ZeroDivisionError):
        return None


def _digest() -> str:
    digest = hashlib.sha256()
    for folder in _CODE:
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".py", ".lua", ".txt"):
                digest.update(path.read_bytes())
    return digest.hexdigest()
