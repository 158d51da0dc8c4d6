"""What a candidate must show before it is released."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import Literal

from perene.errors import Mistake

RULES = ("non-inferior", "not-worse")
ON_DEADLINE = ("release", "review")


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """The largest difference that counts as not worse: in the metric's unit, or as a share of the champion's score."""

    value: float
    relative: bool

    def __str__(self) -> str:
        return f"{self.value:.4%}".rstrip("%0").rstrip(".") + "%" if self.relative else f"{self.value:g}"


# notes on sizes: half of what a typical model gains over a constant for losses; a hundredth for shares such as AUC
LOSS_MARGIN = Margin(value=0.05, relative=True)
SHARE_MARGIN = Margin(value=0.01, relative=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The rule of release; made by ``gate()``. ``metric`` and ``margin`` are None where the model's own are meant."""

    metric: str | None
    margin: Margin | None
    rule: str
    on_deadline: str
    alpha: float
    min_days: int
    mistakes: tuple[Mistake, ...] = field(default=(), repr=False, compare=False)


def gate(
    metric: str | None = None,
    margin: str | float | None = None,
    *,
    rule: Literal["non-inferior", "not-worse"] = "non-inferior",
    on_deadline: Literal["release", "review"] = "release",
    alpha: float = 0.05,
    min_days: int = 7,
) -> Gate:
    """What a candidate must show on test rows before it replaces the champion.

    Args:
        metric: the metric that decides; a model with one metric need not say.
        margin: ``"5%"`` of the champion's score or a number in the metric's unit; 5 % by default, 0.01 where higher
            is better.
        rule: ``"non-inferior"`` releases what is shown not to be worse by more than the margin; ``"not-worse"`` what
            is not shown to be worse.
        on_deadline: what becomes of an inconclusive candidate once the champion is stale: it is released, or a person
            is asked.
        alpha: the chance, in one tail, of a wrong answer.
        min_days: the fewest days of test rows that can decide.
    """
    wrong = []
    if metric is not None and not (isinstance(metric, str) and metric):
        wrong.append(f"gate(metric={metric!r}) is not a metric's name")
    if rule not in RULES:
        wrong.append(f"gate(rule={rule!r}) is not one of {', '.join(RULES)}")
    if on_deadline not in ON_DEADLINE:
        wrong.append(f"gate(on_deadline={on_deadline!r}) is not one of {', '.join(ON_DEADLINE)}")
    if not (isinstance(alpha, float) and 0 < alpha < 0.5):
        wrong.append(f"gate(alpha={alpha!r}) is not a number between 0 and 0.5")
    if not (isinstance(min_days, int) and min_days >= 2):
        wrong.append(
            f"gate(min_days={min_days!r}) is not a whole number of at least 2: the interval is taken over days"
        )
    size = None
    try:
        size = None if margin is None else read_margin(margin)
    except ValueError as error:
        wrong.append(f"gate(margin={margin!r}) {error}")
    mistakes = tuple(Mistake(where="", what=what) for what in wrong)
    return Gate(
        metric=metric,
        margin=size,
        rule=rule,
        on_deadline=on_deadline,
        alpha=alpha,
        min_days=min_days,
        mistakes=mistakes,
    )


def read_margin(text: str | float) -> Margin:
    """The margin that ``"5%"``, ``"0.01"`` or ``0.01`` says.

    Raises:
        ValueError: it says none.
    """
    relative = isinstance(text, str) and text.strip().endswith("%")
    try:
        value = float(text.strip().removesuffix("%")) if isinstance(text, str) else float(text)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "is not a margin: write \"5%\" of the champion's score, or a number in the metric's unit"
        ) from error
    if not (isfinite(value) and value > 0):
        raise ValueError("is not positive")
    return Margin(value=value / 100 if relative else value, relative=relative)
