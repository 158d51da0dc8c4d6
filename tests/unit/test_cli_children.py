"""Processes that run together."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from io import StringIO

import pytest

from perene.cli.children import Children, ProcessEnded

STEADY = "import sys, time; print('ready', flush=True); time.sleep(60)"
ANSWERS = f"print('listening on http://here', flush=True); {STEADY}"
ANSWERS_AND_DIES = "print('listening on http://here', flush=True); raise SystemExit(3)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
)


def wait_for(err: StringIO, text: str) -> None:
    until = time.monotonic() + 20
    while text not in err.getvalue():
        assert time.monotonic() < until, err.getvalue()
        time.sleep(0.01)


def wait_until(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_lines_are_prefixed_and_all_stop_together():
    """Each line bears the name of its process; stop ends all of them."""
    err = StringIO()
    children = Children(commands={"server": python(STEADY), "worker": python(STEADY)}, err=err)
    runner = threading.Thread(target=children.run)
    runner.start()
    wait_for(err, "server │ ready\n")
    wait_for(err, "worker │ ready\n")

    children.stop()
    runner.join(timeout=20)

    assert not runner.is_alive()
    assert all(child.process.poll() is not None for child in children._children.values())


def test_one_that_ends_at_once_ends_all_and_is_named():
    """A process that cannot start stops the others, and the error says which and how."""
    err = StringIO()
    children = Children(commands={"server": python("raise SystemExit(2)"), "worker": python(STEADY)}, err=err)

    with pytest.raises(ProcessEnded, match="server ended by itself") as caught:
        children.run()

    assert "exit code is 2" in caught.value.why
    assert all(child.process.poll() is not None for child in children._children.values())


def test_one_that_ends_after_a_while_is_started_again(tmp_path):
    """A process that had settled and then ended is started again; the others never notice."""
    err = StringIO()
    once = (
        "import pathlib, sys; mark = pathlib.Path(sys.argv[1]);"
        "mark.exists() or (mark.touch(), print('first', flush=True), sys.exit(3)); print('second', flush=True);"
        "sys.stdin.read()"
    )
    children = Children(
        commands={"server": [*python(once), str(tmp_path / "mark")], "worker": python(STEADY)}, err=err, settled_s=0.0
    )
    runner = threading.Thread(target=children.run)
    runner.start()
    wait_for(err, "server │ second\n")

    children.stop()
    runner.join(timeout=20)

    assert "server │ ended with code 3; started again" in err.getvalue()
    assert err.getvalue().count("worker │") == 1


def test_one_that_does_not_finish_in_time_is_killed():
    """What ignores the request to stop is killed after its grace."""
    err = StringIO()
    children = Children(commands={"worker": python(STUBBORN)}, err=err, grace_s=0.3)
    runner = threading.Thread(target=children.run)
    runner.start()
    wait_for(err, "ready")

    children.stop()
    runner.join(timeout=20)

    assert not runner.is_alive()
    assert "is killed" in err.getvalue()


def test_a_second_stop_does_not_wait():
    """Asked twice, they are killed at once and the caller is interrupted."""
    err = StringIO()
    children = Children(commands={"worker": python(STUBBORN)}, err=err, same_wish_s=0.0)
    runner = threading.Thread(target=children.run)
    runner.start()
    wait_for(err, "ready")
    children.stop()

    with pytest.raises(KeyboardInterrupt):
        children.stop()
    runner.join(timeout=10)

    assert not runner.is_alive()


def test_the_same_wish_twice_is_one():
    """A second signal that comes with the first one does not kill what is finishing."""
    err = StringIO()
    children = Children(commands={"worker": python(STEADY)}, err=err, same_wish_s=60.0)
    runner = threading.Thread(target=children.run)
    runner.start()
    wait_for(err, "ready")

    children.stop()
    children.stop()
    runner.join(timeout=20)

    assert not runner.is_alive()
    assert "is killed" not in err.getvalue()


def test_children_end_when_their_parent_is_killed():
    """A parent that is killed takes its children along: their stdin ends."""
    child = (
        "import os, time; from perene.cli.children import end_with_parent; end_with_parent();"
        "print(os.getpid(), flush=True); time.sleep(60)"
    )
    parent = f"""
import sys
from perene.cli.children import Children
Children(commands={{"worker": [sys.executable, "-c", {child!r}]}}, err=sys.stdout).run()
"""
    with subprocess.Popen(python(parent), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        number = int(process.stdout.readline().split("│")[1])
        process.kill()
    until = time.monotonic() + 10
    while _runs(number):
        assert time.monotonic() < until
        time.sleep(0.01)


def _runs(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{number}/stat") as stat:  # noqa: PTH123
        return stat.read().rsplit(")", 1)[1].split()[0] != "Z"


def test_one_that_was_well_is_started_again_with_a_pause():
    """A server that answered and died soon after is started again, each time later; the others never notice."""
    err, told = StringIO(), []
    servers = ["server 1", "server 2"]
    commands = {"server 1": python(ANSWERS_AND_DIES), "server 2": python(ANSWERS)}
    children = Children(commands=commands, err=err, again_s=0.01, servers=servers, ready=told.append)
    runner = threading.Thread(target=children.run)
    runner.start()
    wait_for(err, "started again in 0.02 s")
    wait_until(lambda: told)

    children.stop()
    runner.join(timeout=20)

    assert told == ["http://here"]
    assert err.getvalue().index("started again in 0.01 s") < err.getvalue().index("server 1 │ answers again")
    assert "server 2 │ ended" not in err.getvalue()
    assert "listening" not in err.getvalue()


def test_one_that_dies_again_and_again_ends_all():
    """A crash loop ends with an error that says how often."""
    err = StringIO()
    commands = {"server 1": python(ANSWERS_AND_DIES), "server 2": python(ANSWERS)}
    children = Children(commands=commands, err=err, again_s=0.001, servers=list(commands))

    with pytest.raises(ProcessEnded, match="the server 1 ended by itself 6 times") as caught:
        children.run()

    assert "exit code is 3" in caught.value.why
    assert all(child.process.poll() is not None for child in children._children.values())


def test_servers_are_told_of_when_all_of_them_listen():
    """The address comes once, from the last."""
    err, told = StringIO(), []
    commands = {"server 1": python(ANSWERS), "server 2": python(f"import sys; sys.stdin.readline(); {ANSWERS}")}
    children = Children(commands=commands, err=err, servers=list(commands), ready=told.append)
    runner = threading.Thread(target=children.run)
    runner.start()
    wait_until(lambda: "server 1" in children._listening and "server 2" in children._children)
    before = list(told)

    children._children["server 2"].process.stdin.write(b"\n")
    children._children["server 2"].process.stdin.flush()
    wait_until(lambda: told)
    children.stop()
    runner.join(timeout=20)

    assert (before, told) == ([], ["http://here"])


def test_who_gives_way_asks_for_less_of_a_busy_processor():
    """Its niceness is what it asks for, or what it began with where that is more; giving way twice changes nothing."""
    code = "import os; from perene.cli.children import give_way; give_way(10); give_way(10); print(os.nice(0))"

    said = subprocess.run(python(code), capture_output=True, text=True, check=True).stdout

    assert int(said) == max(os.nice(0), 10)
