"""The table of commands, held against the commands there are: their flags, the kind of their JSON, what -q prints.

Every command that shows something runs on a small living project, in all its modes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from perene.app import open_project
from perene.cli.tree import root

MODEL = "parcel-hours"
PRINTING = {"--json", "-q", "--quiet", "--no-color"}
PROJECT = {"--project", "--env"}
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
SPAN = re.compile(r"\d+(\.\d+)?\s?(ms|s|m|h|d|w)( before)?")


@dataclass(frozen=True, kw_only=True)
class Line:
    """What a command must have: its own flags, the kind of its JSON (None: it prints no data), what -q prints.

    ``call`` are the arguments with which it shows something of the project that has lived; ``many`` says that it lists.
    """

    flags: str = ""
    kind: str | None = None
    id: Callable[[Any], object] | None = None
    project: bool = True
    call: str | None = None
    many: bool = False


def part(*names: str) -> Callable[[Any], object]:
    """A part of the data, by its path."""

    def found(data: Any) -> object:
        for name in names:
            data = data[name]
        return data

    return found


def version_of(data: Any) -> str:
    """A version, as lists name it."""
    return f"{data['model']}@{data['version']}"


ID = part("id")
TABLE = {
    "demo": Line(flags="--into --yes --no-input", kind="demo", id=part("folder"), project=False),
    "init": Line(flags="--name", kind="project.init", id=part("folder"), project=False),
    "check": Line(flags="--serving --version", kind="check", id=part("name"), call="check", many=True),
    "up": Line(flags="--port"),
    "status": Line(flags="--check", kind="model.status.list", id=part("model"), call="status", many=True),
    "train": Line(flags="--check --timeout", kind="train", id=part("run", "id")),
    "predict": Line(
        flags="--format --out --log --store", kind="predict", id=part("prediction_id"), many=True,
        call=f"predict {MODEL} sent.json",
    ),
    "model list": Line(kind="model.list", id=part("name"), call="model list", many=True),
    "model show": Line(
        flags="--version", kind="model", id=lambda d: version_of(d["version"]), call=f"model show {MODEL}"
    ),
    "model history": Line(
        flags="--limit", kind="model.history", call=f"model history {MODEL}", many=True,
        id=lambda d: MODEL if d["version"] is None else f"{MODEL}@{d['version']}",
    ),
    "model hold": Line(flags="--why", kind="model.hold", id=part("name")),
    "model resume": Line(flags="--why", kind="model.resume", id=part("name")),
    "model shadow": Line(flags="--off --why", kind="model.shadow", id=part("name")),
    "release list": Line(flags="--state --limit", kind="release.list", id=ID, call="release list", many=True),
    "release show": Line(flags="--check", kind="release", id=part("release", "id"), call="release show 2"),
    "release approve": Line(flags="--canary --why", kind="release.approve", id=ID),
    "release reject": Line(flags="--why", kind="release.reject", id=ID),
    "release rollback": Line(flags="--to --dry-run --why", kind="release.rollback", id=ID),
    "dataset list": Line(flags="--limit", kind="dataset.list", id=version_of, call="dataset list", many=True),
    "dataset show": Line(flags="--version", kind="dataset", id=version_of, call=f"dataset show {MODEL}"),
    "dataset verify": Line(
        flags="--version", kind="dataset.verify", id=lambda d: f"{MODEL}@3", call=f"dataset verify {MODEL}@3"
    ),
    "dataset import": Line(flags="--format", kind="dataset.import", id=lambda d: MODEL),
    "prediction list": Line(
        flags="--since --until --limit", kind="prediction.list", id=part("prediction_id"), many=True,
        call=f"prediction list {MODEL}",
    ),
    "prediction show": Line(kind="prediction", id=part("prediction_id"), call="prediction show PREDICTION"),
    "prediction lookup": Line(
        flags="--log", kind="prediction.lookup", id=part("key", "number"), many=True,
        call=f"prediction lookup {MODEL} 1",
    ),
    "prediction stored": Line(
        flags="--limit", kind="prediction.stored", id=part("generation"), many=True, call="prediction stored",
    ),
    "label import": Line(flags="--format --source", kind="label.import", id=part("model")),
    "run list": Line(flags="--limit", kind="run.list", id=ID, call="run list", many=True),
    "run show": Line(kind="run", id=ID, call="run show 1"),
    "alert list": Line(flags="--all --limit", kind="alert.list", id=ID, call="alert list", many=True),
    "alert show": Line(kind="alert", id=ID, call="alert show 1"),
    "serve": Line(flags="--host --port --workers"),
    "scheduler": Line(flags="--once"),
    "worker": Line(flags="--model --once"),
    "doctor": Line(kind="doctor", id=part("check"), call="doctor", many=True),
    "docs": Line(kind="docs.list", id=part("topic"), project=False, call="docs", many=True),
    "completion": Line(project=False),
    "version": Line(kind="version", id=part("perene"), project=False, call="version"),
}  # fmt: skip
MORE_CALLS = {
    "status of one": Line(kind="model.status", id=part("model"), call=f"status {MODEL}"),
    "model show a version": Line(kind="model", id=lambda d: version_of(d["version"]), call=f"model show {MODEL}@2"),
    "release show a rollback": Line(kind="release", id=part("release", "id"), call="release show 3"),
    "run show a failed one": Line(kind="run", id=ID, call="run show 3"),
    "rollback tried": Line(
        kind="release.rollback.plan", id=part("to"), call=f"release rollback {MODEL} --to 2 --dry-run --why x"
    ),
}
SHOWING = {name: line for name, line in {**TABLE, **MORE_CALLS}.items() if line.call}
LISTS = {name: line for name, line in SHOWING.items() if line.many}
RECORDS = {
    name: line for name, line in SHOWING.items() if not line.many and name not in ("dataset verify", "rollback tried")
}


def leaves(group: click.Group = root, before: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaves(command, (*before, name))
        else:
            yield " ".join((*before, name)), command


COMMANDS = dict(leaves())


def test_every_command_has_its_line_and_every_line_its_command() -> None:
    """A command without a line in the table fails, and a line without its command."""
    assert list(TABLE) == list(COMMANDS)


@pytest.mark.parametrize("name", TABLE)
def test_a_command_has_the_flags_of_its_line(name) -> None:
    """Its own flags are those of the table; with data come --json, -q and --no-color, with a project its options."""
    line = TABLE[name]
    options = {
        flag
        for option in COMMANDS[name].params
        if isinstance(option, click.Option) and not option.hidden
        for flag in option.opts
    }

    wanted = {*line.flags.split(), *(PRINTING if line.kind else ()), *(PROJECT if line.project else ())}

    assert options == wanted


def arguments_of(line: Line, folder: Path) -> list[str]:
    """The arguments of a call, with the id of the newest prediction in its place."""
    assert line.call is not None
    words = line.call.split()
    if "PREDICTION" not in words:
        return words
    app = open_project(folder)
    newest = app.newest_predictions(MODEL, limit=1)["prediction_id"][0]
    app.close()
    return [newest if word == "PREDICTION" else word for word in words]


def wrong_in(value: object, at: str = "data") -> Iterator[str]:
    """What in JSON is not as it must be: a time, a duration, JSON inside a text."""
    match value:
        case dict():
            for name, item in value.items():
                yield from wrong_in(item, f"{at}.{name}")
        case list():
            for place, item in enumerate(value):
                yield from wrong_in(item, f"{at}[{place}]")
        case str():
            if re.match(r"\d{4}-\d\d-\d\d[T ]", value) and not INSTANT.fullmatch(value):
                yield f"{at} is no instant in UTC: {value}"
            if SPAN.fullmatch(value):
                yield f"{at} is a duration as text: {value}"
            if value[:1] in ("[", "{"):
                yield f"{at} is JSON inside JSON: {value}"


@pytest.mark.parametrize("name", SHOWING)
def test_json_is_one_document_of_its_kind(call, lived, name) -> None:
    """--json prints one document; its times are instants in UTC, its durations numbers, its keys objects."""
    line = SHOWING[name]

    said = call(lived, *arguments_of(line, lived), "--json")

    assert (said.code, said.err, len(said.lines)) == (0, "", 1)
    document = json.loads(said.out, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    assert (document["kind"], isinstance(document["data"], list)) == (line.kind, line.many)
    assert list(wrong_in(document["data"])) == []


@pytest.mark.parametrize("name", SHOWING)
def test_ids_are_those_of_the_data(call, lived, name) -> None:
    """-q prints the id of each thing that --json tells of, one per line, and nothing else."""
    line = SHOWING[name]
    arguments = arguments_of(line, lived)

    said, data = call(lived, *arguments, "-q"), call(lived, *arguments, "--json").data

    assert line.id is not None
    assert (said.code, said.err) == (0, "")
    if name == "predict":  # ids are new in each call
        assert len(set(said.lines)) == len(data)
    else:
        assert said.lines == [str(line.id(thing)) for thing in (data if line.many else [data])]


def test_each_kind_says_what_its_data_is() -> None:
    """No two commands print different data under one kind."""
    kinds = [line.kind for line in TABLE.values() if line.kind]

    assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", SHOWING)
def test_what_people_read_fits_their_terminal(call, lived, name, width) -> None:
    """On a terminal every command says something, and no line is wider than it, but for a word that is."""
    said = call(lived, *arguments_of(SHOWING[name], lived), width=width)

    assert (said.code, bool(said.lines)) == (0, True)
    if name not in ("dataset verify", "rollback tried"):  # a sentence, which the terminal folds
        assert [line for line in said.lines if len(line) > width and max(map(len, line.split())) < width - 30] == []
    assert "\x1b" not in said.out


@pytest.mark.parametrize("name", LISTS)
def test_a_pipe_gets_a_table_of_exact_values(call, lived, name) -> None:
    """Without a terminal a list has a header and as many tab-separated cells in every line; nothing is cut."""
    said = call(lived, *arguments_of(LISTS[name], lived))

    assert said.code == 0
    assert len(said.lines) > 1
    assert {line.count("\t") for line in said.lines} == {said.lines[0].count("\t")}
    assert " ago" not in said.out
    assert "…" not in said.out
    cells = [cell for line in said.lines[1:] for cell in line.split("\t")]
    assert [cell for cell in cells if SPAN.fullmatch(cell) or "+00:00" in cell] == []


@pytest.mark.parametrize("name", RECORDS)
def test_a_pipe_gets_a_record_as_names_and_values(call, lived, name) -> None:
    """Without a terminal a record is a name, a tab and a value in each line, and no time is relative."""
    said = call(lived, *arguments_of(RECORDS[name], lived))

    assert said.code == 0
    assert {line.count("\t") for line in said.lines} == {1}
    assert not re.search(r"\b(ago|in \d+ [smhd])\b", said.out)


STATE_CHANGES = [
    ["train", MODEL],
    ["model", "hold", MODEL, "--why", "x"],
    ["model", "resume", MODEL],
    ["release", "rollback", MODEL, "--why", "x"],
    ["release", "approve", 2, "--why", "x"],
    ["release", "reject", 2, "--why", "x"],
    ["label", "import", MODEL, "known.json"],
    ["dataset", "import", MODEL, "known.json"],
    ["init", "another"],
]


@pytest.mark.parametrize("arguments", STATE_CHANGES, ids=lambda words: " ".join(map(str, words[:2])))
def test_every_change_ends_with_the_next_command(call, tiny, prepared, arguments) -> None:
    """What changes something tells a person the command that comes next; it can be run as it stands, but for a TEXT."""
    prepared(tiny, arguments)

    said = call(tiny, *arguments, width=100)

    assert said.code == 0, said.err
    commands = [
        line[6:].partition("   ")[0] for line in said.err.splitlines() if line.startswith(("next  ", "      perene"))
    ]
    assert commands
    for command in commands:
        words = command.split()
        assert words[0] in ("perene", "cd")
        assert words[0] == "cd" or any(" ".join(words[1 : 1 + depth]) in COMMANDS for depth in (1, 2))


@pytest.fixture
def prepared(call) -> Callable[[Path, list[object]], None]:
    """Bring a project to where a change can be made."""

    def prepare(folder: Path, arguments: list[object]) -> None:
        known = {"number": 1, "sent_at": "2026-05-01T12:00:00Z", "hours": 1.0, "arrived_at": "2026-05-01T13:00:00Z"}
        row = known | ({"grams": 5.0} if arguments[0] == "dataset" else {})
        (folder / "known.json").write_text(json.dumps([row]))
        if arguments[0] == "release":
            if arguments[1] != "rollback":
                with (folder / "perene.toml").open("a") as settings:
                    settings.write(f'\n[model.{MODEL}]\nrelease = "review"\n')
            assert call(folder, "train", MODEL).code == 0

    return prepare
