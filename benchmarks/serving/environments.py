"""The environments of the peers: one each, made with pip from the pinned lists beside their services."""

from __future__ import annotations

import hashlib
import subprocess
import venv
from pathlib import Path

PEERS = Path(__file__).parent / "peers"


def python_of(peer: str, scratch: Path) -> Path:
    """The Python of a peer's environment, which is made where it is missing or of other versions."""
    folder = scratch / "envs" / peer
    python, done = folder / "bin" / "python", folder / ".ready"
    lists = [PEERS / "model.txt", PEERS / f"{peer}.txt"]
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in lists)).hexdigest()
    if not done.exists() or done.read_text() != wanted:
        print(f"making the environment of {peer} …", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", lists[1]]
        subprocess.run(install, check=True)
        done.write_text(wanted)
    return python
