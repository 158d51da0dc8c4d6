"""What the gate said of each candidate."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict

import sqlalchemy as sa

from perene.errors import NotFound
from perene.records.verdict import Check, Decision, Evaluation, Verdict
from perene.repositories import Fence, models
from perene.repositories.stored import storable
from perene.storage import tables
from perene.storage.database import Database

_evaluation = tables.evaluation


class Evaluations:
    """The evaluations of a project."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, evaluation: Evaluation, *, fence: Fence | None = None) -> Evaluation:
        """Remember an evaluation and give it its id (the one that it comes with is not used).

        The same run again gives the evaluation that it made before, and writes nothing. Raises what ``fence`` raises.
        """
        values = asdict(evaluation)
        del values["id"]
        values |= {name: storable(values[name], name) for name in ("verdict", "by_day", "slices")}
        with self._database.write() as connection:
            if fence is not None:
                fence(connection)
            models.lock_model(connection, evaluation.model)
            if evaluation.run is not None:
                made = _read(connection, _evaluation.c.run == evaluation.run)
                if made:
                    return made[0]
            write = _evaluation.insert().values(**values).returning(_evaluation.c.id)
            return _read(connection, _evaluation.c.id == connection.scalars(write).one())[0]

    def get(self, id: int) -> Evaluation:
        """One evaluation. Raises NotFound."""
        with self._database.read() as connection:
            found = _read(connection, _evaluation.c.id == id)
        if not found:
            raise NotFound(f"there is no evaluation {id}", mend="perene release list")
        return found[0]

    def decisions(self, ids: Iterable[int]) -> dict[int, Decision]:
        """What the gate said in each of these evaluations."""
        query = sa.select(_evaluation.c.id, _evaluation.c.verdict).where(_evaluation.c.id.in_(list(ids)))
        with self._database.read() as connection:
            return {id: Decision(verdict["decision"]) for id, verdict in connection.execute(query)}

    def for_version(self, model: str, version: int) -> Evaluation | None:
        """The newest evaluation that had a version as its candidate."""
        with self._database.read() as connection:
            found = _read(connection, _evaluation.c.model == model, _evaluation.c.candidate == version, limit=1)
        return found[0] if found else None

    def list(self, model: str, *, limit: int | None = None) -> list[Evaluation]:
        """The evaluations of a model, newest first."""
        with self._database.read() as connection:
            return _read(connection, _evaluation.c.model == model, limit=limit)


def _read(connection: sa.Connection, *where: sa.ColumnElement[bool], limit: int | None = None) -> list[Evaluation]:
    query = sa.select(_evaluation).where(*where).order_by(_evaluation.c.id.desc()).limit(limit)
    return [_as_evaluation(row) for row in connection.execute(query).mappings()]


def _as_evaluation(row: sa.RowMapping) -> Evaluation:
    stored = row["verdict"]
    checks = tuple(Check(**{**check, "decision": Decision(check["decision"])}) for check in stored["checks"])
    verdict = Verdict(**{**stored, "decision": Decision(stored["decision"]), "checks": checks})
    by_day = {
        name: [math.nan if value is None else value for value in column] for name, column in row["by_day"].items()
    }
    return Evaluation(**{**row, "verdict": verdict, "by_day": by_day})
