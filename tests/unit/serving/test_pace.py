"""How long a batch takes decides in which thread it is computed."""

from __future__ import annotations

from typing import Any, cast

from perene.pipelines.predictor import Predictor


def test_the_quickest_batch_tells() -> None:
    """A batch that is quicker than those at load says that the version is; a small one only for as many as it had."""
    none = cast(Any, None)
    predictor = Predictor(none, none, none, none)

    seen = []
    for rows, seconds in ((64, 0.017), (64, 0.003), (64, 0.017), (1, 0.001), (2000, 0.004), (32, 0.001)):
        predictor.took(rows, seconds)
        seen.append(predictor.batch_s)

    assert seen == [0.017, 0.003, 0.003, 0.003, 0.003, 0.002]
