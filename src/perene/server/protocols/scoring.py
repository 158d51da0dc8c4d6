"""The HTTP of MLflow's scoring server, so that its clients can ask perene instead.

A project of one model answers at /invocations, as ``mlflow models serve`` does; every model at
/mlflow/{model}/invocations, so that a client's base address names it. What comes in goes the way of every prediction.
https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from perene.definition.columns import Field
from perene.errors import NotFound
from perene.server.answering import Answering, no_live_version
from perene.server.asking import ask
from perene.server.hot import unknown_model
from perene.server.problems import RequestError
from perene.server.ranked import by_row
from perene.server.requests import check_count, read_body
from perene.server.service import Service

PREFIX = "/mlflow/{model}"
_JSON, _CSV = "application/json", "text/csv"
_FORMS = ("dataframe_split", "dataframe_records", "inputs", "instances")
_MEND = 'send {"dataframe_records": [{…}]}'


def routes(service: Service) -> list[Route]:
    """The routes of the protocol: those of the only model, and those of each."""
    protocol = _Scoring(service)
    return [
        route
        for prefix in ("", PREFIX)
        for route in (
            Route(f"{prefix}/invocations", protocol.invocations, methods=["POST"]),
            Route(f"{prefix}/ping", protocol.ping),
            Route(f"{prefix}/health", protocol.ping),
            Route(f"{prefix}/version", protocol.version),
        )
    ]


class _Scoring:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def invocations(self, request: Request) -> Response:
        """Predictions of the rows of a data frame or of inputs."""
        answering = self._asked(request)
        read = _reader(request)
        limits = self._service.limits
        rows = read(await read_body(request.headers.raw, request.receive, limits), answering.model.schema.fields)
        check_count(rows, limits)
        timeout_s = limits.timeout_s(request.headers.raw)
        body = await ask(answering, rows, request.receive, timeout_s=timeout_s, render=answer)
        return Response(body, media_type=_JSON)

    async def ping(self, request: Request) -> Response:
        """Whether the model that is asked for, or every model, answers."""
        asked = [self._asked(request)] if "model" in request.path_params else list(self._service.models.values())
        for answering in asked:
            if answering.predictor is None:
                raise no_live_version(answering.model.name)
        return Response("\n", media_type="text/plain")

    async def version(self, request: Request) -> Response:
        """perene's version: there is no MLflow behind this."""
        return Response(version("perene"), media_type="text/plain")

    def _asked(self, request: Request) -> Answering:
        """The model that the path names, or the only one."""
        models, name = self._service.models, request.path_params.get("model")
        if name is None:
            if len(models) == 1:
                return next(iter(models.values()))
            why = f"models of this project: {', '.join(sorted(models)) or 'none'}"
            raise NotFound("the path must name a model", why=why, mend="ask for /mlflow/MODEL/invocations")
        if name not in models:
            raise unknown_model(name, models)
        return models[name]


_Reader = Callable[[bytes, Sequence[Field]], list[Any]]


def _reader(request: Request) -> _Reader:
    """What reads a body of the request's content type. Raises RequestError for another type than MLflow's two."""
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"') or "utf-8"
    reader = {_JSON: _rows_of_json, _CSV: _rows_of_csv}.get(kind.strip().lower())
    if reader is None or charset != "utf-8":
        why, mend = f"it says {request.headers.get('content-type', '')!r}", f"send content-type: {_JSON} or {_CSV}"
        raise RequestError("the body must be JSON or CSV, in UTF-8", why=why, mend=mend, code="not-json")
    return reader


def _rows_of_json(body: bytes, fields: Sequence[Field]) -> list[Any]:
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise RequestError("the body is not JSON", why=str(error), mend=_MEND) from error
    keys = content.keys() if isinstance(content, dict) else set()
    forms = [form for form in _FORMS if form in keys]
    if len(forms) != 1 or keys - {forms[0], "params"}:
        why = f"its keys are {', '.join(sorted(keys))}" if keys else "it is no object with a key"
        raise RequestError(f"the body must have one of {', '.join(_FORMS)}", why=why, mend=_MEND)
    if content.get("params"):
        raise RequestError("the models of perene take no params", mend="leave params out")
    data = content[forms[0]]
    if forms[0] == "dataframe_split":
        return _rows_of_split(data)
    return _rows_of_columns(data) if isinstance(data, dict) else _rows_of_list(forms[0], data)


def _rows_of_split(data: object) -> list[Any]:
    """The rows of pandas' ``to_dict(orient="split")``; its index is not looked at."""
    try:
        split = msgspec.convert(data, _Split)
    except msgspec.ValidationError as error:
        mend = 'send {"dataframe_split": {"columns": […], "data": [[…], …]}}'
        raise RequestError("dataframe_split is not as it should be", why=str(error), mend=mend) from error
    width = len(split.columns)
    if len(set(split.columns)) < width:
        raise RequestError("a column stands twice in dataframe_split", mend="send each column once")
    for place, values in enumerate(split.data):
        if len(values) != width:
            why = f"row {place} has {len(values)} values for {width} columns"
            raise RequestError("the rows of dataframe_split do not fit its columns", why=why, mend="mend this row")
    return [dict(zip(split.columns, values, strict=True)) for values in split.data]


class _Split(msgspec.Struct):
    columns: list[str]
    data: list[list[Any]]


def _rows_of_columns(data: Mapping[str, Any]) -> list[Any]:
    """The rows of one list, or one value, per field."""
    columns = {name: values if isinstance(values, list) else [values] for name, values in data.items()}
    heights = {name: len(values) for name, values in columns.items()}
    if len(set(heights.values())) > 1:
        why = ", ".join(f"{name} has {height}" for name, height in heights.items())
        raise RequestError("the columns are of different lengths", why=why, mend="send one value per row in each")
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _rows_of_list(form: str, data: object) -> list[Any]:
    if isinstance(data, list) and all(isinstance(row, dict) for row in data):
        return data
    why = f"the values of {form} have no names"
    raise RequestError("a row must be an object of its fields", why=why, mend=f'send {{"{form}": [{{…}}]}}')


def _rows_of_csv(body: bytes, fields: Sequence[Field]) -> list[Any]:
    """The rows of a CSV whose first line names the fields; an empty cell is a missing value."""
    known = {field.name: field for field in fields}
    try:
        lines = list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise RequestError("the body is not CSV", why=str(error), mend="send a line of names, then rows") from error
    names = lines[0] if lines else []
    if len(set(names)) < len(names):
        raise RequestError("a column stands twice in the first line", mend="send each column once")
    rows = []
    for number, cells in enumerate(lines[1:], start=2):
        if not cells:
            continue  # an empty line
        if len(cells) != len(names):
            why = f"line {number} has {len(cells)} cells for {len(names)} columns"
            raise RequestError("the lines of the CSV are of different lengths", why=why, mend="mend this line")
        rows.append({name: _value(known.get(name), cell) for name, cell in zip(names, cells, strict=True)})
    return rows


def _value(field: Field | None, cell: str) -> object:
    """A cell as JSON would have it. What is no number stays a text, which the check of the rows refuses by its name."""
    if not cell:
        return None
    try:
        match field.kind if field else "str":
            case "int":
                return int(cell)
            case "float":
                return float(cell)
            case "bool":
                return {"true": True, "false": False}.get(cell.lower(), cell)
            case _:
                return cell
    except ValueError:
        return cell


def answer(content: Mapping[str, object]) -> bytes:
    """An answer as this protocol writes it; a client that knows only ``predictions`` takes that."""
    predictions = by_row(content) if "removed" in content else cast(list[dict[str, object]], content["predictions"])
    return msgspec.json.encode(
        {
            "predictions": [prediction["prediction"] for prediction in predictions],
            "prediction_ids": [prediction["prediction_id"] for prediction in predictions],
            "model_version": content["model_version"],
        }
    )
