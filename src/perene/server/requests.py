"""Requests as they come in: who may ask, and what a body must be. Shared by the hot route and the API."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
from starlette.types import Receive

from perene.definition.durations import duration
from perene.errors import BadField, BadRows
from perene.records.roles import answered_id
from perene.server.problems import RequestError

TIMEOUT = b"x-perene-timeout"  # a duration; the standard header, Prefer: wait=, counts whole seconds
_MAX_ID = 200
_MAX_DIGITS = 18  # of a length that is worth reading
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one request may have: ``max_body`` bytes, ``max_rows`` rows, and this long until it is answered."""

    max_body: int
    max_rows: int
    deadline: timedelta | None

    def timeout_s(self, headers: Iterable[tuple[bytes, bytes]]) -> float | None:
        """The seconds that a request has, once its body is here: fewer where it says so itself; None for no end."""
        asked = _header(headers, TIMEOUT)
        if not asked:
            return None if self.deadline is None else self.deadline.total_seconds()
        try:
            wanted = duration(asked)
        except ValueError as error:
            what = f"{TIMEOUT.decode()} is not as it should be"
            raise RequestError(what, why=str(error), mend=f"send {TIMEOUT.decode()}: 250ms, or none") from error
        return (wanted if self.deadline is None else min(wanted, self.deadline)).total_seconds()


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    rows: list[Any]


_DECODER = msgspec.json.Decoder(_Body)


def check_host(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Refuse a Host that is no name of this machine's loopback: a web page that was rebound to it, for one."""
    host = _header(headers, b"host")
    name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
    if name not in _LOOPBACK:
        why = f"the Host header says {host!r}; this server has no authentication and answers this machine only"
        raise RequestError("wrong host", why=why, mend=f"ask for {', '.join(_LOOPBACK)}", code="host-refused")


def check_json(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Refuse a body that does not say that it is JSON: a browser sends such bodies for any page."""
    kind = _header(headers, b"content-type").partition(";")[0].strip()
    if kind != "application/json":
        raise RequestError("the body must be JSON", why=f"it says {kind!r}", mend=_JSON_MEND, code="not-json")


_JSON_MEND = "send content-type: application/json"


async def read_body(headers: Iterable[tuple[bytes, bytes]], receive: Receive, limits: Limits) -> bytes:
    """The whole body; refused as soon as it is known to be too large."""
    length = _header(headers, b"content-length")
    if length.isdecimal() and (len(length) > _MAX_DIGITS or int(length) > limits.max_body):
        raise _too_large(limits)
    message = await receive()
    body = bytes(message.get("body", b""))
    if message.get("more_body"):
        parts, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limits.max_body:
                raise _too_large(limits)
        body = b"".join(parts)
    if message["type"] == "http.disconnect":
        raise RequestError("the caller went away", mend="send the request again")
    return body


def read_rows(body: bytes, limits: Limits) -> list[Any]:
    """The rows of {"rows": […]}: at least one, at most as many as one request may have."""
    try:
        rows = _DECODER.decode(body)
    except msgspec.ValidationError as error:
        raise RequestError("the body is not as it should be", why=str(error), mend='send {"rows": [{…}]}') from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError("the body is not JSON", why=str(error), mend='send {"rows": [{…}]}') from error
    check_count(rows.rows, limits)
    return rows.rows


def check_count(rows: list[Any], limits: Limits) -> None:
    """Refuse a request without rows, and one with more than one may have."""
    if not rows:
        raise RequestError("there are no rows", why="rows is empty", mend='send {"rows": [{…}]}')
    if len(rows) > limits.max_rows:
        why = f"{len(rows)} rows; the limit is {limits.max_rows}"
        raise RequestError("too many rows in one request", why=why, mend="send several", code="too-large")


def take_ids(rows: list[Any]) -> list[str | None] | None:
    """Take the optional prediction id out of each row; None when no row has one. A bad or repeated one is refused."""
    if not any(isinstance(row, dict) and "prediction_id" in row for row in rows):
        return None
    ids = [row.pop("prediction_id", None) if isinstance(row, dict) else None for row in rows]
    bad: list[BadField] = []
    seen: set[str] = set()
    for position, given in enumerate(ids):
        if given is None:
            continue
        if not isinstance(given, str) or not 0 < len(given) <= _MAX_ID or "\0" in given:  # PostgreSQL keeps no NUL
            bad.append(BadField(row=position, field="prediction_id", what=f"a text of 1 to {_MAX_ID} characters"))
        elif answered_id(given) != given:
            bad.append(BadField(row=position, field="prediction_id", what=f"{given!r} is what a shadow's is called"))
        elif given in seen:
            bad.append(BadField(row=position, field="prediction_id", what=f"{given!r} stands twice in this request"))
        else:
            seen.add(given)
    if bad:
        raise BadRows("prediction ids that cannot be used", tuple(bad), mend="give each row its own, or none")
    return ids


def _header(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> str:
    for name, value in headers:
        if name == wanted:
            return value.decode("latin-1").strip().lower()
    return ""


def _too_large(limits: Limits) -> RequestError:
    why, mend = f"the limit is {limits.max_body} bytes", "send fewer rows at a time"
    return RequestError("the body is too large", why=why, mend=mend, code="too-large")
