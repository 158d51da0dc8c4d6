"""Tensors of the Open Inference Protocol: a request's columns in, an answer's columns out, as JSON or as bytes.

One tensor per field of the Row, and optionally ``prediction_id``. Tensors have no null, so JSON's null stands for it,
and NaN among floating-point numbers; a field that may be missing may be left out.
https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, cast

import msgspec
import numpy as np
import polars as pl

from perene.definition.columns import Field
from perene.definition.label import Task
from perene.definition.model import Model
from perene.errors import BadField, BadRows, ServingError
from perene.server.problems import RequestError
from perene.server.ranked import by_row

PREDICTION_ID = "prediction_id"
PREDICTION, VERSION, RANK, REMOVED = "prediction", "model_version", "rank", "removed"
_INTEGERS = {
    f"{sign}INT{8 * size}": f"<{kind}{size}" for sign, kind in (("", "i"), ("U", "u")) for size in (1, 2, 4, 8)
}
_FLOATS = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
_BOOLEAN = {"BOOL": "?"}
_NUMPY = _INTEGERS | _FLOATS | _BOOLEAN
_BYTES = ("BYTES",)
_TAKEN: dict[str, tuple[str, ...]] = {
    "str": _BYTES,
    "datetime": _BYTES,
    "date": _BYTES,
    "bool": tuple(_BOOLEAN),
    "int": tuple(_INTEGERS),
    "float": (*_FLOATS, *_INTEGERS),
}
_NAMED = {"bool": "BOOL", "int": "INT64", "float": "FP64"}
_NAMED_ANSWER = {pl.Boolean: "BOOL", pl.Int64: "INT64", pl.Float64: "FP64", pl.String: "BYTES", pl.List: "FP64"}
_CONTENT_TYPES = ("pd", "np", "str", "datetime")  # MLServer's; each means here what a tensor means without one


class Input(msgspec.Struct, kw_only=True):
    """One tensor of a request, as it came."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = msgspec.field(default_factory=dict)
    data: list[Any] | None = None


class Wanted(msgspec.Struct, kw_only=True):
    """One tensor that a request asks for."""

    name: str
    parameters: dict[str, Any] = msgspec.field(default_factory=dict)


class InferRequest(msgspec.Struct, kw_only=True):
    """The JSON of a request."""

    inputs: list[Input]
    id: str | None = None
    parameters: dict[str, Any] = msgspec.field(default_factory=dict)
    outputs: list[Wanted] = msgspec.field(default_factory=list)


def datatype_of(field: Field) -> str:
    """The datatype of a field's tensor."""
    return _NAMED.get(field.kind, "BYTES")


def taken(kind: str) -> tuple[str, ...]:
    """The datatypes that a field of a kind takes."""
    return _TAKEN[kind]


def outputs_of(model: Model) -> dict[str, tuple[str, list[int]]]:
    """Name, datatype and shape of what a model answers. Of a ranking a row that was removed has no score and rank 0."""
    answer, rows = model.answer_dtype, [-1]
    shape = [-1, len(model.label.classes)] if answer == pl.List(pl.Float64) else rows
    outputs = {
        PREDICTION: (_NAMED_ANSWER[type(answer)], shape),
        PREDICTION_ID: ("BYTES", rows),
        VERSION: ("INT64", rows),
    }
    if model.label.task is Task.RANKING:
        outputs |= {RANK: ("INT64", rows), REMOVED: ("BYTES", rows)}
    return outputs


def rows_of(request: InferRequest, binary: bytes, fields: Sequence[Field]) -> list[object]:
    """The rows that a request's tensors hold, as decoded JSON has them; ``binary`` is what follows its JSON.

    Raises:
        RequestError: a tensor is unknown, missing, of another datatype or shape than it must have, or cut short.
        BadRows: bytes that are no text.
    """
    _check_content_type(request.parameters)
    if request.parameters.get("sequence_id"):
        raise RequestError("models answer each request by itself", why="it has a sequence_id", mend="leave it out")
    known = {field.name: field for field in fields}
    columns: dict[str, list[object]] = {}
    for tensor, raw in _with_bytes(request.inputs, binary):
        _check_name(tensor.name, known, columns)
        field = known.get(tensor.name)
        _check_datatype(tensor, field.kind if field else "str")
        columns[tensor.name] = _values(tensor, raw)
    missing = [field.name for field in fields if field.required and field.name not in columns]
    if missing:
        why = f"it needs {', '.join(missing)}"
        raise RequestError("tensors are missing", why=why, mend="send a tensor for each field that has no default")
    heights = {name: len(values) for name, values in columns.items()}
    if len(set(heights.values())) > 1:
        why = ", ".join(f"{name} has {height}" for name, height in heights.items())
        raise RequestError("the tensors are of different lengths", why=why, mend="send one value per row in each")
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _check_name(name: str, known: Mapping[str, Field], columns: Mapping[str, object]) -> None:
    if name not in known and name != PREDICTION_ID:
        why = f"inputs are {', '.join(known)} and, if you like, {PREDICTION_ID}"
        raise RequestError(f"there is no input {name!r}", why=why, mend="leave it out")
    if name in columns:
        raise RequestError(f"the input {name!r} stands twice in this request", mend="send one tensor per field")


def _check_content_type(parameters: Mapping[str, object]) -> None:
    given = parameters.get("content_type")
    if given is not None and given not in _CONTENT_TYPES:
        why = f"it is {given!r}; known are {', '.join(_CONTENT_TYPES)}"
        raise RequestError("a content_type that is not known", why=why, mend="leave it out")


def _check_datatype(tensor: Input, kind: str) -> None:
    _check_content_type(tensor.parameters)
    if tensor.datatype not in taken(kind):
        why = f"it is {tensor.datatype}; taken are {', '.join(taken(kind))}"
        raise RequestError(f"the input {tensor.name!r} has another datatype", why=why, mend="send it as one of them")


def _with_bytes(inputs: Sequence[Input], binary: bytes) -> Iterator[tuple[Input, bytes | None]]:
    """Each tensor with its part of the bytes that follow the JSON; None for one whose data are in the JSON."""
    start = 0
    for tensor in inputs:
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            yield tensor, None
            continue
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(binary) - start:
            why = f"binary_data_size is {size!r}, and {len(binary) - start} bytes are left"
            raise RequestError(f"the bytes of {tensor.name!r} are not all there", why=why, mend="send what it says")
        yield tensor, binary[start : start + size]
        start += size
    if start != len(binary):
        why = f"{len(binary) - start} bytes belong to no tensor"
        raise RequestError("there are too many bytes", why=why, mend="give each tensor its binary_data_size")


def _values(tensor: Input, raw: bytes | None) -> list[object]:
    """A tensor's values, one per row."""
    shape = tensor.shape
    if not shape or len(shape) > 2 or min(shape) < 0 or (len(shape) == 2 and shape[1] != 1):
        why = f"it is {shape}; a field's tensor is [n] or [n, 1]"
        raise RequestError(f"the input {tensor.name!r} has another shape", why=why, mend="send one value per row")
    if raw is not None:
        values = _texts(tensor.name, raw) if tensor.datatype == "BYTES" else _numbers(tensor, raw)
    elif tensor.data is None:
        mend = "send data, or binary_data_size and the bytes; shared memory is not taken"
        raise RequestError(f"the input {tensor.name!r} has no data", mend=mend)
    else:
        nested = len(shape) == 2 and all(isinstance(value, list) for value in tensor.data)
        values = list(chain.from_iterable(tensor.data)) if nested else tensor.data
    if len(values) != shape[0]:
        why = f"its shape is {shape}, and it has {len(values)} values"
        raise RequestError(f"the input {tensor.name!r} has another length", why=why, mend="mend its shape or its data")
    return values


def _numbers(tensor: Input, raw: bytes) -> list[object]:
    dtype = np.dtype(_NUMPY[tensor.datatype])
    if len(raw) % dtype.itemsize:
        why = f"{len(raw)} bytes are no multiple of {dtype.itemsize}, the size of a {tensor.datatype}"
        raise RequestError(
            f"the bytes of {tensor.name!r} are not all there", why=why, mend="send whole numbers of them"
        )
    values = np.frombuffer(raw, dtype).tolist()
    if tensor.datatype in _FLOATS:
        return [None if math.isnan(value) else value for value in values]
    return cast(list[object], values)


def _texts(name: str, raw: bytes) -> list[object]:
    """The texts of a BYTES tensor: the length of each in four bytes, then its UTF-8."""
    values: list[object] = []
    start = 0
    while start < len(raw):
        length = int.from_bytes(raw[start : start + 4], "little")
        end = start + 4 + length
        if end > len(raw):
            why = f"text {len(values)} should end at byte {end} of {len(raw)}"
            raise RequestError(f"the bytes of {name!r} are not all there", why=why, mend="send whole texts")
        try:
            values.append(raw[start + 4 : end].decode())
        except UnicodeDecodeError:
            bad = BadField(row=len(values), field=name, what="a text in UTF-8")
            raise BadRows("bytes that are no text", (bad,), mend="encode texts as UTF-8") from None
        start = end
    return values


class Answer:
    """Writes the answer to one request: ``Answering.submit``'s ``render``.

    ``header_length`` is then that of its JSON where bytes follow it, else None.
    """

    def __init__(self, model: Model, request: InferRequest, check: Callable[[int], None]) -> None:
        self.header_length: int | None = None
        self._id = request.id
        self._check = check
        by_default = request.parameters.get("binary_data_output") is True
        names = {tensor.name: tensor.parameters.get("binary_data", by_default) is True for tensor in request.outputs}
        known = outputs_of(model)
        unknown = names.keys() - known.keys()
        if unknown:
            why = f"outputs are {', '.join(known)}"
            raise RequestError(f"there is no output {min(unknown)!r}", why=why, mend="ask for one of them, or for none")
        self._binary = names or dict.fromkeys(known, by_default)

    def __call__(self, content: Mapping[str, object]) -> bytes:
        """The answer's bytes. ``check`` is asked about each version that answered, and may refuse it."""
        rows = by_row(content) if "removed" in content else cast(list[dict[str, Any]], content["predictions"])
        rows = [{VERSION: content[VERSION]} | row for row in rows]
        for version in {row[VERSION]: None for row in rows}:
            self._check(cast(int, version))
        outputs, tail = [], []
        for name, is_binary in self._binary.items():
            described, values = _described(name, [row[name] for row in rows])
            if is_binary:
                tail.append(_packed(described["datatype"], values))
                described["parameters"] = {"binary_data_size": len(tail[-1])}
            else:
                described["data"] = values
            outputs.append(described)
        answer = {
            "model_name": content["model"],
            "model_version": str(content["model_version"]),
            "id": content["request_id"] if self._id is None else self._id,
            "outputs": outputs,
        }
        header = msgspec.json.encode(answer)
        self.header_length = len(header) if tail else None
        return b"".join((header, *tail))


def _described(name: str, values: list[Any]) -> tuple[dict[str, Any], list[Any]]:
    """An output's name, datatype and shape, and its values in one list."""
    if name == REMOVED:
        values = [value or "" for value in values]
    kinds = {type(value) for value in values if value is not None} or {float}
    shape = [len(values)]
    if kinds == {list}:
        shape.append(len(values[0]))
        values = list(chain.from_iterable(values))
        kinds = {float}
    datatypes = {bool: "BOOL", int: "INT64", float: "FP64", str: "BYTES"}
    if len(kinds) != 1 or len(values) != math.prod(shape):
        why = "some were answered by an earlier version, whose answers were of another type"
        raise ServingError("the answers are of several types", why=why, mend="ask for them one by one")
    return {"name": name, "datatype": datatypes[kinds.pop()], "shape": shape}, values


def _packed(datatype: str, values: list[Any]) -> bytes:
    if datatype != "BYTES":
        return np.asarray(values, _NUMPY[datatype]).tobytes()
    texts = [value.encode() for value in values]
    return b"".join(chain.from_iterable((len(text).to_bytes(4, "little"), text) for text in texts))
