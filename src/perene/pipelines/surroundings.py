"""What a training run stood in: the installed packages, and the project's git commit."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

_PATIENCE_S = 10


@cache
def locked_packages() -> str:
    """The Python version and every installed package, as lines of a requirements file."""
    found = {str(d.metadata["Name"]).lower(): d.version for d in distributions() if d.metadata["Name"]}
    lines = [f"{name}=={version}" for name, version in sorted(found.items())]
    return "\n".join([f"# Python {platform.python_version()}, {platform.system()} {platform.machine()}", *lines]) + "\n"


def git_commit(project: Path) -> str | None:
    """The commit that a project's folder is at, with ``+changes`` when its files differ; None outside git."""
    commit = _git(project, "rev-parse", "HEAD")
    if commit is None:
        return None
    return f"{commit}+changes" if _git(project, "status", "--porcelain", "--", ".") else commit


def _git(project: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(project), *arguments], capture_output=True, text=True, timeout=_PATIENCE_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
