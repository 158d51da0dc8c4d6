"""Fault: SIGKILL while a bundle is put. Promise: a bundle is whole, or not there at all, and the next put works."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from perene.errors import BundleError
from perene.storage.bundles import Bundles

PUT = """
import os, shutil, signal, sys
from pathlib import Path
from perene.storage.bundles import Bundles

root, staging, last = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
deeds = 0

def counted(thing, name):
    deed = getattr(thing, name)
    def counting(*args, **options):
        global deeds
        deeds += 1
        if deeds == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return deed(*args, **options)
    setattr(thing, name, counting)

counted(shutil, "copyfile")
counted(os, "fsync")
for name in ("mkdir", "rename", "write_bytes"):
    counted(Path, name)
Bundles(root).put(staging, facts={"model": "m"})
"""


def test_death_at_any_deed_leaves_nothing_half_done(tmp_path: Path) -> None:
    """Proof: a process dies at each of its deeds on the disk; then the bundle is whole or absent, and a put works.

    Once where there is no such bundle yet, once over a damaged one.
    """
    staging = tmp_path / "staging"
    (staging / "code").mkdir(parents=True)
    (staging / "code" / "m.py").write_bytes(b"x = 1\n")
    (staging / "fitted.pkl").write_bytes(b"fitted")
    digest = Bundles(tmp_path / "known").put(staging, facts={"model": "m"})

    for damaged in (False, True):
        last, ended = 0, False
        while not ended:
            last += 1
            root = tmp_path / f"{damaged}-{last}"
            bundles = Bundles(root)
            if damaged:
                bundles.put(staging, facts={"model": "m"})
                (bundles.open(digest).folder / "fitted.pkl").write_bytes(b"!")
            child = subprocess.run([sys.executable, "-c", PUT, str(root), str(staging), str(last)], timeout=60)
            assert child.returncode in (0, -signal.SIGKILL)
            ended = child.returncode == 0

            try:
                bundles.open(digest)
            except BundleError as error:
                assert error.code == "bundle-missing" or (damaged and error.code == "bundle-changed")
            assert bundles.put(staging, facts={"model": "m"}) == digest
            bundles.open(digest)
            assert {path.name for path in root.iterdir()} - {".damaged"} == {".lock", digest[:2]}
        assert last > 10
