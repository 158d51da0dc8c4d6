"""Alembic runs this file: it migrates the connection that perene hands over, in the transaction that is open on it."""

from __future__ import annotations

from alembic import context

from perene.storage.migrations import VERSION_TABLE
from perene.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
)
context.run_migrations()
