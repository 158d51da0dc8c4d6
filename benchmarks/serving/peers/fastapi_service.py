"""The service that one writes by hand: pydantic → pandas → predict.

FITTED=model.joblib FIELDS=fields.json uvicorn fastapi_service:app --workers 2
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import joblib
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel, create_model

TYPES = {"str": str, "int": int, "float": float}
fields = json.loads(Path(os.environ["FIELDS"]).read_text())
fitted = joblib.load(os.environ["FITTED"])

Flight: type[BaseModel] = create_model("Flight", **{name: (TYPES[kind], ...) for name, kind in fields.items()})
Flights: type[BaseModel] = create_model("Flights", rows=(list[Flight], ...))
app = FastAPI()


def predict(request: Flights) -> dict[str, list[float]]:
    """Rows in, predictions out."""
    frame = pd.DataFrame([row.model_dump() for row in request.rows])
    return {"predictions": fitted.predict(frame).tolist()}


predict.__annotations__["request"] = Flights  # FastAPI would look for the name of a class that is made above
app.post("/predict")(predict)
