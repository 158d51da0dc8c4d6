"""The gate's reasons in words."""

from __future__ import annotations

from perene.records.verdict import Decision
from perene.statistics.comparisons import Comparison


def reason(
    decision: Decision, comparison: Comparison, *, against: str, margin: float, rule: str, late: bool, days: int | None
) -> str:
    """One sentence: what was decided, and on which numbers.

    Args:
        decision: what the bounds alone said.
        comparison: the numbers.
        against: "champion", "anchor" or "baseline".
        margin: the largest difference that counts as not worse, in the metric's unit.
        rule: the gate's rule.
        late: whether it passes only because the champion is past its deadline.
        days: how many days of rows would decide, if known.
    """
    other = "a constant prediction" if against == "baseline" else f"the {against}"
    sure = f"with {100 * (1 - comparison.alpha):.4g} % certainty"
    found = side(float(comparison.difference))
    between = f"between {side(float(comparison.lower))} and {side(float(comparison.upper))}"
    more = f"; about {days:,} days of rows would decide" if days else ""
    match decision:
        case Decision.PASS if against == "baseline":
            return f"better than {other}: {found}, and {sure} at least {-float(comparison.upper):.4g} better"
        case Decision.PASS if rule == "not-worse":
            return f"not significantly worse than {other}: {found}, {between}"
        case Decision.PASS if float(comparison.upper) <= 0:
            return f"not worse than {other}: {found}, and {sure} no worse at all"
        case Decision.PASS:
            most = side(float(comparison.upper))
            return f"not worse than {other}: {found}, {sure} at most {most}; {margin:.4g} is allowed"
        case Decision.WORSE:
            return f"worse than {other}: {found}, and {sure} at least {side(float(comparison.lower))}"
        case _ if late:
            return (
                f"the champion is past its deadline, and this one is not significantly worse: {found}, {between}; "
                f"three margins are {3 * margin:.4g}"
            )
        case _ if against == "baseline":
            return f"not shown to be better than {other}: {found}, {between}{more}"
        case _:
            return f"cannot tell yet against {other}: {found}, {between}; {margin:.4g} is allowed{more}"


def side(difference: float) -> str:
    """A difference as people say it: "0.012 worse", "0.012 better", "no different"."""
    if difference == 0:
        return "no different"
    return f"{abs(difference):.4g} {'worse' if difference > 0 else 'better'}"
