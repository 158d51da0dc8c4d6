"""How a version would serve: time by stage, rows a second, memory, budgets; in words for people, exact for a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from perene.cli.output import Column, Mode, Output
from perene.cli.words import counted, size
from perene.pipelines.budgets import say_budget, say_failed, say_seconds
from perene.records.rehearsal import Paced, ServingCheck, Spread
from perene.records.verdict import Check, Decision

_WHOLE = "whole"
_SHOWN_SIZES = 2  # of requests: those of one row (or group), and of a hundred


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A stage, and its times in requests of each size that is shown."""

    stage: str
    spreads: tuple[Spread, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Figure:
    """A line for a pipe: the times of a part in requests of so many rows, or one figure, beside its limit if any."""

    part: str
    rows: float | None = None
    spread: Spread | None = None
    found: float | None = None
    limit: float | None = None
    holds: bool | None = None


def show_serving(out: Output, found: ServingCheck) -> None:
    """Print a serving check: for people as tables, as one document of JSON, or as one table of exact cells."""
    if out.mode is Mode.TSV:
        out.table("check.serving", _figures(found), columns=_figure_columns(), id_of=lambda figure: figure.part)
        return
    rehearsal = found.rehearsal
    named = f"{rehearsal.model}@{rehearsal.version}"
    shown = _shown_sizes(rehearsal.paced)
    if out.mode is Mode.HUMAN:
        out.text(f"{named}: {counted(rehearsal.rows, 'row')} replayed, from {found.origin}")
        out.table("check.serving", _lines(shown), columns=_columns(shown), id_of=lambda line: line.stage)
        out.text("")
    out.record("check.serving", _data(found), _fields(found), id=named)
    if found.holds:
        budgets = "every budget holds" if found.budgets else "no budget is declared"
        out.text(f"● every request was answered; {budgets}", tone="good")
    else:
        out.text("✗ it does not serve as declared", tone="bad")


def _data(found: ServingCheck) -> dict[str, object]:
    paced = [
        {
            "rows": one.rows, "requests": one.requests, "tries": one.tries, "rows_per_s": one.rows_per_s,
            "whole": one.whole, "stages": one.stages, "disturbed": one.disturbed,
        }
        for one in found.rehearsal.paced
    ]  # fmt: skip
    rehearsal = {
        name: getattr(found.rehearsal, name)
        for name in ("model", "version", "rows", "load_s", "bundle", "loaded", "memory", "process", "detour", "failed")
    }
    told = {"failure": found.rehearsal.failure, "latency_s": found.rehearsal.latency_s, "paced": paced}
    beside = {"origin": found.origin, "budgets": found.budgets, "golden": found.golden, "holds": found.holds}
    return {**rehearsal, **told, **beside}


def _shown_sizes(paced: Sequence[Paced]) -> list[Paced]:
    """Requests of one row, and those that are nearest to a hundred."""
    return [paced[0]] if len(paced) == 1 else [paced[0], min(paced[1:], key=lambda one: abs(one.rows - 100))]


def _lines(shown: Sequence[Paced]) -> list[_Line]:
    stages = [_Line(stage=stage, spreads=tuple(one.stages[stage] for one in shown)) for stage in shown[0].stages]
    return [*stages, _Line(stage=_WHOLE, spreads=tuple(one.whole for one in shown))]


def _columns(shown: Sequence[Paced]) -> list[Column[_Line]]:
    columns: list[Column[_Line]] = [Column(title="stage", value=lambda line: line.stage)]
    for place, one in enumerate(shown):
        for share, part, spare in (("50 %", "p50_s", 0), ("95 %", "p95_s", 0), ("99 %", "p99_s", 1)):
            columns.append(
                Column(
                    title=f"{_sized(one)}, {share}" if share == "50 %" else share,
                    value=lambda line, place=place, part=part: _ms(getattr(line.spreads[place], part)),  # type: ignore[misc]
                    right=True, spare=spare,
                )
            )  # fmt: skip
    return columns


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.{3 if seconds < 0.01 else 1}f} ms"


def _sized(one: Paced) -> str:
    return counted(round(one.rows), "row")


def _figures(found: ServingCheck) -> list[_Figure]:
    rehearsal, golden = found.rehearsal, found.golden
    figures = [
        _Figure(part=stage, rows=one.rows, spread=spread)
        for one in rehearsal.paced
        for stage, spread in (*one.stages.items(), (_WHOLE, one.whole))
    ]
    figures += [_Figure(part="rows_per_s", rows=one.rows, found=one.rows_per_s) for one in rehearsal.paced]
    figures += [
        _Figure(part=name, found=getattr(rehearsal, name)) for name in ("load_s", "bundle", "loaded", "process")
    ]
    if all(budget.name != "memory" for budget in found.budgets):
        figures.append(_Figure(part="memory", found=rehearsal.memory))
    figures += [_Figure(part=b.name, found=b.found, limit=b.limit, holds=b.holds) for b in found.budgets]
    if golden is not None:
        figures.append(_Figure(part=golden.name, holds=golden.decision is Decision.PASS))
    return [*figures, _Figure(part="failed", found=rehearsal.failed, limit=0, holds=not rehearsal.failed)]


def _figure_columns() -> list[Column[_Figure]]:
    return [
        Column(title="part", value=lambda figure: figure.part),
        Column(title="rows", value=lambda figure: _whole_if_it_is(figure.rows)),
        *(_spread_column(part) for part in ("p50_s", "p95_s", "p99_s")),
        Column(title="found", value=lambda figure: figure.found),
        Column(title="limit", value=lambda figure: figure.limit),
        Column(title="holds", value=lambda figure: figure.holds),
    ]


def _whole_if_it_is(rows: float | None) -> float | None:
    return int(rows) if rows is not None and rows == int(rows) else rows


def _spread_column(part: str) -> Column[_Figure]:
    return Column(title=part, value=lambda figure: None if figure.spread is None else getattr(figure.spread, part))


def _fields(found: ServingCheck) -> list[tuple[str, object]]:
    rehearsal = found.rehearsal
    fields: list[tuple[str, object]] = [
        ("rows/s", "; ".join(f"{one.rows_per_s:,.0f} in requests of {_sized(one)}" for one in rehearsal.paced)),
        ("loads in", f"{say_seconds(rehearsal.load_s)}, from {size(rehearsal.bundle)}"),
        ("memory", _memory(found)),
        ("model", "called natively" if not rehearsal.detour else f"called as train() returned it: {rehearsal.detour}"),
    ]
    fields += [(budget.name, f"{_sign(budget.holds)} {say_budget(budget)}") for budget in found.budgets]
    if not found.budgets:
        fields.append(("budgets", 'none is declared: Model(…, latency="20ms", memory="1GiB")'))
    if found.golden is not None:
        fields.append((found.golden.name, _said(found.golden)))
    if rehearsal.failed:
        fields.append(("failed", f"✗ {say_failed(rehearsal)}"))
    return fields


def _memory(found: ServingCheck) -> str:
    rehearsal = found.rehearsal
    return (
        f"{size(rehearsal.loaded)} more when it is loaded, {size(rehearsal.memory)} when it has answered; "
        f"a process with it has {size(rehearsal.process)}"
    )


def _said(golden: Check) -> str:
    return f"{_sign(golden.decision is Decision.PASS)} {golden.reason}"


def _sign(holds: bool) -> str:
    return "✓" if holds else "✗"
