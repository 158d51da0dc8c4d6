"""What every command is given: its output, who calls, and the project when it asks for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perene.cli.output import Output, output_for

if TYPE_CHECKING:
    from perene.app import App
    from perene.definition.project import Project


class Door:
    """One call of the command line. The project is loaded, and its stores are opened, when a command first asks."""

    def __init__(
        self, output: Output, *, project: str | None = None, environment: str | None = None, no_colour: bool = False
    ) -> None:
        self.out = output
        self.no_colour = no_colour
        self.environment = environment
        self._project = project
        self._app: App | None = None

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Door:
        """The door that the common options describe."""
        no_colour = bool(options.get("no_color"))
        output = output_for(json=bool(options.get("json")), ids=bool(options.get("ids")), no_colour=no_colour)
        return cls(output, project=options.get("project"), environment=options.get("environment"), no_colour=no_colour)

    @property
    def actor(self) -> str:
        """Who calls, for the ledger and the audit log: PERENE_ACTOR, else the user of this machine."""
        import getpass

        return os.environ.get("PERENE_ACTOR") or getpass.getuser()

    def folder(self) -> Path:
        """The project's folder: that of --project, else the nearest one with a perene.toml from here upwards."""
        from perene.definition.settings import find_project

        return Path(self._project).resolve() if self._project else find_project(Path.cwd())

    def project(self) -> Project:
        """The project, loaded and checked; nothing is opened or written."""
        from perene.definition.project import load_project

        return load_project(self.folder(), environment=self.environment, variables=os.environ)

    def app(self, *, may_begin: bool = False) -> App:
        """The project with its database and stores; closed when the command ends.

        ``may_begin``: whether this command may be the first of a project. Those that only look make no database.
        """
        if self._app is None:
            from perene.app import open_project

            self._app = open_project(self.folder(), environment=self.environment, may_begin=may_begin)
        return self._app

    def close(self) -> None:
        """Close what was opened."""
        if self._app is not None:
            self._app.close()
