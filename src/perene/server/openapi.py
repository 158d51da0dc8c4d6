"""The OpenAPI 3.1 document of the server: ``operations.OPERATIONS``, with a schema per model from its declaration."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from perene.definition.model import Model
from perene.server import operations, schemas
from perene.server.operations import Operation
from perene.server.schemas import Schema

_EVERYWHERE = (404, 421, 500)


def openapi(models: Mapping[str, Model], *, max_rows: int) -> dict[str, Any]:
    """The document of a server of these models that takes at most so many rows in a request."""
    components = dict(schemas.SHARED)
    for name, model in models.items():
        components |= {f"{name}.{kind}": make(model) for kind, make in schemas.OF_MODEL.items()}
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations.OPERATIONS:
        for name in _models_of(operation, models):
            path = operation.path.replace("{model}", name)
            paths.setdefault(path, {})[operation.method.lower()] = _described(operation, name, max_rows)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "perene",
            "version": version("perene"),
            "description": "Predictions of the models of one project, their ground truth, and how the server is.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in operations.OPERATIONS)],
        "paths": paths,
        "components": {"schemas": components},
    }


def _models_of(operation: Operation, models: Mapping[str, Model]) -> list[str]:
    """The models for which an operation is written down; what answers for the only model needs one."""
    if "{model}" in operation.path:
        return list(models)
    needs_one = any(name.startswith(".") for name in (operation.body, *operation.answers.values()))
    return [] if needs_one and len(models) != 1 else [next(iter(models), "")]


def _described(operation: Operation, model: str, max_rows: int) -> dict[str, Any]:
    """An operation as OpenAPI has it; one of several models is named after the model too."""
    kind, error = operation.error
    answers = {status: (operation.media, _schema(name, model)) for status, name in operation.answers.items()}
    refused = sorted({*operation.refusals, *_EVERYWHERE} - answers.keys())
    answers |= {status: (kind, schemas.reference(error)) for status in refused}
    described: dict[str, Any] = {
        "operationId": f"{operation.name}:{model}" if "{model}" in operation.path else operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": {
            str(status): {
                "description": operations.REASONS[status],
                "content": {media: {"schema": schema}},
            }
            for status, (media, schema) in sorted(answers.items())
        },
    }
    if operation.parameters:
        described["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": schema}
            for name, schema in operation.parameters.items()
        ]
    if operation.body:
        described["requestBody"] = {"required": True, "content": _content(operation, model, max_rows)}
    return described


def _content(operation: Operation, model: str, max_rows: int) -> dict[str, Any]:
    """The content types that a body may have; only JSON has a schema."""
    schema = _schema(operation.body, model)
    if operation.rows:
        schema = schemas.rows_of(schema, max_rows)
    return {operations.JSON: {"schema": schema}} | {kind: {} for kind in operation.also}


def _schema(name: str, model: str) -> Schema:
    return schemas.reference(f"{model}{name}" if name.startswith(".") else name)
