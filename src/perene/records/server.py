"""Server processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerProcess:
    """A server process as it last told of itself. Its times are machine time.

    ``id`` is its journal's writer; ``serves`` the version of each model that it answers with; ``lost`` how many
    predictions it answered but could not log; everything that it answered before ``drained_at`` is in the lake.
    """

    id: str
    address: str
    started_at: datetime
    heartbeat_at: datetime
    serves: Mapping[str, int]
    lost: int
    drained_at: datetime | None
