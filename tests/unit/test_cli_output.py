"""What commands print: for people, for machines, ids only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from perene.cli.output import Column, Mode, Output, output_for
from perene.cli.terminal import cut, is_coloured, one_line, width_of
from perene.cli.words import ago, between, size, span, state
from perene.records.plain import plain_data

NOON = datetime(2013, 3, 1, 12, tzinfo=UTC)


class Light(StrEnum):
    GREEN = "green"


@dataclass(frozen=True)
class Thing:
    name: str
    at: datetime
    count: int


class Terminal(StringIO):
    """A stream that a person looks at."""

    def isatty(self) -> bool:
        return True


COLUMNS: list[Column[Thing]] = [
    Column(title="name", value=lambda t: t.name),
    Column(title="at", value=lambda t: t.at, text=lambda t: ago(t.at, NOON)),
    Column(title="count", value=lambda t: t.count, right=True),
]
THINGS = [Thing("late", NOON - timedelta(hours=3), 7), Thing("longer\tname", NOON, 1200)]


def printed(mode: Mode, **options) -> str:
    out = StringIO()
    output = Output(mode=mode, out=out, err=StringIO(), **options)
    output.table("things", THINGS, columns=COLUMNS, id_of=lambda t: t.name)
    return out.getvalue()


def test_people_get_aligned_columns_under_capital_titles():
    """A table for people is aligned, numbers to the right, times relative."""
    assert printed(Mode.HUMAN) == (
        "NAME         AT       COUNT\n"
        "late         3 h ago      7\n"
        "longer name  0 s ago   1200\n"
    )  # fmt: skip


def test_a_pipe_gets_tab_separated_exact_values_under_titles():
    """Where stdout is no terminal, values are exact, whole, and separated by tabs that no value holds."""
    lines = printed(Mode.TSV).splitlines()

    assert lines == [
        "name\tat\tcount",
        "late\t2013-03-01T09:00:00.000000Z\t7",
        "longer name\t2013-03-01T12:00:00.000000Z\t1200",
    ]


def test_json_is_one_document_with_its_kind_and_version():
    """--json prints one document {"kind", "v", "data"} with everything that the records hold."""
    document = json.loads(printed(Mode.JSON))

    assert document["kind"] == "things"
    assert document["v"] == 1
    assert document["data"][0] == {"name": "late", "at": "2013-03-01T09:00:00.000000Z", "count": 7}


def test_ids_come_one_per_line():
    """-q prints ids only."""
    assert printed(Mode.IDS) == "late\nlonger\tname\n"


def test_an_empty_table_tells_people_why_and_gives_machines_the_titles():
    """Nothing to show is said to people; machines get no row."""
    out = StringIO()
    Output(mode=Mode.HUMAN, out=out, err=StringIO()).table(
        "things", [], columns=COLUMNS, id_of=lambda t: t.name, empty="no things"
    )
    assert out.getvalue() == "no things\n"

    out = StringIO()
    Output(mode=Mode.TSV, out=out, err=StringIO()).table("things", [], columns=COLUMNS, id_of=lambda t: t.name)
    assert out.getvalue() == "name\tat\tcount\n"


def test_the_last_column_is_cut_to_the_terminal_and_never_in_a_pipe():
    """Only people's tables are shortened."""
    long = [Thing("x" * 100, NOON, 1)]
    columns = [COLUMNS[2], COLUMNS[0]]
    human, pipe = StringIO(), StringIO()
    Output(mode=Mode.HUMAN, out=human, err=StringIO(), width=40).table(
        "t", long, columns=columns, id_of=lambda t: t.name
    )
    Output(mode=Mode.TSV, out=pipe, err=StringIO()).table("t", long, columns=columns, id_of=lambda t: t.name)

    assert max(map(len, human.getvalue().splitlines())) == 40
    assert human.getvalue().splitlines()[1].endswith("…")
    assert "x" * 100 in pipe.getvalue()


def test_columns_that_can_be_spared_go_first():
    """A terminal that is too narrow loses the columns that can be spared, the highest number first; a pipe none."""
    columns = [
        Column(title="name", value=lambda t: t.name),
        Column(title="at", value=lambda t: t.at, text=lambda t: "2013-03-01 12:00Z", spare=1),
        Column(title="why", value=lambda t: "because of the weather", spare=2),
        Column(title="count", value=lambda t: t.count, right=True),
    ]
    titles = {}
    for width, mode in ((80, Mode.HUMAN), (40, Mode.HUMAN), (20, Mode.HUMAN), (0, Mode.TSV)):
        out = StringIO()
        Output(mode=mode, out=out, err=StringIO(), width=width).table(
            "things", THINGS, columns=columns, id_of=lambda t: t.name
        )
        titles[width] = out.getvalue().splitlines()[0].lower().split()

    assert titles == {
        80: ["name", "at", "why", "count"],
        40: ["name", "at", "count"],
        20: ["name", "count"],
        0: ["name", "at", "why", "count"],
    }


def test_long_texts_of_a_record_are_folded_under_themselves():
    """On a terminal a long text goes on under its beginning, broken between words; in a pipe it stays whole."""
    why = "the feed of the weather was silent for two days"
    human, pipe = StringIO(), StringIO()
    Output(mode=Mode.HUMAN, out=human, err=StringIO(), width=40).record("thing", THINGS[0], [("why", why)], id=1)
    Output(mode=Mode.TSV, out=pipe, err=StringIO()).record("thing", THINGS[0], [("why", why)], id=1)

    assert human.getvalue() == "why  the feed of the weather was silent\n     for two days\n"
    assert pipe.getvalue() == f"why\t{why}\n"


def test_a_record_is_one_field_per_line():
    """One thing is shown field by field, texts of several lines indented."""
    out = StringIO()
    output = Output(mode=Mode.HUMAN, out=out, err=StringIO())

    output.record("thing", THINGS[0], [("name", "late"), ("why", "one\ntwo")], id="late")

    assert out.getvalue() == "name  late\nwhy   one\n      two\n"


def test_hints_are_for_terminals_only():
    """The next step is shown to people at a terminal, on stderr."""
    person, log = Terminal(), StringIO()

    Output(mode=Mode.HUMAN, out=StringIO(), err=person).next("perene status")
    Output(mode=Mode.HUMAN, out=StringIO(), err=log).next("perene status")
    Output(mode=Mode.JSON, out=StringIO(), err=person).next("perene check")

    assert person.getvalue() == "next  perene status\n"
    assert log.getvalue() == ""


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colour_is_off_when_the_environment_says_so(monkeypatch, name, value):
    """NO_COLOR and a dumb terminal turn colour off; a stream that is no terminal has none."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert is_coloured(Terminal())
    assert not is_coloured(StringIO())

    monkeypatch.setenv(name, value)

    assert not is_coloured(Terminal())


def test_each_stream_has_its_own_colour(monkeypatch):
    """A terminal on stderr has colour while stdout is a pipe, and the other way round; --no-color is for both."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    coloured = {}
    for out, err in ((StringIO(), Terminal()), (Terminal(), StringIO())):
        monkeypatch.setattr("sys.stdout", out)
        monkeypatch.setattr("sys.stderr", err)
        given, refused = output_for(), output_for(no_colour=True)
        coloured[out.isatty()] = (given.coloured, given.err_coloured)
        assert (refused.coloured, refused.err_coloured) == (False, False)

    assert coloured == {False: (False, True), True: (True, False)}


def test_what_is_cut_is_said_and_what_is_whole_is_not():
    """A list with more rows than its limit says so: on stderr, in JSON by "more"."""
    told = {}
    for mode in (Mode.HUMAN, Mode.TSV, Mode.IDS, Mode.JSON):
        for limit in (1, 2):
            output = Output(mode=mode, out=StringIO(), err=StringIO())
            output.table("things", THINGS, columns=COLUMNS, id_of=lambda t: t.name, limit=limit)
            told[mode, limit] = output.err.getvalue(), "more" in output.out.getvalue()

    assert {case[0] for case, (err, _) in told.items() if err} == {Mode.HUMAN, Mode.TSV, Mode.IDS}
    assert {case[1] for case, (err, _) in told.items() if err} == {1}
    assert [case for case, (_, more) in told.items() if more] == [(Mode.JSON, 1)]


def test_texts_cannot_move_the_cursor():
    """Control characters of values never reach a terminal."""
    assert one_line("a\x1b[2Jb\nc\td") == "a [2Jb c d"


def test_wide_and_combining_characters_take_their_columns():
    """Widths count columns, not code points."""
    assert (width_of("日本"), width_of("e\u0301"), width_of("late")) == (4, 1, 4)
    assert cut("日本語", 4) == "日…"


def test_plain_data_knows_every_kind_of_value_in_the_records():
    """Instants, durations, enums, numpy's numbers and nested records become JSON's own values."""
    value = {
        "a": NOON,
        "b": timedelta(minutes=1),
        "c": Light.GREEN,
        "d": (np.float64("nan"), np.int64(2)),
        "e": THINGS[0],
        "f": [Decimal("1.50"), time(7, 30), Path("a/b")],
    }

    plain = plain_data(value)

    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["b"] == 60.0
    assert plain["c"] == "green"
    assert plain["d"] == [None, 2]
    assert plain["e"]["name"] == "late"
    assert plain["f"] == ["1.50", "07:30:00", "a/b"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (timedelta(seconds=0.0204), "20 ms"), (timedelta(0), "0 s"),
        (timedelta(seconds=1.42), "1.4 s"), (timedelta(seconds=75), "75 s"), (timedelta(minutes=15), "15 m"),
        (timedelta(hours=40), "40 h"), (timedelta(days=30), "30 d"), (None, "-"),
    ],
)  # fmt: skip
def test_spans_are_said_in_the_unit_that_fits(value, said):
    """A span is short and has its unit."""
    assert span(value) == said


@pytest.mark.parametrize(
    ("value", "lower", "upper", "said"),
    [
        (3.9017, 3.7212, 4.0822, "3.90 (3.72 … 4.08) min"), (0.46712, 0.4061, 0.5282, "0.467 (0.406 … 0.528) min"),
        (12345.6, 11000.0, 13700.0, "12,346 (11,000 … 13,700) min"), (3.9, None, None, "3.9 min"),
        (-2e-9, -3e-9, 1e-9, "-2e-09 (-3e-09 … 1e-09) min"), (0.0, 0.0, 0.0, "0 min"),
    ],
)  # fmt: skip
def test_an_estimate_has_the_digits_that_its_interval_allows(value, lower, upper, said):
    """A number is said with its bounds, to two digits of the interval's half width."""
    assert between(value, lower, upper, "min") == said


def test_states_are_a_sign_and_a_word():
    """A state is never said by a sign or a colour alone."""
    assert state("live") == "● live"
    assert state("something new") == "something new"


def test_sizes_are_said_in_binary_units():
    """Bytes are said in the largest unit that fits."""
    assert [size(n) for n in (12, 3 << 20, 5 << 30)] == ["12 B", "3 MiB", "5.0 GiB"]
