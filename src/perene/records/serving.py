"""What servers count of the versions that they ask."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingCounts:
    """What all servers together counted of one version in one role, since it was released or set into that role.

    A request counts once for each version that answers some of its rows. ``errors`` are requests on which its code
    failed; ``slow`` are those of the ``singles`` (batches of requests of one row) that took longer than the model's
    declared latency; ``seconds`` the time in features, model and post steps, and ``seconds_sq`` its squares, of each
    batch. ``pairs`` are rows that another version (the
    champion, or the former one) was asked too: ``gap`` sums this version's number minus the other's, ``other`` the
    other's. ``dropped`` are rows that a shadow was not asked, because it could not keep up.
    """

    requests: float = 0
    errors: float = 0
    rows: float = 0
    batches: float = 0
    singles: float = 0
    slow: float = 0
    seconds: float = 0
    seconds_sq: float = 0
    dropped: float = 0
    pairs: float = 0
    gap: float = 0
    gap_sq: float = 0
    other: float = 0
    other_sq: float = 0

    @property
    def asked(self) -> float:
        """How many requests it was asked, answered or failed."""
        return self.requests + self.errors


COUNTED = tuple(field.name for field in fields(ServingCounts))
