"""Errors in the words of each protocol, by the path that was asked."""

from __future__ import annotations

from perene.errors import PereneError
from perene.server.problems import Tell

_JSON = "application/json"
_MLFLOW_CODES = {
    404: "RESOURCE_DOES_NOT_EXIST",
    409: "RESOURCE_CONFLICT",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "TEMPORARILY_UNAVAILABLE",
}


def teller(path: str) -> Tell | None:
    """How an error is said at a path; None for perene's own way."""
    first = path.split("/")[1] if path.startswith("/") else ""
    if first == "v2":
        return _as_inference
    return _as_scoring if first in ("mlflow", "invocations", "ping", "health", "version") else None


def _as_inference(error: PereneError, status: int) -> tuple[str, object]:
    return _JSON, {"error": _in_one_line(error)}


def _as_scoring(error: PereneError, status: int) -> tuple[str, object]:
    return _JSON, {"error_code": _MLFLOW_CODES.get(status, "BAD_REQUEST"), "message": _in_one_line(error)}


def _in_one_line(error: PereneError) -> str:
    return "; ".join(part for part in (error.what, error.why, *error.seen, error.mend) if part)
