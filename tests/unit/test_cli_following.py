"""A run, told step by step while it works."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest

from perene.cli.following import _Telling
from perene.cli.output import Mode, Output
from perene.cli.steps import made_by
from perene.records.run import Run, RunState, Step

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Terminal(StringIO):
    """A stream that a person looks at."""

    def isatty(self) -> bool:
        return True


def step(name: str, seconds: float | None = None, **result: object) -> Step:
    """A step that works, or has ended after so many seconds."""
    ended = None if seconds is None else NOON + timedelta(seconds=seconds)
    state = RunState.RUNNING if ended is None else RunState.SUCCEEDED
    return Step(run=7, name=name, state=state, attempt=1, started_at=NOON, ended_at=ended, result=result, error=None)


def run(*steps: Step, state: RunState = RunState.RUNNING) -> Run:
    """A run that stands at its last step."""
    return Run(
        id=7, model="m", trigger="manual", due_at=NOON, created_at=NOON, actor="ana", state=state, owner="w",
        heartbeat_at=NOON, attempt=1, outcome=None, error=None, steps=steps,
    )  # fmt: skip


def told(err: StringIO, *looks: Run) -> str:
    """What is written when these are seen one after another."""
    telling = _Telling(Output(mode=Mode.HUMAN, out=StringIO(), err=err, width=60))
    for seen in looks:
        telling.hear(seen)
    return err.getvalue()


def test_each_step_is_told_once_as_it_ends():
    """Where nobody looks, a step is a line when it has ended, however often it is seen."""
    one, two = step("collect", 1.4, source={"added": 1200}), step("dataset", 0.05, version=3, train_rows=9, test_rows=4)

    said = told(StringIO(), run(step("collect")), run(one, step("dataset")), run(one, two), run(one, two))

    assert said.splitlines() == [
        "run 7 of m",
        "  collect   ● succeeded    1.4 s  1,200 added",
        "  dataset   ● succeeded    50 ms  dataset v3: 9 to train on, 4 to test on",
    ]


def test_on_a_terminal_the_step_that_works_stands_in_the_last_line():
    """People see what works; its end takes the line's place, and no line is wider than the terminal."""
    ended = step("validate", 0.2, decision="pass", reason="not worse than the champion by far more than was asked for")

    said = told(Terminal(), run(step("validate")), run(step("validate")), run(ended))

    assert said.count("◐ running") == 1
    last = said.split("\r\x1b[K")[-1]
    assert last.endswith("…\n")
    assert len(last) <= 61


def test_a_run_that_waits_for_another_says_so():
    """When another run of the model works, who asked is told once why nothing happens."""
    said = told(StringIO(), *[run(state=RunState.QUEUED)] * 30)

    assert said == "run 7 of m\n  it waits: another run of m works\n"


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (step("collect", 1, source={"added": 2, "gone": 1}, log={"added": 3, "relabelled": 4}, quarantined=1),
         "5 added, 4 relabelled, 1 gone, 1 bad row set aside"),
        (step("collect", 1, source={"added": 0}), "nothing new"),
        (step("train", 1, version=2, rows=1500, peak_memory=3 << 20), "v2 learnt from 1,500 rows, in 3 MiB of memory"),
        (step("release", 1, release=4, outcome="waiting"), "waiting"),
        (step("release"), ""),
    ],
)  # fmt: skip
def test_what_a_step_made_is_said_in_a_few_words(made, words):
    """A step that ended says what it made; one that works says nothing."""
    assert made_by(made) == words


def test_a_dumb_terminal_gets_whole_lines_only(monkeypatch):
    """Where a line cannot be written over, each step is a line of its own when it has ended."""
    monkeypatch.setenv("TERM", "dumb")

    said = told(Terminal(), run(step("validate")), run(step("validate", 0.2)))

    assert "\r" not in said
    assert said.splitlines()[1:] == ["  validate  ● succeeded    0.2 s"]
