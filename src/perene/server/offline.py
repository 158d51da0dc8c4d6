"""The routes of stored predictions: looked up by key, and loads asked for and followed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import repeat
from time import perf_counter
from typing import Any
from urllib.parse import unquote

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from perene.errors import NotFound, PereneError
from perene.pipelines.keying import parse_keys, read_key
from perene.records.generation import Generation
from perene.records.identity import plain
from perene.records.run import OFFLINE, Run, RunState
from perene.server.answering import Answering
from perene.server.asking import ask
from perene.server.batch import Render, native
from perene.server.hot import unknown_model
from perene.server.problems import RequestError, status_of
from perene.server.requests import check_count, check_json, read_body, take_ids
from perene.server.service import Service
from perene.server.stored import Opened
from perene.storage.envelope import keys as keys_of

_HOW = 'send {"keys": […]}, or {"rows": [{…}]} with all fields of each row'
_SHOWN = 10
_MOST = 2**31 - 1  # the largest number that a run can have
_MODE = "stored"
_LIGHT = 16  # keys that are looked up in less time than another thread takes to be asked


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    keys: list[Any] | None = None
    rows: list[Any] | None = None


_DECODER = msgspec.json.Decoder(_Asked)


def routes(service: Service) -> list[Route]:
    """The routes of stored predictions."""
    offline = _Offline(service)
    return [
        Route("/v1/models/{model}/predictions/{key:path}", offline.one),
        Route("/v1/models/{model}/lookup", offline.many, methods=["POST"]),
        Route("/v1/models/{model}/offline", offline.load, methods=["POST"]),
        Route("/v1/models/{model}/offline", offline.loads),
        Route("/v1/models/{model}/offline/{run:int}", offline.run),
    ]


class _Offline:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def one(self, request: Request) -> Response:
        """The stored prediction of one key. The path is read undecoded: %2C is no comma between two values."""
        answering = self._answering(request)
        raw = request.scope["raw_path"].decode("ascii", "replace").partition("/predictions/")[2]
        unknown = sorted(set(request.query_params) - {"prediction_id"})
        if unknown:
            why, mend = f"{', '.join(unknown)} is not known", "ask for ?prediction_id= or nothing"
            raise RequestError("the query is not as it should be", why=why, mend=mend)
        ids = take_ids([dict(request.query_params)])

        def read() -> list[str]:
            return parse_keys(answering.model, [read_key(answering.model, raw, decode=unquote)])

        return await self._looked_up(answering, 1, read, ids)

    async def many(self, request: Request) -> Response:
        """The stored predictions of many keys, or of rows, which are computed here where the model says so."""
        answering = self._answering(request)
        check_json(request.headers.raw)
        limits = self._service.limits
        asked = _decoded(await read_body(request.headers.raw, request.receive, limits))
        items = asked.keys if asked.rows is None else asked.rows
        if items is None or (asked.keys is not None and asked.rows is not None):
            raise RequestError("the body is not as it should be", why="it has keys or rows, one of them", mend=_HOW)
        check_count(items, limits)
        ids = take_ids(items)
        model = answering.model
        if asked.rows is None:
            return await self._looked_up(answering, len(items), lambda: parse_keys(model, items), ids)

        def read() -> list[str]:
            return keys_of(model.schema.parse_json(items), model.key).to_list()

        try:
            return await self._looked_up(answering, len(items), read, ids)
        except PereneError as error:
            if model.fallback is None or error.code not in ("not-stored", "too-old"):
                raise
        given = ids or repeat(None)
        rows = [row if id_ is None else {**row, "prediction_id": id_} for row, id_ in zip(items, given, strict=False)]
        timeout_s = limits.timeout_s(request.headers.raw)
        now = await asyncio.to_thread(self._service.app.time.now)
        body = await ask(answering, rows, request.receive, timeout_s=timeout_s, render=_computed(now))
        return Response(body, media_type="application/json")

    async def load(self, request: Request) -> Response:
        """Queue a load of the model's population."""
        answering = self._answering(request)
        check_json(request.headers.raw)
        app = self._service.app
        run = await asyncio.to_thread(app.ask_offline, answering.model.name, actor="http")
        response = _json(_run(run, None), status=202)
        response.headers["location"] = f"/v1/models/{answering.model.name}/offline/{run.id}"
        return response

    async def loads(self, request: Request) -> Response:
        """Which generation is read, and the newest loads."""
        answering = self._answering(request)
        app, name = self._service.app, answering.model.name
        current = await asyncio.to_thread(app.generations.current, name)
        newest = await asyncio.to_thread(app.generations.list, name, limit=_SHOWN)
        live = answering.predictor
        is_outdated = current is not None and (live is None or live.version.version != current.version)
        content = {"current": current and current.id, "outdated": is_outdated, "loads": [_load(g) for g in newest]}
        return _json(content)

    async def run(self, request: Request) -> Response:
        """How far a load is that was asked for."""
        answering = self._answering(request)
        app, id_, name = self._service.app, request.path_params["run"], answering.model.name
        run = await asyncio.to_thread(app.runs.get, id_) if id_ <= _MOST else None
        if run is None or run.trigger != OFFLINE or run.model != name:
            why = f"run {id_} is no load of {name}"
            raise NotFound(f"there is no load {id_}", why=why, mend=f"GET /v1/models/{name}/offline")
        return _json(_run(run, await asyncio.to_thread(app.generations.of_run, id_)))

    async def _looked_up(
        self, answering: Answering, count: int, read: Callable[[], list[str]], ids: list[str | None] | None
    ) -> Response:
        started = perf_counter()

        def answer(opened: Opened | None = None) -> dict[str, object]:
            return self._service.stored.answer(answering, read(), ids, opened=opened)

        is_light = count <= _LIGHT and ids is None and not answering.waits_for_disk and not _is_asked_again(answering)
        opened = self._service.stored.at_hand(answering.model.name) if is_light else None
        try:
            content = await asyncio.to_thread(answer) if opened is None else answer(opened)
        except Exception as error:
            is_refused = isinstance(error, PereneError) and status_of(error) < 500
            answering.meter.not_answered(count, "refused" if is_refused else "failed", mode=_MODE)
            raise
        answering.meter.answered(count, perf_counter() - started, mode=_MODE)
        return _json(content)

    def _answering(self, request: Request) -> Answering:
        name = request.path_params["model"]
        if name not in self._service.models:
            raise unknown_model(name, self._service.models)
        return self._service.models[name]


def _is_asked_again(answering: Answering) -> bool:
    """Whether a step of the user's own, which may take its time, is done again at each look-up."""
    return any(hook.recheck and hook.step is None for hook in answering.model.posts)


def _decoded(body: bytes) -> _Asked:
    try:
        return _DECODER.decode(body)
    except msgspec.ValidationError as error:
        raise RequestError("the body is not as it should be", why=str(error), mend=_HOW) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise RequestError("the body is not JSON", why=str(error), mend=_HOW) from error


def _computed(now: datetime) -> Render:
    """Writes an answer that was computed where a stored one was asked for."""
    how = {"mode": "online", "computed_at": plain(now), "outdated": False}

    def render(content: Mapping[str, object]) -> bytes:
        predictions: Any = content["predictions"]
        return native({**content, "predictions": [{**each, **how} for each in predictions]})

    return render


def _run(run: Run, load: Generation | None) -> dict[str, object]:
    state = "waiting" if run.state is RunState.QUEUED else run.state.value
    error = run.error and {part: run.error.get(part, "") for part in ("code", "what", "why", "mend")}
    return {"run": run.id, "state": state, "error": error, "load": None if load is None else _load(load)}


def _load(load: Generation) -> dict[str, object]:
    return {
        "generation": load.id,
        "state": load.state.value,
        "model_version": load.version,
        "origin": load.origin,
        "computed_at": plain(load.computed_at),
        "rows": load.rows,
        "keys": load.keys,
        "aside": load.aside,
    }


def _json(content: object, *, status: int = 200) -> Response:
    return Response(native(content), status, media_type="application/json")  # type: ignore[arg-type]
