"""The hot route, POST /v1/models/{model}/predict: raw ASGI, because a framework here halves the throughput."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from perene.errors import NotFound
from perene.server.answering import Answering
from perene.server.asking import ask
from perene.server.problems import RequestError, problem
from perene.server.protocols.telling import teller
from perene.server.requests import Limits, check_host, check_json, read_body, read_rows

PREFIX = "/v1/models/"
SUFFIX = "/predict"
_JSON = (b"content-type", b"application/json")


class HotRoute:
    """Answers predictions; passes every other request on to ``others``."""

    def __init__(self, models: Mapping[str, Answering], others: ASGIApp, limits: Limits) -> None:
        self._models = models
        self._others = others
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._others(scope, receive, send)
            return
        path: str = scope["path"]
        is_hot = path.startswith(PREFIX) and path.endswith(SUFFIX)
        body = b""
        try:
            check_host(scope["headers"])
            if is_hot:
                body = await self._predict(path[len(PREFIX) : -len(SUFFIX)], scope, receive)
        except Exception as error:  # noqa: BLE001 - the door: every error becomes an answer
            refusal = problem(error, teller(path))
            await send({"type": "http.response.start", "status": refusal.status, "headers": refusal.headers})
            await send({"type": "http.response.body", "body": refusal.body})
            return
        if not is_hot:
            await self._others(scope, receive, send)
            return
        headers = [_JSON, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _predict(self, name: str, scope: Scope, receive: Receive) -> bytes:
        if scope["method"] != "POST":
            raise RequestError("predictions are asked for with POST", mend="send a POST", code="method-not-allowed")
        check_json(scope["headers"])
        answering = self._models.get(name)
        if answering is None:
            raise unknown_model(name, self._models)
        timeout_s = self._limits.timeout_s(scope["headers"])
        rows = read_rows(await read_body(scope["headers"], receive, self._limits), self._limits)
        return await ask(answering, rows, receive, timeout_s=timeout_s)


def unknown_model(name: str, models: Mapping[str, object]) -> NotFound:
    """There is no such model; says which there are."""
    names = ", ".join(sorted(models)) or "none"
    return NotFound(f"there is no model {name!r}", why=f"models of this project: {names}", mend="ask for one of them")
