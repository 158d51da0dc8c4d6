"""JSON Schemas of what travels over HTTP: a model's rows and answers from its declaration, the rest written down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import polars as pl

from perene.definition.columns import Field
from perene.definition.label import Task
from perene.definition.model import Model
from perene.pipelines.truths import truth_fields
from perene.server.protocols import tensors

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
INSTANT: Schema = {"type": "string", "format": "date-time"}
_ID: Schema = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": r"^[^\u0000]*$"}
_KINDS: dict[str, Schema] = {
    "str": TEXT,
    "int": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "datetime": INSTANT,
}
_RULES = {
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "lt": "exclusiveMaximum",
    "le": "maximum",
    "multiple_of": "multipleOf",
    "min_length": "minLength",
    "max_length": "maxLength",
    "pattern": "pattern",
}
_ANSWERS: dict[type[pl.DataType], Schema] = {
    pl.Boolean: {"type": "boolean"},
    pl.Int64: {"type": "integer"},
    pl.Float64: {"type": "number"},
    pl.String: TEXT,
}


def record(properties: Mapping[str, Schema], *, optional: Iterable[str] = (), more: bool = False) -> Schema:
    """An object of these properties, all of them but the optional ones required; ``more`` lets it have others."""
    absent = set(optional)
    required = [name for name in properties if name not in absent]
    return {"type": "object", "properties": dict(properties), "required": required, "additionalProperties": more}


def array(items: Schema, **rules: int) -> Schema:
    """A list."""
    return {"type": "array", "items": items, **rules}


def nullable(schema: Schema) -> Schema:
    """The same, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def reference(name: str) -> Schema:
    """A schema that stands among the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def field_schema(field: Field) -> Schema:
    """What JSON may have for a field of a Row. Bounds of times cannot be said in it."""
    if field.choices:
        schema: Schema = {"type": "string", "enum": list(field.choices)}
    else:
        schema = dict(_KINDS[field.kind])
        if field.kind not in ("date", "datetime"):
            schema |= {_RULES[rule]: value for rule, value in field.rules}
    if field.nullable:
        schema = nullable(schema)
    if not field.required and not isinstance(field.default, datetime):
        schema["default"] = str(field.default) if field.kind == "date" and field.default else field.default
    return schema


def row_schema(model: Model) -> Schema:
    """A row to be predicted: its fields, and the id that a caller may give it."""
    fields = {field.name: field_schema(field) for field in model.schema.fields}
    optional = [field.name for field in model.schema.fields if not field.required]
    schema = record(fields | {tensors.PREDICTION_ID: nullable(_ID)}, optional=[*optional, tensors.PREDICTION_ID])
    return schema | {"title": model.schema.name, "description": model.schema.description}


def rows_of(items: Schema, limit: int) -> Schema:
    """The body of a request with rows."""
    return record({"rows": array(items, minItems=1, maxItems=limit)})


def answer_value(model: Model) -> Schema:
    """One prediction of a model."""
    answer = model.answer_dtype
    if isinstance(answer, pl.List):
        classes = len(model.label.classes)
        return array({"type": "number"}, minItems=classes, maxItems=classes)
    return dict(_ANSWERS[type(answer)])


def answer_schema(model: Model) -> Schema:
    """What a request for predictions is answered with."""
    seldom: dict[str, Schema] = {"model_version": COUNT, "repeated": {"type": "boolean"}}
    answer = {"model": TEXT, "model_version": COUNT, "request_id": TEXT}
    if model.label.task is Task.RANKING:
        placed = {"prediction_id": _ID, "item": COUNT, "score": answer_value(model), "rank": COUNT}
        removed = {"prediction_id": _ID, "item": COUNT, "reason": TEXT}
        for name, parts in (("predictions", placed), ("removed", removed)):
            answer[name] = array(record(parts | seldom, optional=seldom))
        return record(answer)
    if any(hook.removes for hook in model.posts):
        seldom |= {"removed": TEXT}  # why another answer stands in place of the prediction
    prediction = record({"prediction_id": _ID, "prediction": answer_value(model), **seldom}, optional=seldom)
    return record(answer | {"predictions": array(prediction, minItems=1)})


def stored_answer_schema(model: Model) -> Schema:
    """What a request for stored predictions is answered with."""
    answer = answer_schema(model)
    prediction = answer["properties"]["predictions"]["items"]
    prediction["properties"] |= {
        "mode": {"enum": ["stored", "online"]}, "computed_at": INSTANT, "outdated": {"type": "boolean"}
    }  # fmt: skip
    prediction["required"] += ["mode", "computed_at", "outdated"]
    return answer


def lookup_schema(model: Model) -> Schema:
    """A request for stored predictions: by key, as an object, a list of values, or the value of the only field; or by
    row.
    """
    fields = {name: field_schema(model.schema[name]) for name in model.key}
    forms = [
        record(fields | {tensors.PREDICTION_ID: nullable(_ID)}, optional=[tensors.PREDICTION_ID]),
        {"type": "array", "prefixItems": list(fields.values()), "minItems": len(fields), "maxItems": len(fields)},
        *(fields.values() if len(fields) == 1 else ()),
    ]
    rows = record({"rows": array(reference(f"{model.name}.Row"), minItems=1)})
    return {"oneOf": [record({"keys": array({"anyOf": forms}, minItems=1)}), rows]}


def truth_schema(model: Model) -> Schema:
    """A row of ground truth: of one prediction, or of all of a key at a time."""
    forms = []
    for by_id in (True, False):
        fields = truth_fields(model, by_id=by_id, now=datetime(1970, 1, 1, tzinfo=UTC))
        optional = [field.name for field in fields if not field.required]
        forms.append(record({field.name: field_schema(field) for field in fields}, optional=optional))
    return {"anyOf": forms}


def infer_request(model: Model) -> Schema:
    """A request of the Open Inference Protocol in JSON: a tensor per field."""
    forms = [
        record(
            {
                "name": {"const": name},
                "datatype": {"enum": list(tensors.taken(kind))},
                "shape": array(COUNT, minItems=1, maxItems=2),
                "parameters": reference("Parameters"),
                "data": array({}),
            },
            optional=["parameters", "data"],
            more=True,
        )
        for name, kind in [(f.name, f.kind) for f in model.schema.fields] + [(tensors.PREDICTION_ID, "str")]
    ]
    wanted = record(
        {"name": {"enum": list(tensors.outputs_of(model))}, "parameters": reference("Parameters")},
        optional=["parameters"],
        more=True,
    )
    fields = {"id": nullable(TEXT), "parameters": reference("Parameters"), "inputs": array({"oneOf": forms})}
    return record(fields | {"outputs": array(wanted)}, optional=["id", "parameters", "outputs"], more=True)


def scoring_request(model: Model) -> Schema:
    """A request of MLflow's scoring server in JSON."""
    rows = array(reference(f"{model.name}.Row"), minItems=1)
    split = record({"columns": array(TEXT), "data": array(array({}))}, more=True)
    columns = {"type": "object", "additionalProperties": array({})}
    either: Schema = {"anyOf": [rows, columns]}
    forms = {"dataframe_split": split, "dataframe_records": rows, "inputs": either, "instances": either}
    return {"oneOf": [record({name: form}) for name, form in forms.items()]}


def scoring_answer(model: Model) -> Schema:
    """What MLflow's scoring is answered with."""
    value = answer_value(model)
    value = nullable(value) if model.label.task is Task.RANKING else value  # of what was removed
    return record({"predictions": array(value), "prediction_ids": array(_ID), "model_version": COUNT})


_TENSOR = record({"name": TEXT, "datatype": TEXT, "shape": array({"type": "integer"})}, more=True)
_OUTPUT = record(
    {"name": TEXT, "datatype": TEXT, "shape": array(COUNT), "data": array({}), "parameters": {"type": "object"}},
    optional=["data", "parameters"],
)
_TROUBLE = record({"what": TEXT, "why": TEXT, "mend": TEXT})
_BAD_FIELD = record({"row": COUNT, "field": TEXT, "what": TEXT})
_NOT_LOADED = record({"version": COUNT, "code": TEXT, "what": TEXT, "why": TEXT, "mend": TEXT})

SHARED: dict[str, Schema] = {
    "Problem": record(
        {
            "type": {"type": "string", "pattern": "^urn:perene:"},
            "title": TEXT,
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "code": TEXT,
            "what": TEXT,
            "why": TEXT,
            "mend": TEXT,
            "errors": array(_BAD_FIELD),
            "seen": array(TEXT),
        },
        optional=["errors", "seen"],
    )
    | {"description": "What happened, why, and how to mend it (RFC 9457)."},
    "Model": record(
        {
            "name": TEXT,
            "live_version": nullable(COUNT),
            "trained_through": nullable(INSTANT),
            "dataset_version": nullable(COUNT),
            "canary": nullable(record({"version": COUNT, "share": {"type": "number"}})),
            "shadow": nullable(COUNT),
            "not_loaded": nullable(_NOT_LOADED),
        },
        more=True,
    ),
    "Models": record({"project_time": INSTANT, "models": array(reference("Model"))}),
    "Prediction": record(
        {"prediction_id": TEXT, "model": TEXT, "model_version": COUNT, "request": {"type": "object"}, "answer": {}},
        more=True,
    )
    | {"description": "The way of one prediction: request, features, raw output, post steps, answer, truth."},
    "Load": record(
        {
            "generation": COUNT,
            "state": {"enum": ["loading", "ready", "failed", "removed"]},
            "model_version": COUNT,
            "origin": TEXT,
            "computed_at": INSTANT,
            "rows": COUNT,
            "keys": COUNT,
            "aside": COUNT,
        }
    ),
    "LoadRun": record(
        {"run": COUNT, "state": TEXT, "error": nullable({"type": "object"}), "load": nullable(reference("Load"))}
    ),
    "Loads": record({"current": nullable(COUNT), "outdated": {"type": "boolean"}, "loads": array(reference("Load"))}),
    "Accepted": record({"accepted": COUNT}),
    "Health": record({"status": {"const": "ok"}}),
    "Readiness": record(
        {
            "status": {"enum": ["ready", "degraded", "not ready"]},
            "serves": {"type": "object", "additionalProperties": COUNT},
            "missing": array(TEXT),
            "troubles": {"type": "object", "additionalProperties": _TROUBLE},
            "lost": COUNT,
        },
        more=True,
    ),
    "Document": {"type": "object", "description": "This document."},
    "Text": TEXT,
    "Parameters": {"type": "object"},
    "InferenceServer": record({"name": TEXT, "version": TEXT, "extensions": array(TEXT)}),
    "InferenceLive": record({"live": {"type": "boolean"}}),
    "InferenceReady": record({"ready": {"type": "boolean"}}),
    "InferenceModelReady": record({"name": TEXT, "ready": {"type": "boolean"}}),
    "InferenceModel": record(
        {
            "name": TEXT,
            "versions": array(TEXT),
            "platform": {"const": "perene"},
            "inputs": array(_TENSOR),
            "outputs": array(_TENSOR),
        }
    ),
    "InferenceAnswer": record(
        {"model_name": TEXT, "model_version": TEXT, "id": TEXT, "outputs": array(_OUTPUT)},
    ),
    "InferenceError": record({"error": TEXT}),
    "ScoringError": record({"error_code": TEXT, "message": TEXT}),
}
OF_MODEL = {
    "Row": row_schema,
    "Answer": answer_schema,
    "StoredAnswer": stored_answer_schema,
    "Lookup": lookup_schema,
    "Truth": truth_schema,
    "InferenceRequest": infer_request,
    "ScoringRequest": scoring_request,
    "ScoringAnswer": scoring_answer,
}
