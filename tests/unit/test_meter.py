"""The counters of a server's processes: added up, never falling, and gone with the server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from perene.server.meter import BUCKETS, Meter
from perene.server.tally import Tally

ANSWERED = ("predictions", "m", "online", "answered")
COUNTS = """
import sys, time
from pathlib import Path
from perene.server.meter import Meter
meter = Meter(["m"], folder=Path(sys.argv[1]), server="s")
meter.of("m").answered(int(sys.argv[2]), 0.001)
print("counted", flush=True)
time.sleep(600)
"""


def made(folder: Path, server: str = "s", *models: str) -> Meter:
    """The meter of a process."""
    return Meter(models or ["m"], folder=folder, server=server)


def files(folder: Path) -> list[str]:
    """What lies in the folder besides its lock."""
    return sorted(path.name for path in folder.iterdir() if path.name != "lock")


def test_whoever_is_asked_adds_all_up(tmp_path) -> None:
    """Every process of a server gives the same sums, of what each counted until then; other servers do not count."""
    one, two, other = made(tmp_path), made(tmp_path), made(tmp_path, "t")
    one.of("m").answered(3, 0.0007)
    two.of("m").answered(4, 3.0)
    other.of("m").answered(100, 1.0)

    assert one.total() == two.total()
    assert one.total()[ANSWERED] == 7
    assert one.total()["seconds", "m", "request", "sum"] == pytest.approx(3.0007)
    assert other.total()[ANSWERED] == 100
    for meter in (one, two, other):
        meter.close()


def test_a_duration_counts_in_the_bucket_that_holds_it(tmp_path) -> None:
    """Bounds are inclusive, as Prometheus has them; what is longer than all counts in the last."""
    meter = Meter(["m"])
    for seconds in (0.0, *BUCKETS, 99.0):
        meter.of("m").took("log", seconds)

    counted = [meter.total()["seconds", "m", "log", str(bound)] for bound in (*BUCKETS, "+Inf")]
    assert counted == [2.0] + [1.0] * len(BUCKETS)


def test_a_tally_tells_its_meter_by_role(tmp_path) -> None:
    """Requests and failures count under the role in which a version was asked, whatever its number; told or not."""
    meter = made(tmp_path)
    tally = Tally(meter)
    tally.answered(("m", 1, "champion"), requests=3, rows=7, seconds=0.003)
    tally.answered(("m", 2, "canary"), requests=2, rows=2, seconds=0.002)
    tally.take_untold()
    tally.answered(("m", 3, "canary"), requests=1, rows=1, seconds=0.001)
    tally.failed(("m", 3, "canary"), 4)
    tally.dropped(("m", 4, "shadow"), 5)

    counted = {slot: number for slot, number in meter.total().items() if number and slot[-1] in ("answered", "failed")}
    assert counted == {
        ("asked", "m", "champion", "answered"): 3, ("asked", "m", "canary", "answered"): 3,
        ("asked", "m", "canary", "failed"): 4,
    }  # fmt: skip
    assert meter.total()["version_seconds", "m", "canary", "sum"] == pytest.approx(0.003)
    assert meter.total()["dropped", "m"] == 5
    meter.close()


def test_what_a_killed_process_counted_is_not_lost_while_its_server_lives(tmp_path) -> None:
    """kill -9 takes nothing from the sums, and the process that starts next takes them over."""
    keeps = made(tmp_path)
    keeps.of("m").answered(1, 0.1)
    with subprocess.Popen([sys.executable, "-c", COUNTS, str(tmp_path), "20"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while_alive = keeps.total()[ANSWERED]
        process.send_signal(signal.SIGKILL)
        process.wait()
    after_death = keeps.total()[ANSWERED]
    next_one = made(tmp_path)

    assert (while_alive, after_death, keeps.total()[ANSWERED], next_one.total()[ANSWERED]) == (21, 21, 21, 21)
    assert len(files(tmp_path)) == 2
    keeps.close()
    next_one.close()


@pytest.mark.parametrize("next_one", ["s", "t"])
def test_a_server_that_starts_anew_counts_from_zero(tmp_path, next_one) -> None:
    """What is left of a server of which no process lives is swept, whichever server starts next."""
    with subprocess.Popen([sys.executable, "-c", COUNTS, str(tmp_path), "20"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()

    meter = made(tmp_path, next_one)

    assert meter.total()[ANSWERED] == 0
    assert len(files(tmp_path)) == 1
    meter.close()
    assert files(tmp_path) == []


def test_counts_of_a_model_that_is_gone_are_kept(tmp_path) -> None:
    """A process that knows other models takes over all the same what the dead one counted."""
    keeps, dies = made(tmp_path), made(tmp_path, "s", "m", "old")
    dies.of("old").lost(5)
    dies.close()

    next_one = made(tmp_path, "s", "new")

    assert next_one.total()["lost", "old"] == 5
    assert next_one.total()["lost", "new"] == 0
    keeps.close()
    next_one.close()


def test_threads_count_together(tmp_path) -> None:
    """No addition is lost when several threads count at once."""
    counts = made(tmp_path)
    model = counts.of("m")

    threads = [threading.Thread(target=lambda: [model.answered(1, 0.001) for _ in range(20_000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert counts.total()[ANSWERED] == 80_000
    counts.close()


@pytest.mark.parametrize("fault", ["a file is there", "no room"])
def test_where_no_file_can_be_made_a_process_counts_for_itself(tmp_path, fault) -> None:
    """Counting never keeps a server from starting."""
    folder = tmp_path / "metrics"
    if fault == "a file is there":
        folder.write_text("")
        meter = made(folder)
    else:
        meter = _without_room(folder)

    meter.of("m").answered(2, 0.1)

    assert meter.total()[ANSWERED] == 2
    meter.close()


def _without_room(folder: Path) -> Meter:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        return made(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_what_lies_there_and_is_no_meter_s_counts_nothing(tmp_path) -> None:
    """A file that is cut off, or somebody else's, is left out of the sums."""
    meter = made(tmp_path)
    meter.of("m").answered(2, 0.1)
    for name, content in (("s~x", b""), ("s~y", b"12\n[]"), ("s~z", os.urandom(100)), ("s~w", b"3\n[]\n" + b"\0" * 7)):
        (tmp_path / name).write_bytes(content)

    assert meter.total()[ANSWERED] == 2
    meter.close()
