"""The results as Markdown: a table for each shape of load, what else was measured, and the goals."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from benchmarks.serving.goals import goals
from benchmarks.serving.load import ONE, SHAPES, Shape
from benchmarks.serving.project import Case
from benchmarks.serving.results import Results, Round, middle

MINE = "perene"


def tables(results: Results, cases: Sequence[Case], *, machine: str) -> str:
    """Everything that was measured."""
    now = f"{datetime.now(UTC):%Y-%m-%d}"
    parts = [f"# Serving, measured on {now}\n\n{machine}. Medians of rounds; least and most in brackets.\n"]
    for case in cases:
        rounds = results.rounds(case.key)
        if rounds:
            parts.append(f"## {case.title}, {len(rounds)} rounds\n")
            parts += [_loads(rounds, shape) for shape in SHAPES]
            parts += [_start(results, case), _alone(rounds), _sure(results, case)]
    return "\n".join([*parts, _goals(results)])


def _loads(rounds: list[Round], shape: Shape) -> str:
    unit = "requests/s" if shape.rows == 1 else "rows/s"
    heads = [shape.name, unit, "p50 ms", "p99 ms", "CPU ms/request", f"{MINE} ÷ it", "its CPU ÷ perene's", "failed"]
    lines = []
    for name in _names(rounds):

        def of(field: str, name: str = name) -> list[float]:
            return [one["load"][name][shape.name][field] for one in rounds if name in one["load"]]

        rate = [value * shape.rows for value in of("per_second")]
        ahead = middle(rounds, lambda r, n=name: _get(r, MINE, shape, "per_second") / _get(r, n, shape, "per_second"))
        cheaper = middle(rounds, lambda r, n=name: _get(r, n, shape, "cpu_ms") / _get(r, MINE, shape, "cpu_ms"))
        middles = [middle(rounds, lambda r, f=f, n=name: _get(r, n, shape, f)) for f in ("p50_ms", "p99_ms", "cpu_ms")]
        spread = f"{middle(rounds, lambda r, n=name: _get(r, n, shape, 'per_second') * shape.rows):,.0f}"
        lines.append(
            [name, f"{spread} [{min(rate):,.0f}–{max(rate):,.0f}]", f"{middles[0]:.2f}", f"{middles[1]:.1f}",
             f"{middles[2]:.3f}", f"{ahead:.2f}", f"{cheaper:.2f}", f"{sum(of('failed')):.0f}"]
        )  # fmt: skip
    return _table(heads, lines)


def _start(results: Results, case: Case) -> str:
    cold, rounds = results.rounds(f"{case.key} starts"), results.rounds(case.key)
    answers = results.rounds(f"{case.key} answers")
    lines = []
    for name in _names(rounds):
        seconds = middle(cold, lambda r, n=name: r[n])
        memory = middle(rounds, lambda r, n=name: r["memory_mib"][n])
        off = max((one[name] for one in answers if name in one), default=None)
        lines.append([name, _number(seconds, ".1f"), _number(memory, ".0f"), _number(off, ".0e")])
    return _table(["", "start to first answer, s", "memory under load, MiB (PSS)", "answers off at most"], lines)


def _alone(rounds: list[Round]) -> str:
    """What only perene is asked for."""
    lines = []
    half = [("half of peak load", "half"), ("the same, another version goes live", "swap")]
    if all("half_echo" in one for one in rounds):
        half.append(("uvicorn's echo, asked as often as at half of peak load", "half_echo"))
    for name, key in half:
        figures = [middle(rounds, lambda r, k=key, f=f: r[k][f]) for f in ("per_second", "p50_ms", "p99_ms", "max_ms")]
        failed = sum(one[key]["failed"] for one in rounds)
        lines.append(
            [name, *(_number(value, ".0f" if i == 0 else ".1f") for i, value in enumerate(figures)), str(failed)]
        )
    table = _table(["perene, 64 connections", "requests/s", "p50 ms", "p99 ms", "max ms", "failed"], lines)
    served = middle(rounds, lambda r: _get(r, MINE, ONE, "p50_ms"))
    user, own = (middle(rounds, lambda r, w=way: r["direct_ms"][w]) for way in ("user", "perene"))
    return table + (
        f"\nOne row, one connection: p50 {_number(served, '.2f')} ms over HTTP. Called directly in Python: features "
        f"and what train() returned {_number(user, '.2f')} ms, what perene calls {_number(own, '.2f')} ms.\n"
    )


def _sure(results: Results, case: Case) -> str:
    found = results.rounds(f"{case.key} log")
    answered, logged = (sum(one[key] for one in found) for key in ("answered", "logged"))
    return f"{answered:,} predictions were answered and counted; the log got {logged:,}.\n"


def _goals(results: Results) -> str:
    lines = [[goal.what, goal.wanted, _number(goal.got, ".2f"), goal.verdict] for goal in goals(results)]
    return "## Goals\n\n" + _table(["", "wanted", "measured", ""], lines)


def _names(rounds: list[Round]) -> list[str]:
    return list(dict.fromkeys(name for name in (MINE, *(n for one in rounds for n in sorted(one["load"])))))


def _get(one: Round, name: str, shape: Shape, field: str) -> float:
    value: float = one["load"][name][shape.name][field]
    return value


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    bars = ["---", *("---:" for _ in heads[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, bars, *lines)) + "\n"
