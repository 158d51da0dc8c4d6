"""The database: its schema, its transactions, and its failures in words."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from perene.errors import StorageError
from perene.repositories.models import lock_model
from perene.storage import migrations, tables
from perene.storage.database import Database

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEFINITIONS = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'index') AND sql > ''",
    "postgresql": """
        SELECT 'index ' || indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
        UNION SELECT 'constraint ' || conname, conrelid::regclass || ' ' || pg_get_constraintdef(oid)
            FROM pg_constraint WHERE connamespace = 'public'::regnamespace
        UNION SELECT attrelid::regclass || '.' || attname,
                concat(format_type(atttypid, atttypmod), ' ', attnotnull, ' ', attidentity)
            FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
            WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0
    """,
}


def add_model(connection: sa.Connection, name: str) -> None:
    connection.execute(tables.model.insert().values(name=name, created_at=NOW, declaration={}))


def names(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.scalars(sa.select(tables.model.c.name).order_by(tables.model.c.name)))


def ddl(connection: sa.Connection) -> dict[str, list[str]]:
    """Every table and index of a database: its definition's lines, in no order."""
    rows = connection.exec_driver_sql(DEFINITIONS[connection.dialect.name])
    return {name: sorted(line.strip(" \t,") for line in sql.splitlines()) for name, sql in rows}


def test_the_migrations_give_the_declared_schema(database: Database) -> None:
    """Alembic finds no difference between a migrated database and the declared tables."""
    options = {"version_table": migrations.VERSION_TABLE, "compare_type": True}

    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=options), tables.metadata) == []


def test_the_migrations_name_every_constraint_as_declared(database: Database, empty_url: str) -> None:
    """Names, checks and conditions, which Alembic does not compare, are the declared ones too."""
    declared = Database(empty_url)
    with declared.write() as connection:
        tables.metadata.create_all(connection)
        wanted = ddl(connection)
    declared.close()

    with database.read() as connection:
        found = ddl(connection)
    assert {name: found[name] for name in found if migrations.VERSION_TABLE not in name} == wanted


def test_the_code_knows_its_revisions() -> None:
    """REVISIONS, which is read without Alembic, lists the migrations in their order."""
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))

    assert [script.revision for script in scripts.walk_revisions()][::-1] == list(migrations.REVISIONS)


def test_migrating_again_keeps_everything(database: Database) -> None:
    """A current database is left as it is."""
    with database.write() as connection:
        add_model(connection, "a")

    database.migrate()

    assert database.is_current
    assert names(database) == ["a"]


def test_several_migrate_at_once(empty_url: str) -> None:
    """Of several that open an empty database one makes its schema, and the others find it."""
    databases = [Database(empty_url) for _ in range(4)]

    with ThreadPoolExecutor() as pool:
        list(pool.map(Database.migrate, databases))

    assert all(database.is_current for database in databases)
    for database in databases:
        database.close()


def test_a_newer_schema_is_refused(database: Database) -> None:
    """A database that a newer perene wrote is not touched."""
    with database.write() as connection:
        connection.exec_driver_sql(f"UPDATE {migrations.VERSION_TABLE} SET version_num = '9999'")

    with pytest.raises(StorageError, match="newer perene") as caught:
        database.migrate()
    assert (caught.value.code, caught.value.mend) == ("database-newer", "upgrade perene")


@pytest.mark.parametrize("statement", ["UPDATE {} SET why = 'other'", "DELETE FROM {}"])
@pytest.mark.parametrize("table", ["release_event", "audit"])
def test_the_ledger_and_the_audit_log_are_append_only(
    database: Database, train: Callable[..., object], table: str, statement: str
) -> None:
    """The database itself refuses to change or delete a line."""
    train(database)
    with database.write() as connection:
        connection.exec_driver_sql("INSERT INTO audit VALUES (99, '2026-01-01', 'ana', 'v', 'o', 'w', NULL, NULL)")
        connection.exec_driver_sql(
            "INSERT INTO release VALUES (1, 'm', 1, NULL, NULL, NULL, 'b', 'd', 'release', '2026-01-01', NULL)"
        )
        connection.exec_driver_sql(
            "INSERT INTO release_event VALUES (1, 1, 'm', 1, 'proposed', '2026-01-01', 'a', 'w')"
        )

    with pytest.raises(sa.exc.IntegrityError, match=f"{table} is append-only"), database.write() as connection:
        connection.exec_driver_sql(statement.format(table))


@pytest.fixture
def empty_url(dialect: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The URL of a database without a table."""
    if dialect == "sqlite":
        return f"sqlite:///{tmp_path}/without-a-table.db"
    return str(request.getfixturevalue("postgres").create())


def test_a_failed_write_leaves_nothing(database: Database) -> None:
    """An exception in the body takes everything back."""
    with pytest.raises(RuntimeError), database.write() as connection:
        add_model(connection, "a")
        raise RuntimeError

    assert names(database) == []


def test_a_read_sees_one_state(database: Database) -> None:
    """What is written while a read goes on is not in it."""
    with database.read() as reader:
        before = reader.scalar(sa.select(sa.func.count()).select_from(tables.model))
        with database.write() as connection:
            add_model(connection, "a")

        assert reader.scalar(sa.select(sa.func.count()).select_from(tables.model)) == before == 0
    assert names(database) == ["a"]


def test_a_read_refuses_to_write(database: Database) -> None:
    """A read cannot change anything, and the connection that it used writes again later."""
    with pytest.raises(StorageError, match="cannot be written"), database.read() as connection:
        add_model(connection, "a")

    with database.write() as connection:
        add_model(connection, "b")
    assert names(database) == ["b"]


def test_writes_of_threads_take_turns(database: Database) -> None:
    """What a write reads behind a lock on its model stays true until it ends: no count is lost."""
    with database.write() as connection:
        add_model(connection, "a")

    def count(_: int) -> None:
        with database.write() as connection:
            lock_model(connection, "a")
            now = connection.scalar(sa.select(tables.model.c.champion)) or 0
            connection.execute(tables.model.update().values(champion=now + 1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(80)))

    with database.read() as connection:
        assert connection.scalar(sa.select(tables.model.c.champion)) == 80


def test_every_connection_has_its_pragmas(sqlite_database: Database) -> None:
    """Write-ahead log, foreign keys and secure deletion are on; a power cut may take the last commits (NORMAL)."""
    wanted = {"journal_mode": "wal", "foreign_keys": 1, "secure_delete": 1, "synchronous": 1, "busy_timeout": 30000}

    with sqlite_database.read() as connection:
        assert {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in wanted} == wanted


def test_an_instant_comes_back_in_utc(database: Database) -> None:
    """Instants keep their microseconds and come back aware, whatever zone they came in."""
    at = datetime(2026, 3, 29, 4, 30, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    with database.write() as connection:
        connection.execute(tables.model.insert().values(name="a", created_at=at, declaration={}))

    with database.read() as connection:
        found = connection.scalar(sa.select(tables.model.c.created_at))
    assert (found, found.tzinfo) == (at, UTC)


def test_a_naive_instant_is_refused(database: Database) -> None:
    """A time without a zone is a mistake in the code."""
    with pytest.raises(sa.exc.StatementError, match="needs a time zone"), database.write() as connection:
        connection.execute(tables.model.insert().values(name="a", created_at=datetime(2026, 1, 1), declaration={}))  # noqa: DTZ001


def test_any_text_can_be_kept(database: Database) -> None:
    """What an error says may hold anything: NUL and half characters become marks, and stay as they are in JSON."""
    odd = "a\0b\ud800c"
    with database.write() as connection:
        told = {"at": NOW, "actor": odd, "verb": "v", "object": "o", "why": odd, "after": {"why": odd}}
        connection.execute(tables.audit.insert().values(**told))

    with database.read() as connection:
        line = connection.execute(sa.select(tables.audit)).one()
    assert (line.actor, line.why) == ("a\ufffdb?c", "a\ufffdb?c")
    assert line.after == {"why": odd}


def test_a_locked_database(database: Database, beside: Callable[..., Database]) -> None:
    """A write that waits longer than its patience says that another holds the database."""
    with database.write() as connection:
        add_model(connection, "a")
    hasty = beside(database, patience_s=0.05)

    with database.write() as holder:
        lock_model(holder, "a")
        with pytest.raises(StorageError, match="locked by another process") as caught, hasty.write() as connection:
            lock_model(connection, "a")

    assert caught.value.code == "database-busy"
    assert caught.value.mend


def test_a_full_disk(sqlite_database: Database) -> None:
    """A write for which there is no room says so, and leaves nothing."""
    with pytest.raises(StorageError, match="no room left") as caught, sqlite_database.write() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        add_model(connection, "a" * 100_000)

    assert caught.value.code == "disk-full"
    assert names(sqlite_database) == []


def test_a_read_only_database(sqlite_database: Database) -> None:
    """A file that may not be written says so."""
    read_only = Database(f"sqlite:///file:{sqlite_database.name}?mode=ro&uri=true")

    with pytest.raises(StorageError, match="cannot be written") as caught, read_only.write() as connection:
        add_model(connection, "a")

    assert caught.value.code == "database-read-only"
    read_only.close()


def test_a_missing_folder(tmp_path: Path) -> None:
    """A database whose folder does not exist says where it looked."""
    database = Database(f"sqlite:///{tmp_path}/missing/p.db")

    with pytest.raises(StorageError, match=r"missing/p\.db cannot be opened") as caught:
        database.migrate()

    assert caught.value.code == "database-unreachable"


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """Another file is not taken for a database, and not overwritten."""
    path = tmp_path / "p.db"
    path.write_text("a letter " * 1000)

    with pytest.raises(StorageError, match="is damaged or is no database") as caught:
        Database(f"sqlite:///{path}").migrate()

    assert caught.value.code == "database-damaged"
    assert path.read_text().startswith("a letter")


@pytest.mark.parametrize("url", ["", "sqlite://", "sqlite:///:memory:", "mysql://host/name", "perene.db"])
def test_what_is_no_database_url(url: str) -> None:
    """Only a SQLite file and PostgreSQL are databases for perene."""
    with pytest.raises(StorageError, match="names no database") as caught:
        Database(url)

    assert caught.value.code == "database-url"


def test_a_missing_driver() -> None:
    """A dialect whose driver is not installed says what to install."""
    with pytest.raises(StorageError, match="not installed") as caught:
        Database("postgresql+pg8000://user@host/name")

    assert caught.value.mend == 'pip install "perene[postgres]"'


@pytest.mark.parametrize(
    "url",
    ["postgresql+nothing://user:secret@host/name", "postgresql://host:secret/name", "postgresql://u:a@secret:b/c"],
)
def test_a_password_is_not_shown(url) -> None:
    """The name of a database in errors has no password, nor what a slash in one makes of it."""
    with pytest.raises(StorageError) as caught:
        Database(url)

    assert "secret" not in f"{caught.value} {caught.value.__cause__}"


def test_connections_belong_to_any_thread(database: Database) -> None:
    """A connection that one thread gave back serves another."""
    with database.write() as connection:
        add_model(connection, "a")
    seen: list[list[str]] = []

    thread = threading.Thread(target=lambda: seen.append(names(database)))
    thread.start()
    thread.join()

    assert seen == [["a"]]
