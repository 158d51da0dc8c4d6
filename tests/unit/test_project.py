"""Projects: their model files, each as a module of its own, and every mistake of all of them at once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from textwrap import dedent

import pytest

from perene.definition.project import Project, load_project
from perene.errors import DeclarationError, Mistake, SettingsError

MODEL = """\
from pydantic import AwareDatetime
from perene import Label, Model, Row

class Parcel(Row):
    number: int
    sent_at: AwareDatetime

def features(rows):
    return rows.select("number")

def train(x, y):
    return None

def source(since, until):
    return None

def make(name="parcels", **more):
    terms = dict(row=Parcel, key="number", at="sent_at", label=Label("hours", float), train_on="20d", test_on="10d",
                 source=source, features=features, train=train)
    return Model(name, **terms | more)
"""


@pytest.fixture(autouse=True)
def own_modules() -> Iterator[None]:
    """Leave the modules and the path as they were."""
    path, modules = [*sys.path], {*sys.modules}
    yield
    sys.path[:] = path
    for name in {*sys.modules} - modules:
        if not name.startswith(("perene", "polars", "pydantic")):
            sys.modules.pop(name, None)


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a project: files by path, MODEL as making.py, settings; gives its folder."""

    def write(files: dict[str, str], settings: str = "", *, name: str = "project") -> Path:
        folder = tmp_path / name
        texts = {"perene.toml": settings, "making.py": MODEL} | files
        for path, text in texts.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(dedent(text), encoding="utf-8")
        return folder

    return write


def load(folder: Path, **more: str) -> Project:
    return load_project(folder, variables=more)


def mistakes_of(folder: Path, **more: str) -> list[Mistake]:
    with pytest.raises(DeclarationError) as caught:
        load(folder, **more)
    return list(caught.value.mistakes)


ONE = {"models/a.py": "from making import make\nm = make()\n"}


# ── what is loaded ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_project_has_its_models_by_name(write) -> None:
    """From every file that the patterns match, in the order of their names, with the module that declares each."""
    folder = write(
        {
            "models/b.py": "from making import make\nfirst = make('b-one')\nsecond = make('a-two')\n",
            "models/a.py": "from making import make\nmodel = make('c-three')\n",
            "more/deep/__init__.py": "from making import make\nmodel = make('in-package')\n",
            "models/readme.txt": "no model",
            "other.py": "raise ValueError('nobody asked for this file')",
        },
        'models = ["models/*", "more/**/*.py"]',
    )

    found = load(folder)

    assert list(found.models) == ["a-two", "b-one", "c-three", "in-package"]
    assert found.modules == {
        "a-two": "models.b",
        "b-one": "models.b",
        "c-three": "models.a",
        "in-package": "more.deep",
    }
    assert found.folder == folder.resolve()


def test_a_model_that_another_file_imports_belongs_to_its_own_module(write) -> None:
    """It is one model, and its module is the file that declares it, whichever comes first."""
    declared = MODEL.replace("def make(", "def unused(") + (
        "m = Model('parcels', row=Parcel, key='number', at='sent_at', label=Label('hours', float), train_on='20d',\n"
        "          test_on='10d', source=source, features=features, train=train)\n"
    )
    folder = write({"models/z.py": declared, "models/a.py": "from models.z import m\nagain = m\n"})

    assert load(folder).modules == {"parcels": "models.z"}


def test_a_model_that_a_helper_makes_belongs_to_the_file_that_holds_it(write) -> None:
    """Where no model file has the line, the first that has the model stands for it."""
    folder = write({"making.py": MODEL, **ONE})

    assert load(folder).modules == {"parcels": "models.a"}


def test_model_files_import_their_neighbours(write) -> None:
    """The folder comes first on the path: absolute and relative imports work, at the top and in functions."""
    folder = write(
        {
            "models/a.py": "from making import make\nfrom models.shared import NAME\nm = make(NAME)\n",
            "models/b.py": "from making import make\nfrom .shared import NAME\nm = make('b-' + NAME)\n",
            "models/shared.py": "NAME = 'shared'\n",
        },
        'models = ["models/[ab].py"]',
    )

    assert list(load(folder).models) == ["b-shared", "shared"]


def test_the_settings_change_a_models_terms(write) -> None:
    """From the file, an environment or a variable; other models keep theirs."""
    folder = write(
        {**ONE, "models/b.py": "from making import make\nm = make('other-one')\n"},
        '[model.parcels]\nevery = "7d"\n[env.prod.model.parcels]\nrelease = "review"\n',
    )

    found = load_project(folder, environment="prod", variables={"PERENE__MODEL__PARCELS__STALE_AFTER": "never"})

    parcels, other = found.models["parcels"], found.models["other-one"]
    assert (parcels.every, parcels.release, parcels.stale_after) == (timedelta(days=7), "review", None)
    assert (other.every, other.release) == (timedelta(days=1), "auto")


def test_modules_of_another_project_are_forgotten(write) -> None:
    """Two projects whose files have the same names get each its own, in turn, helpers and packages too."""
    files = {
        "models/a.py": "from making import make\nfrom parts.name import NAME\nm = make(NAME)\n",
        "parts/__init__.py": "",
    }
    one = write({**files, "parts/name.py": "NAME = 'one'\n"}, name="one")
    two = write({**files, "parts/name.py": "NAME = 'two'\n"}, name="two")

    names = [list(load(folder).models) for folder in (one, two, one)]

    assert names == [["one"], ["two"], ["one"]]


def test_modules_of_another_project_in_pyproject_are_forgotten(write) -> None:
    """Wherever that project keeps its settings."""
    one = write({"models/a.py": "from making import make\nm = make('one')\n"}, name="one")
    (one / "perene.toml").unlink()
    (one / "pyproject.toml").write_text("[tool.perene]\n")
    two = write({"models/a.py": "from making import make\nm = make('two')\n"}, name="two")

    assert [list(load(folder).models) for folder in (one, two)] == [["one"], ["two"]]


def test_other_modules_stay(write, tmp_path, monkeypatch) -> None:
    """A module of no project is left alone, though this project has a folder of its name."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "unrelated_helper.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    import unrelated_helper  # type: ignore[import-not-found]

    load(write({**ONE, "unrelated_helper/x.txt": ""}))

    assert sys.modules["unrelated_helper"] is unrelated_helper


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_files_mistakes_are_reported_at_once(write) -> None:
    """Of declarations and of imports, each with its file and line."""
    folder = write(
        {
            "models/a.py": MODEL + "m = make('A wrong name', key='nmber')\n",
            "models/b.py": "import math\n\nx = 1 / 0\n",
            "models/c.py": "from making import make\ndef broken(:\n",
            "models/d.py": "import no_such_package\n",
            "models/e.py": "from making import make\nm = make('good')\n",
        }
    )

    found = mistakes_of(folder)

    places = [mistake.where for mistake in found]
    assert places[:3] == ["models/b.py:3", "models/c.py:2", "models/d.py:1"]
    assert set(places[3:]) == {f"models/a.py:{MODEL.count(chr(10), 0, MODEL.index('return Model')) + 1}"}
    said = " ".join(mistake.what for mistake in found)
    for part in ("ZeroDivisionError: division by zero", "SyntaxError", "No module named 'no_such_package'"):
        assert part in said
    assert "'A wrong name'" in said
    assert "did you mean number?" in said


def test_an_error_in_a_helper_names_the_helpers_line(write) -> None:
    """The last line of the project's own code that it came through, not one of a library or an environment."""
    library = ".venv/lib/python3/site-packages/broken_library.py"
    folder = write(
        {
            "models/a.py": "import helper\n",
            "helper.py": "import sys\nsys.path.append(__file__[:-9] + '.venv/lib/python3/site-packages')\n\n"
            "import broken_library\n",
            library: "raise OSError('libgomp.so.1: cannot open shared object file')\n",
        }
    )

    (mistake,) = mistakes_of(folder)

    assert (mistake.where, mistake.mend) == ("helper.py:4", "apt-get install libgomp1")
    assert "OSError" in mistake.what


def test_a_file_that_ends_the_process_is_a_mistake(write) -> None:
    """sys.exit() in a model file ends nobody else's process."""
    (mistake,) = mistakes_of(write({"models/a.py": "import sys\n\nsys.exit(3)\n"}))

    assert (mistake.where, "SystemExit: 3" in mistake.what) == ("models/a.py:3", True)


@pytest.mark.parametrize("files", ["one", "two"])
def test_two_models_of_one_name_are_refused(write, files) -> None:
    """In one file or in two, with both places; what else is wrong with the second is told too."""
    first = MODEL + "m = make()\n"
    second = "n = make(max_bad='much')\n"
    folder = write(
        {"models/a.py": first + second} if files == "one" else {"models/a.py": first, "models/b.py": MODEL + second}
    )

    said = [str(mistake) for mistake in mistakes_of(folder)]

    assert any("the model parcels is declared at models/a.py:" in line for line in said)
    assert any("max_bad='much' is not a share" in line for line in said)


def test_one_model_under_two_names_is_one(write) -> None:
    """A second variable for the same model changes nothing."""
    assert list(load(write({"models/a.py": ONE["models/a.py"] + "also = m\n"})).models) == ["parcels"]


@pytest.mark.parametrize(
    "pattern",
    ["../*.py", "/etc/*.py", "~/*.py", "models/../../x.py", "nothing/*.py", "*.txt", "a**", ".", "models", "\\u0000"],
)
def test_patterns_that_match_no_file_of_the_folder_are_refused(write, pattern) -> None:
    """Those that lead out of it first of all; each is named."""
    folder = write({**ONE, "a.txt": "", "../x.py": "raise ValueError"}, f'models = ["models/*.py", "{pattern}"]')

    with pytest.raises(SettingsError) as caught:
        load(folder)

    (mistake,) = caught.value.mistakes
    assert mistake.where == "models"
    assert "matches no Python file in the project's folder" in mistake.what


@pytest.mark.parametrize(
    ("name", "settings"), [("json.py", 'models = ["*n.py"]'), ("itertools.py", 'models = ["iter*.py"]')]
)
def test_a_file_with_the_name_of_another_module_is_a_mistake(write, name, settings) -> None:
    """Python would give the other one, and the model would be missing in silence."""
    (mistake,) = mistakes_of(write({name: "from making import make\nm = make()\n"}, settings))

    assert mistake.where == name
    assert f"{name[:-3]} is the name of another module" in mistake.what
    assert mistake.mend == "rename the file"


def test_a_folder_with_the_name_of_an_installed_package_says_what_to_do(write, tmp_path, monkeypatch) -> None:
    """A package with an __init__.py wins over a folder without one, wherever it lies on the path."""
    package = tmp_path / "installed" / "forecasts"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [*sys.path, str(package.parent)])
    folder = write({"forecasts/a.py": ONE["models/a.py"]}, 'models = ["forecasts/*.py"]')

    (mistake,) = mistakes_of(folder)
    (folder / "forecasts" / "__init__.py").touch()
    del sys.modules["forecasts"]

    assert mistake.where == "forecasts/a.py"
    assert "put an empty __init__.py into forecasts" in mistake.mend
    assert list(load(folder).models) == ["parcels"]


def test_settings_for_a_model_that_is_not_there_are_refused(write) -> None:
    """With the one that was meant."""
    with pytest.raises(SettingsError, match=r"model\.parcel: there is no such model; did you mean parcels\?"):
        load(write(ONE, '[model.parcel]\nevery = "7d"'))


def test_a_broken_file_is_told_before_the_settings_of_its_model(write) -> None:
    """That the model is missing comes of the file, so the file is what is reported."""
    folder = write({"models/a.py": "x = 1 / 0\n"}, '[model.parcels]\nevery = "7d"')

    (mistake,) = mistakes_of(folder)

    assert mistake.where == "models/a.py:1"


def test_settings_that_make_a_model_unsound_are_refused(write) -> None:
    """A term that the settings change must fit the others."""
    (mistake,) = mistakes_of(write(ONE, '[model.parcels]\nstale_after = "1d"'))

    assert "stale_after=1d is not longer than" in mistake.what


def test_settings_are_read_before_any_model(write) -> None:
    """A wrong perene.toml is reported without running the user's code."""
    folder = write({"models/a.py": "raise SystemError"}, "xyzzy = 1")

    with pytest.raises(SettingsError, match="xyzzy"):
        load(folder)
