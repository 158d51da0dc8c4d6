"""Which versions of a model a server asks at one moment, and which rows a canary answers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from perene.definition.model import Model
from perene.pipelines.predictor import Predictor
from perene.storage.envelope import keys

_WHOLE = 2**64


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineup:
    """The champion answers, but for ``share`` of the keys, which the canary answers.

    The shadow is asked what the champion was asked, after its answers left. So is ``former``, the champion before this
    one, while a fresh release is watched: their answers are compared.
    """

    champion: Predictor
    canary: Predictor | None = None
    share: float = 0.0
    shadow: Predictor | None = None
    former: Predictor | None = None

    @property
    def is_alone(self) -> bool:
        """Whether nobody but the champion is asked."""
        return self.canary is None and self.shadow is None and self.former is None

    @property
    def loaded(self) -> dict[int, Predictor]:
        """The loaded versions by their numbers, the one that answers first."""
        asked = (self.champion, self.canary, self.shadow, self.former)
        return {predictor.version.version: predictor for predictor in asked if predictor is not None}

    def of_canary(self, model: Model, rows: pl.DataFrame) -> list[bool]:
        """Which rows the canary answers: by their key, those of one ranked group together."""
        if self.canary is None:
            return [False] * rows.height
        salt = f"{model.name} v{self.canary.version.version} "
        return routed(keys(rows, model.label.group or model.key), self.share, salt=salt)


def routed(identities: Iterable[str], share: float, *, salt: str) -> list[bool]:
    """Which identities are among this share of all, in every process alike; who is stays so while the share grows.

    ``salt`` chooses them anew, so that no key is the first to try every version.
    """
    limit = int(share * _WHOLE)

    def place(identity: str) -> int:
        return int.from_bytes(hashlib.blake2b((salt + identity).encode(), digest_size=8).digest())

    return [place(identity) < limit for identity in identities]
