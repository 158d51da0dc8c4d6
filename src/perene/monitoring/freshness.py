"""How old what a model learnt from is."""

from __future__ import annotations

from datetime import datetime

from perene.definition.model import Model
from perene.records.model import ModelVersion
from perene.records.status import Freshness, FreshnessState

WARN_SHARE = 0.75  # of what the hold-out leaves of the limit: from there on a model is ageing


def freshness_of(model: Model, champion: ModelVersion | None, now: datetime) -> Freshness:
    """The freshness of a model whose live version is ``champion``, at a project time.

    The age counts from the newest event that the live version learnt from: when it was trained, or released, makes
    nothing fresh. The rows that are held out for the test are part of every age, so it warns in the rest of the limit.
    """
    limit = model.stale_after
    if champion is None or champion.trained_through > now:
        return Freshness(state=FreshnessState.UNKNOWN, limit=limit)
    through = champion.trained_through
    age = now - through
    hold_out = model.test_on + 2 * model.label.wait
    held_out = min(age, hold_out)
    if limit is None:
        return Freshness(state=FreshnessState.EXEMPT, trained_through=through, age=age, held_out=held_out)
    warn = hold_out + WARN_SHARE * (limit - hold_out)
    state = FreshnessState.STALE if age >= limit else FreshnessState.AGEING if age >= warn else FreshnessState.FRESH
    return Freshness(
        state=state,
        trained_through=through,
        age=age,
        limit=limit,
        held_out=held_out,
        warn_at=through + warn,
        stale_at=through + limit,
    )
