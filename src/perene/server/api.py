"""Everything but predictions: ground truth, what is served, health, and single predictions found again."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from perene.definition.model import Model
from perene.errors import NotFound, PereneError, ServingError, StorageError
from perene.pipelines.truths import parse_truths, truths_entry
from perene.records.identity import plain
from perene.records.plain import plain_data
from perene.server import offline
from perene.server.hot import unknown_model
from perene.server.metrics import Metrics
from perene.server.openapi import openapi
from perene.server.problems import RequestError, problem
from perene.server.protocols import inference, scoring
from perene.server.protocols.telling import teller
from perene.server.requests import check_json, read_body, read_rows
from perene.server.service import Service


def build_api(service: Service) -> Starlette:
    """The routes beside the hot one. Each stands in ``operations.OPERATIONS`` too, for the OpenAPI document."""
    api = _Api(service)
    routes = [
        Route("/v1/models", api.models),
        Route("/v1/models/{model}", api.model),
        Route("/v1/models/{model}/ground-truth", api.ground_truth, methods=["POST"]),
        Route("/v1/predictions/{prediction_id}", api.prediction),
        *offline.routes(service),
        Route("/healthz", api.health),
        Route("/readyz", api.ready),
        Route("/openapi.json", api.openapi),
        Route("/metrics", api.metrics),
        *inference.routes(service),
        *scoring.routes(service),
    ]
    handlers = {PereneError: _refuse, HTTPException: _refuse_route, Exception: _refuse}
    return Starlette(routes=routes, exception_handlers=handlers)  # type: ignore[arg-type]


class _Api:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._metrics = Metrics(service)

    async def ground_truth(self, request: Request) -> Response:
        """Take ground truth in: durable before it is acknowledged."""
        model = self._model(request)
        check_json(request.headers.raw)
        limits = self._service.limits
        rows = read_rows(await read_body(request.headers.raw, request.receive, limits), limits)
        meter = self._service.models[model.name].meter
        try:
            accepted = await asyncio.to_thread(self._write_truths, model, rows)
        except PereneError:
            meter.labels(len(rows), "refused")
            raise
        meter.labels(accepted, "accepted")
        return _json({"accepted": accepted}, status=202)

    def _write_truths(self, model: Model, rows: list[object]) -> int:
        app = self._service.app
        truths = parse_truths(model, rows, now=app.time.now(), recorded_at=app.machine(), source="http")
        try:
            self._service.journal.write([truths_entry(model.name, truths)])
        except StorageError as error:
            what = "the ground truth cannot be kept"
            raise ServingError(what, why=error.why, mend=error.mend, code="not-logged") from error
        return len(truths)

    async def models(self, request: Request) -> Response:
        """Every model, and the version that answers; and project time, which a replay has of its own."""
        now = await asyncio.to_thread(self._service.app.time.now)
        models = [self._shown(name) for name in sorted(self._service.models)]
        return _json({"project_time": plain(now), "models": models})

    async def model(self, request: Request) -> Response:
        """One model, and the version that answers."""
        return _json(self._shown(self._model(request).name))

    async def prediction(self, request: Request) -> Response:
        """One logged prediction: what was asked, what was answered, and its ground truth; of ?model=, or of any."""
        model, prediction_id = request.query_params.get("model"), request.path_params["prediction_id"]
        trace = await asyncio.to_thread(self._service.app.trace, prediction_id, model=model)
        return _json(plain_data(trace))

    async def openapi(self, request: Request) -> Response:
        """What this server can be asked, as OpenAPI says it."""
        return _json(openapi(self._service.app.project.models, max_rows=self._service.limits.max_rows))

    async def metrics(self, request: Request) -> Response:
        """Counters and gauges for Prometheus."""
        page, kind = await self._metrics.page(request.headers.get("accept", ""))
        return Response(page, headers={"content-type": kind})

    async def health(self, request: Request) -> Response:
        """The process lives."""
        return _json({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """Whether requests are answered: every live version is loaded, and the log can be written or is not waited for.

        A server that answers, though something in its house does not work, is ready and says that it is degraded.
        """
        service = self._service
        troubles, is_ready = service.troubles, service.is_ready
        content = {
            "status": ("degraded" if troubles else "ready") if is_ready else "not ready",
            "serves": service.roster.serves,
            "missing": sorted(service.roster.not_loaded),
            "troubles": {part: {"what": e.what, "why": e.why, "mend": e.mend} for part, e in sorted(troubles.items())},
            "lost": service.losses.total,
        }
        return _json(content, status=200 if is_ready else 503)

    def _model(self, request: Request) -> Model:
        name = request.path_params["model"]
        if name not in self._service.models:
            raise unknown_model(name, self._service.models)
        return self._service.models[name].model

    def _shown(self, name: str) -> dict[str, object]:
        lineup = self._service.models[name].lineup
        version, canary, shadow = (
            None if predictor is None else predictor.version
            for predictor in ((lineup.champion, lineup.canary, lineup.shadow) if lineup else (None, None, None))
        )
        return {
            "name": name,
            "live_version": version and version.version,
            "trained_through": version and plain(version.trained_through),
            "dataset_version": version and version.dataset,
            "canary": canary and {"version": canary.version, "share": lineup.share if lineup else 0.0},
            "shadow": shadow and shadow.version,
            "not_loaded": self._not_loaded(name),
        }

    def _not_loaded(self, name: str) -> dict[str, object] | None:
        """The version that should answer and does not, and why."""
        missed = self._service.roster.not_loaded.get(name)
        if missed is None:
            return None
        parts = {part: getattr(missed.error, part) for part in ("code", "what", "why", "mend")}
        return {"version": missed.version, **parts}


def _json(content: object, *, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


async def _refuse(request: Request, error: Exception) -> Response:
    refusal = problem(error, teller(request.url.path))
    headers = {name.decode(): value.decode() for name, value in refusal.headers}
    return Response(refusal.body, refusal.status, headers)


async def _refuse_route(request: Request, error: HTTPException) -> Response:
    path = request.url.path
    if error.status_code == 405:
        allowed = dict(error.headers or {})
        what, mend = f"{path} is not asked so", f"use {allowed.get('Allow', 'another method')}"
        response = await _refuse(request, RequestError(what, mend=mend, code="method-not-allowed"))
        response.headers.update(allowed)
        return response
    return await _refuse(request, NotFound(f"there is nothing at {path}", mend="see GET /v1/models"))
