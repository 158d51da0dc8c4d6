"""One round of a case: every server in every shape, then what only perene is asked for."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.serving.load import MANY, SHAPES, load, loading, memory_mib
from benchmarks.serving.protocols import Rows
from benchmarks.serving.recipes import Place
from benchmarks.serving.results import Round
from benchmarks.serving.servers import Recipe, Server, environment_of, running

from perene.app import open_project

PERENE, ECHO = "perene", "uvicorn echo"
_CHECKED = 200


class Running:
    """The servers of a case while they run."""

    def __init__(self, place: Place, wanted: Sequence[Recipe], rows: Rows, stack: ExitStack) -> None:
        self._place = place
        self._rows = rows
        self.answered = 0
        self.left_out: list[str] = []
        self.servers = {server.name: server for server in self._started(wanted, stack)}

    def check(self, expected: Sequence[float], rows: Rows) -> dict[str, float]:
        """By how much each server's answers differ at most from the model's own, alone and 100 at a time."""
        off = {}
        for server in self.servers.values():
            if server.name == ECHO:
                continue
            alone = [server.ask([row])[0] for row in rows[:_CHECKED]]
            together = server.ask(rows[:100])
            self._count(server, _CHECKED + 100)
            pairs = [*zip(alone, expected, strict=False), *zip(together, expected, strict=False)]
            off[server.name] = max(abs(said - wanted) for said, wanted in pairs)
        return off

    def warm(self) -> None:
        """Two seconds of each load, which are not counted."""
        for shape in SHAPES:
            for server in self.servers.values():
                self._count(server, load(server, shape, seconds=2).requests * shape.rows)

    def measure(self, number: int, seconds: float) -> Round:
        """One round. Servers take turns, and each round begins with another."""
        found: Round = {"load": {}, "memory_mib": {}}
        order = [*self.servers.values()]
        order = order[number % len(order) :] + order[: number % len(order)]
        for shape in SHAPES:
            for server in order:
                taken = load(server, shape, seconds=seconds)
                self._count(server, taken.requests * shape.rows)
                found["load"].setdefault(server.name, {})[shape.name] = taken.as_json()
        for server in order:
            found["memory_mib"][server.name] = memory_mib(server.process)
        mine = self.servers[PERENE]
        peak = found["load"][PERENE][MANY.name]
        pause_ms = 1_000 * MANY.connections / max(peak["per_second"] / 2, 1) - peak["p50_ms"] / 4
        found |= self._half(mine, pause_ms, seconds) | self._swap(mine, pause_ms, seconds)
        return found | {"direct_ms": self._direct(seconds)}

    def _half(self, mine: Server, pause_ms: float, seconds: float) -> Round:
        taken = load(mine, MANY, seconds=seconds, pause_ms=pause_ms)
        self._count(mine, taken.requests)
        echo = self.servers.get(ECHO)
        alone = {} if echo is None else {"half_echo": load(echo, MANY, seconds=seconds, pause_ms=pause_ms).as_json()}
        return {"half": taken.as_json(), **alone}

    def _swap(self, mine: Server, pause_ms: float, seconds: float) -> Round:
        """Half of peak load, while the other of two versions goes live."""
        before = mine.version(self._rows[:1])
        model, app = self._place.case.model, open_project(self._place.project, may_begin=False)
        with loading(mine, MANY, seconds=seconds + 3, pause_ms=pause_ms) as taken:
            time.sleep(1)
            app.rollback(model, to=3 - before, actor="benchmark", why="to see a swap")
        app.close()
        self._count(mine, taken.requests + 2)
        return {"swap": taken.as_json() | {"versions": [before, mine.version(self._rows[:1])]}}

    def _direct(self, seconds: float) -> Any:
        rows = self._place.folder / "rows.parquet"
        command = [sys.executable, "-m", "benchmarks.serving.direct", self._place.project, self._place.case.model, rows]
        environment = environment_of({})
        done = subprocess.run([*command, str(seconds)], check=True, capture_output=True, text=True, env=environment)
        return json.loads(done.stdout.splitlines()[-1])

    def _started(self, wanted: Sequence[Recipe], stack: ExitStack) -> list[Server]:
        started = []
        for recipe in wanted:
            print(f"  starting {recipe.name} …", flush=True)
            bodies = self._place.bodies(recipe.protocol)
            try:
                log = self._place.folder / f"{recipe.name}.log"
                started.append(stack.enter_context(running(recipe, bodies, self._rows[:1], log)))
            except RuntimeError as error:
                if recipe.name.startswith(PERENE):
                    raise
                print(f"  left out: {error}", flush=True)
                self.left_out.append(recipe.name)
        return started

    def _count(self, server: Server, rows: int) -> None:
        self.answered += rows if server.name.startswith(PERENE) else 0


def starts(place: Place, wanted: Sequence[Recipe], rows: Rows) -> Round:
    """Seconds from the start of each server, alone, to its first answer."""
    found: Round = {}
    for recipe in wanted:
        try:
            with running(recipe, {}, rows[:1], place.folder / f"{recipe.name}.log") as server:
                found[recipe.name] = server.cold_s
        except RuntimeError as error:
            print(f"  left out: {error}", flush=True)
    return found
