"""Models and their versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa

from perene.definition.spelling import no_model
from perene.errors import Conflict, NotFound
from perene.records.model import ModelVersion, RegisteredModel
from perene.repositories import Fence, audits
from perene.repositories.servings import begin_anew
from perene.repositories.stored import storable
from perene.storage import tables
from perene.storage.database import Database, take_turn

_model = tables.model
_version = tables.model_version


class Models:
    """The models of a project, and the versions that were trained of each."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(
        self, name: str, declaration: Mapping[str, object], at: datetime, *, actor: str = "perene"
    ) -> RegisteredModel:
        """Make a model known, or note its changed declaration. The same declaration again changes nothing."""
        with self._database.write() as connection:
            take_turn(connection, f"model {name}")
            found = _row(connection, name)
            if found is None:
                connection.execute(_model.insert().values(name=name, created_at=at, declaration=dict(declaration)))
            elif found.declaration != declaration:
                connection.execute(_model.update().where(_model.c.name == name).values(declaration=dict(declaration)))
            if found is None or found.declaration != declaration:
                before = None if found is None else found.declaration
                audits.record(
                    connection, "register", f"model {name}", at=at, actor=actor, before=before, after=dict(declaration)
                )
            return lock_model(connection, name)

    def get(self, name: str) -> RegisteredModel:
        """One model. Raises NotFound with the names that exist."""
        with self._database.read() as connection:
            return _known(connection, name)

    def hold(self, name: str, *, actor: str, why: str, at: datetime) -> RegisteredModel:
        """Stop automatic releases of a model, until ``resume``."""
        with self._database.write() as connection:
            set_hold(connection, name, actor=actor, why=why, at=at)
            return lock_model(connection, name)

    def resume(self, name: str, *, actor: str, why: str = "", at: datetime) -> RegisteredModel:
        """Allow automatic releases of a model again."""
        with self._database.write() as connection:
            found = lock_model(connection, name)
            if found.held_at is not None:
                _set(connection, name, held_at=None, held_by=None, held_why=None)
                before = {"held_by": found.held_by, "held_why": found.held_why}
                audits.record(connection, "resume", f"model {name}", at=at, actor=actor, why=why, before=before)
            return lock_model(connection, name)

    def set_shadow(self, name: str, version: int | None, *, actor: str, why: str, at: datetime) -> RegisteredModel:
        """Ask a version beside the champion from now on, or none. The same again changes nothing.

        Raises NotFound for a version that there is not, Conflict for the one that is live.
        """
        with self._database.write() as connection:
            found = lock_model(connection, name)
            if version == found.shadow:
                return found
            if version is not None:
                version_of(connection, name, version)
                if version == found.champion:
                    what = f"{name} v{version} is live, so it answers already"
                    raise Conflict(what, mend=f"name another version: perene model show {name}")
                begin_anew(connection, name, version, "shadow")
            follow(connection, name, shadow=version, shadow_since=None if version is None else at)
            before, after = {"shadow": found.shadow}, {"shadow": version}
            audits.record(
                connection, "shadow", f"model {name}", at=at, actor=actor, why=why, before=before, after=after
            )
            return lock_model(connection, name)

    def add_version(self, version: ModelVersion, *, fence: Fence | None = None) -> ModelVersion:
        """Remember a trained version and give it its number (the one that it comes with is not used).

        The same run again gives the version that it made before, and writes nothing. Raises what ``fence`` raises.
        """
        with self._database.write() as connection:
            if fence is not None:
                fence(connection)
            lock_model(connection, version.model)
            if version.run is not None:
                made = _one_version(connection, _version.c.run == version.run)
                if made is not None:
                    return made
            newest = sa.select(sa.func.max(_version.c.version)).where(_version.c.model == version.model)
            number = (connection.scalar(newest) or 0) + 1
            values = asdict(version) | {"version": number, "parameters": storable(version.parameters, "parameters")}
            connection.execute(_version.insert().values(**values))
            return version_of(connection, version.model, number)

    def of_run(self, run: int) -> ModelVersion | None:
        """The version that a run made, if it has made one."""
        with self._database.read() as connection:
            return _one_version(connection, _version.c.run == run)

    def version(self, name: str, version: int) -> ModelVersion:
        """One version. Raises NotFound with those that exist."""
        with self._database.read() as connection:
            return version_of(connection, name, version)

    def versions(self, name: str, *, limit: int | None = None) -> list[ModelVersion]:
        """The versions of a model, newest first. Raises NotFound for an unknown model."""
        query = sa.select(_version).where(_version.c.model == name).order_by(_version.c.version.desc()).limit(limit)
        with self._database.read() as connection:
            _known(connection, name)
            return [_as_version(row) for row in connection.execute(query).mappings()]

    def newest(self, name: str) -> ModelVersion:
        """The newest version of a model. Raises NotFound where there is none."""
        found = self.versions(name, limit=1)
        if not found:
            what, mend = f"{name} has no version yet", f"perene train {name}"
            raise NotFound(what, why="it was never trained", mend=mend)
        return found[0]

    def champion(self, name: str) -> ModelVersion | None:
        """The version that shall be live; None before the first release."""
        with self._database.read() as connection:
            champion = _known(connection, name).champion
            return None if champion is None else version_of(connection, name, champion)

    def list(self) -> list[RegisteredModel]:
        """Every model, by name."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(_model).order_by(_model.c.name)).mappings()
            return [RegisteredModel(**row) for row in rows]


def lock_model(connection: sa.Connection, name: str) -> RegisteredModel:
    """One model, kept from every other writer until the transaction ends. Raises NotFound."""
    # key_share: lines of other tables that name the model may be written meanwhile.
    connection.scalar(sa.select(_model.c.name).where(_model.c.name == name).with_for_update(key_share=True))
    return _known(connection, name)


def set_hold(connection: sa.Connection, name: str, *, actor: str, why: str, at: datetime) -> None:
    """Stop automatic releases of a model, in the caller's transaction."""
    found = lock_model(connection, name)
    _set(connection, name, held_at=at, held_by=actor, held_why=why)
    before = None if found.held_at is None else {"held_by": found.held_by, "held_why": found.held_why}
    audits.record(connection, "hold", f"model {name}", at=at, actor=actor, why=why, before=before)


def follow(connection: sa.Connection, name: str, **values: object) -> None:
    """Say which versions servers shall run, in the caller's transaction; see ``RegisteredModel``."""
    _set(connection, name, **values)


def version_of(connection: sa.Connection, name: str, version: int) -> ModelVersion:
    """One version, read in the caller's transaction. Raises NotFound."""
    found = _one_version(connection, (_version.c.model == name) & (_version.c.version == version))
    if found is not None:
        return found
    _known(connection, name)
    newest = connection.scalar(sa.select(sa.func.max(_version.c.version)).where(_version.c.model == name))
    known = "it has none yet" if newest is None else f"it has v1 to v{newest}"
    raise NotFound(f"{name} has no version v{version}", why=known, mend=f"perene model show {name}")


def _set(connection: sa.Connection, name: str, **values: object) -> None:
    connection.execute(_model.update().where(_model.c.name == name).values(**values))


def _row(connection: sa.Connection, name: str) -> RegisteredModel | None:
    row = connection.execute(sa.select(_model).where(_model.c.name == name)).mappings().one_or_none()
    return None if row is None else RegisteredModel(**row)


def _known(connection: sa.Connection, name: str) -> RegisteredModel:
    found = _row(connection, name)
    if found is not None:
        return found
    names = list(connection.scalars(sa.select(_model.c.name).order_by(_model.c.name)))
    raise no_model(name, names)


def _one_version(connection: sa.Connection, where: sa.ColumnElement[bool]) -> ModelVersion | None:
    row = connection.execute(sa.select(_version).where(where)).mappings().one_or_none()
    return None if row is None else _as_version(row)


def _as_version(row: sa.RowMapping) -> ModelVersion:
    return ModelVersion(**{name: value for name, value in row.items() if name != "id"})
