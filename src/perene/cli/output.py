"""The one way in which commands print: tables and records for people, JSON, tab-separated text, or ids only.

Results go to stdout; notes, progress and hints to stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TextIO, TypeVar

from perene.cli.terminal import columns_of_terminal, cut, folded, is_coloured, is_terminal, one_line, paint, width_of

T = TypeVar("T")
_LEAST_LAST = 20  # columns that the last one of a table has at least; the rest is cut


class Mode(Enum):
    """HUMAN on a terminal, TSV where stdout is a file or a pipe, JSON and IDS when asked for."""

    HUMAN = "human"
    TSV = "tsv"
    JSON = "json"
    IDS = "ids"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column(Generic[T]):
    """One column of a table.

    ``value`` is exact, for machines; ``text`` short, for people (default: the value); ``tone`` its colour. ``spare``
    columns are left out on a terminal that is too narrow, those with the highest number first.
    """

    title: str
    value: Callable[[T], object]
    text: Callable[[T], str] | None = None
    tone: Callable[[T], str] | None = None
    right: bool = False
    spare: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Where and how a command prints."""

    mode: Mode
    out: TextIO
    err: TextIO
    coloured: bool = False  # stdout
    err_coloured: bool = False
    width: int = 80

    def table(
        self,
        kind: str,
        rows: Sequence[T],
        *,
        columns: Sequence[Column[T]],
        id_of: Callable[[T], object],
        empty: str = "",
        data: Sequence[object] | None = None,
        limit: int | None = None,
    ) -> None:
        """A list. ``empty`` says to people why there is nothing; ``data`` stands for the rows in JSON.

        Rows beyond ``limit`` are not shown, and that there are some is said: give it one more than the limit.
        """
        shown, rows = rows, rows[:limit]
        is_cut = len(shown) > len(rows)
        if self.mode is Mode.JSON:
            told = rows if data is None else data[:limit]
            self._json(kind, told, **({"more": True} if is_cut else {}))
            return
        self._table(rows, columns, id_of, empty)
        if is_cut:
            self.note(f"… and more: --limit {2 * len(rows)} shows twice as many")

    def _table(self, rows: Sequence[T], columns: Sequence[Column[T]], id_of: Callable[[T], object], empty: str) -> None:
        match self.mode:
            case Mode.IDS:
                self._lines(str(id_of(row)) for row in rows)
            case Mode.TSV:
                self._lines(["\t".join(column.title for column in columns)])
                self._lines("\t".join(_exact(column.value(row)) for column in columns) for row in rows)
            case Mode.HUMAN if not rows:
                self._lines([empty] if empty else [])
            case _:
                self._lines(self._aligned(rows, columns))

    def record(self, kind: str, data: object, fields: Sequence[tuple[str, object]], *, id: object) -> None:
        """One thing, in all its parts: ``fields`` are those that people read, in order."""
        match self.mode:
            case Mode.JSON:
                self._json(kind, data)
            case Mode.IDS:
                self._lines([str(id)])
            case Mode.TSV:
                self._lines(f"{name}\t{_exact(value)}" for name, value in fields)
            case Mode.HUMAN:
                wide = max((width_of(name) for name, _ in fields), default=0)
                for name, value in fields:
                    lines = self._folded(str(value), beside=wide + 2) or ["-"]
                    label = paint(f"{name:{wide}}", "faint", coloured=self.coloured)
                    self._lines([f"{label}  {lines[0]}", *(f"{'':{wide}}  {line}" for line in lines[1:])])

    def done(self, kind: str, data: object, *, text: str, id: object) -> None:
        """What a command has done."""
        match self.mode:
            case Mode.JSON:
                self._json(kind, data)
            case Mode.IDS:
                self._lines([str(id)])
            case _:
                self._lines([text])

    def text(self, text: str, *, tone: str = "") -> None:
        """A line for people beside a table or record; machines do not get it."""
        if self.mode is Mode.HUMAN:
            self._lines([paint(text, tone, coloured=self.coloured)])

    def next(self, *commands: str) -> None:
        """What to do next, for people."""
        if self.mode is Mode.HUMAN and is_terminal(self.err):
            lead = paint("next", "faint", coloured=self.err_coloured)
            self.err.writelines(f"{lead if i == 0 else '    '}  {command}\n" for i, command in enumerate(commands))

    def note(self, text: str) -> None:
        """A line on stderr: progress, or something worth knowing."""
        self.err.write(f"{text}\n")
        self.err.flush()

    def _folded(self, text: str, *, beside: int) -> list[str]:
        lines = [one_line(line) for line in text.splitlines()]
        return [part for line in lines for part in folded(line, max(self.width - beside, 30))]

    def _aligned(self, rows: Sequence[T], columns: Sequence[Column[T]]) -> list[str]:
        columns, cells = self._fitting(rows, columns)
        titles = [column.title.upper() for column in columns]
        wide = _widths(titles, cells)
        wide[-1] = min(wide[-1], max(self.width - sum(wide[:-1]) - 2 * (len(wide) - 1), _LEAST_LAST))
        head = "  ".join(_pad(t, w, right=c.right) for t, w, c in zip(titles, wide, columns, strict=True)).rstrip()
        lines = [paint(head, "faint", coloured=self.coloured)]
        for row, line in zip(rows, cells, strict=True):
            parts = []
            for column, text, width in zip(columns, line, wide, strict=True):
                padded = _pad(cut(text, width), width, right=column.right)
                parts.append(paint(padded, column.tone(row), coloured=self.coloured) if column.tone else padded)
            lines.append("  ".join(parts).rstrip())
        return lines

    def _fitting(self, rows: Sequence[T], columns: Sequence[Column[T]]) -> tuple[Sequence[Column[T]], list[list[str]]]:
        """The columns that the terminal has room for, and their cells."""
        while True:
            cells = [[one_line((c.text or _short(c.value))(row)) or "-" for c in columns] for row in rows]
            wide = _widths([column.title for column in columns], cells)
            least = sum(wide[:-1]) + min(wide[-1], _LEAST_LAST) + 2 * (len(wide) - 1)
            spare = max(column.spare for column in columns)
            if least <= self.width or not spare:
                return columns, cells
            columns = [column for column in columns if column.spare < spare]

    def _json(self, kind: str, data: object, **beside: bool) -> None:
        import json

        from perene.records.plain import plain_data

        self._lines([json.dumps({"kind": kind, "v": 1, "data": plain_data(data), **beside}, ensure_ascii=False)])

    def _lines(self, lines: Iterable[str]) -> None:
        self.out.writelines(f"{line}\n" for line in lines)


def output_for(*, json: bool = False, ids: bool = False, no_colour: bool = False) -> Output:
    """The output of this process: what was asked for, else what stdout is."""
    mode = Mode.JSON if json else Mode.IDS if ids else Mode.HUMAN if is_terminal(sys.stdout) else Mode.TSV
    return Output(
        mode=mode,
        out=sys.stdout,
        err=sys.stderr,
        coloured=mode is Mode.HUMAN and not no_colour and is_coloured(sys.stdout),
        err_coloured=not no_colour and is_coloured(sys.stderr),
        width=columns_of_terminal() if mode is Mode.HUMAN else 0,
    )


def _widths(titles: Sequence[str], cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(width_of, column)) for column in zip(titles, *cells, strict=True)]


def _pad(text: str, width: int, *, right: bool) -> str:
    gap = " " * max(width - width_of(text), 0)
    return gap + text if right else text + gap


def _short(value: Callable[[T], object]) -> Callable[[T], str]:
    def shown(row: T) -> str:
        found = value(row)
        return "" if found is None else str(found)

    return shown


def _exact(value: object) -> str:
    """A value for machines: nothing as an empty cell, instants and durations as in JSON, no tab or newline."""
    from perene.records.plain import plain_data

    plain = plain_data(value)
    if isinstance(plain, Mapping | list):
        import json

        plain = json.dumps(plain, ensure_ascii=False)
    if isinstance(plain, bool):
        plain = "true" if plain else "false"
    return "" if plain is None else one_line(plain)
