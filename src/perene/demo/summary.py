"""The table by month, on a terminal or as plain text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import fill

from rich.console import Console
from rich.table import Table
from rich.text import Text

from perene.demo.results import Line, Results
from perene.demo.words import Column, cycle_columns, notes, quality_columns, verdict

_PLAIN_WIDTH = 110  # of prose, where no terminal says how wide it is


def print_results(results: Results, into: Path, console: Console) -> None:
    """Print the table, what it says, what it rests on, and what to try next."""
    lines = [*results.lines, results.total]
    first, second = quality_columns(results), cycle_columns()
    width = console.width if console.is_terminal else _PLAIN_WIDTH
    whole = [*first, *second]
    parts = [whole] if not console.is_terminal or _width(whole, lines) <= width else [first, [first[0], *second]]
    for columns in parts:
        _print_table(columns, lines, console)
    console.out(fill(verdict(results), width), highlight=False)
    for note in notes(results):
        console.out(fill(note, width, initial_indent="- ", subsequent_indent="  "), highlight=False)
    console.out()
    _print_next(into, console)


def _print_next(into: Path, console: Console) -> None:
    steps = [
        (f"open {into / 'report.html'}", "the same figures, drawn"),
        (f"cd {into}", "a whole project: README.md says what is where, models/late_arrival.py is the model"),
        ("perene status", "how fresh and how good the model is"),
        ("perene release list late-arrival", "what was released, what was not, and why"),
        ("perene up", "goes on with December at 480 times the speed of a clock; Ctrl-C stops"),
        ("python traffic.py", "in a second terminal: December's flights ask, and tell what became of them"),
    ]
    wide = max(len(command) for command, _ in steps)
    console.out("Try next:")
    for command, what in steps:
        console.out(f"  {command:{wide}}   {what}", highlight=False)


def _print_table(columns: Sequence[Column], lines: Sequence[Line], console: Console) -> None:
    if not console.is_terminal:
        console.out("\n".join(_aligned(columns, lines)), highlight=False)
        console.out()
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for number, column in enumerate(columns):
        table.add_column(f"{column.over}\n{column.title}", justify="right" if number else "left", no_wrap=True)
    for line in lines:
        style = "bold" if line is lines[-1] else ""
        table.add_row(*(Text(column.cell(line), style=column.tone(line)) for column in columns), style=style)
    console.print(table)
    console.out()


def _aligned(columns: Sequence[Column], lines: Sequence[Line]) -> Iterable[str]:
    rows = [
        [column.over for column in columns],
        [column.title for column in columns],
        *([column.cell(line) for column in columns] for line in lines),
    ]
    wide = _widths(columns, lines)
    for row in rows:
        cells = [f"{row[0]:{wide[0]}}", *(f"{cell:>{w}}" for cell, w in zip(row[1:], wide[1:], strict=True))]
        yield "  ".join(cells).rstrip()


def _widths(columns: Sequence[Column], lines: Sequence[Line]) -> list[int]:
    return [max(len(column.over), len(column.title), *(len(column.cell(line)) for line in lines)) for column in columns]


def _width(columns: Sequence[Column], lines: Sequence[Line]) -> int:
    return sum(_widths(columns, lines)) + 2 * len(columns)
