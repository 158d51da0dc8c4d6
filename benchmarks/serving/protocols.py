"""How each server is asked, and where the predictions stand in its answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Rows = Sequence[Mapping[str, Any]]
_DATATYPES = {str: "BYTES", int: "INT64", float: "FP64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """A body for rows, and the predictions of a decoded answer."""

    name: str
    body: Callable[[Rows], Any]
    predictions: Callable[[Any], list[float]]

    def encode(self, rows: Rows) -> bytes:
        """The body of a request."""
        return json.dumps(self.body(rows), separators=(",", ":")).encode()


def _named(rows: Rows) -> Any:
    return {"rows": rows}


def _split(rows: Rows) -> Any:
    data = [list(row.values()) for row in rows]
    return {"dataframe_split": {"columns": list(rows[0]), "index": list(range(len(rows))), "data": data}}


def _tensors(rows: Rows) -> Any:
    inputs = []
    for name, first in rows[0].items():
        datatype = _DATATYPES[type(first)]
        column = {"name": name, "shape": [len(rows), 1], "datatype": datatype, "data": [row[name] for row in rows]}
        inputs.append(column | ({"parameters": {"content_type": "str"}} if datatype == "BYTES" else {}))
    return {"parameters": {"content_type": "pd"}, "inputs": inputs}


PERENE = Protocol(
    name="perene", body=_named, predictions=lambda said: [one["prediction"] for one in said["predictions"]]
)
FASTAPI = Protocol(name="fastapi", body=_named, predictions=lambda said: said["predictions"])
BENTOML = Protocol(name="bentoml", body=_named, predictions=lambda said: said)
MLFLOW = Protocol(name="mlflow", body=_split, predictions=lambda said: said["predictions"])
MLSERVER = Protocol(name="mlserver", body=_tensors, predictions=lambda said: said["outputs"][0]["data"])
ECHO = Protocol(name="echo", body=_named, predictions=lambda said: [])
ALL = (PERENE, FASTAPI, BENTOML, MLFLOW, MLSERVER, ECHO)
