"""The public names: they are there, and importing perene costs nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import perene

FOREIGN = """
import sys
before = set(sys.modules)
import perene
{more}
print(sorted({{name.partition(".")[0] for name in set(sys.modules) - before}} - set(sys.stdlib_module_names)))
"""


def loaded(more: str = "") -> str:
    """What a fresh interpreter loads beyond the standard library for ``import perene`` and more."""
    done = subprocess.run([sys.executable, "-c", FOREIGN.format(more=more)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_perene_loads_the_standard_library_only() -> None:
    """Nothing heavy: a fresh interpreter has perene itself, and not a foreign module more."""
    assert loaded() == "['perene']"


def test_looking_around_loads_nothing() -> None:
    """dir() and a name that is not there cost no import."""
    assert loaded("dir(perene); hasattr(perene, 'nothing')") == "['perene']"


def test_errors_and_the_clock_load_the_standard_library_only() -> None:
    """Whoever catches an error pays for nothing else."""
    assert loaded("import perene.errors, perene.clock") == "['perene']"


@pytest.mark.parametrize("name", perene.__all__)
def test_every_public_name_resolves(name) -> None:
    """To the thing of that name, the same one each time."""
    value = getattr(perene, name)

    assert value.__name__ == name
    assert getattr(perene, name) is value
    assert getattr(import_module(value.__module__), name) is value
    assert value.__doc__


def test_the_ready_made_steps_are_a_module() -> None:
    """``perene.post`` is there without an import of its own, and has a name for each of its steps."""
    done = subprocess.run([sys.executable, "-c", "import perene; print(perene.post)"], capture_output=True, text=True)
    module = import_module("perene.post")

    assert "module 'perene.post'" in done.stdout
    assert "post" in dir(perene)
    assert all(getattr(module, name).__doc__ for name in module.__all__)


def test_every_public_name_is_listed_everywhere() -> None:
    """In __all__, in dir(), for type checkers, and among the homes."""
    source = ast.parse(Path(perene.__file__).read_text(encoding="utf-8"))
    typed = {
        alias.name
        for node in ast.walk(source)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("perene.")
        for alias in node.names
    }

    assert set(perene.__all__) == set(perene._HOMES) == typed
    assert set(perene.__all__) <= set(dir(perene))
    assert len(perene.__all__) == len(set(perene.__all__))


def test_a_star_import_brings_the_public_names() -> None:
    """And nothing that begins with an underscore."""
    names: dict[str, object] = {}
    exec("from perene import *", names)

    assert set(names) - {"__builtins__"} == set(perene.__all__)


def test_what_is_not_there_is_an_attribute_error() -> None:
    """Named as Python does."""
    with pytest.raises(AttributeError, match="module 'perene' has no attribute 'Modell'"):
        _ = perene.Modell  # type: ignore[attr-defined]
