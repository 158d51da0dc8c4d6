"""``perene init``: a new project whose first model runs at once."""

from __future__ import annotations

import click

from perene.cli.door import Door
from perene.cli.verbs import Verb


@click.command(
    "init",
    cls=Verb,
    project=False,
    examples="""
      perene init                  here
      perene init shop             in ./shop
      perene init shop --name eta  the project's name in perene.toml
    """,
)
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(file_okay=False))
@click.option("--name", metavar="TEXT", help="The project's name (default: that of the folder).")
@click.pass_obj
def command(door: Door, folder: str, name: str | None) -> None:
    """Write perene.toml, a first model and a README."""
    from pathlib import Path

    from perene.cli.projects import write_project
    from perene.clock import machine_clock

    target = Path(folder)
    written = write_project(target, today=machine_clock().date(), name=name)
    door.out.done(
        "project.init",
        {"folder": str(target.resolve()), "files": [str(path) for path in written]},
        text="\n".join(f"wrote {target / path}" for path in written),
        id=target.resolve(),
    )
    enter = [] if target.resolve() == Path.cwd() else [f"cd {folder}"]
    door.out.next(*enter, "perene check", "perene train delivery-time")
