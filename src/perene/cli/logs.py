"""The log of a process: one line per deed, on stderr."""

from __future__ import annotations

import logging
import time


def log_to_stderr(level: int = logging.INFO) -> None:
    """Write perene's log, and the warnings of what it stands on, to stderr; times are machine time in UTC."""
    handler = logging.StreamHandler()
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(name)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("perene").setLevel(level)
