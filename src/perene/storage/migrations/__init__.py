"""The schema's versions, as Alembic migrations, run on a connection that is in a transaction."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa

REVISIONS: Final = ("0001",)  # oldest first; the last is this code's
VERSION_TABLE: Final = "perene_schema"  # Alembic's usual name would collide with MLflow's in a shared database

_HERE = Path(__file__).parent


def revision_of(connection: sa.Connection) -> str | None:
    """The version of the schema that the database has; None for an empty one."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.scalar(sa.select(sa.column("version_num")).select_from(sa.table(VERSION_TABLE)))


def upgrade(connection: sa.Connection) -> None:
    """Run what is missing up to the last revision. The caller commits."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
