"""docs/how-to/deploy.md does what it says: proxies let through what they shall, units are sound, a backup restores."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from perene.app import open_project
from perene.cli.children import _LAST_GRACE_S
from perene.cli.serve import grace_of
from perene.cli.tree import COMMANDS
from perene.definition.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs/how-to/deploy.md").read_text()
PATH = "/v1/models/parcel-hours/predict"
HASHES = {
    "nginx": ["openssl", "passwd", "-apr1", "secret"],
    "caddy": ["caddy", "hash-password", "--plaintext", "secret"],
}


def blocks(kind: str) -> list[str]:
    """The fenced blocks of a kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def replaced(text: str, changes: dict[str, str]) -> str:
    """A text with each thing replaced; each must be in it."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


# ── proxies ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Proxy:
    """A proxy that runs, asked over TLS."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        password: str | None = "secret",
        here: str = "127.0.0.1",
    ) -> tuple[int, str, bytes]:
        """Status, content type and body; ``here`` is the address that is asked from."""
        headers = {"host": "shop.example", "content-type": "application/json"}
        if password is not None:
            headers["authorization"] = "Basic " + base64.b64encode(f"ana:{password}".encode()).decode()
        trust = ssl._create_unverified_context()
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=60, source_address=(here, 0))
        connection = http.client.HTTPConnection("shop.example", timeout=60)
        connection.sock = trust.wrap_socket(plain, server_hostname="shop.example")  # Caddy looks at the name
        try:
            connection.request(method, path, body if isinstance(body, bytes | None) else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, response.getheader("content-type", ""), response.read()
        finally:
            connection.close()


def free_port() -> int:
    """A port that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def prepare_nginx(folder: Path, hashed: str, port: int, to: int) -> list[str]:
    """Write nginx's files, the page's among them; the command that runs it."""
    key = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=shop.example", "-days", "2"]
    subprocess.run([*key, "-keyout", folder / "shop.key", "-out", folder / "shop.pem"], check=True, capture_output=True)
    (folder / "users").write_text(f"ana:{hashed}\n")
    site = replaced(
        blocks("nginx")[0],
        {"127.0.0.1:8780": f"127.0.0.1:{to}", "listen 443": f"listen 127.0.0.1:{port}", "/etc/nginx/tls": str(folder)},
    )
    kept = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user} worker_processes 1; pid {folder}/pid; error_log stderr;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{kept}{site}}}\n"
    )
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]


def prepare_caddy(folder: Path, hashed: str, port: int, to: int) -> list[str]:
    """The same of Caddy, which makes its certificate itself: a local one, for nobody here has the name."""
    site = replaced(
        blocks("caddy")[0],
        {"127.0.0.1:8780": f"127.0.0.1:{to}", "HASH": hashed, "shop.example {": "shop.example {\n\ttls internal"},
    )
    options = f"{{\n\tadmin off\n\thttps_port {port}\n\tauto_https disable_redirects\n\tskip_install_trust\n}}\n"
    (folder / "Caddyfile").write_text(options + site)
    return ["caddy", "run", "--config", str(folder / "Caddyfile")]


PREPARE = {"nginx": prepare_nginx, "caddy": prepare_caddy}


@contextmanager
def running(name: str, folder: Path, to: int, wait_for: Callable[..., Any]) -> Iterator[Proxy]:
    """A proxy as the page sets it up, before the server at a port."""
    hashed = subprocess.run(HASHES[name], check=True, capture_output=True, text=True).stdout.strip()
    port = free_port()
    command = PREPARE[name](folder, hashed, port, to)
    home = os.environ | {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=home)
    try:
        wait_for(lambda: answers(Proxy(port)) or process.poll() is not None)
        assert process.poll() is None, (folder / "log").read_text()
        yield Proxy(port)
    finally:
        process.terminate()
        process.wait(30)


def answers(proxy: Proxy) -> bool:
    """Whether a proxy takes connections."""
    try:
        proxy.ask("GET", "/readyz")
    except OSError:
        return False
    return True


@pytest.fixture(scope="module", params=PREPARE)
def proxy(request, server, needs, tmp_path_factory, wait_for) -> Iterator[Proxy]:
    """Each proxy of the page, before a server of the tiny project."""
    needs(request.param)
    needs("openssl")
    with running(request.param, tmp_path_factory.mktemp(request.param), server.port, wait_for) as started:
        yield started


def test_a_caller_with_a_password_is_answered(proxy, a_row) -> None:
    """The request reaches perene under a Host that it answers, and a wrong password or none does not."""
    status, _, body = proxy.ask("POST", PATH, {"rows": [a_row()]})
    refused = [proxy.ask("POST", PATH, {"rows": [a_row()]}, password=given)[0] for given in (None, "wrong")]

    assert (status, len(json.loads(body)["predictions"])) == (200, 1)
    assert refused == [401, 401]


def test_readiness_needs_no_password(proxy) -> None:
    """A load balancer may ask whether requests are answered."""
    status, _, body = proxy.ask("GET", "/readyz", password=None)

    assert (status, json.loads(body)["status"]) == (200, "ready")


def test_metrics_are_for_those_who_may_have_them(proxy) -> None:
    """Who is allowed by address needs no password; others do not get them with one."""
    assert proxy.ask("GET", "/metrics", password=None)[0] == 200
    assert proxy.ask("GET", "/metrics", here="127.0.0.2")[0] == 403


def test_a_body_is_refused_by_perene_and_not_by_the_proxy(proxy, a_row) -> None:
    """What perene takes comes through; what is larger than serve.max_body is explained as perene does it."""
    padded = json.dumps({"rows": [a_row()]}).encode().ljust(12 << 20)
    large = padded.ljust(17 << 20)

    assert proxy.ask("POST", PATH, padded)[0] == 200
    status, kind, body = proxy.ask("POST", PATH, large)
    assert (status, kind, json.loads(body)["code"]) == (413, "application/problem+json", "too-large")


# ── units and containers ─────────────────────────────────────────────────────────────────────────────────────────────


def unit() -> dict[str, str]:
    """The settings of the page's unit."""
    return dict(line.split("=", 1) for line in blocks("ini")[0].splitlines() if "=" in line)


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path, needs) -> None:
    """systemd-analyze verify says nothing of it, once its command is one that is here."""
    needs("systemd")
    written = tmp_path / "shop.service"
    written.write_text(replaced(blocks("ini")[0], {"/srv/shop/.venv/bin/perene": sys.executable}))
    said = subprocess.run(["systemd-analyze", "verify", "--man=no", written], capture_output=True, text=True)

    assert [line for line in said.stderr.splitlines() if "shop.service" in line] == []


def test_whoever_stops_perene_waits_longer_than_it_needs() -> None:
    """systemd and docker give it more than it gives its own processes, by the settings that a project begins with."""
    needed = grace_of(Settings(project="shop", environment="dev")) + _LAST_GRACE_S
    docker = re.search(r"--stop-timeout (\d+)", PAGE)

    assert docker is not None
    assert f"({needed:g} s\n  unless you say otherwise)" in PAGE
    assert int(unit()["TimeoutStopSec"]) > needed < int(docker.group(1))


def instruction(name: str) -> Any:
    """What the last instruction of this name in the page's file says; JSON where it is."""
    found = re.findall(rf"^ *{name} +(.*)$", blocks("dockerfile")[0].replace("\\\n", "\n"), re.MULTILINE)[-1]
    return json.loads(found) if found.startswith("[") else found


def test_the_container_runs_and_stops_what_there_is() -> None:
    """Its command is one of perene's, which SIGTERM stops; it runs as nobody special, and keeps what perene writes."""
    program, command = instruction("CMD")

    assert (program, instruction("STOPSIGNAL")) == ("perene", "SIGTERM")
    assert command in COMMANDS["Every day"]
    assert instruction("USER") != "root"
    assert instruction("VOLUME") == instruction("WORKDIR") + "/.perene"


def test_the_container_is_healthy_where_perene_is_ready(server, tiny, server_of) -> None:
    """The check ends with 0 beside a ready server, and with another code where nothing answers."""
    _, flag, code = re.findall(r'"((?:[^"\\]|\\.)*)"', blocks("dockerfile")[0].partition("HEALTHCHECK")[2])[:3]

    def check(port: int) -> int:
        return subprocess.run(
            [sys.executable, flag, replaced(code, {"8780": str(port)})], capture_output=True
        ).returncode

    assert (check(server.port), check(free_port()) != 0) == (0, True)


# ── backup and restore ───────────────────────────────────────────────────────────────────────────────────────────────


def lines_of(word: str, folder: Path) -> list[str]:
    """The commands of the console block that has a word, for another folder than /srv/shop; systemd's are left out."""
    (block,) = [block for block in blocks("console") if word in block]
    lines = [line.removeprefix("$ ").replace("/srv/shop", str(folder)) for line in block.splitlines()]
    return [line for line in lines if "systemctl" not in line]


def run_here(lines: list[str], at: Path) -> None:
    """Run commands in a folder, where ``perene`` is this environment's."""
    for line in lines:
        line = re.sub(r"^perene ", f"{sys.executable} -m perene.cli ", line)
        done = subprocess.run(["bash", "-ec", line], cwd=at, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


def answered(server: Any, a_row: Callable[..., Any], numbers: range) -> list[float]:
    """What a server says of parcels, each under an id of the caller's; the same ids get the logged answers."""
    client = server.client()
    rows = [a_row(number, grams=100.0 + number, prediction_id=f"parcel-{number}") for number in numbers]
    status, said = client.predict(rows)
    client.close()
    assert status == 200, said
    return [line["prediction"] for line in said["predictions"]]


def test_a_backup_brings_back_all_that_was_answered(tiny, tmp_path, server_of, a_row, call) -> None:
    """The page's commands, between a stop and a start: version, log and stored files are those of the backup."""
    with server_of(tiny) as server:
        before = answered(server, a_row, range(5))
        server.end()
    run_here(lines_of("tar -C /srv/shop -czf", tiny), tmp_path)
    call(tiny, "train", "parcel-hours")
    run_here(lines_of("tar -C /srv/shop -xzf", tiny), tmp_path)

    logged = call(tiny, "prediction", "list", "parcel-hours", "-q").lines
    with server_of(tiny) as server:
        assert answered(server, a_row, range(5)) == before
    assert sorted(logged) == [f"parcel-{number}" for number in range(5)]
    with closing(open_project(tiny)) as app:
        assert app.models.newest("parcel-hours").version == 1


def test_a_snapshot_of_a_running_project_is_whole(tiny, tmp_path, server_of, a_row, call, wait_for) -> None:
    """All files as they are at one moment, in another folder: what was answered but not drained is there too."""
    restored = tmp_path / "restored" / "tiny"
    with server_of(tiny) as server:
        before = answered(server, a_row, range(5))
        process = psutil.Process(server.process.pid)
        process.suspend()  # nothing is written meanwhile, as in a file system's snapshot
        wait_for(lambda: process.status() == psutil.STATUS_STOPPED)
        shutil.copytree(tiny, restored)
        process.resume()

    with server_of(restored) as server:
        assert answered(server, a_row, range(5)) == before
        server.end()
    logged = call(restored, "prediction", "list", "parcel-hours", "-q").lines
    assert sorted(logged) == [f"parcel-{number}" for number in range(5)]
