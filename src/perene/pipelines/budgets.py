"""Serving budgets: whether a version answers in the time, and in the memory, that its model declares."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from perene.definition.model import Model
from perene.definition.sizes import show_size
from perene.errors import LostLease, PereneError
from perene.pipelines.contests import CannotJudge
from perene.records.rehearsal import Budget, Rehearsal
from perene.records.verdict import Check, Decision

NAME = "serving budgets"
SLACK = 0.1  # a budget is broken by more than this share of it: machines are no better than that
_SHOWN = 3  # stages


def check_budgets(model: Model, rehearse: Callable[[], Rehearsal]) -> Check | None:
    """Whether a version keeps the budgets of its model; None where it declares none.

    Raises:
        CannotJudge: it did not answer, or could not be measured.
        LostLease: another worker took the run over meanwhile.
    """
    if model.latency is None and model.memory is None:
        return None
    try:
        rehearsal, budgets = measured(model, rehearse)
    except LostLease:
        raise
    except PereneError as error:
        raise CannotJudge(f"{error.what}: {error.why}") from error
    if rehearsal.failed:
        raise CannotJudge(say_failed(rehearsal))
    told = [say_budget(budget) for budget in budgets]
    if model.latency is not None and not budgets[0].holds:
        told[0] += f" ({_stages(rehearsal)})"
    return Check(name=NAME, decision=Decision.PASS if _hold(budgets) else Decision.UNFIT, reason="; ".join(told))


def measured(model: Model, rehearse: Callable[[], Rehearsal]) -> tuple[Rehearsal, list[Budget]]:
    """What a rehearsal found, and the declared budgets beside it, the latency first.

    A version that breaks one is rehearsed again, and the better figures count. Raises what ``rehearse`` raises.
    """
    rehearsal = rehearse()
    budgets = budgets_of(model, rehearsal)
    if _hold(budgets) or rehearsal.failed:
        return rehearsal, budgets
    rehearsal = rehearse()
    again = budgets_of(model, rehearsal)
    return rehearsal, [min(pair, key=lambda budget: budget.found) for pair in zip(budgets, again, strict=True)]


def _hold(budgets: Sequence[Budget]) -> bool:
    return all(budget.holds for budget in budgets)


def budgets_of(model: Model, found: Rehearsal) -> list[Budget]:
    """The declared budgets of a model beside what a rehearsal found."""
    budgets = []
    if model.latency is not None:
        budgets.append(_budget("latency", found.latency_s, model.latency.total_seconds()))
    if model.memory is not None:
        budgets.append(_budget("memory", found.memory, model.memory))
    return budgets


def _budget(name: str, found: float, limit: float) -> Budget:
    return Budget(name=name, limit=limit, found=found, holds=found <= limit * (1 + SLACK))


def say_budget(budget: Budget) -> str:
    """A budget in a sentence."""
    if budget.name == "latency":
        found, limit = say_seconds(budget.found), say_seconds(budget.limit)
        return f"95 of 100 requests are answered within {found}, {_against(budget)} {limit}"
    return f"it takes {show_size(round(budget.found))} of memory, {_against(budget)} {show_size(round(budget.limit))}"


def say_failed(rehearsal: Rehearsal) -> str:
    """How many requests were not answered, and why the first was not."""
    return f"{rehearsal.failed:,} of the replayed requests were not answered: {rehearsal.failure}"


def say_seconds(seconds: float) -> str:
    """Seconds to three digits, in the unit that says them best: ``61.3 ms``, ``0.58 ms``, ``1.2 s``."""
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _against(budget: Budget) -> str:
    if budget.found <= budget.limit:
        return "within the budget of"
    return "no tenth over the budget of" if budget.holds else "more than the budget of"


def _stages(rehearsal: Rehearsal) -> str:
    """Where most of the time goes."""
    means = {stage: spread.mean_s for stage, spread in rehearsal.paced[0].stages.items()}
    most = sorted(means, key=lambda stage: means[stage], reverse=True)[:_SHOWN]
    return "of it " + ", ".join(f"{stage} {say_seconds(means[stage])}" for stage in most)
