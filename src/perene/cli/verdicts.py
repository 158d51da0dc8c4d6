"""A verdict as people read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perene.cli.words import counted, number, state

if TYPE_CHECKING:
    from perene.records.verdict import Verdict


def verdict_fields(verdict: Verdict) -> list[tuple[str, object]]:
    """What the gate said, the numbers that it rests on, and on how much."""
    fields: list[tuple[str, object]] = [
        ("verdict", f"{state(verdict.decision)}: {verdict.reason}"),
        (
            verdict.metric,
            f"{number(verdict.candidate_score)} against {number(verdict.champion_score)} ({verdict.against})",
        ),
    ]
    if verdict.difference is not None:
        bounds = f"{number(verdict.lower)} … {number(verdict.upper)}"
        fields.append(
            ("difference", f"{number(verdict.difference)}, between {bounds}; margin {number(verdict.margin)}")
        )
    judged = f"{counted(verdict.rows, 'row')} of {counted(verdict.days, 'day')}"
    more = f"; {counted(verdict.days_needed, 'day')} would decide" if verdict.days_needed else ""
    fields.append(("judged on", judged + more))
    if verdict.released_on_deadline:
        fields.append(("deadline", "released because the live version was past its limit, and it was not worse"))
    return fields
