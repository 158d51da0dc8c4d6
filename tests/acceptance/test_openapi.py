"""The OpenAPI document: every route stands in it, and a server keeps what it promises, whatever it is sent."""

from __future__ import annotations

import json
import re
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_schema_conformance,
    status_code_conformance,
)

from perene.app import open_project
from perene.server.api import build_api
from perene.server.hot import PREFIX, SUFFIX
from perene.server.openapi import openapi
from perene.server.operations import OPERATIONS
from perene.server.service import Service

MODEL = "parcel-hours"
EXAMPLES = 25
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    allow_header_conformance,
]
# Of these the schema says everything that makes a request good; a tensor's shape must fit its data too, for one.
EXACT = {"predict"}


@pytest.fixture(scope="module")
def document(server) -> dict[str, Any]:
    """The document of the shared server."""
    client = server.client()
    status, document = client.ask("GET", "/openapi.json")
    client.close()
    assert status == 200
    return document


@pytest.fixture(scope="module")
def schema(document) -> schemathesis.BaseSchema:
    """The document as schemathesis reads it."""
    return schemathesis.openapi.from_dict(document)


def test_every_route_stands_in_the_document(tiny) -> None:
    """What the server answers and what its table of operations says are the same paths with the same methods."""
    app = open_project(tiny)
    service = Service(app, address="")
    service.start()
    routes = {
        (method, re.sub(r":\w+}", "}", route.path))  # type: ignore[attr-defined]
        for route in build_api(service).routes
        for method in route.methods - {"HEAD"}  # type: ignore[attr-defined]
    }
    service.stop()
    app.close()

    assert {(o.method, o.path) for o in OPERATIONS} == routes | {("POST", f"{PREFIX}{{model}}{SUFFIX}")}


def test_operations_have_names_of_their_own(document) -> None:
    """Programs that are made from the document find each operation by its id."""
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]

    assert len(set(ids)) == len(ids)


def test_every_reference_leads_somewhere(document) -> None:
    """A schema that is referred to stands among the components."""
    text = json.dumps(document)
    referred = {part.partition('"')[0] for part in text.split('"$ref": "#/components/schemas/')[1:]}

    assert referred <= set(document["components"]["schemas"])


def test_each_model_has_the_schema_of_its_own_row(document) -> None:
    """Fields, bounds and what may be left out come from the Row; the path names the model."""
    row = document["components"]["schemas"][f"{MODEL}.Row"]

    assert row["properties"]["grams"] == {"type": "number", "exclusiveMinimum": 0.0}
    assert row["properties"]["sent_at"] == {"type": "string", "format": "date-time"}
    assert row["required"] == ["number", "sent_at", "grams"]
    assert row["additionalProperties"] is False
    assert f"/v1/models/{MODEL}/predict" in document["paths"]


def test_what_answers_for_the_only_model_needs_one() -> None:
    """/invocations is told where there is one model, and not where it would not know whom to ask."""
    app_models = {"a": None, "b": None}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("perene.server.schemas.OF_MODEL", {})
        document = openapi(app_models, max_rows=10)  # type: ignore[arg-type]

    assert "/invocations" not in document["paths"]
    assert {"/mlflow/a/invocations", "/mlflow/b/invocations", "/ping"} <= set(document["paths"])


def whole(value: Any) -> Any:
    """The same as a Row takes it, beyond what JSON Schema can say: 76.0 is no integer, and an id stands for one row."""
    if isinstance(value, dict):
        return {name: whole(part) for name, part in value.items() if name != "prediction_id"}
    if isinstance(value, list):
        return [whole(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@pytest.mark.parametrize(
    ("name", "mode"),
    [(o.name, GenerationMode.POSITIVE) for o in OPERATIONS]
    + [(o.name, GenerationMode.NEGATIVE) for o in OPERATIONS if o.body],
)
def test_the_server_keeps_what_the_document_promises(server, schema, name, mode) -> None:
    """Whatever an operation is sent, good or bad: no 5xx, and no status, type or body that is not in the document."""
    (operation,) = (
        found.ok()
        for found in schema.get_all_operations()
        if found.ok().definition.raw["operationId"].split(":")[0] == name
    )
    checks = [*CHECKS, positive_data_acceptance] if name in EXACT else CHECKS

    @hypothesis.seed(1)
    @hypothesis.settings(
        max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(mode))
    def asks(case: schemathesis.Case) -> None:
        if name in EXACT and mode is GenerationMode.POSITIVE:
            case.body = whole(case.body)
        case.call_and_validate(base_url=f"http://127.0.0.1:{server.port}", checks=checks)

    asks()


def asked(client, operation, headers: dict[str, str]) -> tuple[int, str]:
    """Status and content type of an operation that is asked with headers."""
    path = re.sub(r"{\w+}", "1", operation.path.replace("{model}", MODEL))
    status, _ = client.ask(operation.method, path, b"{}" if operation.method == "POST" else None, headers)
    return status, client.headers["content-type"]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_operation_checks_the_host(client, operation) -> None:
    """A web page that was rebound to loopback reads nothing, and is told so in the protocol's words."""
    assert asked(client, operation, {"host": "evil.example:80"}) == (421, operation.error[0])


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
@pytest.mark.parametrize(
    "operation", [o for o in OPERATIONS if o.method == "POST"], ids=lambda operation: operation.name
)
def test_no_operation_takes_what_a_browser_sends_for_any_page(client, operation, kind) -> None:
    """A content type that needs no leave of the server is refused wherever something is sent."""
    assert asked(client, operation, {"content-type": kind}) == (415, operation.error[0])
