"""What a shell completes: names and numbers that the project's database knows, within 300 ms, else nothing.

It reads perene.toml and asks the database directly: models, and the packages that they need, are not loaded.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import click

LIMIT_S = 0.3
_MOST = 100  # the newest of things that have numbers
Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def _completing(query: str) -> Complete:
    """Complete with the first column of a query; where it has a second, with the rows of the model that was typed."""

    def complete(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
        # An option that still lacks its value keeps click from reading the arguments before it: they are left over.
        about = context.params.get("model") or next(iter(context.args), None)
        rows = within(lambda: _asked(context, query))
        return [name for name, *model in rows if model in ([], [about]) and name.startswith(typed)]

    return complete


models = _completing("SELECT name FROM model ORDER BY name")
versions = _completing("SELECT version, model FROM model_version ORDER BY version DESC")
datasets = _completing("SELECT version, model FROM dataset_version ORDER BY version DESC")
releases = _completing(f"SELECT id FROM release ORDER BY id DESC LIMIT {_MOST}")
runs = _completing(f"SELECT id FROM run ORDER BY id DESC LIMIT {_MOST}")
alerts = _completing(f"SELECT id FROM alert ORDER BY id DESC LIMIT {_MOST}")


def within(ask: Callable[[], list[list[str]]], *, limit_s: float = LIMIT_S) -> list[list[str]]:
    """What is answered in time; nothing when it takes longer or fails: a shell shows no errors while one types."""
    answers: list[list[list[str]]] = []

    def look() -> None:
        try:
            answers.append(ask())
        except Exception:  # noqa: BLE001 - no project here, a broken setting, a database that is away: nothing to offer
            return

    thread = threading.Thread(target=look, name="completion", daemon=True)
    thread.start()
    thread.join(limit_s)
    return answers[0] if answers else []


def _asked(context: click.Context, query: str) -> list[list[str]]:
    from perene.definition.settings import find_project, load_settings

    folder = _given(context, "project")
    place = Path(folder).resolve() if folder else find_project(Path.cwd())
    url = load_settings(place, environment=_given(context, "environment"), variables=os.environ).database
    return [[str(value) for value in row] for row in _rows(url, query)]


def _given(context: click.Context | None, name: str) -> str | None:
    """A common option, where it was typed: at the command, or before it."""
    while context is not None:
        if context.params.get(name):
            return str(context.params[name])
        context = context.parent
    return None


def _rows(url: str, query: str) -> list[tuple[object, ...]]:
    if url.startswith("sqlite:///"):
        import sqlite3

        place = Path(url.removeprefix("sqlite:///")).as_uri()
        with closing(sqlite3.connect(f"{place}?mode=ro", uri=True, timeout=LIMIT_S)) as connection:
            return connection.execute(query).fetchall()
    import psycopg

    with psycopg.connect(url.replace("+psycopg", "", 1), connect_timeout=1) as connection:
        return connection.execute(query).fetchall()
