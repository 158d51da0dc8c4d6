"""The table of commands."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from perene.cli import main
from perene.cli.tree import COMMANDS, root
from perene.cli.verbs import Verb


def leaves(group: click.Group = root, before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaves(command, (*before, name))
        else:
            yield (*before, name), command


LEAVES = dict(leaves())


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_says_what_it_does_with_an_example(path):
    """A command has a sentence that says what it does, and examples that call it."""
    command = LEAVES[path]

    assert isinstance(command, Verb)
    assert command.help.split("\n")[0].endswith(".")
    for line in command.examples.splitlines():
        assert " ".join(("perene", *path)) in line


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_examples_name_only_options_that_there_are(path):
    """What an example shows can be typed."""
    command = LEAVES[path]
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}

    used = {word.split("=")[0] for word in command.examples.split() if word.startswith("-") and word.strip("-")}

    assert used <= known


@pytest.mark.parametrize("path", [(), *LEAVES], ids=lambda path: " ".join(("perene", *path)))
def test_help_fits_80_columns(path, capsys, monkeypatch):
    """No line of a help text is wider than a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    assert main([*path, "--help"]) == 0

    assert [line for line in capsys.readouterr().out.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_option_has_a_help_text(path):
    """No option is left unexplained."""
    for parameter in LEAVES[path].params:
        if isinstance(parameter, click.Option):
            assert parameter.help


@pytest.mark.parametrize(("name", "summary"), [(n, s) for names in COMMANDS.values() for n, (_, s) in names.items()])
def test_the_table_of_commands_tells_what_the_commands_tell(name, summary):
    """A line of ``perene --help`` is the command's own first sentence, or the verbs of its noun."""
    command = root.get_command(click.Context(root), name)

    if isinstance(command, click.Group):
        assert summary == ", ".join(command.list_commands(click.Context(command)))
    else:
        assert summary == command.help.split("\n")[0]


def test_help_loads_click_and_the_standard_library_only():
    """``perene --help`` imports nothing heavy, nor any command."""
    code = "import sys; from perene.cli import main; main(['--help']); print(*sorted(sys.modules), file=sys.stderr)"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr.split()

    foreign = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names - {"perene", "click"}
    assert {name for name in foreign if not name.startswith(("_", "sitecustomize"))} == set()
    assert not {name for name in loaded if name.startswith("perene.cli.")} & {
        place.partition(":")[0] for names in COMMANDS.values() for place, _ in names.values()
    }
