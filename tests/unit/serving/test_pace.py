"""How long a batch takes decides in which thread it is computed."""

from __future__ import annotations

from typing import Any, cast

import pytest

from perene.pipelines.predictor import Predictor


def a_predictor() -> Predictor:
    none = cast(Any, None)
    return Predictor(none, none, none, none)


def test_the_quickest_batch_tells() -> None:
    """A batch that is quicker than those at load says that the version is; a small one only for as many as it had."""
    predictor = a_predictor()

    seen = []
    for rows, seconds in ((64, 0.017), (64, 0.003), (64, 0.017), (1, 0.001), (2000, 0.004), (32, 0.001)):
        predictor.took(rows, seconds)
        seen.append(predictor.batch_s)

    assert seen == pytest.approx([0.017, 0.003, 0.003, 0.003, 0.003, 0.002], rel=0.05)


def test_what_has_become_slow_is_known_to_be() -> None:
    """A quick batch of long ago is outweighed: of a version that is slow now, that is known after some batches."""
    predictor = a_predictor()
    predictor.took(64, 0.001)

    for _ in range(1_000):
        predictor.took(64, 0.050)

    assert predictor.batch_s == 0.050


def test_single_rows_do_not_make_a_version_slow() -> None:
    """What a batch costs without any row says nothing of 64: a quick version stays so while it is asked row by row."""
    predictor = a_predictor()
    predictor.took(64, 0.002)

    for _ in range(5_000):
        predictor.took(1, 0.001)

    assert predictor.batch_s == 0.002
