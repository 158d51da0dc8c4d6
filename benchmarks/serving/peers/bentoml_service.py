"""BentoML as its documentation has it: two workers, adaptive batching.

    FITTED=model.joblib bentoml serve bentoml_service:Flights

The argument is a list of records: a batchable API with a pandas.DataFrame hangs until its timeout in 1.4.39.
"""

import os
from typing import Any

import bentoml
import joblib
import pandas as pd


@bentoml.service(workers=2, traffic={"timeout": 60})
class Flights:
    """One model."""

    def __init__(self) -> None:
        self.fitted = joblib.load(os.environ["FITTED"])

    @bentoml.api(batchable=True, max_batch_size=128, max_latency_ms=1000)
    def predict(self, rows: list[dict[str, Any]]) -> list[float]:
        """Records in, predictions out."""
        return self.fitted.predict(pd.DataFrame(rows)).tolist()
