"""Snapshots: the files that are taken, and the digest of the code."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perene.errors import SettingsError
from perene.storage.snapshot import SMALL, imported_packages, snapshot

CODE = {"models/__init__.py": "", "models/late.py": "x = 1\n", "shared.py": "y = 2\n"}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write(tmp_path / "project", CODE)


def taken(project: Path, *include: str) -> set[str]:
    """The names of the files that a snapshot has."""
    to = project.parent / "snapshot"
    shutil.rmtree(to, ignore_errors=True)
    snapshot(project, include, to)
    return {path.relative_to(to).as_posix() for path in to.rglob("*") if path.is_file()}


def digest(project: Path, *include: str) -> str:
    to = project.parent / "for-digest"
    shutil.rmtree(to, ignore_errors=True)
    return snapshot(project, include, to)


# ── which files ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_python_files_are_taken_wherever_they_are(project: Path) -> None:
    """At the top and below, with their content."""
    write(project, {"deep/er/tool.py": "z = 3\n"})

    assert taken(project) == {*CODE, "deep/er/tool.py"}
    assert (project.parent / "snapshot" / "deep/er/tool.py").read_text() == "z = 3\n"


def test_small_data_beside_code_is_taken(project: Path) -> None:
    """A table of a kilobyte is; one of more than a megabyte, or away from code, only when it is named."""
    write(project, {"models/small.csv": "a", "models/big.csv": "b" * (SMALL + 1), "data/away.csv": "c"})

    assert taken(project) == {*CODE, "models/small.csv"}
    assert taken(project, "models/big.csv", "data") == {*CODE, "models/small.csv", "models/big.csv", "data/away.csv"}


def test_settings_and_secrets_of_the_top_folder_are_left_out(project: Path) -> None:
    """A bundle may travel; what lies beside perene.toml stays at home, and so do hidden files everywhere."""
    write(project, {"perene.toml": "", "secrets.json": "k", ".env": "k", "README.md": "", "models/.netrc": "k"})

    assert taken(project) == {*CODE}


@pytest.mark.parametrize(
    "name",
    [
        ".perene/store/x.py", ".git/hooks/x.py", "node_modules/x.py", "models/__pycache__/late.cpython-311.pyc",
        "lib/site-packages/x.py", "models/late.pyc", "env/lib/x.py", "mamba/lib/x.py",
    ],
)  # fmt: skip
def test_what_others_made_is_left_out(project: Path, name: str) -> None:
    """Hidden folders, environments of every kind, caches and bytecode are not the project's code."""
    write(project, {name: "x = 1\n", "env/pyvenv.cfg": "", "mamba/conda-meta/history": ""})

    assert taken(project) == {*CODE}


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("data/a.csv", {"data/a.csv"}),
        ("data", {"data/a.csv", "data/deep/b.csv"}),
        ("data/*.csv", {"data/a.csv"}),
        ("**/*.csv", {"data/a.csv", "data/deep/b.csv"}),
        (".cache/c.csv", {".cache/c.csv"}),
        ("env/lib/d.csv", {"env/lib/d.csv"}),
        ("data/.hidden", {"data/.hidden"}),
    ],
)
def test_patterns_name_what_else_is_taken(project: Path, pattern: str, found: set[str]) -> None:
    """Files, folders and globs; none sweeps hidden files or environments in, unless it names them."""
    files = ["data/a.csv", "data/deep/b.csv", "data/.hidden", ".cache/c.csv", "env/lib/d.csv", "env/pyvenv.cfg"]
    write(project, dict.fromkeys(files, "x"))

    assert taken(project, pattern) - {*CODE} == found


@pytest.mark.parametrize("pattern", ["nothing/*", "../out.csv", "/etc/hostname", "data/../../out.csv", "."])
def test_a_pattern_that_names_nothing_of_the_project_is_refused(project: Path, pattern: str) -> None:
    """The error names the setting and the pattern."""
    write(project.parent, {"out.csv": "x"})

    with pytest.raises(SettingsError, match=r"bundle\.include"):
        taken(project, pattern)


def test_links_are_taken_as_what_they_lead_to(project: Path, tmp_path: Path) -> None:
    """Files and folders; one that leads nowhere, or back up, ends there."""
    write(tmp_path / "elsewhere", {"tool.py": "t = 1\n", "deep/more.py": ""})
    (project / "linked.py").symlink_to(tmp_path / "elsewhere" / "tool.py")
    (project / "tools").symlink_to(tmp_path / "elsewhere")
    (project / "same").symlink_to(tmp_path / "elsewhere")
    (project / "models" / "up").symlink_to(project)
    (tmp_path / "elsewhere" / "back").symlink_to(project / "models")
    (project / "broken.py").symlink_to(tmp_path / "nothing.py")

    found = taken(project)

    tools = {f"{name}/{file}" for name in ("tools", "same") for file in ("tool.py", "deep/more.py")}
    assert {*CODE, "linked.py", *tools} <= found
    assert "broken.py" not in found
    assert not [path for path in (tmp_path / "snapshot").rglob("*") if path.is_symlink()]


# ── the digest ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_digest_is_of_names_and_contents(project: Path) -> None:
    """Another place, other times and another order of creation do not change it; neither does what is left out."""
    first = digest(project)
    other = write(project.parent / "other" / "place", dict(reversed(CODE.items())))
    os.utime(other / "shared.py", (0, 0))
    write(other, {"notes.txt": "", ".git/config": "", "data/x.csv": "x"})

    assert digest(other) == first
    assert first == "bbd91ced49bb6ee4848a649a92c23f36da897dd606c3fdf581d421bdbbe964e0"


names = st.sampled_from(["a.py", "b.py", "p/__init__.py", "p/a.py", "p/data.csv"])


@given(st.dictionaries(names, st.text("ab\n", max_size=3)), st.dictionaries(names, st.text("ab\n", max_size=3)))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_digests_are_equal_where_the_code_is(
    tmp_path_factory: pytest.TempPathFactory, one: dict[str, str], other: dict[str, str]
) -> None:
    """Any file more or less, any other name or byte, gives another digest."""
    folder = tmp_path_factory.mktemp("digests")
    both = [write(folder / str(i) / "project", files | {"p/z.py": ""}) for i, files in enumerate((one, other))]

    assert (digest(both[0]) == digest(both[1])) is (one == other)


# ── what it imports ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_imported_packages_are_those_from_elsewhere(project: Path) -> None:
    """At the top, inside functions, dotted; not the project's own, not Python's, not what a broken file might mean."""
    write(
        project,
        {
            "models/more.py": "import json, numpy as np, shared\nfrom . import late\nfrom models.late import x\n"
            "def f():\n    from sklearn.ensemble import Forest\n    import xml.dom\n",
            "models/broken.py": "import broken_thing\nthis is no Python\n",
            ".hidden/tool.py": "import hidden_thing\n",
        },
    )

    assert imported_packages(project) == ["numpy", "sklearn.ensemble"]
