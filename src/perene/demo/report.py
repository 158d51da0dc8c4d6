"""report.html: one page that needs nothing else, with the figures of a replay."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from perene.demo.results import LOSS, Line, Results
from perene.demo.words import Column, cycle_columns, difference_of, notes, quality_columns, verdict
from perene.figures.html import Html, element, page, table
from perene.figures.intervals import Estimate as Row
from perene.figures.intervals import IntervalChart, draw_intervals
from perene.figures.lines import Event, LineChart, Series, draw_lines
from perene.monitoring.quality import PeriodQuality
from perene.records.status import Estimate

_STYLE = """
.lead { font-size: 1.25rem; line-height: 1.4; text-wrap: pretty; }
.all .fig-numbers { max-height: none; }
.all .fig-numbers + .fig-numbers { margin-top: 1.5rem; }
.all tbody tr:last-child { font-weight: 600; }
.cycles .fig-numbers { max-height: none; }
.cycles th, .cycles td { text-align: left !important; vertical-align: top; }
.cycles td:last-child { white-space: normal !important; min-width: 18rem; }
.notes { color: #5b6570; font-size: .9375rem; padding-left: 1.1rem; }
@media (prefers-color-scheme: dark) { .cycles .fig-numbers { max-height: none; }
.cycles th, .cycles td { text-align: left !important; vertical-align: top; }
.cycles td:last-child { white-space: normal !important; min-width: 18rem; }
.notes { color: #a3adb7; } }
"""


def report(results: Results) -> str:
    """The page."""
    return page(
        "perene demo: the flights of 2013",
        element("h1", "Which flights out of New York will arrive late?"),
        element("p", _setting(results)),
        element("p", verdict(results), class_="lead"),
        Html(_losses(results)),
        Html(_differences(results)),
        Html(_biases(results)),
        element("h2", "Month by month"),
        _months(results),
        element("h2", "What the figures rest on"),
        element("ul", *(element("li", note) for note in notes(results)), class_="notes"),
        element("h2", "The cycles"),
        _cycles(results),
        style=_STYLE,
    )


def _setting(results: Results) -> str:
    plan = results.plan
    return (
        f"A replay from {plan.since:%-d %B} to {plan.until:%-d %B %Y} UTC: every flight was asked for one hour before "
        "it was due to leave, its truth came when it landed, and every week a candidate was trained on what was known, "
        "judged against the live version on flights that neither had seen, and released when it was not worse. All "
        "numbers are computed from the prediction log and the ground truth."
    )


def _losses(results: Results) -> str:
    known = [week for week in results.weeks if _of(week, "live") is not None]
    at = [week.since.date() for week in known]
    lines = [Series(name="live", at=at, values=[_value(_of(week, "live")) for week in known])]
    if results.first is not None:
        name = f"v{results.first}, had it never been retrained"
        lines.append(Series(name=name, at=at, values=[_value(_of(week, "rescored")) for week in known]))
    return draw_lines(
        LineChart(
            id="loss",
            title="Log-loss by week; lower is better.",
            caption="Each point is a week from its Monday, each mark above a weekly cycle. Most of the ups and downs "
            "are weather, which both meet: look at the distance between the lines.",
            unit="log-loss",
            series=lines,
            events=[Event(at=cycle.at.date(), kind=cycle.kind) for cycle in results.total.cycles if cycle.kind],
        )
    )


def _differences(results: Results) -> str:
    return draw_intervals(
        IntervalChart(
            id="difference",
            title=f"What retraining changed: log-loss of the live answers minus that of v{results.first}.",
            caption="On the same flights. An interval that crosses zero does not tell which was better.",
            unit="Difference of log-loss",
            estimates=_rows(results, lambda line: difference_of(line, LOSS)),
            below="retraining better",
            above="retraining worse",
        )
    )


def _biases(results: Results) -> str:
    return draw_intervals(
        IntervalChart(
            id="bias",
            title="Prediction bias: mean probability of a delay minus the share that was late.",
            caption="Zero is right. Late days come in clusters, so the intervals are wide.",
            unit="Predicted − was",
            estimates=_rows(results, lambda line: line.quality.bias.observed if line.quality.bias else None),
            below="too few foretold",
            above="too many foretold",
        )
    )


def _rows(results: Results, estimate: Callable[[Line], Estimate | None]) -> list[Row]:
    return [_row(line.name, estimate(line)) for line in (*results.lines, results.total)]


def _row(name: str, found: Estimate | None) -> Row:
    name = "All months" if name == "all" else name
    if found is None:
        return Row(label=name, value=None)
    return Row(label=name, value=found.value, lower=found.lower, upper=found.upper)


def _months(results: Results) -> Html:
    quality, cycles = quality_columns(results), cycle_columns()
    return element(
        "div",
        _table("Quality by month", quality, results),
        _table("Bias and cycles by month", [quality[0], *cycles], results),
        class_="fig all",
    )


def _table(name: str, columns: Sequence[Column], results: Results) -> Html:
    over, head = "", []
    for column in columns:
        over = column.over or over
        head.append(f"{over} {column.title}".strip().replace(" - ", " − "))
    rows = [[_dashed(column.cell(line)) for column in columns] for line in (*results.lines, results.total)]
    return table(name, head, rows)


def _cycles(results: Results) -> Html:
    rows = [list(_said(results, number)) for number in range(len(results.total.cycles))]
    return element(
        "details",
        element("summary", f"Show the {len(rows)} cycles, and what the gate said"),
        table("Cycles", ["Cycle", "Candidate", "Outcome", "Reason"], rows),
        class_="fig cycles",
    )


def _said(results: Results, number: int) -> Iterator[str]:
    cycle = results.total.cycles[number]
    yield cycle.at.date().isoformat()
    yield f"v{cycle.version}" if cycle.version else "–"
    yield f"{cycle.kind.sign} {cycle.kind.value}" if cycle.kind else "failed"
    yield cycle.reason


def _of(week: PeriodQuality, what: str) -> Estimate | None:
    metric = week.metric(LOSS)
    return None if metric is None else getattr(metric, what)


def _value(found: Estimate | None) -> float | None:
    return None if found is None else found.value


def _dashed(text: str) -> str:
    """A real minus before numbers, a dash where there is none."""
    return "–" if text == "-" else text.replace("-", "−")
