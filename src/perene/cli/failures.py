"""How an error is shown, and the exit code that it gives."""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import asdict, dataclass
from typing import TextIO

import click

from perene import errors
from perene.cli.terminal import columns_of_terminal, folded, is_coloured, is_terminal, paint
from perene.cli.timeouts import StillAtWork

FAILED, USAGE, NEGATIVE, FORBIDDEN, MISSING, PENDING, TIMED_OUT, INTERRUPTED = 1, 2, 3, 4, 5, 8, 124, 130

_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (errors.DeclarationError, USAGE),
    (errors.SettingsError, USAGE),
    (errors.NotAllowed, FORBIDDEN),
    (errors.NotFound, MISSING),
    (StillAtWork, TIMED_OUT),
    (click.UsageError, USAGE),
)


def exit_code(error: BaseException) -> int:
    """The exit code of an error: 2 usage and configuration, 4 not allowed, 5 not found, 124 out of time, else 1."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """An error as people read it: what happened, why, what was seen, how to mend it, and where more is said of it.

    ``rows`` are all bad fields of bad rows, for machines: ``seen`` has the first of them. ``traceback`` is for those
    who mend perene, and empty unless PERENE_DEBUG is set.
    """

    code: str
    what: str
    why: str = ""
    seen: tuple[str, ...] = ()
    mend: str = ""
    rows: tuple[errors.BadField, ...] = ()
    traceback: str = ""

    def show(self, stream: TextIO, *, as_json: bool = False, colour: bool = True) -> None:
        """Write it: ``error[code]: what`` and a line each for the rest, or one JSON document."""
        if as_json:
            import json

            data = {name: value for name, value in asdict(self).items() if name not in ("rows", "traceback") or value}
            stream.write(json.dumps({"kind": "error", "v": 1, "data": data}, ensure_ascii=False) + "\n")
            return
        coloured = colour and is_coloured(stream)
        stream.write(f"{paint(f'error[{self.code}]', 'bad', coloured=coloured)}: {self.what}\n")
        parts = (
            ("why", [self.why]),
            ("seen", self.seen),
            ("mend", [self.mend]),
            ("docs", [f"perene docs {self.code}"]),
        )
        for name, texts in parts:
            lines = [line for text in texts for part in text.splitlines() for line in _fitting(part, stream)]
            for label, line in zip([name, *[""] * len(lines)], lines, strict=False):
                stream.write(f"  {paint(f'{label:4}', 'faint', coloured=coloured)}  {line}\n".rstrip() + "\n")
        stream.write(self.traceback)


def _fitting(line: str, stream: TextIO) -> list[str]:
    return folded(line, max(columns_of_terminal() - 8, 30)) if is_terminal(stream) else [line]


def report_of(error: BaseException) -> Report:
    """What to show of an error: ours in its own words, click's as usage, a path's as the user's, any other as a bug."""
    if isinstance(error, errors.PereneError):
        rows = error.fields if isinstance(error, errors.BadRows) else ()
        return Report(
            code=error.code, what=error.what, why=error.why, seen=error.seen, mend=error.mend, rows=rows,
            traceback=_traceback(),
        )  # fmt: skip
    if isinstance(error, click.ClickException):
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "perene"
        return Report(code="usage", what=error.format_message(), mend=f"{where} --help")
    if isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError):
        mend = "check the path and its rights"
        return Report(code="file-unusable", what=_of_file(error), mend=mend, traceback=_traceback())
    place = traceback.extract_tb(error.__traceback__)[-1] if error.__traceback__ else None
    return Report(
        code="unexpected",
        what=f"{type(error).__name__}: {error}".rstrip(": "),
        why="this is a mistake in perene, or something that it did not foresee",
        seen=(f"{place.filename}:{place.lineno} in {place.name}",) if place else (),
        mend=f"run it again with PERENE_DEBUG=1 and report what it prints{_where_to_report()}",
        traceback=_traceback(),
    )


def _of_file(error: OSError) -> str:
    """The file and what is wrong with it; polars says both in one text, without the attributes."""
    if error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    reason, _, path = str(error).partition(": ")
    return f"{path}: {reason.partition(' (os error')[0]}" if " (os error" in reason and path else str(error)


def _where_to_report() -> str:
    """The issue tracker that the installed package names."""
    from importlib.metadata import metadata

    links = (link.partition(", ") for link in metadata("perene").get_all("Project-URL") or [])
    return next((f": {url}" for name, _, url in links if name == "Issues"), " to its authors")


def _traceback() -> str:
    return traceback.format_exc() if os.environ.get("PERENE_DEBUG") and sys.exc_info()[0] else ""
