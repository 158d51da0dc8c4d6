"""``perene doctor``: a project and what it stands on, examined."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perene.cli.door import Door
from perene.cli.failures import FAILED
from perene.cli.output import Column, Mode
from perene.cli.verbs import Verb

if TYPE_CHECKING:
    from perene.records.finding import Finding

_SIGNS = {"fine": "✓", "warning": "!", "broken": "✗"}


@click.command(
    "doctor",
    cls=Verb,
    examples="""
      perene doctor                     the project here
      perene doctor --env production    with the settings of an environment
      perene doctor --json              for a bug report
    """,
)
@click.pass_context
def command(context: click.Context) -> None:
    """Examine installation, database, store, clock, processes and live versions.

    Nothing is changed. The exit code is 1 when something is broken, 0 when there are warnings only.
    """
    from perene.clock import machine_clock
    from perene.monitoring.doctor import examine

    door: Door = context.obj
    found = list(examine(_folder(door), environment=door.environment, variables=os.environ, machine=machine_clock))
    if door.out.mode is Mode.HUMAN:
        door.out.record("doctor", found, [(finding.check, _said(finding)) for finding in found], id="")
    else:
        door.out.table("doctor", found, columns=_COLUMNS, id_of=lambda finding: finding.check)
    broken, warned = (sum(finding.state == state for finding in found) for state in ("broken", "warning"))
    door.out.text(_sum(broken, warned), tone="bad" if broken else "warn" if warned else "good")
    if broken:
        context.exit(FAILED)


_COLUMNS: list[Column[Finding]] = [
    Column(title="check", value=lambda finding: finding.check),
    Column(title="state", value=lambda finding: finding.state),
    Column(title="what", value=lambda finding: finding.what),
    Column(title="why", value=lambda finding: finding.why),
    Column(title="mend", value=lambda finding: finding.mend),
]


def _folder(door: Door) -> Path:
    """The project's folder, or where one was looked for: that there is none is a finding too."""
    from perene.errors import SettingsError

    try:
        return door.folder()
    except SettingsError:
        return Path.cwd()


def _said(finding: Finding) -> str:
    """What was found, and under it why and what mends it."""
    lines = [f"{_SIGNS[finding.state]} {finding.state}: {finding.what}"]
    lines += [f"  {name}: {text}" for name, text in (("why", finding.why), ("mend", finding.mend)) if text]
    return "\n".join(lines)


def _sum(broken: int, warned: int) -> str:
    from perene.cli.words import counted

    if not broken and not warned:
        return "✓ all is fine"
    parts = ([f"{broken} broken"] if broken else []) + ([counted(warned, "warning")] if warned else [])
    return f"{'✗' if broken else '!'} {', '.join(parts)}"
