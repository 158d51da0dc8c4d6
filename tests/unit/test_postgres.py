"""PostgreSQL: what can go wrong between perene and its server, in words; and who waits for whom."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from perene.errors import StorageError
from perene.records.run import Run
from perene.repositories.models import Models, lock_model
from perene.repositories.runs import Runs
from perene.storage import tables
from perene.storage.database import Database

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=30)
SECRET = "not-for-print"


@pytest.fixture
def open_(request: pytest.FixtureRequest) -> Iterator[Callable[..., Database]]:
    """Open databases; closed at the end."""
    opened: list[Database] = []

    def make(url: str | sa.URL, **terms: float) -> Database:
        text = url if isinstance(url, str) else url.render_as_string(hide_password=False)
        opened.append(Database(text, **terms))
        return opened[-1]

    yield make
    for database in opened:
        database.close()


@pytest.fixture
def url(postgres) -> Iterator[sa.URL]:
    """A migrated PostgreSQL database without a row."""
    lent = postgres.lend()
    yield sa.make_url(lent)
    postgres.take_back(lent)


def refused(database: Database) -> StorageError:
    """How a database refuses to be read; a secret stands nowhere in it, nor in what lies under it."""
    with pytest.raises(StorageError) as caught, database.read():
        pass
    assert SECRET not in f"{caught.value} {caught.value.__cause__!r} {database.name} {database.engine!r}"
    assert caught.value.why
    assert caught.value.mend
    return caught.value


# ── a server that cannot be used ─────────────────────────────────────────────────────────────────────────────────────


def test_a_server_that_is_not_there(open_) -> None:
    """A refused connection names host and port, and no password."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    error = refused(open_(f"postgresql+psycopg://ana:{SECRET}@127.0.0.1:{port}/shop"))

    assert error.code == "database-unreachable"
    assert f"postgresql://ana@127.0.0.1:{port}/shop does not answer" in error.what


def test_a_server_that_never_answers(open_) -> None:
    """One that takes a connection and says nothing is given up after a while."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]

        error = refused(open_(f"postgresql://ana:{SECRET}@127.0.0.1:{port}/shop?connect_timeout=2"))

    assert error.code == "database-unreachable"
    assert "timeout" in error.why


def test_a_wrong_password(open_, url, postgres) -> None:
    """A server that does not let a user in says which setting to mend; the password itself is shown nowhere."""
    user = f"locked_{url.database}"[:60]
    with postgres.connect() as admin:
        admin.execute(f"CREATE ROLE {user} LOGIN PASSWORD 'the-right-one'")
    try:
        database = open_(url.set(username=user, password=SECRET))
        if _lets_in(database):
            pytest.skip("this server asks nobody for a password")

        error = refused(database)
    finally:
        with postgres.connect() as admin:
            admin.execute(f"DROP ROLE {user}")

    assert error.code == "database-login"
    assert "user and password" in error.mend


def _lets_in(database: Database) -> bool:
    with suppress(StorageError), database.read():
        return True
    return False


def test_a_password_among_the_options(open_) -> None:
    """A password that stands behind the question mark of a URL is not shown either."""
    database = open_(f"postgresql://127.0.0.1:1/shop?user=ana&password={SECRET}")

    assert refused(database).code == "database-unreachable"
    assert database.name == "postgresql://127.0.0.1:1/shop"


def test_an_unknown_database(open_, url) -> None:
    """A database that its server does not have is to be created there."""
    error = refused(open_(url.set(database="perene_test_nowhere")))

    assert error.code == "database-missing"
    assert "perene_test_nowhere" in error.what


def test_an_unknown_option(open_, url) -> None:
    """An option of the URL that PostgreSQL does not know is a mistake in the setting."""
    error = refused(open_(url.update_query_dict({"shoe_size": "43"})))

    assert (error.code, "shoe_size" in error.why) == ("database-url", True)


def test_a_user_who_may_not_make_tables(open_, url, postgres) -> None:
    """A user without the right to make tables learns which right is missing."""
    empty, user = sa.make_url(postgres.create()), f"user_{url.database}"[:60]
    with postgres.connect() as admin:
        admin.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{SECRET}'")
    try:
        with pytest.raises(StorageError) as caught:
            open_(empty.set(username=user, password=SECRET)).migrate()
    finally:
        with postgres.connect() as admin:
            admin.execute(f"DROP ROLE {user}")

    assert caught.value.code == "database-read-only"
    assert "GRANT" in caught.value.mend
    assert SECRET not in str(caught.value)


def test_a_server_that_is_too_old(open_) -> None:
    """A server older than those that perene knows is refused with both versions, before anything is asked of it."""
    with _a_server_of_version("9.6.24") as port:
        error = refused(open_(f"postgresql://ana:{SECRET}@127.0.0.1:{port}/shop?sslmode=disable&gssencmode=disable"))

    assert error.code == "database-too-old"
    assert "PostgreSQL 9" in error.why


@contextmanager
def _a_server_of_version(version: str) -> Iterator[int]:
    """What says in PostgreSQL's protocol that it is of a version, and lets everyone in; gives its port."""
    parameter = b"server_version\0" + version.encode() + b"\0"
    hello = b"R" + struct.pack("!ii", 8, 0)  # let in
    hello += b"S" + struct.pack("!i", 4 + len(parameter)) + parameter + b"Z" + struct.pack("!i", 5) + b"I"

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(hello)
                    connection.recv(4096)  # until the client goes

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


# ── a server that goes away ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_server_that_is_started_again(open_, own_postgres) -> None:
    """Connections of before a restart are renewed without an error; a transaction that it cut off leaves nothing."""
    database = open_(own_postgres.url)
    database.migrate()
    with database.read(), database.read():
        pass  # two connections wait in the pool

    with pytest.raises(StorageError) as caught, database.write() as connection:
        _add(connection, "half")
        own_postgres.restart()
        _add(connection, "other half")

    assert caught.value.code == "database-unreachable"
    assert Models(database).list() == []
    own_postgres.restart()
    with database.write() as connection:
        _add(connection, "whole")
    assert [model.name for model in Models(database).list()] == ["whole"]


def test_a_server_that_is_stopped(open_, own_postgres) -> None:
    """While it is down every question says so; nothing hangs."""
    database = open_(own_postgres.url)
    database.migrate()

    own_postgres.stop()

    assert refused(database).code == "database-unreachable"


# ── who waits for whom ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_line_about_a_model_is_written_while_another_holds_the_model(open_, url) -> None:
    """The lock on a model keeps its other writers out, and nobody who only names the model: no needless waiting."""
    holder, other = open_(url), open_(url, patience_s=0.5)
    Models(holder).register("m", {}, NOW)

    with holder.write() as connection:
        lock_model(connection, "m")
        with other.write() as beside:
            given = {"model": "m", "prediction_id": "p", "day": NOW.date(), "row_digest": "d"}
            beside.execute(tables.given_id.insert().values(**given))


def test_a_deadlock_ends(open_, url) -> None:
    """Two that wait for each other do not wait for ever: one of them is told to try again."""
    database = open_(url)
    for name in "ab":
        Models(database).register(name, {}, NOW)
    gate, codes = threading.Barrier(2), []

    def cross(first: str, second: str) -> None:
        try:
            with database.write() as connection:
                lock_model(connection, first)
                gate.wait()
                lock_model(connection, second)
        except StorageError as error:
            codes.append(error.code)

    threads = [threading.Thread(target=cross, args=pair) for pair in ("ab", "ba")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert codes == ["database-busy"]


@pytest.fixture
def runs(open_, url) -> Callable[..., Runs]:
    """The runs as a process of its own sees them, at a machine time; two of each of two models wait."""
    now = [NOW]

    def make(*, later: timedelta = timedelta(0)) -> Runs:
        now[0] += later
        return Runs(open_(url, patience_s=2), lambda: now[0])

    first = make()
    for name in ("a", "b"):
        Models(open_(url)).register(name, {}, NOW)
        for hour in (0, 1):
            _queue(first, name, hour)
    return make


def _queue(runs: Runs, model: str, hour: int) -> Run:
    due = NOW + timedelta(hours=hour)
    return runs.create(model, trigger="schedule", due_at=due, created_at=NOW, actor="ana")


def test_while_one_takes_a_run_its_model_is_passed_over(open_, url, runs) -> None:
    """A worker that looks while another's claim does not show yet takes a run of another model, and never waits."""
    quick, database, slowly = runs(), open_(url), open_(url)
    taken: list[Run | None] = []

    def before_the_commit(_: sa.Connection) -> None:
        with database.write() as connection:  # a run that comes before the one that is just being taken
            values = {"model": "a", "trigger": "other", "due_at": NOW - LEASE, "created_at": NOW, "actor": "ana"}
            connection.execute(tables.run.insert().values(**values, state="queued", attempt=0))
        taken.extend(quick.claim("quick", LEASE) for _ in range(2))

    sa.event.listen(slowly.engine, "commit", before_the_commit)
    first = Runs(slowly, lambda: NOW).claim("slow", LEASE)

    assert first is not None
    assert [run and run.model for run in (first, *taken)] == ["a", "b", None]


def test_a_run_is_not_taken_over_while_an_effect_of_it_is_written(open_, url, runs) -> None:
    """An heir passes a silent run over whose worker is just writing: neither waits for the other."""
    mine = runs()
    run = mine.claim("slow", LEASE)
    assert run is not None
    heir = runs(later=LEASE * 2)

    with open_(url).write() as connection:
        mine.fence(run)(connection)
        other = heir.claim("heir", LEASE)
        lock_model(connection, run.model)

    assert (run.model, other and other.model) == ("a", "b")
    taken = heir.claim("heir", LEASE)
    assert taken is not None
    assert (taken.id, taken.attempt) == (run.id, 2)


def test_the_settings_of_a_server_change_nothing(open_, url, postgres) -> None:
    """Zone, isolation and patience are perene's, whatever the database's own settings are."""
    with postgres.connect() as admin:
        for told in (
            "timezone = 'Asia/Kathmandu'",
            "default_transaction_isolation = serializable",
            "lock_timeout = 1",
        ):
            admin.execute(f"ALTER DATABASE {url.database} SET {told}")
    database = open_(url, patience_s=7)
    try:
        with database.write() as connection:
            names = ("timezone", "transaction_isolation", "lock_timeout")
            found = {name: connection.exec_driver_sql(f"SHOW {name}").scalar() for name in names}
    finally:
        with postgres.connect() as admin:
            admin.execute(f"ALTER DATABASE {url.database} RESET ALL")

    assert found == {"timezone": "UTC", "transaction_isolation": "read committed", "lock_timeout": "7s"}


def _add(connection: sa.Connection, name: str) -> None:
    connection.execute(tables.model.insert().values(name=name, created_at=NOW, declaration={}))
