"""Rows as tensors and answers as tensors: what the Open Inference Protocol asks and is told."""

from __future__ import annotations

import json
import struct
from datetime import date
from typing import Any, Literal

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AwareDatetime

from perene import Label, Model, Row
from perene.errors import PereneError
from perene.server.answering import Answering
from perene.server.batch import PredictRequest, native
from perene.server.lineup import Lineup
from perene.server.protocols import scoring, tensors


class Parcel(Row):
    """A field of each kind."""

    number: int
    owner: str
    sent_at: AwareDatetime
    grams: float
    zone: Literal["near", "far"] | None
    paid: bool | None
    due: date | None = None


def a_model(label: Label) -> Model:
    """A declaration of nothing but rows and label."""
    return Model(
        "parcels", row=Parcel, key=["number"], at="sent_at", label=label, train_on="20d", test_on="10d",
        features=lambda rows: rows, train=lambda x, y: None, source=lambda since, until: None,
    )  # fmt: skip


FIELDS = a_model(Label("hours", float)).schema.fields
FP = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}


def a_request(inputs: list[dict[str, Any]], **more: Any) -> tensors.InferRequest:
    """A request's decoded JSON."""
    return msgspec.convert({"inputs": inputs} | more, tensors.InferRequest)


def texts(values: list[str]) -> bytes:
    """Texts as the bytes of a BYTES tensor."""
    return b"".join(struct.pack("<I", len(value.encode())) + value.encode() for value in values)


def columns(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the bench's parcels as tensors in JSON."""
    types = {"number": "INT64", "grams": "FP64", "paid": "BOOL"}
    return [
        {"name": name, "datatype": types.get(name, "BYTES"), "shape": [len(rows)], "data": [row[name] for row in rows]}
        for name in rows[0]
    ]


def in_bytes(inputs: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], bytes]:
    """The same tensors as bytes, but for those with a null, which bytes cannot have."""
    made, tail = [], b""
    for tensor in inputs:
        if None in tensor["data"]:
            made.append(tensor)
            continue
        if tensor["datatype"] == "BYTES":
            raw = texts(tensor["data"])
        else:
            raw = np.array(tensor["data"], {"INT64": "<i8", "FP64": "<f8", "BOOL": "?"}[tensor["datatype"]]).tobytes()
        made.append({n: v for n, v in tensor.items() if n != "data"} | {"parameters": {"binary_data_size": len(raw)}})
        tail += raw
    return made, tail


numbers = st.integers(-(2**63), 2**63 - 1)
parcels = st.lists(
    st.fixed_dictionaries(
        {
            "number": numbers,
            "owner": st.text(st.characters(exclude_categories=["Cs"])),
            "sent_at": st.just("2026-05-01T12:00:00Z"),
            "grams": st.floats(allow_nan=False, allow_infinity=False),
            "zone": st.sampled_from(["near", "far", None]),
            "paid": st.booleans() | st.none(),
        }
    ),
    min_size=1,
)


@given(rows=parcels)
def test_rows_come_back_from_their_tensors(rows) -> None:
    """Whatever values rows have, their tensors in JSON and in bytes say the same rows."""
    inputs = columns(rows)
    made, tail = in_bytes(inputs)

    assert tensors.rows_of(a_request(inputs), b"", FIELDS) == rows
    assert tensors.rows_of(a_request(made), tail, FIELDS) == rows


@given(inputs=st.lists(st.fixed_dictionaries({
    "name": st.sampled_from(["number", "owner", "grams", "paid", "prediction_id", "x"]),
    "datatype": st.sampled_from(["INT64", "FP32", "BOOL", "BYTES", "FP16", "UINT8", "X"]),
    "shape": st.lists(st.integers(-2, 4), max_size=3),
    "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": st.integers(-1, 20) | st.text()}),
}), max_size=5), tail=st.binary(max_size=40))  # fmt: skip
def test_any_bytes_are_rows_or_refused(inputs, tail) -> None:
    """Tensors that say anything of themselves, and any bytes after them, end in rows or in an error of ours."""
    try:
        rows = tensors.rows_of(a_request(inputs), tail, FIELDS)
    except PereneError as error:
        assert error.what and error.mend
    else:
        assert all(isinstance(row, dict) for row in rows)


@pytest.mark.parametrize("datatype", FP)
def test_no_number_stands_for_a_missing_value(datatype) -> None:
    """NaN in the bytes of a floating-point tensor is null, as tensors have no other."""
    raw = np.array([1.5, np.nan], FP[datatype]).tobytes()
    asked = a_request(
        [{"name": "grams", "datatype": datatype, "shape": [2], "parameters": {"binary_data_size": len(raw)}}]
    )

    assert tensors.rows_of(asked, raw, [field for field in FIELDS if field.name == "grams"]) == [
        {"grams": 1.5},
        {"grams": None},
    ]


def answers(bench, journal, name: str, rows: list[dict[str, Any]], *renders: Any) -> list[bytes]:
    """What one request for rows is answered with by each render."""
    answering = Answering(bench.models[name], bench.desk(journal))
    answering.lineup = Lineup(champion=bench.predictor(name))
    said: list[bytes] = []
    for render in renders:
        answering._work([PredictRequest([dict(row) for row in rows], None, render)], said.extend)
    answering.batcher.close()
    return said


def unpacked(body: bytes, length: int) -> dict[str, list[Any]]:
    """The outputs of a binary answer, by hand."""
    header, tail = json.loads(body[:length]), body[length:]
    found = {}
    for output in header["outputs"]:
        size = output["parameters"]["binary_data_size"]
        raw, tail = tail[:size], tail[size:]
        if output["datatype"] == "BYTES":
            values = []
            while raw:
                (n,) = struct.unpack("<I", raw[:4])
                values.append(raw[4 : 4 + n].decode())
                raw = raw[4 + n :]
        else:
            dtype = {"FP64": "<f8", "INT64": "<i8", "BOOL": "?"}[output["datatype"]]
            values = np.frombuffer(raw, dtype).reshape(output["shape"]).tolist()
        found[output["name"]] = values
    assert tail == b""
    return found


@pytest.mark.parametrize("model_name", ["plain", "words", "whole", "binary", "chances", "classes", "best", "featured"])
def test_every_protocol_answers_what_the_native_one_answers(bench, journal, a_row, model_name) -> None:
    """Numbers, flags, texts and probabilities are the same, to the last bit, in each protocol and form."""
    model = bench.models[model_name]
    rows = [a_row(n, grams=100 + n * 7.3) for n in range(5)]
    in_json = tensors.Answer(model, a_request([]), lambda version: None)
    binary = tensors.Answer(model, a_request([], parameters={"binary_data_output": True}), lambda version: None)

    plain, oip, oip_binary, mlflow = answers(bench, journal, model_name, rows, native, in_json, binary, scoring.answer)

    wanted = [prediction["prediction"] for prediction in json.loads(plain)["predictions"]]
    output = json.loads(oip)["outputs"][0]
    described = tensors.outputs_of(model)["prediction"]
    assert in_json.header_length is None
    assert output["datatype"] == described[0]
    assert output["shape"] == [5, *described[1][1:]]
    assert np.array(output["data"]).reshape(output["shape"]).tolist() == wanted
    assert unpacked(oip_binary, binary.header_length or 0)["prediction"] == wanted
    assert unpacked(oip_binary, binary.header_length or 0)["model_version"] == [3] * 5
    assert json.loads(mlflow)["predictions"] == wanted


def test_the_rows_of_a_ranking_have_a_rank_or_a_reason() -> None:
    """An ordered answer is told row by row in the order sent; what was removed has no score, rank 0 and its reason."""
    ranking = a_model(Label("watched", bool, group="owner"))
    content = {
        "model": "feed",
        "model_version": 2,
        "request_id": "r",
        "predictions": [
            {"prediction_id": "b", "item": 1, "score": 0.9, "rank": 1},
            {"prediction_id": "a", "item": 0, "score": 0.5, "rank": 2},
        ],
        "removed": [{"prediction_id": "c", "item": 2, "reason": "blocked"}],
    }
    render = tensors.Answer(ranking, a_request([], parameters={"binary_data_output": True}), lambda version: None)

    found = unpacked(render(content), render.header_length or 0)

    assert found["prediction"][:2] == [0.5, 0.9]
    assert np.isnan(found["prediction"][2])
    assert (found["rank"], found["removed"]) == ([2, 1, 0], ["", "", "blocked"])
    assert found["prediction_id"] == ["a", "b", "c"]
    assert json.loads(scoring.answer(content))["predictions"] == [0.5, 0.9, None]


def test_an_answer_of_several_versions_names_each(bench) -> None:
    """A row that another version answered says so; a path that names a version is asked about every one."""
    content = {
        "model": "plain",
        "model_version": 2,
        "request_id": "r",
        "predictions": [
            {"prediction_id": "a", "prediction": 1.0},
            {"prediction_id": "b", "prediction": 2.0, "model_version": 3},
        ],
    }
    asked: list[int] = []

    answer = json.loads(tensors.Answer(bench.models["plain"], a_request([]), asked.append)(content))

    assert answer["outputs"][2] == {"name": "model_version", "datatype": "INT64", "shape": [2], "data": [2, 3]}
    assert asked == [2, 3]
