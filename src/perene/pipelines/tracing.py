"""One prediction, found again: in the journals while it waits for its drain, in the lake after."""

from __future__ import annotations

from typing import Protocol

from perene.definition.model import Model
from perene.pipelines.serving import answered_row, envelope_of
from perene.storage.journal import JournalReader


class DrainedPredictions(Protocol):
    """What the lake knows of predictions."""

    def get(self, model: Model | None, prediction_id: str) -> dict[str, object] | None: ...


def find_prediction(
    model: Model, prediction_id: str, *, journals: JournalReader, predictions: DrainedPredictions
) -> dict[str, object] | None:
    """A prediction's line of the log; None when there is none.

    The journals are read before the lake: what is drained in between is found in the lake.
    """
    waiting = journals.find(model.name, [prediction_id])
    if waiting:
        return envelope_of(model, [answered_row(waiting[prediction_id])]).to_dicts()[0]
    return predictions.get(model, prediction_id)
