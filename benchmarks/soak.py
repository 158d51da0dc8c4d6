"""Whether a server holds: 200,000 mixed requests, one in a hundred bad, against two processes at one port.

    python -m benchmarks.soak                        some minutes
    python -m benchmarks.soak --requests 2000        a try

Nine of ten requests have 1 row, the others up to 100; some give ids of their own, some ask again what they asked
before, some tell what came true, some look up a prediction that was logged or the models that are served. The bad ones
are no JSON, of wrong types, too long, for nobody, or cut off in the middle. Nothing may be answered with a 5xx, each
bad request must get its own refusal, and in the end the log must have each answered row once and nothing else, each
truth once. RSS is that of the server's processes together, when a fifth of the requests was answered and at the end.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import psutil

TINY, MODEL = Path(__file__).parent.parent / "tests" / "tiny", "parcel-hours"
PREDICT, TRUTH = f"/v1/models/{MODEL}/predict", f"/v1/models/{MODEL}/ground-truth"
BAD = 0.01
MIB = 1024 * 1024


@dataclass
class Told:
    """What one client was told."""

    answered: list[str] = field(default_factory=list)  # prediction ids
    truths: list[str] = field(default_factory=list)  # keys, acknowledged
    statuses: Counter[str] = field(default_factory=Counter)  # by kind of request and status
    wrong: list[str] = field(default_factory=list)  # what should not have been answered so


class Client:
    """Sends requests of every kind, one after another, on one connection."""

    def __init__(self, port: int, number: int) -> None:
        self.told = Told()
        self._port, self._number, self._sent = port, number, 0
        self._dice = random.Random(number)
        self._own: list[list[dict[str, Any]]] = []  # rows of requests that gave ids
        self._connection = self._connected()

    def send(self) -> None:
        """The next request."""
        self._sent += 1
        if self._dice.random() < BAD:
            self._send_bad()
            return
        kinds: list[tuple[float, Callable[[], None]]] = [
            (0.76, self._predict), (0.10, self._predict_own), (0.04, self._predict_again), (0.07, self._tell_truth),
            (0.002, self._look_up), (0.028, self._look_at_models),
        ]  # fmt: skip
        (kind,) = self._dice.choices([kind for _, kind in kinds], [weight for weight, _ in kinds])
        kind()

    def _predict(self) -> None:
        answer = self._ask("predict", PREDICT, {"rows": self._rows()}, status=200)
        self._note(answer)

    def _predict_own(self) -> None:
        rows = self._rows()
        for place, row in enumerate(rows):
            row["prediction_id"] = f"own-{self._number}-{self._sent}-{place}"
        self._note(self._ask("own ids", PREDICT, {"rows": rows}, status=200))
        self._own = [*self._own[-50:], rows]

    def _predict_again(self) -> None:
        if not self._own:
            return self._predict()
        answer = self._ask("again", PREDICT, {"rows": self._dice.choice(self._own)}, status=200)
        if answer and not all(prediction.get("repeated") for prediction in answer["predictions"]):
            self.told.wrong.append(f"again: computed again: {answer}")
        return None

    def _tell_truth(self) -> None:
        row = self._row(0)
        told = {"number": row["number"], "sent_at": row["sent_at"], "hours": 0.5}
        if self._ask("truth", TRUTH, {"rows": [told]}, status=202):
            self.told.truths.append(f"[{row['number']}]")

    def _look_up(self) -> None:
        if self.told.answered:
            id_ = self._dice.choice(self.told.answered[-5000:])
            found = self._ask("look up", f"/v1/predictions/{id_}", None, status=200)
            if found and id_ not in json.dumps(found):
                self.told.wrong.append(f"look up: {id_} is not in {found}")

    def _look_at_models(self) -> None:
        self._ask("models", "/v1/models", None, status=200)

    def _send_bad(self) -> None:
        row = self._row(0)
        bad: list[tuple[object, int, str]] = [
            (b'{"rows": [', 400, PREDICT),
            ({"rows": [row | {"grams": "heavy"}]}, 422, PREDICT),
            ({"rows": [row, row | {"grams": -1.0}]}, 422, PREDICT),
            ({"rows": [row | {"colour": "red"}]}, 422, PREDICT),
            (b'{"rows": [' + b"{}," * 10_000 + b"{}]}", 413, PREDICT),
            ({"rows": [row]}, 404, "/v1/models/nobody/predict"),
            ({"rows": [{"prediction_id": "x"}]}, 422, TRUTH),
            (None, 404, "/v1/predictions/nobody"),
        ]
        if self._dice.random() < 1 / (len(bad) + 1):
            self._break_off(row)
        else:
            body, status, path = self._dice.choice(bad)
            self._ask("bad", path, body, status=status)

    def _break_off(self, row: dict[str, Any]) -> None:
        """Half a request, and the end of the connection."""
        body = json.dumps({"rows": [row]}).encode()
        self._connection.putrequest("POST", PREDICT)
        self._connection.putheader("content-type", "application/json")
        self._connection.putheader("content-length", str(len(body)))
        self._connection.endheaders(body[:20])
        self.told.statuses["bad broken off"] += 1
        self._connection.close()
        self._connection = self._connected()

    def _ask(self, kind: str, path: str, body: object, *, status: int) -> Any:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        method = "GET" if data is None else "POST"
        self._connection.request(method, path, data, {"content-type": "application/json"})
        response = self._connection.getresponse()
        answer = json.loads(response.read())
        self.told.statuses[f"{kind} {response.status}"] += 1
        if response.status != status:
            self.told.wrong.append(f"{kind}: {response.status}, not {status}: {answer}")
            return None
        return answer

    def _note(self, answer: Any) -> None:
        if answer:
            self.told.answered += [prediction["prediction_id"] for prediction in answer["predictions"]]

    def _rows(self) -> list[dict[str, Any]]:
        count = 1 if self._dice.random() < 0.9 else self._dice.randint(2, 100)
        return [self._row(place) for place in range(count)]

    def _row(self, place: int) -> dict[str, Any]:
        number = (self._number * 10_000_000 + self._sent) * 100 + place
        return {"number": number, "sent_at": "2026-05-01T12:00:00Z", "grams": 100.0 + number % 1977}

    def _connected(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)


def run_client(port: int, requests: int, number: int) -> Told:
    """One client's requests, in a process of its own."""
    client = Client(port, number)
    for sent in range(requests):
        client.send()
        if sent % 20 == 19:
            with _DONE.get_lock():
                _DONE.value += 20
    return client.told


_DONE: Synchronized[int]


def _count_in(done: Synchronized[int]) -> None:
    global _DONE  # a shared value reaches a process of a pool at its start only
    _DONE = done


@contextmanager
def served(folder: Path, workers: int) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server of a project in its processes, and its port."""
    command = [sys.executable, "-m", "perene.cli", "serve", "--project", str(folder), "--port", "0"]
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen([*command, "--workers", str(workers)], stderr=log)
    try:
        while not (said := re.search(r"^listening on \S+:(\d+)$", (folder / "serve.log").read_text(), re.MULTILINE)):
            if process.poll() is not None:
                raise SystemExit((folder / "serve.log").read_text())
            time.sleep(0.1)
        yield process, int(said.group(1))
    finally:
        process.terminate()
        process.wait()


def memory_of(process: subprocess.Popen[bytes]) -> int:
    """The RSS of the processes that answer."""
    parent = psutil.Process(process.pid)
    total = 0
    for answering in parent.children() or [parent]:
        with suppress(psutil.NoSuchProcess):
            total += answering.memory_info().rss
    return total


def main(requests: int, workers: int, clients: int) -> bool:
    """Send, count, print; whether everything is as it should be."""
    from perene.app import open_project  # not in the clients' processes
    from perene.storage.envelope import Log

    with tempfile.TemporaryDirectory() as made:
        folder = Path(shutil.copytree(TINY, Path(made) / "tiny"))
        (folder / "perene.toml").write_text('project = "tiny"\n')
        app = open_project(folder)
        app.train(MODEL, actor="soak")
        with served(folder, workers) as (process, port):
            began = time.monotonic()
            told, memory = _sent(process, port, requests, clients)
            seconds = time.monotonic() - began
            process.terminate()
            code = process.wait()
        log = app.lake.scan(MODEL, Log.PREDICTIONS).select("prediction_id").collect()["prediction_id"]
        said = app.lake.scan(MODEL, Log.TRUTHS).select("key").collect()["key"]
        app.close()
        left = len(list((folder / ".perene" / "journal").iterdir()))
    answered, truths = {id_ for t in told for id_ in t.answered}, {key for t in told for key in t.truths}
    wrong = [line for t in told for line in t.wrong]
    counts = sum((t.statuses for t in told), Counter())
    print(f"{sum(counts.values()):,} requests in {seconds:.0f} s, {clients} clients, {workers} server processes")
    print("  " + ", ".join(f"{name}: {count:,}" for name, count in sorted(counts.items())))
    faults = {
        "wrong answers": len(wrong),
        "5xx": sum(count for name, count in counts.items() if re.search(r" 5\d\d$", name)),
        "answered rows that are not in the log": len(answered - set(log)),
        "rows in the log that were not answered": len(set(log) - answered),
        "rows that are there twice": len(log) - log.n_unique(),
        "truths that are not in the log": len(truths - set(said)),
        "truths that are there twice": len(said) - said.n_unique(),
        "files left in the journal": left,
        "exit code": code,
    }
    print(f"{len(answered):,} rows answered, {len(log):,} in the log; {len(truths):,} truths, {len(said):,} in the log")
    for name, count in faults.items():
        print(f"  {name}: {count}")
    print(*wrong[:5], sep="\n")
    for share, rss in memory.items():
        print(f"RSS at {share:.0%} of the requests: {rss / MIB:,.0f} MiB")
    return not any(faults.values())


def _sent(
    process: subprocess.Popen[bytes], port: int, requests: int, clients: int
) -> tuple[list[Told], dict[float, int]]:
    """What every client was told, and the server's memory on the way."""
    spawn = multiprocessing.get_context("spawn")
    done: Synchronized[int] = spawn.Value("q", 0)
    memory: dict[float, int] = {}
    with ProcessPoolExecutor(clients, mp_context=spawn, initializer=_count_in, initargs=(done,)) as pool:
        running = [pool.submit(partial(run_client, port, requests // clients), number) for number in range(clients)]
        for share in (0.2, 0.4, 0.6, 0.8, 1.0):
            while done.value < share * (requests // clients - 20) * clients and not all(r.done() for r in running):
                time.sleep(0.05)
            memory[share] = memory_of(process)
        return [one.result() for one in running], memory


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clients", type=int, default=4)
    options = parser.parse_args()
    sys.exit(0 if main(options.requests, options.workers, options.clients) else 1)
