"""``perene doctor``: each fault is made for real, and found by its line; the others go on, and nothing is changed."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from perene.app import App, open_project
from perene.clock import machine_clock
from perene.monitoring.doctor import examine
from perene.records.finding import Finding
from perene.storage.database import Database
from perene.storage.journal import Entry, Journal, journal_folder

MODEL = "parcel-hours"
LIVE = f"live version of {MODEL}"


def found(
    folder: Path, *, later: timedelta = timedelta(0), variables: dict[str, str] | None = None, **options
) -> dict[str, Finding]:
    """What the doctor finds in a project, by the name of the check. ``later`` moves the machine's clock."""
    findings = list(examine(folder, variables=variables or {}, machine=lambda: machine_clock() + later, **options))
    names = [finding.check for finding in findings]
    assert len(set(names)) == len(names)
    return {finding.check: finding for finding in findings}


def bad(findings: dict[str, Finding]) -> dict[str, str]:
    """What is broken, and what of it."""
    return {check: finding.what for check, finding in findings.items() if finding.state == "broken"}


def warned(findings: dict[str, Finding]) -> set[str]:
    """What there are warnings of."""
    return {check for check, finding in findings.items() if finding.state == "warning"}


def content(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder of a project with what it holds, but for Python's bytecode."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if "__pycache__" not in path.parts
    }


def database(folder: Path) -> Path:
    """The file of the project's database."""
    return folder / ".perene" / "perene.db"


def execute(folder: Path, statement: str) -> None:
    """Change the database behind perene's back."""
    with sqlite3.connect(database(folder)) as connection:
        connection.execute(statement)
    connection.close()


@pytest.fixture
def opened(tiny) -> Callable[[], App]:
    """Open the project; closed at the end."""
    apps: list[App] = []

    def open_it(**options) -> App:
        apps.append(open_project(tiny, **options))
        return apps[-1]

    yield open_it
    for app in apps:
        app.close()


# ── as a command ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_sound_project_is_fine_and_stays_as_it_is(call, tiny) -> None:
    """The exit code is 0, every line has its sign and its word, and not a byte of the project changes."""
    before = content(tiny)

    said = call(tiny, "doctor", width=100)

    assert (said.code, said.err) == (0, "")
    heads = [line for line in said.lines[:-1] if not line.startswith(" ")]
    assert [line for line in heads if not re.fullmatch(r"\S.*?  +(✓ fine|! warning):.*", line)] == []
    assert any(line.startswith(f"{LIVE}  ✓ fine: v1 is whole") for line in heads)
    assert said.lines[-1] == "✓ all is fine"
    assert content(tiny) == before


def test_what_is_broken_gives_exit_code_1_with_its_mend(call, tiny) -> None:
    """A broken line has its sign, and what mends it stands under it; --json says the same."""
    shutil.rmtree(tiny / ".perene" / "store" / "bundles")

    said, document = call(tiny, "doctor", width=100), call(tiny, "doctor", "--json")

    assert (said.code, document.code) == (1, 1)
    assert "✗ broken: v1 cannot answer: the bundle" in said.out
    assert "    mend: restore the folder from a backup" in said.out
    assert said.lines[-1].startswith("✗ 1 broken")
    (line,) = [finding for finding in document.data if finding["state"] == "broken"]
    assert line["check"] == LIVE
    assert line["mend"]


def test_where_there_is_no_project_the_installation_is_still_told(call, tmp_path) -> None:
    """That there is no perene.toml is a finding; nothing is made."""
    said = call(tmp_path, "doctor", "--json")

    states = {finding["check"]: finding["state"] for finding in said.data}
    assert said.code == 1
    assert states == {"python": "fine", "packages": "fine", "project": "broken", "database": "broken"}
    assert list(tmp_path.iterdir()) == []


# ── project, database ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("models/parcel_hours.py", "this is no Python", "the project's models are declared wrong"),
        ("models/parcel_hours.py", "raise SystemExit", "the project's models are declared wrong"),
        ("perene.toml", "databse = 1\n", "perene.toml is not right"),
        ("perene.toml", "[", "perene.toml is not TOML"),
    ],
)
def test_a_project_that_cannot_be_loaded(tiny, file, text, said) -> None:
    """It is told with its mistake; where the settings are sound, database and store are looked at all the same."""
    (tiny / file).write_text(text)

    findings = found(tiny)

    assert bad(findings)["project"] == said
    assert findings["project"].why
    assert findings["database"].state == ("broken" if file == "perene.toml" else "fine")
    assert file == "perene.toml" or findings[LIVE].state == "fine"  # a version has its own code


def test_a_model_that_its_data_cannot_follow(tiny) -> None:
    """A change that every command would refuse is named."""
    code = (tiny / "models" / "parcel_hours.py").read_text()
    (tiny / "models" / "parcel_hours.py").write_text(code.replace("    number: int", "    number: str", 1))

    findings = found(tiny)

    assert list(bad(findings)) == ["declarations"]
    assert "number" in findings["declarations"].why


def test_a_project_that_has_not_run_is_no_fault(call, tiny) -> None:
    """Without .perene there is a warning, and none is made."""
    shutil.rmtree(tiny / ".perene")

    said = call(tiny, "doctor", "--json")

    states = {finding["check"]: finding["state"] for finding in said.data}
    assert (said.code, states["database"]) == (0, "warning")
    assert not (tiny / ".perene").exists()


def test_a_store_without_its_database(tiny) -> None:
    """Where the database is gone and the store is there, something was lost."""
    for file in (tiny / ".perene").glob("perene.db*"):
        file.unlink()

    assert list(bad(found(tiny))) == ["store"]
    assert not database(tiny).exists()


def test_a_database_that_does_not_answer(tiny) -> None:
    """It is told with its reason; what it alone knows counts as not looked at; the rest goes on."""
    findings = found(tiny, variables={"PERENE__DATABASE": "postgresql+psycopg://perene:secret@127.0.0.1:9/shop"})

    assert set(bad(findings)) == {"database", "the rest"}
    assert "secret" not in str(findings)
    assert findings["store"].state == "fine"


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE perene_schema SET version_num = '9999'", "newer perene"),
        ("DROP TABLE server", "no such table"),
    ],
)
def test_a_database_of_another_schema(tiny, statement, said) -> None:
    """A newer one, and one that lacks a table, are told as such."""
    execute(tiny, statement)

    assert said in bad(found(tiny))["database"]


def test_a_file_that_is_no_database(tiny) -> None:
    """It is told, and left as it is."""
    database(tiny).write_bytes(b"a letter " * 1000)

    assert "damaged" in bad(found(tiny))["database"]
    assert database(tiny).read_bytes() == b"a letter " * 1000


def test_a_database_that_another_process_keeps(tiny) -> None:
    """After a few seconds it is told that it is locked."""
    with sqlite3.connect(database(tiny), isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        findings = found(tiny)
        other.execute("ROLLBACK")
    other.close()

    assert "locked by another process" in bad(findings)["database"]


# ── store, tables, disks, journals ───────────────────────────────────────────────────────────────────────────────────


def test_a_store_that_is_gone(tiny) -> None:
    """Store, tables and version each say so, and it is not made anew."""
    shutil.rmtree(tiny / ".perene" / "store")

    findings = found(tiny)

    assert {"store", LIVE, f"table examples of {MODEL}"} <= set(bad(findings))
    assert not (tiny / ".perene" / "store").exists()


def test_a_table_that_lost_a_file(tiny) -> None:
    """Each file of each table is opened."""
    next((tiny / ".perene" / "store").rglob("part-*.parquet")).unlink()

    assert list(bad(found(tiny))) == [f"table examples of {MODEL}"]


def test_a_disk_on_which_nothing_can_be_written(tiny) -> None:
    """Where the system refuses every byte, store and database are broken, and the examination ends well."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0));"
        "from perene.cli import main; sys.exit(main(['doctor', '--json']))"
    )

    run = subprocess.run([sys.executable, "-c", code], cwd=tiny, capture_output=True, text=True)

    states = {finding["check"]: finding["state"] for finding in json.loads(run.stdout)["data"]}
    assert (run.returncode, run.stderr) == (1, "")
    assert (states["store"], states["database"]) == ("broken", "broken")


@pytest.mark.parametrize(("mib", "state"), [(10, "broken"), (200, "warning"), (100_000, "fine")])
def test_a_disk_with_little_room(tiny, mib, state) -> None:
    """Room is held against what a day needs."""
    assert found(tiny, free=lambda folder: mib << 20)["space"].state == state


def test_rows_that_dead_processes_left(tiny) -> None:
    """What waits in their journals is counted, and stays; a living process's is not left over."""
    folder = journal_folder(tiny)
    entry = Entry(kind="prediction", model=MODEL, lines=1, id=None, body=b"{}")
    dead, living = Journal(folder, "dead"), Journal(folder, "living")
    dead.write([entry, entry])
    living.write([entry])
    dead.close()

    findings = found(tiny)

    assert findings["journals"].state == "warning"
    assert findings["journals"].what.startswith("2 rows wait in 1 files")
    assert sorted(path.name for path in folder.glob("dead*.db")) == ["dead-1.db"]
    living.close()


def test_a_journal_that_cannot_be_read(tiny) -> None:
    """It is named, and the others are looked at."""
    folder = journal_folder(tiny)
    folder.mkdir(exist_ok=True)
    (folder / "odd-1.db").write_bytes(b"a letter " * 1000)

    assert list(bad(found(tiny))) == ["journal odd-1.db"]


# ── clocks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_clock_that_was_set_back(tiny) -> None:
    """A machine whose clock is behind what was recorded is told by how much."""
    findings = found(tiny, later=timedelta(hours=-3))

    assert "this machine's clock is 2 h behind" in bad(findings)["clock"]  # three, less what went by since


def test_a_replay_says_where_it_is(tiny, opened) -> None:
    """Its time is neither the machine's nor a fault."""
    shutil.rmtree(tiny / ".perene")
    opened().time.start_replay(datetime(2013, 3, 1, tzinfo=UTC))

    finding = found(tiny)["clock"]

    assert (finding.state, finding.what) == ("fine", "a replay, at 2013-03-01 00:00:00 UTC; it stands")


def test_a_postgresql_server_with_another_clock(tiny, postgres) -> None:
    """By more than seconds, it is a warning; its version and schema are told."""
    url = postgres.create()
    made = Database(url)
    made.migrate()
    made.close()

    right, wrong = (found(tiny, later=timedelta(minutes=m), variables={"PERENE__DATABASE": url}) for m in (0, 5))

    assert right["database"].what.startswith("PostgreSQL ")
    assert (right["database"].state, right["clock"].state) == ("fine", "fine")
    assert wrong["clock"].state == "warning"
    assert "behind this machine" in wrong["clock"].what


# ── processes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_servers_are_told_with_what_is_wrong_with_them(tiny, opened) -> None:
    """One that beats and serves what is live is fine; another version, silence and losses are warnings."""
    app = opened()
    app.servers.beat("one", address="http://127.0.0.1:1", serves={MODEL: 1})
    sound = found(tiny)
    app.servers.beat("two", address="http://127.0.0.1:2", serves={}, lost=7)
    odd = found(tiny)
    quiet = found(tiny, later=timedelta(minutes=5))

    assert (sound["servers"].state, sound["servers"].what) == ("fine", "http://127.0.0.1:1")
    assert odd["servers"].what.startswith("http://127.0.0.1:2 answer with another version")
    assert odd["lost predictions"].what.startswith("7 ")
    assert quiet["silent servers"].what.startswith("2 ended without a word")


def test_a_run_that_nobody_takes_and_one_whose_worker_is_silent(tiny, opened) -> None:
    """A queued run without a worker, and a lease that ran out, are warnings."""
    app = opened()
    now = app.time.now()
    run = app.runs.create(MODEL, trigger="manual", due_at=now, created_at=now, actor="ana")
    queued = found(tiny)
    app.runs.claim("a worker", timedelta(seconds=30))
    working, silent = found(tiny), found(tiny, later=timedelta(minutes=5))

    assert queued["workers"].what.startswith(f"run {run.id} of {MODEL} waits")
    assert queued["workers"].state == "warning"
    assert (working["workers"].state, "leases" in working) == ("fine", False)
    assert silent["leases"].state == "warning"


def test_a_schedule_that_nobody_keeps(tiny, opened) -> None:
    """Where nothing ever ran, or the scheduler stopped days ago, it is a warning; who trains by hand needs none."""
    by_hand = found(tiny)
    execute(tiny, "UPDATE run SET state = 'failed'")
    never = found(tiny)
    opened().schedule()
    kept = found(tiny)
    execute(tiny, "UPDATE run SET state = 'succeeded'")
    stopped = found(tiny, later=timedelta(days=9))

    assert by_hand["schedule"].state == "fine"
    assert never["schedule"].what.startswith("nobody has made a run")
    assert kept["schedule"].state == "fine"
    assert stopped["schedule"].what.startswith("no run was made in time")


def test_a_failed_run_and_what_fires(lived) -> None:
    """The last run of a model that failed, and alerts, are warnings with their mend."""
    findings = found(lived)

    assert findings[f"last run of {MODEL}"].what.startswith("run 3 failed: train of")
    assert findings["alerts"].what == f"1 fire: run-failed of {MODEL}"
    assert bad(findings) == {}


# ── versions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def a_code_file(folder: Path, version: int) -> Path:
    """A file of a version's bundle."""
    app = open_project(folder)
    digest = app.models.version(MODEL, version).bundle
    app.close()
    return next((folder / ".perene" / "store" / "bundles" / digest[:2] / digest).rglob("*.py"))


def test_a_live_version_that_was_changed(tiny) -> None:
    """One byte more is found, before any of it runs; the mend names the rollback."""
    file = a_code_file(tiny, 1)
    file.write_text(file.read_text() + "\n")

    findings = found(tiny)

    assert list(bad(findings)) == [LIVE]
    assert "has been changed" in findings[LIVE].why
    assert f"perene release rollback {MODEL}" in findings[LIVE].mend


def test_the_version_before_that_was_changed(call, tiny) -> None:
    """What a rollback would go to is looked at too, as a warning."""
    assert call(tiny, "train", MODEL).code == 0
    file = a_code_file(tiny, 1)
    sound = found(tiny)
    file.write_text(file.read_text() + "\n")

    findings = found(tiny)

    assert sound[f"rollback of {MODEL}"].state == "fine"
    assert f"rollback of {MODEL}" in warned(findings)
    assert bad(findings) == {}


def test_packages_that_are_not_those_of_the_live_version(tiny, tmp_path) -> None:
    """A package that the version was made with and that is gone is named."""
    roads = tmp_path / "roads-1.0.dist-info"
    roads.mkdir()
    (roads / "METADATA").write_text("Metadata-Version: 2.1\nName: roads\nVersion: 1.0\n")
    train = [sys.executable, "-m", "perene.cli", "train", MODEL, "--project", str(tiny), "-q"]
    subprocess.run(train, env=os.environ | {"PYTHONPATH": str(tmp_path)}, check=True, capture_output=True)

    finding = found(tiny)[f"packages of {MODEL}"]

    assert (finding.state, finding.what) == ("warning", "not those that v2 was made with: roads 1.0 then, none now")


def test_a_stale_model(tiny) -> None:
    """It is a warning, with where the reason stands."""
    fresh, stale = found(tiny), found(tiny, later=timedelta(days=400))

    assert fresh[f"freshness of {MODEL}"].state == "fine"
    assert stale[f"freshness of {MODEL}"].what.startswith("stale")
    assert stale[f"freshness of {MODEL}"].mend == f"perene status {MODEL} says why nothing newer is live"


def test_a_model_without_a_live_version(tiny) -> None:
    """It is a warning, with what makes one."""
    execute(tiny, "UPDATE model SET champion = NULL")

    assert (found(tiny)[LIVE].state, found(tiny)[LIVE].what) == ("warning", "there is none")


def test_one_check_that_fails_is_told_and_the_others_go_on(tiny) -> None:
    """Whatever a check raises is its line."""

    def refuse(folder: Path) -> int:
        raise OSError("the disk does not say")

    findings = found(tiny, free=refuse)

    assert bad(findings) == {"space": "it could not be looked at"}
    assert findings["space"].why == "OSError: the disk does not say"
    assert findings[LIVE].state == "fine"
