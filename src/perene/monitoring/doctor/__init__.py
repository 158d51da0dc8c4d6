"""Examines a project and what it stands on.

Laws. It changes nothing: what is not there is not made, and what it writes to try a disk or a database is taken away
again. Each check stands alone: one that fails, in whatever way, is a finding, and the others go on. Until the
installation has been looked at, only the standard library is imported: a broken package is found, not stumbled over.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from perene.clock import MachineClock
from perene.monitoring.doctor.attempts import attempt
from perene.monitoring.doctor.installation import check_installation
from perene.records.finding import Finding

FreeSpace = Callable[[Path], int]


def free_space(folder: Path) -> int:
    """The bytes that are free on the disk of a folder."""
    return shutil.disk_usage(folder).free


def examine(
    folder: Path,
    *,
    environment: str | None = None,
    variables: Mapping[str, str],
    machine: MachineClock,
    free: FreeSpace = free_space,
) -> Iterator[Finding]:
    """What there is to say of the project in a folder, one finding per check, as each is done.

    Args:
        environment: the ``[env.NAME]`` that holds, as for ``open_project``.
        variables: the process's, which may overlay settings.
        machine: the machine's clock.
        free: what says how much room a disk has.
    """
    yield from attempt("installation", check_installation)

    def the_project() -> Iterator[Finding]:
        from perene.monitoring.doctor.project import check_project

        return check_project(folder, environment=environment, variables=variables, machine=machine, free=free)

    yield from attempt("project", the_project)
