"""Items: arrays in the order of an answer, and what becomes of it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from perene.definition.items import Items

few = st.sampled_from([0.1, 0.5, 0.5, 0.9])  # so that equals come often
groups = st.lists(st.tuples(few, st.sampled_from([None, None, "gone"])), max_size=8)


def items_of(asked) -> Items:
    """By score, with reasons given to rows."""
    items = Items.by_score(np.asarray([score for score, _ in asked], dtype=np.float64))
    return items.without(items.values(np.asarray([why for _, why in asked], dtype=object)))


@given(groups)
def test_the_best_is_first_and_equals_stay_as_they_came(asked) -> None:
    """As Python's own stable sort has it."""
    items = items_of(asked)

    assert items.item.tolist() == sorted(range(len(asked)), key=lambda n: -asked[n][0])
    assert items.in_rows().tolist() == [score for score, _ in asked]
    assert items.values(np.arange(len(asked))).tolist() == items.item.tolist()


@given(groups, st.lists(few, min_size=8, max_size=8))
def test_new_scores_move_those_that_stay(asked, scores) -> None:
    """Equals lie as they lay; the removed lie last, with the score that they had."""
    items = items_of(asked)
    staying = items.item[items.staying].tolist()

    after = items.scored(np.asarray(scores[: len(staying)]))

    new = dict(zip(staying, scores, strict=False))
    kept = sorted(staying, key=lambda item: -new[item])
    gone = [item for item in items.item.tolist() if asked[item][1] is not None]
    assert after.item.tolist() == kept + gone
    assert after.score.tolist() == [new[item] for item in kept] + [asked[item][0] for item in gone]


@given(groups)
def test_a_reason_stays_the_first(asked) -> None:
    """What was taken out is not taken out again, and nothing brings it back."""
    items = items_of(asked)

    after = items.without(np.full(len(asked), "later", dtype=object))
    never = items.without(np.full(len(asked), None, dtype=object))

    reasons = dict(zip(after.item.tolist(), after.removed.tolist(), strict=True))
    assert reasons == {n: why or "later" for n, (_, why) in enumerate(asked)}
    assert never.removed.tolist() == items.removed.tolist()


@given(groups)
def test_a_frame_holds_all_of_them(asked) -> None:
    """There and back, for steps that users write."""
    items = items_of(asked)

    back = Items.of(items.frame())

    assert (back.item.tolist(), back.score.tolist(), back.removed.tolist()) == (
        items.item.tolist(), items.score.tolist(), items.removed.tolist(),
    )  # fmt: skip
