"""Tables that are only ever added to: the database itself refuses to change or delete their rows.

Alembic's batch mode copies a table on SQLite and drops its triggers: a migration that alters one of these tables calls
``forbid_changes`` again.
"""

from __future__ import annotations

import sqlalchemy as sa

_SQLITE = """
CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table}
BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END
"""
_POSTGRESQL_FUNCTION = """
CREATE OR REPLACE FUNCTION perene_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '%% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation'; END $$
"""
_POSTGRESQL_TRIGGER = """
CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION perene_append_only()
"""


def forbid_changes(connection: sa.Connection, table: str) -> None:
    """Make a table append-only: an UPDATE or DELETE of it raises sqlalchemy.exc.IntegrityError."""
    on_sqlite = connection.dialect.name == "sqlite"
    if not on_sqlite:
        connection.exec_driver_sql(_POSTGRESQL_FUNCTION)
    for verb in ("update", "delete") if on_sqlite else ("update", "delete", "truncate"):
        connection.exec_driver_sql((_SQLITE if on_sqlite else _POSTGRESQL_TRIGGER).format(table=table, verb=verb))
