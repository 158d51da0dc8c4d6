"""How results are said: the columns of the table by month, and what is to be known beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from perene.demo.results import AUC, LOSS, Line, Results
from perene.figures.glyphs import EventKind
from perene.records.status import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of the table: what stands above it, in two lines, and a line's cell. ``tone`` is of the cell."""

    over: str
    title: str
    cell: Callable[[Line], str]
    tone: Callable[[Line], str] = lambda line: ""


def quality_columns(results: Results) -> list[Column]:
    """Month, flights, labels; loss and AUC of the live answers and of the first version."""
    first = _first(results)
    return [
        Column(over="", title="2013", cell=lambda line: line.name[:3]),
        Column(over="", title="flights", cell=lambda line: f"{line.quality.answered:,}"),
        Column(over="", title="labels", cell=lambda line: _share(line.quality.coverage)),
        Column(over="log-loss", title="live", cell=lambda line: number(live_of(line, LOSS))),
        Column(over="", title=first, cell=lambda line: number(first_of(line, LOSS))),
        Column(
            over="", title=f"live - {first} (95 %)", cell=lambda line: interval(difference_of(line, LOSS)), tone=_tone
        ),
        Column(over="AUC", title="live", cell=lambda line: number(live_of(line, AUC))),
        Column(over="", title=first, cell=lambda line: number(first_of(line, AUC))),
    ]


def cycle_columns() -> list[Column]:
    """Prediction bias, and how the cycles ended."""
    return [
        Column(over="bias", title="predicted - was (95 %)", cell=lambda line: interval(_bias(line))),
        Column(over="cycles", title="released", cell=lambda line: str(line.count(EventKind.RELEASE))),
        Column(over="", title="rejected", cell=lambda line: str(line.count(EventKind.REJECTION))),
        Column(over="", title="inconclusive", cell=lambda line: str(line.count(EventKind.INCONCLUSIVE))),
    ]


def verdict(results: Results) -> str:
    """What the figures say of retraining, in a sentence."""
    found = difference_of(results.total, LOSS)
    live, first = live_of(results.total, LOSS), first_of(results.total, LOSS)
    if found is None or live is None or first is None or found.lower is None or found.upper is None:
        return "Nothing can be said of retraining yet: no answer can be compared."
    said = f"the live model's log-loss was {live.value:.3f}, that of v{results.first} had it stayed {first.value:.3f}"
    low, high = sorted((abs(found.lower), abs(found.upper)))
    if found.upper < 0:
        return f"Retraining helped: {said}, {-found.value:.3f} lower (95 %: {low:.3f} to {high:.3f})."
    if found.lower > 0:
        return f"Retraining did harm: {said}, {found.value:.3f} higher (95 %: {low:.3f} to {high:.3f})."
    return f"Whether retraining helped cannot be told: {said}; the difference is {interval(found)}."


def notes(results: Results) -> Iterator[str]:
    """What the figures rest on, one sentence or two each."""
    total, told = results.total, results.told
    if results.first is not None:
        yield (
            f"v{results.first} is the first version that was released. What it would have answered is computed from "
            "the logged requests; 95 % intervals take days, not flights, as independent."
        )
    if told.unanswered:
        yield _unanswered(results)
    waiting = total.quality.answered - total.quality.mature
    if waiting:
        yield (
            f"Measured are flights whose 36 hours are over, those until {_instant(results.mature_until)}. The "
            f"{waiting:,} after that count as flights only: labels that come early are not like the others."
        )
    never = total.quality.mature - total.quality.labelled
    if never:
        yield f"{never:,} measured flights have no label: they were cancelled or diverted. None counts as on time."
    late = sum(cycle.on_deadline for cycle in total.cycles)
    if late:
        yield (
            f"{late} of the {total.count(EventKind.RELEASE)} releases were on the deadline: the live version was "
            "stale, and the candidate not significantly worse."
        )
    failed = [cycle for cycle in total.cycles if cycle.kind is None]
    if failed:
        yield f"{len(failed)} cycles ended otherwise: {failed[0].reason}"
    if results.later:
        yield f"{results.later:,} flights that were asked for before the end leave after it; they are in no line."


def _unanswered(results: Results) -> str:
    refused = next((cycle for cycle in results.total.cycles if cycle.kind is not EventKind.RELEASE), None)
    why = f" The candidate of {_day(refused.at)} was not released: {refused.reason}." if refused else ""
    return f"{results.told.unanswered:,} flights were asked for before a version was live, and got no answer.{why}"


def live_of(line: Line, metric: str) -> Estimate | None:
    """A metric of the live answers."""
    found = line.quality.metric(metric)
    return None if found is None else found.live


def first_of(line: Line, metric: str) -> Estimate | None:
    """A metric of what the first version would have answered."""
    found = line.quality.metric(metric)
    return None if found is None else found.rescored


def difference_of(line: Line, metric: str) -> Estimate | None:
    """The live answers' metric minus the first version's."""
    found = line.quality.metric(metric)
    return None if found is None else found.difference


def number(found: Estimate | None) -> str:
    """An estimate without its interval."""
    return "-" if found is None else f"{found.value:.3f}"


def interval(found: Estimate | None) -> str:
    """A difference with its interval."""
    if found is None:
        return "-"
    if found.lower is None or found.upper is None:
        return f"{found.value:+.3f}"
    return f"{found.value:+.3f} ({found.lower:+.3f} … {found.upper:+.3f})"


def _bias(line: Line) -> Estimate | None:
    return line.quality.bias.observed if line.quality.bias else None


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}".replace("%", " %")


def _tone(line: Line) -> str:
    found = difference_of(line, LOSS)
    if found is None or found.lower is None or found.upper is None:
        return ""
    return "green" if found.upper < 0 else "red" if found.lower > 0 else ""


def _first(results: Results) -> str:
    return "first" if results.first is None else f"v{results.first}"


def _instant(at: datetime) -> str:
    return f"{_day(at)}, {at:%H:%M} UTC"


def _day(at: datetime) -> str:
    return f"{at.day} {at:%B}"
