"""One prediction, found again: in the journals while it waits for its drain, in the lake after."""

from __future__ import annotations

from perene.definition.model import Model
from perene.pipelines.journaling import answered_row, envelope_of
from perene.repositories.predictions import Predictions
from perene.storage.journal import JournalReader


def find_prediction(
    model: Model, prediction_id: str, *, journals: JournalReader, predictions: Predictions
) -> dict[str, object] | None:
    """A prediction's line of the log, with ``model``; None when there is none.

    The journals are read before the lake: what is drained in between is found in the lake.
    """
    waiting = journals.find(model.name, [prediction_id])
    if waiting:
        return {"model": model.name, **envelope_of(model, [answered_row(waiting[prediction_id])]).row(0, named=True)}
    return predictions.get(model, prediction_id)
