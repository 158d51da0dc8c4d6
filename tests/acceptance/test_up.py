"""``perene up``: server, scheduler and worker as one, from the first start to a kill and on."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from perene.app import open_project
from perene.clock import WOUND_FOR, machine_clock
from perene.repositories.time import ProjectTime

TINY = Path(__file__).parent.parent / "tiny"
MODEL = "parcel-hours"
MAY = datetime(2026, 5, 1, tzinfo=UTC)


def perene(folder: Path, *arguments: str) -> str:
    """Call perene in a process of its own; what it printed."""
    command = [sys.executable, "-m", "perene.cli", *arguments]
    called = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert called.returncode == 0, called.stderr
    return called.stdout


def test_a_new_project_does_what_its_readme_says(tmp_path, up, wait_for) -> None:
    """Each command of a new project's README works, one after another, and while it is up so do its requests."""
    perene(tmp_path, "init", "shop")
    folder = tmp_path / "shop"
    commands = readme_commands(folder)
    assert [words[:2] for words in commands] == [
        ["perene", "check"], ["perene", "train"], ["perene", "status"], ["perene", "predict"], ["perene", "up"],
        ["curl", "-s"], ["curl", "-s"], ["perene", "prediction"],
    ]  # fmt: skip

    said = [perene(folder, *words[1:]) for words in commands[:4]]
    with up(folder) as running:
        answers = []
        for words in commands[5:7]:
            line = [word.replace("localhost:8780", f"localhost:{running.port}") for word in words]
            answers.append(subprocess.run(line, capture_output=True, text=True, check=True, timeout=60).stdout)
        listed = perene(folder, *commands[7][1:]).splitlines()
        code = running.end(signal.SIGINT)
    status = dict(line.split("\t") for line in perene(folder, "status", "delivery-time").splitlines())

    assert "released: v1 is live" in said[1]
    assert "\tfresh\t" in said[2]
    assert len(said[3].splitlines()) == 4
    assert re.search(r'"prediction": ?\d', answers[0])
    assert answers[1] == '{"accepted":1}'
    assert "\t21.5\t" in listed[1]
    assert code == 0
    assert status["live score"].endswith(" min, on 1 answer of 1 day")
    *scheduled, by_hand = json.loads(perene(folder, "run", "list", "--json"))["data"]
    assert by_hand["trigger"] == "manual"
    assert all(run["due_at"] > by_hand["due_at"] for run in scheduled)  # none, unless a day ended meanwhile


def readme_commands(folder: Path) -> list[list[str]]:
    """The command lines of a README's console blocks, as words."""
    blocks = re.findall(r"```console\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]


def test_what_is_trained_beside_it_goes_live_and_it_ends_cleanly(tiny, up, wait_for, a_row) -> None:
    """A run beside a running ``up`` goes live in its server; Ctrl-C ends all with code 0, and it starts again."""
    row = a_row(1)
    with up(tiny) as running:
        first = ask(running, row)
        perene(tiny, "train", MODEL)
        wait_for(lambda: ask(running, row)["model_version"] > first["model_version"])
        children = running.children()
        code = running.end(signal.SIGINT)
        log = running.log
    with up(tiny) as again:
        answer = ask(again, row)
        second_code = again.end(signal.SIGTERM)

    assert (code, second_code) == (0, 0)
    assert not [child for child in children if child.is_running()]
    assert answer["model_version"] > first["model_version"]
    assert "stopped; perene up goes on where it was" in log
    assert "Traceback" not in log
    assert "is killed" not in log
    assert {p["prediction_id"] for p in (first, answer)} <= set(perene(tiny, "prediction", "list", MODEL, "-q").split())


def test_the_log_tells_of_deeds_not_of_requests(tiny, up, a_row) -> None:
    """However many requests come, the log has no line for any of them."""
    with up(tiny) as running:
        before = [line for line in running.log.splitlines() if line.startswith("server")]
        for number in range(20):
            ask(running, a_row(number))
        after = [line for line in running.log.splitlines() if line.startswith("server")]
        running.end(signal.SIGINT)

    assert {line for line in after if line not in before and " drained " not in line} <= {
        line for line in after if "version_live" in line
    }


def test_its_processes_end_when_it_is_killed(tiny, up, wait_for) -> None:
    """Killed with SIGKILL, it leaves nobody behind: server, scheduler and worker end by themselves."""
    with up(tiny) as running:
        children = running.children()
        running.end(signal.SIGKILL)
        wait_for(lambda: not [child for child in children if child.is_running()], seconds=60)

    assert len(children) >= 3


def test_a_replay_goes_on_while_it_is_up_and_stands_while_it_is_not(tmp_path, up, wait_for) -> None:
    """Project time runs at the speed of perene.toml while ``up`` runs; what falls due is trained and goes live. From
    its end time stands, and the next start goes on from there; it stands too when all of it was killed at once."""
    speed = 21600
    folder = replayed(tmp_path, speed=speed)
    with up(folder) as running:
        wait_for(lambda: live_version(folder) > 1, seconds=90)
        code = running.end(signal.SIGINT)
    stopped = project_time(folder)
    in_a_year = project_time(folder, later=timedelta(days=365))
    with up(folder) as running:
        wait_for(lambda: project_time(folder) > stopped)
        for process in (psutil.Process(running.process.pid), *running.children()):
            process.kill()
        killed = project_time(folder)

    assert code == 0
    assert in_a_year == stopped >= MAY + timedelta(days=1)
    assert timedelta(0) <= project_time(folder, later=timedelta(days=365)) - killed <= WOUND_FOR * speed
    speeds = audited_speeds(folder)
    assert speeds[0] == speed
    assert all(one != other for one, other in pairwise(speeds))  # it stands while a run works, and at the end
    assert set(speeds) == {speed, 0}


def test_a_project_of_real_time_has_no_clock_of_its_own(tiny, up) -> None:
    """Where nothing was replayed, ``up`` leaves time alone, whatever the speed."""
    (tiny / "perene.toml").write_text((tiny / "perene.toml").read_text() + "\n[time]\nspeed = 60\n")
    with up(tiny) as running:
        code = running.end(signal.SIGINT)

    assert code == 0
    assert audited_speeds(tiny) == []
    assert abs(project_time(tiny) - machine_clock()) < timedelta(minutes=1)


def test_a_port_that_is_taken_ends_it_with_a_reason(tiny) -> None:
    """When one process cannot start, the others are stopped, and the exit code is 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "perene.cli", "up", "--port", str(port)]
        called = subprocess.run(command, cwd=tiny, capture_output=True, text=True, timeout=120)

    assert called.returncode == 1
    assert f"port {port} of 127.0.0.1 cannot be used" in called.stderr
    assert "error[process-ended]: the server ended by itself" in called.stderr


def test_its_processes_also_run_one_by_one(tmp_path, wait_for) -> None:
    """``scheduler --once`` queues what is due, ``worker --once`` works it, and ``serve`` answers with it."""
    folder = Path(shutil.copytree(TINY, tmp_path / "tiny"))
    perene(folder, "scheduler", "--once")
    queued = perene(folder, "run", "list", "-q").split()
    perene(folder, "scheduler", "--once")
    perene(folder, "worker", "--once")
    command = [sys.executable, "-m", "perene.cli", "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        listening = next(line for line in server.stderr if line.startswith("listening on "))
        with urllib.request.urlopen(f"{listening.split()[-1]}/readyz", timeout=60) as response:
            ready = json.load(response)
        server.terminate()
        server.stderr.read()

    assert queued == ["1"]
    assert perene(folder, "run", "list", "-q").split() == ["1"]
    assert (ready["status"], ready["serves"]) == ("ready", {MODEL: 1})
    assert server.returncode == 0


def test_an_interrupted_training_goes_on_with_the_next_worker(tiny, wait_for) -> None:
    """Ctrl-C ends ``perene train`` with 130 and says what goes on with its run; a worker does, where it stood."""
    code = tiny / "models" / "parcel_hours.py"
    quick = code.read_text()
    code.write_text(quick.replace("    slope, base", "    import time\n    time.sleep(600)\n    slope, base", 1))
    command = [sys.executable, "-m", "perene.cli", "train", MODEL]
    app = open_project(tiny)
    with subprocess.Popen(command, cwd=tiny, stderr=subprocess.PIPE, text=True) as training:
        wait_for(lambda: [step.name for step in app.runs.list(MODEL, limit=1)[0].steps][-1:] == ["train"])
        training.send_signal(signal.SIGINT)
        _, said = training.communicate(timeout=60)
    left = app.runs.list(MODEL, limit=1)[0]
    code.write_text(quick)

    perene(tiny, "worker", "--once", "--model", MODEL)

    run = app.runs.get(left.id)
    app.close()
    assert training.returncode == 130, said
    assert f"perene worker --once --model {MODEL} goes on" in said
    assert left.state == "queued"
    assert (run.outcome, run.attempt) == ("released", 2)
    assert [step.attempt for step in run.steps] == [1, 1, 2, 2, 2]


def ask(running: Any, row: dict[str, Any]) -> dict[str, Any]:
    """A prediction of one row over HTTP, with the version that answered."""
    address = f"http://127.0.0.1:{running.port}/v1/models/{MODEL}/predict"
    body = json.dumps({"rows": [row]}).encode()
    request = urllib.request.Request(address, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        answer = json.load(response)
    return {**answer["predictions"][0], "model_version": answer["model_version"]}


def replayed(tmp_path: Path, *, speed: int) -> Path:
    """A tiny project whose replay stands on 1 May 2026, with a first version."""
    folder = Path(shutil.copytree(TINY, tmp_path / "tiny"))
    (folder / "perene.toml").write_text((folder / "perene.toml").read_text() + f"\n[time]\nspeed = {speed}\n")
    app = open_project(folder)
    app.time.start_replay(MAY)
    app.schedule()
    app.worker().work_one()
    app.close()
    assert live_version(folder) == 1
    return folder


def live_version(folder: Path) -> int:
    """The version that is live; 0 for none."""
    app = open_project(folder)
    live = app.models.get(MODEL).champion
    app.close()
    return live or 0


def project_time(folder: Path, *, later: timedelta = timedelta(0)) -> datetime:
    """Project time, as a process reads it now, or that much later."""
    app = open_project(folder)
    now = ProjectTime(app.database, lambda: machine_clock() + later).now()
    app.close()
    return now


def audited_speeds(folder: Path) -> list[float]:
    """The speeds that the audit log tells of, in order."""
    app = open_project(folder)
    lines = reversed(app.audits.list(about="project clock"))
    app.close()
    return [line.after["speed"] for line in lines if line.verb == "run" and line.after]
