"""Versions that are new to live traffic, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perene.cli.words import instant, version

if TYPE_CHECKING:
    from collections.abc import Iterable

    from perene.records.status import Rival


def rival_fields(rivals: Iterable[Rival]) -> list[tuple[str, object]]:
    """A field per version: in which role, since when, and how it compares."""
    return [(rival.role, _words(rival)) for rival in rivals]


def _words(rival: Rival) -> str:
    lines = [_where(rival), _counted(rival)]
    if rival.verdict is not None:
        lines.append(f"{rival.verdict.metric}: {rival.verdict.reason}")
    return "\n".join(lines)


def _where(rival: Rival) -> str:
    who, since = version(rival.version), f"since {instant(rival.since)}"
    if rival.share is not None:
        return f"{who} answers {100 * rival.share:.4g} % of the keys, {since}; this step ends {instant(rival.until)}"
    if rival.role == "fresh":
        return f"{who} is compared with {version(rival.against)} until {instant(rival.until)}, {since}"
    return f"{who} is asked beside {version(rival.against)} and answers nobody, {since}"


def _counted(rival: Rival) -> str:
    mine, other = rival.counts, rival.counts_against
    parts = [f"{mine.asked:,.0f} requests, {mine.errors:,.0f} failed"]
    if other.asked:
        parts.append(f"{version(rival.against)}: {other.errors:,.0f} of {other.asked:,.0f}")
    if mine.batches and other.batches:
        took, before = (1000 * counts.seconds / counts.batches for counts in (mine, other))
        parts.append(f"{took:.3g} ms a batch against {before:.3g} ms")
    if mine.pairs:
        before = mine.other / mine.pairs
        answers = f"{before + mine.gap / mine.pairs:.4g} on average against {before:.4g}"
        parts.append(f"{answers}, on {mine.pairs:,.0f} rows")
    if mine.dropped:
        parts.append(f"{mine.dropped:,.0f} rows were not asked: it cannot keep up")
    return "; ".join(parts)
