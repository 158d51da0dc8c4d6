"""Errors as HTTP says them: application/problem+json (RFC 9457) with the four parts of every PereneError."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from perene.errors import (
    BadRows,
    Conflict,
    NotAllowed,
    NotFound,
    PereneError,
    ServingError,
    StorageError,
)

log = logging.getLogger("perene.server")

_STATUS_OF_CODE = {
    "bad-request": 400,
    "method-not-allowed": 405,
    "too-slow": 408,
    "too-old": 410,
    "too-large": 413,
    "not-json": 415,
    "host-refused": 421,
    "queue-full": 503,
    "no-live-version": 503,
    "not-logged": 503,
    "stopping": 503,
    "deadline": 504,
}
_STATUS_OF_KIND: tuple[tuple[type[PereneError], int], ...] = (
    (BadRows, 422),
    (NotFound, 404),
    (Conflict, 409),
    (NotAllowed, 403),
    (StorageError, 503),
)
_TITLES = {
    400: "Bad request",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Too slow",
    409: "Conflict",
    410: "Too old",
    413: "Too large",
    415: "Not JSON",
    421: "Wrong host",
    422: "Bad rows",
    500: "The server failed",
    503: "Not now",
    504: "Too late",
}
RETRY_AFTER_S = 1
Tell = Callable[[PereneError, int], tuple[str, object]]  # of an error and its status: media type, and JSON


class RequestError(PereneError):
    """A request that is no request of this API: its body, its headers or its method."""

    code = "bad-request"


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal, ready to be sent."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def problem(error: Exception, tell: Tell | None = None) -> Problem:
    """What a caller is told of an error. One that is not ours is logged with its trace and told without details.

    ``tell`` writes it in the words of another protocol; problem+json when None.
    """
    if not isinstance(error, PereneError):
        log.error("request_failed", exc_info=error)
        error = ServingError("the server failed", why=type(error).__name__, mend="see its log", code="unexpected")
    status = status_of(error)
    kind, content = (tell or _as_problem)(error, status)
    body = msgspec.json.encode(content)
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    if status == 503:
        headers.append((b"retry-after", str(RETRY_AFTER_S).encode()))
    return Problem(status, headers, body)


def _as_problem(error: PereneError, status: int) -> tuple[str, object]:
    content: dict[str, object] = {
        "type": f"urn:perene:{error.code}",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "code": error.code,
        "what": error.what,
        "why": error.why,
        "mend": error.mend,
    }
    if isinstance(error, BadRows):
        content["errors"] = [{"row": f.row, "field": f.field, "what": f.what} for f in error.fields]
    elif error.seen:
        content["seen"] = error.seen
    return "application/problem+json", content


def status_of(error: PereneError) -> int:
    """The HTTP status of an error: by its code where that says more than its kind."""
    if error.code in _STATUS_OF_CODE:
        return _STATUS_OF_CODE[error.code]
    return next((status for kind, status in _STATUS_OF_KIND if isinstance(error, kind)), 500)
