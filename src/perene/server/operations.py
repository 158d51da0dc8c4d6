"""Every operation that the server answers, as its OpenAPI document tells it: one table.

A route that is added to ``api.build_api`` is added here too, with every status that it can give; a test compares the
two, and another asks a real server whatever this table promises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from perene.server import schemas
from perene.server.schemas import Schema

NATIVE, HEALTH, INFERENCE, SCORING = "predictions", "health", "open inference protocol", "mlflow"
JSON, PROBLEM, TEXT, CSV, BINARY = (
    "application/json",
    "application/problem+json",
    "text/plain",
    "text/csv",
    "application/octet-stream",
)
_ERRORS = {INFERENCE: (JSON, "InferenceError"), SCORING: (JSON, "ScoringError")}
REASONS = {
    200: "Answered.",
    202: "Taken in, durably.",
    400: "The request is not as it should be.",
    403: "The state of things, or a person's decision, forbids it.",
    404: "There is no such thing.",
    405: "The path is not asked with this method.",
    408: "The request came in too slowly.",
    409: "A given id belongs to another row.",
    410: "What was stored is too old.",
    413: "Too many bytes or rows.",
    415: "The body has another content type than it must have.",
    421: "The Host header names another host than this machine's loopback.",
    422: "Rows do not fit their declaration; each bad field is named.",
    500: "The model's code, or the server, failed.",
    503: "Not now: nothing is live, too many wait, or a store is away. Retry-After says when to ask again.",
    504: "It was not answered in time.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path.

    A path with ``{model}`` stands in the document once per model. ``body`` and ``answers`` name schemas: those of
    ``schemas.OF_MODEL`` after a point (".Row"), the others without. ``rows`` puts the body's schema into {"rows": […]}.
    ``refusals`` are the statuses of errors besides those that every path has (404, 421, 500).
    """

    name: str
    method: str
    path: str
    tag: str
    summary: str
    body: str = ""
    rows: bool = False
    answers: Mapping[int, str] = field(default_factory=dict)
    media: str = JSON
    also: tuple[str, ...] = ()  # other content types of the body
    refusals: tuple[int, ...] = ()
    parameters: Mapping[str, Schema] = field(default_factory=dict)

    @property
    def error(self) -> tuple[str, str]:
        """Content type and schema of its errors."""
        return _ERRORS.get(self.tag, (PROBLEM, "Problem"))


_BODY = (400, 408, 413, 415)
_PREDICTS = (*_BODY, 409, 422, 503, 504)
_VERSION: Mapping[str, Schema] = {"version": schemas.TEXT}


def _inference(versioned: bool) -> list[Operation]:
    """The operations on a model of the Open Inference Protocol."""
    path = "/v2/models/{model}/versions/{version}" if versioned else "/v2/models/{model}"
    suffix, parameters = ("Version", _VERSION) if versioned else ("", {})
    return [
        Operation(
            name=f"inferenceModel{suffix}", method="GET", path=path, tag=INFERENCE,
            summary="The tensors of a model.", answers={200: "InferenceModel"}, parameters=parameters,
        ),
        Operation(
            name=f"inferenceModelReady{suffix}", method="GET", path=f"{path}/ready", tag=INFERENCE,
            summary=f"Whether a {'version is loaded' if versioned else 'model answers'}.", parameters=parameters,
            answers={200: "InferenceModelReady", 503: "InferenceModelReady"},
        ),
        Operation(
            name=f"infer{suffix}", method="POST", path=f"{path}/infer", tag=INFERENCE,
            summary="Predictions of the rows in tensors.", body=".InferenceRequest", also=(BINARY,),
            answers={200: "InferenceAnswer"}, refusals=_PREDICTS, parameters=parameters,
        ),
    ]  # fmt: skip


def _scoring(prefix: str) -> list[Operation]:
    """The operations of MLflow's scoring server."""
    suffix = "OfModel" if prefix else ""
    return [
        Operation(
            name=f"scoringInvocations{suffix}", method="POST", path=f"{prefix}/invocations", tag=SCORING,
            summary="Predictions of a data frame.", body=".ScoringRequest", also=(CSV,),
            answers={200: ".ScoringAnswer"}, refusals=_PREDICTS,
        ),
        *(
            Operation(
                name=f"scoring{name.capitalize()}{suffix}", method="GET", path=f"{prefix}/{name}", tag=SCORING,
                summary="Whether it answers.",
                answers={200: "Text"}, media=TEXT, refusals=(503,),
            )
            for name in ("ping", "health")
        ),
        Operation(
            name=f"scoringVersion{suffix}", method="GET", path=f"{prefix}/version", tag=SCORING,
            summary="perene's version.",
            answers={200: "Text"}, media=TEXT,
        ),
    ]  # fmt: skip


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="predict", method="POST", path="/v1/models/{model}/predict", tag=NATIVE, summary="Predictions of rows.",
        body=".Row", rows=True, answers={200: ".Answer"}, refusals=_PREDICTS,
    ),
    Operation(
        name="postGroundTruth", method="POST", path="/v1/models/{model}/ground-truth", tag=NATIVE,
        summary="What came true: by prediction id, or by key and time.", body=".Truth", rows=True,
        answers={202: "Accepted"}, refusals=(*_BODY, 422, 503),
    ),
    Operation(
        name="listModels", method="GET", path="/v1/models", tag=NATIVE, summary="Every model, and what answers.",
        answers={200: "Models"}, refusals=(503,),
    ),
    Operation(
        name="getModel", method="GET", path="/v1/models/{model}", tag=NATIVE, summary="A model, and what answers.",
        answers={200: "Model"},
    ),
    Operation(
        name="getPrediction", method="GET", path="/v1/predictions/{prediction_id}", tag=NATIVE,
        summary="A logged prediction with all that is known of it.", answers={200: "Prediction"}, refusals=(503,),
        parameters={"prediction_id": schemas.TEXT},
    ),
    Operation(
        name="getStored", method="GET", path="/v1/models/{model}/predictions/{key}", tag=NATIVE,
        summary="The stored prediction of a key: its values with commas between, or a JSON array.",
        answers={200: ".StoredAnswer"}, refusals=(400, 409, 410, 422, 503), parameters={"key": schemas.TEXT},
    ),
    Operation(
        name="lookUp", method="POST", path="/v1/models/{model}/lookup", tag=NATIVE,
        summary="Stored predictions of many keys, or of rows, which are computed where the model's fallback says so.",
        body=".Lookup", answers={200: ".StoredAnswer"}, refusals=(*_PREDICTS, 410),
    ),
    Operation(
        name="load", method="POST", path="/v1/models/{model}/offline", tag=NATIVE,
        summary="Have the model's population predicted and stored.", answers={202: "LoadRun"},
        refusals=(403, 415, 503),
    ),
    Operation(
        name="listLoads", method="GET", path="/v1/models/{model}/offline", tag=NATIVE,
        summary="Which stored predictions are read, and the newest loads.", answers={200: "Loads"}, refusals=(503,),
    ),
    Operation(
        name="getLoad", method="GET", path="/v1/models/{model}/offline/{run}", tag=NATIVE,
        summary="How far a load is.", answers={200: "LoadRun"}, refusals=(503,), parameters={"run": schemas.COUNT},
    ),
    Operation(
        name="health", method="GET", path="/healthz", tag=HEALTH, summary="The process lives.",
        answers={200: "Health"},
    ),
    Operation(
        name="ready", method="GET", path="/readyz", tag=HEALTH, summary="Whether requests are answered.",
        answers={200: "Readiness", 503: "Readiness"},
    ),
    Operation(
        name="openapi", method="GET", path="/openapi.json", tag=HEALTH, summary="The OpenAPI document of all of this.",
        answers={200: "Document"},
    ),
    Operation(
        name="metrics", method="GET", path="/metrics", tag=HEALTH, summary="Counters and gauges for Prometheus.",
        answers={200: "Text"}, media=TEXT,
    ),
    Operation(
        name="inferenceServer", method="GET", path="/v2", tag=INFERENCE, summary="Which server this is.",
        answers={200: "InferenceServer"},
    ),
    Operation(
        name="inferenceLive", method="GET", path="/v2/health/live", tag=INFERENCE, summary="The process lives.",
        answers={200: "InferenceLive"},
    ),
    Operation(
        name="inferenceReady", method="GET", path="/v2/health/ready", tag=INFERENCE, summary="Whether models answer.",
        answers={200: "InferenceReady", 503: "InferenceReady"},
    ),
    *_inference(versioned=False),
    *_inference(versioned=True),
    *_scoring("/mlflow/{model}"),
    *_scoring(""),
)  # fmt: skip
