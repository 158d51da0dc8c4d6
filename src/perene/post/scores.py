"""Scores of a ranking that lie between 0 and 1."""

from __future__ import annotations

from perene.definition.items import Items, Numbers
from perene.errors import ServingError


def probabilities(items: Items, name: str) -> Numbers:
    """The scores of the items that stay, which must lie between 0 and 1. Raises ServingError where one does not."""
    scores = items.score[items.staying]
    is_fit = (scores >= 0) & (scores <= 1)
    if not bool(is_fit.all()):
        raise ServingError(
            f"post {name} needs scores between 0 and 1, but got {scores[~is_fit][0]:g}",
            why="it moves log-odds, or weighs scores against likeness",
            mend="put post.logistic() before it, which makes probabilities of scores and keeps their order",
        )
    return scores
