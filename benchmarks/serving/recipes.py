"""The servers that are compared, each as its own documentation recommends; peers have two workers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving import protocols
from benchmarks.serving.environments import PEERS, python_of
from benchmarks.serving.project import Case
from benchmarks.serving.protocols import Protocol, Rows
from benchmarks.serving.servers import ROOT, Recipe, free_port

REQUESTS = {1: 20_000, 100: 200}  # how many different ones, by the number of their rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where what the servers of a case need lies."""

    case: Case
    scratch: Path

    @property
    def folder(self) -> Path:
        """The case's own folder."""
        return self.scratch / "serving" / self.case.key

    @property
    def project(self) -> Path:
        """perene's project."""
        return self.folder / "project"

    @property
    def model(self) -> Path:
        """What peers serve."""
        return self.folder / "model.joblib"

    @property
    def fields(self) -> Path:
        """The names and types of a row's fields."""
        return self.folder / "fields.json"

    def bodies(self, protocol: Protocol) -> dict[int, Path]:
        """Files of request bodies, a line each, by the number of their rows."""
        return {rows: self.folder / f"{protocol.name}-{rows}.txt" for rows in REQUESTS}

    def write_requests(self, rows: Rows) -> None:
        """Write what servers are asked, in every protocol, and the fields of a row."""
        self.fields.write_text(json.dumps({name: type(value).__name__ for name, value in rows[0].items()}))
        for protocol in protocols.ALL:
            for size, path in self.bodies(protocol).items():
                starts = range(0, min(len(rows), size * REQUESTS[size]), size)
                path.write_bytes(b"\n".join(protocol.encode(rows[i : i + size]) for i in starts))


def perene(place: Place, *, workers: int = 1, durability: str = "group") -> Recipe:
    """perene serve, as anybody runs it."""
    told = [f"{workers} workers"] * (workers > 1) + [durability] * (durability != "group")
    command = [
        str(Path(sys.executable).with_name("perene")),
        "serve",
        "--project",
        str(place.project),
        "--port",
        "PORT",
    ]
    return Recipe(
        name=f"perene, {', '.join(told)}" if told else "perene",
        command=command + ["--workers", str(workers)] * (workers > 1),
        path=f"/v1/models/{place.case.model}/predict",
        protocol=protocols.PERENE,
        variables={"PERENE__SERVE__DURABILITY": durability},
    )


def echo(place: Place) -> Recipe:
    """The same uvicorn that only echoes: what HTTP alone costs."""
    command = [sys.executable, str(Path(__file__).with_name("echo.py")), "PORT"]
    return Recipe(name="uvicorn echo", command=command, path="/", protocol=protocols.ECHO, variables={})


def fastapi(place: Place) -> Recipe:
    """FastAPI by hand."""
    python = python_of("fastapi", place.scratch)
    options = ["fastapi_service:app", "--port", "PORT", "--workers", "2", "--log-level", "error"]
    return Recipe(
        name="FastAPI",
        command=[str(python), "-m", "uvicorn", *options],
        path="/predict",
        protocol=protocols.FASTAPI,
        variables={"FITTED": str(place.model), "FIELDS": str(place.fields)},
    )


def bentoml(place: Place) -> Recipe:
    """BentoML with adaptive batching."""
    python = python_of("bentoml", place.scratch)
    home = {"BENTOML_HOME": str(place.scratch / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    return Recipe(
        name="BentoML",
        command=[str(python.with_name("bentoml")), "serve", "bentoml_service:Flights", "--port", "PORT"],
        path="/predict",
        protocol=protocols.BENTOML,
        variables={"FITTED": str(place.model), "PATH": _path(python), **home},
    )


def mlflow(place: Place) -> Recipe:
    """mlflow models serve."""
    python = python_of("mlflow", place.scratch)
    kept = place.folder / "mlflow"
    if not (kept / "MLmodel").exists() or kept.stat().st_mtime < place.model.stat().st_mtime:
        shutil.rmtree(kept, ignore_errors=True)
        keep = [str(python), str(PEERS / "mlflow_model.py"), str(place.model), str(kept)]
        subprocess.run(keep, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=place.folder)
    options = ["-m", str(kept), "--env-manager", "local", "--workers", "2", "--host", "127.0.0.1", "--port", "PORT"]
    return Recipe(
        name="MLflow",
        command=[str(python.with_name("mlflow")), "models", "serve", *options],
        path="/invocations",
        protocol=protocols.MLFLOW,
        variables={"PATH": _path(python)},
    )


def mlserver(place: Place) -> Recipe:
    """MLServer with its scikit-learn runtime and adaptive batching. The window of 5 ms is this benchmark's choice."""
    python = python_of("mlserver", place.scratch)
    folder = place.folder / "mlserver"
    folder.mkdir(exist_ok=True)
    model = {"implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": str(place.model)}}
    settings = {"name": "flights", "max_batch_size": 64, "max_batch_time": 0.005, **model}
    (folder / "model-settings.json").write_text(json.dumps(settings))
    ports = {"HTTP": "PORT", "GRPC": str(free_port()), "METRICS": str(free_port())}
    return Recipe(
        name="MLServer",
        command=[str(python.with_name("mlserver")), "start", str(folder)],
        path="/v2/models/flights/infer",
        protocol=protocols.MLSERVER,
        variables={
            "PATH": _path(python), "MLSERVER_HOST": "127.0.0.1", "MLSERVER_PARALLEL_WORKERS": "2",
            **{f"MLSERVER_{kind}_PORT": port for kind, port in ports.items()},
        },
    )  # fmt: skip


PEERS_OF = {"FastAPI": fastapi, "BentoML": bentoml, "MLServer": mlserver, "MLflow": mlflow}


def _path(python: Path) -> str:
    """Programs of the environment come first: BentoML and MLflow start their workers by name."""
    return f"{python.parent}{os.pathsep}{os.environ['PATH']}"
