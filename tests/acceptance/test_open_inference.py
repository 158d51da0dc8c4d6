"""The Open Inference Protocol, asked by its real client and by hand."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

import perene
from perene.app import open_project

MODEL = "parcel-hours"
INFER = f"/v2/models/{MODEL}/infer"


@pytest.fixture
def triton(server) -> Iterator[InferenceServerClient]:
    """The real client."""
    client = InferenceServerClient(f"127.0.0.1:{server.port}")
    yield client
    client.close()


def tensor(name: str, values: np.ndarray, datatype: str, *, binary: bool = True) -> InferInput:
    """An input as the client makes it."""
    made = InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def inputs(rows: list[dict[str, Any]], *, binary: bool = True) -> list[InferInput]:
    """The inputs that say the same as rows of the native API."""
    return [
        tensor("number", np.array([row["number"] for row in rows], np.int64), "INT64", binary=binary),
        tensor("sent_at", np.array([row["sent_at"] for row in rows], np.object_), "BYTES", binary=binary),
        tensor("grams", np.array([row["grams"] for row in rows], np.float64), "FP64", binary=binary),
    ]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_the_real_client_gets_what_the_native_api_answers(client, triton, a_row, binary_in, binary_out) -> None:
    """Tensors in JSON and in bytes, both ways, are answered with the same numbers as rows are."""
    rows = [a_row(i, grams=100 + i * 7.3) for i in range(20)]
    native = [p["prediction"] for p in client.predict(rows)[1]["predictions"]]
    outputs = [InferRequestedOutput(name, binary_data=binary_out) for name in ("prediction", "prediction_id")]

    result = triton.infer(MODEL, inputs(rows, binary=binary_in), outputs=outputs, request_id="mine")

    assert result.as_numpy("prediction").tolist() == native
    assert len(set(result.as_numpy("prediction_id").tolist())) == 20
    assert result.get_response()["id"] == "mine"
    assert result.get_response()["model_name"] == MODEL
    assert result.get_response()["model_version"] == "1"
    assert result.get_output("prediction")["datatype"] == "FP64"
    assert result.get_output("prediction")["shape"] == [20]
    assert ("binary_data_size" in result.get_output("prediction").get("parameters", {})) == binary_out


def test_its_predictions_are_logged_like_any_others(client, triton, a_row) -> None:
    """A prediction id of a tensor answer leads to the row that was asked for."""
    result = triton.infer(MODEL, inputs([a_row(7, grams=123.5)]))
    answered = result.as_numpy("prediction_id")[0].decode()

    status, trace = client.ask("GET", f"/v1/predictions/{answered}")

    assert status == 200
    assert trace["request"]["grams"] == 123.5


def test_prediction_ids_can_be_given(client, triton, a_row) -> None:
    """A tensor of prediction ids gives each row its own, as the native API takes them."""
    given = np.array(["oip-a", "oip-b"], np.object_)

    result = triton.infer(MODEL, [*inputs([a_row(1), a_row(2)]), tensor("prediction_id", given, "BYTES")])

    assert result.as_numpy("prediction_id").tolist() == [b"oip-a", b"oip-b"]


@pytest.mark.parametrize(
    ("datatype", "dtype"),
    [("FP32", np.float32), ("FP16", np.float16), ("INT32", np.int32), ("UINT8", np.uint8), ("INT64", np.int64)],
)
def test_narrower_numbers_are_taken(triton, a_row, datatype, dtype) -> None:
    """A field of floating-point numbers takes every number that is one."""
    row = a_row(grams=200.0)
    wanted = triton.infer(MODEL, inputs([row])).as_numpy("prediction").tolist()
    number, sent_at, _ = inputs([row])

    result = triton.infer(MODEL, [number, sent_at, tensor("grams", np.array([200.0], dtype), datatype)])

    assert result.as_numpy("prediction").tolist() == wanted


def test_tensors_may_have_a_second_dimension_of_one(triton, a_row) -> None:
    """[n, 1] says the same as [n]."""
    rows = [a_row(1, grams=100.0), a_row(2, grams=900.0)]
    wanted = triton.infer(MODEL, inputs(rows)).as_numpy("prediction").tolist()
    columns = [
        tensor("number", np.array([[1], [2]], np.int64), "INT64"),
        tensor("sent_at", np.array([[row["sent_at"]] for row in rows], np.object_), "BYTES", binary=False),
        tensor("grams", np.array([[100.0], [900.0]]), "FP64", binary=False),
    ]

    assert triton.infer(MODEL, columns).as_numpy("prediction").tolist() == wanted


def test_metadata_say_what_to_send(triton) -> None:
    """Server and model describe themselves; every field of the Row is a tensor."""
    server, model = triton.get_server_metadata(), triton.get_model_metadata(MODEL)

    assert (server["name"], server["extensions"]) == ("perene", ["binary_tensor_data"])
    assert (model["name"], model["versions"], model["platform"]) == (MODEL, ["1"], "perene")
    assert {"name": "number", "datatype": "INT64", "shape": [-1]} in model["inputs"]
    assert {"name": "sent_at", "datatype": "BYTES", "shape": [-1]} in model["inputs"]
    assert model["outputs"][0] == {"name": "prediction", "datatype": "FP64", "shape": [-1]}
    assert [output["name"] for output in model["outputs"]] == ["prediction", "prediction_id", "model_version"]
    assert triton.get_model_metadata(MODEL, model_version="1") == model


def test_health_is_told(triton) -> None:
    """Live, ready, and ready by model and version."""
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready(MODEL)
    assert triton.is_model_ready(MODEL, model_version="1")
    assert not triton.is_model_ready("parcel-days")


@pytest.mark.parametrize("ask", ["infer", "get_model_metadata"])
def test_a_version_that_is_not_live_is_not_found(triton, a_row, ask) -> None:
    """A path may name the version that answers, and no other; who asks for another is told which it is."""
    arguments = [MODEL, inputs([a_row()])] if ask == "infer" else [MODEL]
    assert getattr(triton, ask)(*arguments, model_version="1")

    with pytest.raises(InferenceServerException) as refused:
        getattr(triton, ask)(*arguments, model_version="2")

    assert refused.value.status() == "404"
    assert "version 1 answers" in refused.value.message()


def test_a_path_with_a_version_never_gives_what_another_said(tiny, server_of, a_row, wait_for) -> None:
    """A prediction that an earlier version made is not answered under the path of the newer one, which says why."""
    asked = a_request(prediction_id={"datatype": "BYTES", "data": ["mine"]})
    with server_of(tiny) as server:
        client = server.client()
        first = client.ask("POST", f"/v2/models/{MODEL}/versions/1/infer", asked)
        app = open_project(tiny)
        app.train(MODEL, actor="test")
        app.close()
        wait_for(lambda: client.ask("GET", "/readyz")[1]["serves"] == {MODEL: 2}, seconds=60)

        again = client.ask("POST", f"/v2/models/{MODEL}/versions/2/infer", asked)
        unpinned = client.ask("POST", INFER, asked)
        other = client.ask("POST", f"/v2/models/{MODEL}/versions/2/infer", a_request())
        client.close()

    assert (first[0], again[0], unpinned[0], other[0]) == (200, 404, 200, 200)
    assert "version 1 answers" in again[1]["error"]
    assert unpinned[1]["outputs"][2]["data"] == [1]
    assert unpinned[1]["outputs"][0]["data"] == first[1]["outputs"][0]["data"]


def test_bad_values_are_named_by_row_and_field(triton, a_row) -> None:
    """Rows that do not fit their Row are refused as the native API refuses them, in the protocol's words."""
    with pytest.raises(InferenceServerException) as refused:
        triton.infer(MODEL, inputs([a_row(1), a_row(2, grams=-3.0)]))

    assert refused.value.status() == "422"
    assert "row 1, grams" in refused.value.message()


def a_request(**changes: Any) -> dict[str, Any]:
    """The JSON of a good request, changed."""
    columns = {
        "number": {"datatype": "INT64", "data": [1]},
        "sent_at": {"datatype": "BYTES", "data": ["2026-05-01T12:00:00Z"]},
        "grams": {"datatype": "FP64", "data": [500.0]},
    }
    for name, change in changes.items():
        columns[name] = columns.get(name, {}) | change
    return {"inputs": [{"name": name, "shape": [1]} | column for name, column in columns.items() if column != {}]}


@pytest.mark.parametrize(
    ("body", "status", "part"),
    [
        (b"{", 400, "not JSON"),
        (b"[]", 400, "not as it should be"),
        (b"{}", 400, "inputs"),
        ({"inputs": []}, 400, "tensors are missing"),
        (a_request(grams={"datatype": "BYTES", "data": ["x"]}), 400, "another datatype"),
        (a_request(grams={"datatype": "BF16"}), 400, "another datatype"),
        (a_request(grams={"shape": [2]}), 400, "has 1 values"),
        (a_request(grams={"shape": [-1]}), 400, "another shape"),
        (a_request(grams={"shape": []}), 400, "another shape"),
        (a_request(grams={"shape": [1, 2]}), 400, "another shape"),
        (a_request(grams={"data": None}), 400, "no data"),
        (a_request(grams={"shape": [10**18]}), 400, "another length"),
        (a_request(grams={"shape": [2], "data": [1.0, 2.0]}), 400, "different lengths"),
        (a_request(colour={"datatype": "BYTES", "data": ["red"]}), 400, "no input 'colour'"),
        (a_request(grams={"parameters": {"content_type": "base64"}}), 400, "content_type"),
        (a_request(grams={"parameters": {"binary_data_size": 8}}), 400, "not all there"),
        (a_request(grams={"parameters": {"binary_data_size": "8"}}), 400, "not all there"),
        (a_request() | {"outputs": [{"name": "colour"}]}, 400, "no output 'colour'"),
        (a_request() | {"parameters": {"content_type": "hg_json"}}, 400, "content_type"),
        (a_request() | {"parameters": {"sequence_id": 7}}, 400, "sequence_id"),
        ({"inputs": a_request()["inputs"] * 2}, 400, "stands twice"),
        ({"inputs": a_request()["inputs"][:2]}, 400, "grams"),
        (a_request(grams={"data": [None]}), 422, "row 0, grams"),
        (a_request(number={"data": [1.5]}), 422, "row 0, number"),
        (a_request(grams={"data": [[1.0]]}), 422, "row 0, grams"),
        (b'{"inputs": ' + b"[" * 100_000, 400, "not as it should be"),
        (b'{"parameters": {"a": ' + b"[" * 100_000, 400, "not JSON"),
    ],
)
def test_what_is_no_request_is_refused_in_words(client, body, status, part) -> None:
    """Each wrong tensor has its status and an error that says what is wrong with it."""
    got, answer = client.ask("POST", INFER, body)

    assert got == status
    assert list(answer) == ["error"]
    assert part in answer["error"]


@pytest.mark.parametrize(
    ("json_length", "extra", "part"),
    [(None, b"", "is wrong"), ("-3", b"", "is wrong"), ("1e3", b"", "is wrong"), ("good", b"x", "belong to no tensor")],
)
def test_a_wrong_length_of_the_json_is_refused(client, json_length, extra, part) -> None:
    """The header of the binary extension must be the length of the JSON, and every byte after it a tensor's."""
    body = json.dumps(a_request()).encode()
    length = {None: str(len(body) + 5), "good": str(len(body))}.get(json_length, json_length)

    status, answer = client.ask("POST", INFER, body + extra, {"Inference-Header-Content-Length": length})

    assert status == 400
    assert part in answer["error"]


@pytest.mark.parametrize(
    "raw",
    [b"\x05\x00\x00\x00abc", b"\x05", b"\xff\xff\xff\xff", b"\x02\x00\x00\x00\xc3\x28", b"\x03\x00\x00\x00abc" * 2],
)
def test_texts_in_bytes_that_are_cut_or_no_text_are_refused(client, raw) -> None:
    """A length that leads beyond the bytes, bytes that are no UTF-8 and one text too many end in a refusal."""
    asked = a_request(sent_at={"parameters": {"binary_data_size": len(raw)}})
    header = json.dumps(asked).encode()

    headers = {"Inference-Header-Content-Length": str(len(header)), "content-type": "application/octet-stream"}
    status, answer = client.ask("POST", INFER, header + raw, headers)

    assert status in (400, 422)
    assert "sent_at" in answer["error"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"origin": "http://evil.example"}, 415),
        ({"content-type": "application/json", "content-encoding": "gzip"}, 415),
        ({}, 200),
    ],
)
def test_a_browser_cannot_send_it_for_another_page(server, headers, status) -> None:
    """What a page may send without being asked is refused: known types only, and no type only without an Origin."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", INFER, json.dumps(a_request()), headers)

    response = connection.getresponse()
    body = json.loads(response.read())
    connection.close()

    assert response.status == status
    assert ("error" in body) == (status != 200)


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v2/nothing", 404), ("GET", INFER, 405)])
def test_wrong_paths_are_told_in_the_protocols_words(client, method, path, status) -> None:
    """Below /v2 every error has one form."""
    got, answer = client.ask(method, path)

    assert got == status
    assert list(answer) == ["error"]


def test_the_example_of_the_documentation_works(server) -> None:
    """The page's program asks a server with the real client and gets a number per row."""
    page = (Path(perene.__file__).parent / "docs" / "reference" / "http.md").read_text()
    block = re.search(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert block is not None
    names: dict[str, Any] = {}

    exec(block.group(1).replace("localhost:8780", f"localhost:{server.port}"), names)

    names["client"].close()
    assert names["result"].as_numpy("prediction").shape == (2,)
