"""A server of the project in a process of its own, and how an airline's program calls it."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from perene.errors import ServingError

_PATIENCE_S = 60.0
_LOOK_S = 0.02
_LISTENS = re.compile(r"listening on http://[^:\s]+:(\d+)")
_SHOWN = 12  # lines of its log


class Server:
    """``perene serve`` on a free port of loopback, as a context. It ends with this process, however that goes.

    Raises:
        ServingError: it did not start, or did not end well; with the last lines of its log.
    """

    def __init__(self, folder: Path) -> None:
        self._log = folder / ".perene" / "demo-server.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "perene.cli", "serve", "--project", str(folder), "--port", "0"],
                stdin=subprocess.PIPE,  # it watches for its end
                stdout=log,
                stderr=log,
                env=os.environ | {"PERENE_WITH_PARENT": "1"},
                start_new_session=True,  # Ctrl-C reaches the demo only, which ends the server
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self._process.terminate()
            code = self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        if code and kind is None:
            raise self._failed(f"the server ended with code {code}")

    def client(self) -> Client:
        """A connection, as soon as the server listens."""
        until = time.monotonic() + _PATIENCE_S
        while not (said := _LISTENS.search(self._log.read_text(errors="replace"))):
            if self._process.poll() is not None or time.monotonic() > until:
                raise self._failed("the server did not start")
            time.sleep(_LOOK_S)
        return Client(int(said.group(1)))

    def _failed(self, what: str) -> ServingError:
        lines = self._log.read_text(errors="replace").splitlines()[-_SHOWN:]
        why = f"its log is {self._log}"
        return ServingError(what, why=why, seen=tuple(lines), mend="mend what it names, then perene demo")


class Client:
    """One kept connection. Raises ServingError for an answer that is none."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)

    def predict(self, model: str, rows: Sequence[Mapping[str, object]]) -> int:
        """Ask about rows; returns how many were answered."""
        return len(self._post(f"/v1/models/{model}/predict", rows)["predictions"])

    def tell(self, model: str, rows: Sequence[Mapping[str, object]]) -> int:
        """Post ground truth; returns how many rows were accepted."""
        return int(self._post(f"/v1/models/{model}/ground-truth", rows)["accepted"])

    def wait_for(self, model: str, version: int) -> None:
        """Wait until a version answers."""
        until = time.monotonic() + _PATIENCE_S
        while (serves := self._ask("GET", "/readyz")["serves"].get(model)) != version:
            if time.monotonic() > until:
                what, why = f"the server does not serve {model} v{version}", f"it serves v{serves}"
                raise ServingError(what, why=why, mend="see its log, server.log")
            time.sleep(_LOOK_S)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _post(self, path: str, rows: Sequence[Mapping[str, object]]) -> dict[str, Any]:
        return self._ask("POST", path, json.dumps({"rows": rows}))

    def _ask(self, method: str, path: str, body: str | None = None) -> dict[str, Any]:
        self._connection.request(method, path, body, {"content-type": "application/json"})
        response = self._connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
        if response.status >= 400 and path != "/readyz":
            raise ServingError(
                f"the server answered {response.status} to {method} {path}",
                why=str(answer.get("what", answer)),
                mend=str(answer.get("mend") or "see its log, server.log"),
                seen=tuple(str(error) for error in answer.get("errors", ())[:3]),
            )
        return answer
