"""``perene version``."""

from __future__ import annotations

import click

from perene.cli.door import Door
from perene.cli.verbs import Verb

_SHOWN = ("polars", "deltalake", "sqlalchemy", "pydantic", "numpy")


@click.command(
    "version",
    cls=Verb,
    project=False,
    examples="""
      perene version
      perene version --json        for a bug report
      perene version -q            the number only
    """,
)
@click.pass_obj
def command(door: Door) -> None:
    """Show the versions of perene, Python and what it stands on."""
    import platform
    from importlib.metadata import version

    number = version("perene")
    data = {
        "perene": number,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: version(name) for name in _SHOWN},
    }
    door.out.record("version", data, list(data.items()), id=number)
