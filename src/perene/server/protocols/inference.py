"""The Open Inference Protocol v2 over REST, with the binary tensor data extension.

Its metadata, its health and ``infer``. A version in a path must be loaded here; for ``infer``, the one that answers.
What comes in goes the way of every prediction (``Answering.submit``), so that batches, ids, limits and the log are the
same as of the native API.
"""

from __future__ import annotations

from functools import partial
from importlib.metadata import version

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from perene.definition.model import Model
from perene.errors import NotFound
from perene.server.answering import Answering
from perene.server.asking import ask
from perene.server.hot import unknown_model
from perene.server.problems import RequestError
from perene.server.protocols import tensors
from perene.server.requests import check_count, read_body
from perene.server.service import Service

_BINARY = "application/octet-stream"
_DECODER = msgspec.json.Decoder(tensors.InferRequest)
_LENGTH = "Inference-Header-Content-Length"
_MEND = 'send {"inputs": [{"name": …, "shape": [n], "datatype": …, "data": […]}, …]}'


def routes(service: Service) -> list[Route]:
    """The routes of the protocol."""
    protocol = _Inference(service)
    of_model = [
        ("", protocol.model, "GET"),
        ("/ready", protocol.model_ready, "GET"),
        ("/infer", protocol.infer, "POST"),
    ]
    return [
        Route("/v2", protocol.server),
        Route("/v2/health/live", protocol.live),
        Route("/v2/health/ready", protocol.ready),
        *(
            Route(f"/v2/models/{{model}}{version}{end}", endpoint, methods=[method])
            for version in ("", "/versions/{version}")
            for end, endpoint, method in of_model
        ),
    ]


class _Inference:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def server(self, request: Request) -> Response:
        """Which server this is, and what it can."""
        return _json({"name": "perene", "version": version("perene"), "extensions": ["binary_tensor_data"]})

    async def live(self, request: Request) -> Response:
        """The process lives."""
        return _json({"live": True})

    async def ready(self, request: Request) -> Response:
        """Whether every model is ready, as /readyz says it."""
        is_ready = self._service.is_ready
        return _json({"ready": is_ready}, status=200 if is_ready else 503)

    async def model(self, request: Request) -> Response:
        """The tensors of a model: a field of its Row each."""
        answering = self._asked(request)
        model = answering.model
        outputs: list[dict[str, object]] = [
            {"name": name, "datatype": datatype, "shape": shape}
            for name, (datatype, shape) in tensors.outputs_of(model).items()
        ]
        if model.label.classes and len(tensors.outputs_of(model)[tensors.PREDICTION][1]) > 1:
            outputs[0]["parameters"] = {"classes": model.label.classes}
        return _json(
            {
                "name": model.name,
                "versions": _loaded(answering),
                "platform": "perene",
                "inputs": [
                    {"name": field.name, "datatype": tensors.datatype_of(field), "shape": [-1]}
                    for field in model.schema.fields
                ],
                "outputs": outputs,
            }
        )

    async def model_ready(self, request: Request) -> Response:
        """Whether a model answers; of a version whether it is loaded, so that it could."""
        answering = self._asked(request)
        is_ready = answering.predictor is not None
        return _json({"name": answering.model.name, "ready": is_ready}, status=200 if is_ready else 503)

    async def infer(self, request: Request) -> Response:
        """Predictions of the rows that a request's tensors hold."""
        answering = self._asked(request, infers=True)
        _check_kind(request)
        limits = self._service.limits
        body = await read_body(request.headers.raw, request.receive, limits)
        asked, binary = _decoded(body, request.headers.get(_LENGTH))
        answer = tensors.Answer(
            answering.model, asked, partial(_check_answer, answering.model, request.path_params.get("version"))
        )
        rows = tensors.rows_of(asked, binary, answering.model.schema.fields)
        check_count(rows, limits)
        timeout_s = limits.timeout_s(request.headers.raw)
        body = await ask(answering, rows, request.receive, timeout_s=timeout_s, render=answer)
        if answer.header_length is None:
            return Response(body, media_type="application/json")
        return Response(body, media_type=_BINARY, headers={_LENGTH: str(answer.header_length)})

    def _asked(self, request: Request, *, infers: bool = False) -> Answering:
        """The model that a path names.

        Raises NotFound, also where it names a version that is not loaded, or that ``infers`` and does not answer.
        """
        name, wanted = request.path_params["model"], request.path_params.get("version")
        if name not in self._service.models:
            raise unknown_model(name, self._service.models)
        answering = self._service.models[name]
        if wanted is not None:
            loaded = _loaded(answering)
            if wanted not in loaded[: 1 if infers else None]:
                raise _other_version(name, wanted, loaded[0] if loaded else None)
        return answering


def _loaded(answering: Answering) -> list[str]:
    """The versions that are loaded, the one that answers first."""
    return [] if answering.lineup is None else [str(version) for version in answering.lineup.loaded]


def _check_answer(model: Model, wanted: str | None, answered: int) -> None:
    """Refuse to answer a path that names a version with what another said: a canary, or one of an earlier day."""
    if wanted is not None and wanted != str(answered):
        raise _other_version(model.name, wanted, str(answered))


def _other_version(model: str, wanted: str, answers: str | None) -> NotFound:
    why = "no version of it answers" if answers is None else f"version {answers} answers"
    return NotFound(f"version {wanted!r} of {model} does not answer here", why=why, mend="leave it out of the path")


def _check_kind(request: Request) -> None:
    """Refuse what a browser may send for any page. Protocol clients send JSON, bytes, or say nothing of it.

    A browser sends bodies of no stated type too, but none without the page's Origin.
    """
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        mend = "send it as it is"
        raise RequestError("the body is compressed", why=f"it says {encoding!r}", mend=mend, code="not-json")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("application/json", _BINARY) or (not kind and "origin" not in request.headers):
        return
    mend = f"send content-type: application/json or {_BINARY}"
    raise RequestError("the body must be JSON or bytes", why=f"it says {kind!r}", mend=mend, code="not-json")


def _decoded(body: bytes, header_length: str | None) -> tuple[tensors.InferRequest, bytes]:
    """The JSON of a request, and the bytes that follow it."""
    length = len(body)
    if header_length is not None:
        if not header_length.isdecimal() or int(header_length) > length:
            why = f"it says {header_length!r}; the body has {length} bytes"
            raise RequestError(f"{_LENGTH} is wrong", why=why, mend="send the length of the JSON")
        length = int(header_length)
    try:
        return _DECODER.decode(body[:length]), body[length:]
    except msgspec.ValidationError as error:
        raise RequestError("the body is not as it should be", why=str(error), mend=_MEND) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise RequestError("the body is not JSON", why=str(error), mend=_MEND) from error


def _json(content: object, *, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")
