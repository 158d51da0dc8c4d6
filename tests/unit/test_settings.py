"""The settings: perene.toml, its environments and the variables over it; every mistake by its key, at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perene.definition.settings import Settings, find_project, load_settings
from perene.errors import SettingsError

Load = Callable[..., Settings]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Write perene.toml and load it, in an environment, with variables."""

    def load(text: str = "", *, environment: str | None = None, **variables: str) -> Settings:
        (tmp_path / "perene.toml").write_text(text, encoding="utf-8")
        return load_settings(tmp_path, environment=environment, variables=variables)

    return load


@pytest.fixture
def refused(load: Load) -> Callable[..., dict[str, str]]:
    """The mistakes of a perene.toml by where they stand."""

    def refused(text: str = "", **more: str) -> dict[str, str]:
        with pytest.raises(SettingsError) as caught:
            load(text, **more)
        return {mistake.where: mistake.what for mistake in caught.value.mistakes}

    return refused


# ── what holds ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_empty_file_has_every_default(load, tmp_path) -> None:
    """A project is named as its folder, and lies in it."""
    found = load()

    assert (found.project, found.environment, found.models) == (tmp_path.name, "dev", ("models/*.py",))
    assert found.database == f"sqlite:///{tmp_path}/.perene/perene.db"
    assert found.storage == f"{tmp_path}/.perene/store"
    assert (found.host, found.port, found.on_log_failure, found.durability) == ("127.0.0.1", 8780, "answer", "group")


def test_every_setting_can_be_said(load) -> None:
    """Each key of the file becomes its attribute."""
    found = load("""
        project = "parcels"
        models = ["a.py", "b/*.py"]
        database = "postgresql+psycopg://host/name"
        storage = "s3://bucket/store"
        engine = "local"
        [serve]
        host = "::1"
        port = 0
        workers = 4
        max_rows = 50
        max_body = "64MiB"
        queue_rows = 9
        deadline = "250ms"
        on_log_failure = "refuse"
        durability = "fsync"
        journal_rows = 7
        journal_seconds = 2
        [time]
        speed = 0
        [bundle]
        include = ["data/*.csv"]
        [model.late-arrival]
        every = "7d"
        stale_after = "never"
        release = "review"
        """)

    assert found == Settings(
        project="parcels",
        environment="dev",
        models=("a.py", "b/*.py"),
        database="postgresql+psycopg://host/name",
        storage="s3://bucket/store",
        host="::1",
        port=0,
        workers=4,
        max_rows=50,
        max_body=64 * 1024 * 1024,
        queue_rows=9,
        deadline=timedelta(milliseconds=250),
        on_log_failure="refuse",
        durability="fsync",
        journal_rows=7,
        journal_seconds=2.0,
        speed=0.0,
        bundle_include=("data/*.csv",),
        overrides={"late-arrival": {"every": "7d", "stale_after": "never", "release": "review"}},
    )


def test_the_variable_wins_over_the_environment_and_that_over_the_file(load) -> None:
    """Each layer where the one above says nothing."""
    text = "[serve]\nport = 1\njournal_rows = 1\njournal_seconds = 1\n[env.prod.serve]\nport = 2\njournal_rows = 2\n"

    found = load(text, environment="prod", PERENE__SERVE__PORT="3")

    assert (found.port, found.journal_rows, found.journal_seconds, found.durability) == (3, 2, 1.0, "group")


@pytest.mark.parametrize(
    ("flag", "variable", "holds"),
    [(None, None, "dev"), (None, "test", "test"), ("prod", "test", "prod"), ("", "", "dev")],
)
def test_the_flag_wins_over_the_variable_and_that_over_dev(load, flag, variable, holds) -> None:
    """Which environment holds; only its table is laid over the file."""
    text = "".join(f'[env.{name}]\nproject = "in-{name}"\n' for name in ("dev", "test", "prod"))
    variables = {} if variable is None else {"PERENE_ENV": variable}

    found = load(text, environment=flag, **variables)

    assert (found.environment, found.project) == (holds, f"in-{holds}")


def test_dev_needs_no_table_of_its_own(load) -> None:
    """It is there always; any other must be in the file."""
    assert load('project = "a"', environment="dev").project == "a"


@pytest.mark.parametrize(
    ("variable", "text", "attribute", "value"),
    [
        ("PERENE__PROJECT", "7", "project", "7"),
        ("PERENE__MODELS", "a.py, b/*.py ,", "models", ("a.py", "b/*.py")),
        ("PERENE__SERVE__JOURNAL_SECONDS", "0.5", "journal_seconds", 0.5),
        ("PERENE__SERVE__WORKERS", "3", "workers", 3),
        ("PERENE__SERVE__MAX_BODY", "1kB", "max_body", 1000),
        ("PERENE__SERVE__MAX_BODY", "1000", "max_body", 1000),
        ("PERENE__SERVE__DEADLINE", "never", "deadline", None),
        ("PERENE__SERVE__ON_LOG_FAILURE", "refuse", "on_log_failure", "refuse"),
        ("PERENE__TIME__SPEED", "60", "speed", 60.0),
        ("PERENE__BUNDLE__INCLUDE", "a.csv", "bundle_include", ("a.csv",)),
        ("PERENE__MODEL__LATE_ARRIVAL__STALE_AFTER", "9d", "overrides", {"late-arrival": {"stale_after": "9d"}}),
        ("PERENE__ENGINE", "local", "engine", "local"),
    ],
)
def test_a_variable_is_typed_as_its_setting(load, variable, text, attribute, value) -> None:
    """Two underscores are a dot, one stays or is a model's hyphen; a text of digits is a number where one is wanted."""
    assert getattr(load(**{variable: text}), attribute) == value


def test_other_variables_are_nobodys_settings(load) -> None:
    """Only those that begin with PERENE__ are read."""
    assert load(PERENE_SERVE__PORT="x", PATH="x", XPERENE__SERVE__PORT="x").port == 8780


def test_relative_paths_are_taken_from_the_folder(load, tmp_path, monkeypatch) -> None:
    """Wherever perene is called from; absolute ones and addresses stay."""
    monkeypatch.chdir("/")
    text = 'database = "sqlite:///data/p.db"\nstorage = "store"'

    assert load(text).database == f"sqlite:///{tmp_path}/data/p.db"
    assert load(text).storage == f"{tmp_path}/store"
    text = 'database = "sqlite:////var/p.db"\nstorage = "/var/store"'
    assert (load(text).database, load(text).storage) == ("sqlite:////var/p.db", "/var/store")


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_mistake_is_reported_at_once(refused) -> None:
    """Of the file, of every environment (not only of the one that holds) and of the variables, by their keys."""
    found = refused(
        """
        databse = "x"
        engine = "ray"
        [serve]
        port = 99999
        prot = 1
        [time]
        speed = true
        [model.late]
        evry = "1d"
        every = "soon"
        release = "yes"
        [env.prod]
        storage = ""
        [env.test.serve]
        host = "0.0.0.0"
        """,
        PERENE__SERVE__JOURNAL_ROWS="many",
        PERENE__SERVE__DURABLE="x",
    )

    assert set(found) == {
        "databse", "engine", "serve.port", "serve.prot", "time.speed", "model.late.evry", "model.late.every",
        "model.late.release", "env.prod.storage", "env.test.serve.host", "PERENE__SERVE__JOURNAL_ROWS",
        "PERENE__SERVE__DURABLE",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "where", "meant"),
    [
        ("databse = 'x'", "databse", "database"),
        ("[serve]\nprot = 1", "serve.prot", "serve.port"),
        ("[serv]\nport = 1", "serv.port", "serve.port"),
        ("port = 1", "port", None),
        ("[model.m]\nstale_aftr = '1d'", "model.m.stale_aftr", "model.m.stale_after"),
        ("[env.prod]\nstorag = 'x'", "env.prod.storag", "storage"),
        ("model = 3", "model", "models"),
        ("xyzzy = 1", "xyzzy", None),
        ("[model.m.every]\nx = 1", "model.m.every.x", "model.m.every"),
        ("[env]\nprod = 1", "env.prod", None),
        ("env = 1", "env", None),
        ("[serv]", "serv", "serve"),
        ("[env.prod.serv]", "env.prod.serv", "serve"),
        ("[env.'']\nproject = 'x'", "env..project", "project"),
    ],
)
def test_an_unknown_key_is_named_with_the_one_that_was_meant(refused, text, where, meant) -> None:
    """By its dotted key, an empty table too; where no key is close, none is guessed."""
    hint = "" if meant is None else f"; did you mean {meant}?"

    assert refused(text) == {where: f"is not a setting{hint}"}


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        ("project = 3", "project", "must be a text, not 3"),
        ("project = ''", "project", "must be a text, not an empty text"),
        ("project = {}", "project", "must be a text, not a table"),
        ("models = 'a.py'", "models", "must be a list of texts, not a text"),
        ("models = ['a', 3]", "models", "must be a list of texts, not a list"),
        ("engine = 'locl'", "engine", "must be one of local, not 'locl'; did you mean local?"),
        ("engine = ['local']", "engine", "must be one of local"),
        ("[serve]\nport = '80'", "serve.port", "must be a whole number, not a text"),
        ("[serve]\nport = 80.0", "serve.port", "must be a whole number, not 80.0"),
        ("[serve]\nport = true", "serve.port", "must be a whole number, not true or false"),
        ("[serve]\nport = -1", "serve.port", "must be at least 0 and at most 65535, not -1"),
        ("[serve]\nworkers = 0", "serve.workers", "must be at least 1 and at most 64, not 0"),
        ("[serve]\nmax_rows = 0", "serve.max_rows", "must be at least 1, not 0"),
        ("[serve]\nmax_body = 'much'", "serve.max_body", "is not a size"),
        ("[serve]\nqueue_rows = 1.5", "serve.queue_rows", "must be a whole number, not 1.5"),
        ("[serve]\ndeadline = 30", "serve.deadline", "must be a text, not 30"),
        ("[serve]\ndeadline = '0s'", "serve.deadline", "must be longer than nothing"),
        ("[serve]\njournal_rows = 0", "serve.journal_rows", "must be at least 1, not 0"),
        ("[serve]\njournal_seconds = 0", "serve.journal_seconds", "must be more than 0, not 0"),
        ("[serve]\njournal_seconds = nan", "serve.journal_seconds", "must be a number, not nan"),
        ("[serve]\nhost = '0.0.0.0'", "serve.host", "there is no authentication yet"),
        ("[time]\nspeed = inf", "time.speed", "must be a number, not inf"),
        (f"[time]\nspeed = {10**400}", "time.speed", "must be a number"),
        ("[time]\nspeed = -0.5", "time.speed", "must be at least 0, not -0.5"),
        ("[time]\nspeed = 2013-01-01", "time.speed", "must be a number"),
        ("[model.m]\nevery = '1 fortnight'", "model.m.every", "is not a duration"),
        ("[model.m]\nevery = '0s'", "model.m.every", "must be longer than nothing"),
        ("[model.m]\nstale_after = 3", "model.m.stale_after", "must be a text, not 3"),
        ("[model.m]\nrelease = 'atuo'", "model.m.release", "did you mean auto?"),
    ],
)
def test_a_wrong_value_says_what_it_must_be(refused, text, where, says) -> None:
    """Under its dotted key; numbers, texts and choices are not taken for one another."""
    found = refused(text)

    assert list(found) == [where]
    assert says in found[where]


def test_an_unknown_environment_is_refused(refused) -> None:
    """With the one that was meant."""
    (what,) = refused("[env.prod]\nengine = 'local'", environment="prd").values()

    assert what == "there is no [env.prd]; did you mean prod?"


@pytest.mark.parametrize(
    "text", ["port = ", "[serve", "a = 1\na = 2", "a = '\\q", "a = \x00", "[" * 3000, "a = " + "9" * 9999]
)
def test_what_is_no_toml_says_so(refused, text) -> None:
    """The file is named, and the line where the reader knows it."""
    assert list(refused(text)) == ["perene.toml"]


def test_what_is_no_utf8_says_so(tmp_path) -> None:
    """A file in another encoding is not guessed at."""
    (tmp_path / "perene.toml").write_bytes(b'project = "\xe9"')

    with pytest.raises(SettingsError, match="is not TOML"):
        load_settings(tmp_path, environment=None, variables={})


def test_a_folder_with_a_question_mark_cannot_hold_a_database(tmp_path) -> None:
    """SQLAlchemy would take what follows for options, and write beside the project."""
    folder = tmp_path / "what?"
    folder.mkdir()
    (folder / "perene.toml").touch()

    with pytest.raises(SettingsError, match="question mark"):
        load_settings(folder, environment=None, variables={})


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────────────────────

SECRETS = [
    "database = 'postgresql://ana:hunter2@host/name'\nxyzzy = 1",
    "database = ['postgresql://ana:hunter2@host/name']",
    "[database]\nurl = 'postgresql://ana:hunter2@host/name'",
    "databse = 'postgresql://ana:hunter2@host/name'",
    "database = 'postgresql://ana:hunter2@host/name",
    "[env.prod.database]\npassword = 'hunter2'",
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_mistake_does_not_print_a_password(load, text) -> None:
    """Neither in the message nor in what caused it."""
    with pytest.raises(SettingsError) as caught:
        load(text)

    cause = caught.value.__cause__
    assert "hunter2" not in f"{caught.value!s} {caught.value!r} {cause!s} {cause!r} {caught.value.mistakes}"


def test_settings_do_not_print_a_password(load) -> None:
    """Whoever prints or logs them sees no database address."""
    found = load("database = 'postgresql://ana:hunter2@host/name'")

    assert "hunter2" in found.database
    assert "hunter2" not in f"{found} {found!r}"


# ── where they stand ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_settings_may_stand_in_pyproject(tmp_path) -> None:
    """Under [tool.perene], with the same keys; the mistakes name that file."""
    file = tmp_path / "pyproject.toml"
    file.write_text("[tool.perene]\nproject = 'a'\n[tool.perene.serve]\nport = 9\n[tool.other]\nport = 1")
    found = load_settings(tmp_path, environment=None, variables={})
    file.write_text("[tool.perene]\nprojct = 'a'")

    assert (found.project, found.port) == ("a", 9)
    with pytest.raises(SettingsError, match=r"pyproject\.toml is not right"):
        load_settings(tmp_path, environment=None, variables={})


def test_settings_may_not_stand_twice(tmp_path) -> None:
    """perene.toml beside [tool.perene]: neither wins; a pyproject.toml of others does not matter."""
    (tmp_path / "perene.toml").write_text("project = 'a'")
    file = tmp_path / "pyproject.toml"
    file.write_text("[tool.ruff]\nline-length = 120")
    assert load_settings(tmp_path, environment=None, variables={}).project == "a"
    file.write_text("[tool.perene]\nproject = 'b'")

    with pytest.raises(SettingsError, match="twice"):
        load_settings(tmp_path, environment=None, variables={})


@pytest.mark.parametrize("text", ["[tool]\nperene = 3", "[[tool.perene]]\nproject = 'a'"])
def test_tool_perene_must_be_a_table(tmp_path, text) -> None:
    """Anything else is a mistake with its place."""
    (tmp_path / "pyproject.toml").write_text(text)

    with pytest.raises(SettingsError, match=r"tool\.perene: must be a table"):
        load_settings(tmp_path, environment=None, variables={})


def test_a_folder_without_settings_is_no_project(tmp_path) -> None:
    """It says how one is begun."""
    with pytest.raises(SettingsError, match="no perene project") as caught:
        load_settings(tmp_path, environment=None, variables={})

    assert caught.value.mend == "perene init"


def test_the_nearest_project_above_is_found(tmp_path) -> None:
    """From within a folder of it; one in another is the inner one; without any there is none."""
    inner = tmp_path / "outer" / "inner" / "deep"
    inner.mkdir(parents=True)
    with pytest.raises(SettingsError, match="or in a folder above"):
        find_project(inner)
    (tmp_path / "outer" / "pyproject.toml").write_text("[tool.perene]")
    outer = find_project(inner)
    (tmp_path / "outer" / "inner" / "perene.toml").touch()

    assert outer == (tmp_path / "outer").resolve()
    assert find_project(inner) == (tmp_path / "outer" / "inner").resolve()


names = st.sampled_from(["project", "serve", "port", "env", "prod", "model", "m", "every", "time", "speed", "x", ""])
tables = st.recursive(
    st.integers(-3, 70000) | st.booleans() | st.text(max_size=3) | st.floats() | st.just("1d"),
    lambda inner: st.dictionaries(names, inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=8,
)


def written(value: object) -> str:
    """A value as TOML writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{name}" = {written(item)}' for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return "".join(f"\\U{ord(c):08x}" for c in value).join('""') if isinstance(value, str) else repr(value)


@given(st.dictionaries(names, tables, max_size=4))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_toml_is_settings_or_mistakes(load, content) -> None:
    """Whatever stands in the file: settings come of it, or a SettingsError that names a key for each mistake."""
    text = "\n".join(f'"{name}" = {written(value)}' for name, value in content.items())
    try:
        load(text)
    except SettingsError as error:
        assert error.mistakes
        assert all(mistake.where and mistake.what for mistake in error.mistakes)
