"""The settings of a project: perene.toml, its environments, and variables that overlay them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from perene.definition.keys import ATTRIBUTES, is_table, read_value, typed_as_toml
from perene.definition.spelling import did_you_mean
from perene.errors import Mistake, SettingsError

FILE = "perene.toml"
ENVIRONMENT = "dev"
PREFIX = "PERENE__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What operates a project. ``overrides`` holds, by model, the terms that the settings change.

    Of a request: ``max_rows``, ``max_body`` (bytes), ``deadline`` (until it is answered; None for never). So many
    ``queue_rows`` may wait for a model; so many ``workers`` share the port.
    """

    project: str
    environment: str
    models: tuple[str, ...] = ("models/*.py",)
    database: str = field(default="sqlite:///.perene/perene.db", repr=False)  # its URL may hold a password
    storage: str = ".perene/store"
    engine: str = "local"
    host: str = "127.0.0.1"
    port: int = 8780
    workers: int = 1
    max_rows: int = 10_000
    max_body: int = 16 * 1024 * 1024
    queue_rows: int = 20_000
    deadline: timedelta | None = timedelta(seconds=30)
    on_log_failure: str = "answer"
    durability: str = "group"
    journal_rows: int = 10_000
    journal_seconds: float = 60.0
    speed: float = 1.0
    bundle_include: tuple[str, ...] = ()
    overrides: Mapping[str, Mapping[str, object]] = field(default_factory=dict)


def load_settings(folder: Path, *, environment: str | None, variables: Mapping[str, str]) -> Settings:
    """The settings of the project in a folder.

    A variable such as ``PERENE__SERVE__PORT`` wins over ``[env.NAME]``, which wins over the file's own keys and the
    defaults. ``NAME`` is the environment given, else the variable ``PERENE_ENV``, else ``dev``. Relative paths are
    taken from the folder.

    Raises:
        SettingsError: with every unknown key and wrong value, each by its dotted key.
    """
    text, where = _read(folder)
    name = environment or variables.get("PERENE_ENV") or ENVIRONMENT
    mistakes: list[Mistake] = []
    layers = _layers(text)
    if name != ENVIRONMENT and name not in layers:
        hint = did_you_mean(name, [known for known in layers if known])
        mistakes.append(Mistake(where=where, what=f"there is no [env.{name}]{hint}"))
    values: dict[str, Any] = {}
    for layer, settings in layers.items():
        prefix = f"env.{layer}." if layer else ""
        read = {
            key: read_value(f"{prefix}{key}", key, value, mistakes=mistakes)
            for key, value in settings.items()
            if value != {} or not is_table(key)
        }
        if layer in ("", name):
            values |= read
    for variable, key in _keys_of(variables):
        values[key] = read_value(variable, key, typed_as_toml(key, variables[variable]), mistakes=mistakes)
    if mistakes:
        raise SettingsError(f"{where} is not right", tuple(mistakes))
    return _rooted(_settings(folder, name, values), folder.resolve(), where)


def find_project(start: Path) -> Path:
    """The folder of the project that a folder lies in: the nearest one above with perene.toml or ``[tool.perene]``.

    Raises:
        SettingsError: there is none.
    """
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / FILE).is_file() or _in_pyproject(folder) is not None:
            return folder
    mistake = Mistake(where=str(start), what=f"no {FILE} here or in a folder above")
    raise SettingsError("this is no perene project", (mistake,), mend="perene init")


def settings_file(folder: Path) -> Path:
    """The file that holds the settings of the project in a folder."""
    return folder / (FILE if (folder / FILE).is_file() else "pyproject.toml")


def _read(folder: Path) -> tuple[dict[str, Any], str]:
    """The settings' text, and the file that holds it."""
    pyproject = _in_pyproject(folder)
    file = folder / FILE
    if not file.is_file():
        if pyproject is None:
            mistake = Mistake(where=str(folder), what=f"there is no {FILE}")
            raise SettingsError("this is no perene project", (mistake,), mend="perene init")
        return pyproject, "pyproject.toml"
    if pyproject is not None:
        mistake = Mistake(where="pyproject.toml: tool.perene", what=f"{FILE} is there too, and only one can hold")
        raise SettingsError("the project has its settings twice", (mistake,), mend=f"move [tool.perene] into {FILE}")
    return _parsed(file), FILE


def _in_pyproject(folder: Path) -> dict[str, Any] | None:
    file = folder / "pyproject.toml"
    tool = _parsed(file).get("tool", {}) if file.is_file() else {}
    own = tool.get("perene") if isinstance(tool, dict) else None
    if own is not None and not isinstance(own, dict):
        mistake = Mistake(where="pyproject.toml: tool.perene", what="must be a table")
        raise SettingsError("pyproject.toml is not right", (mistake,))
    return own


def _parsed(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, a number too long, brackets too deep
        raise SettingsError(f"{file.name} is not TOML", (Mistake(where=file.name, what=str(error)),)) from error
    except OSError as error:
        raise SettingsError(f"{file.name} cannot be read", (Mistake(where=file.name, what=str(error)),)) from error


def _layers(text: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The dotted keys and values of the file's own settings ("") and of each environment."""
    environments = text.get("env", {})
    tables = (
        {name: table for name, table in environments.items() if name and isinstance(table, dict)}
        if isinstance(environments, dict)
        else {}
    )
    own = {key: value for key, value in text.items() if key != "env"}
    if not isinstance(environments, dict):
        own["env"] = environments
    else:
        own |= {f"env.{name}": value for name, value in environments.items() if name not in tables}
    return {"": dict(_flat("", own))} | {name: dict(_flat("", table)) for name, table in tables.items()}


def _flat(prefix: str, table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; a table without keys stands for itself."""
    for name, value in table.items():
        key = f"{prefix}{name}" if name else f'{prefix}""'
        if value and isinstance(value, dict):
            yield from _flat(f"{key}.", value)
        else:
            yield key, value


def _keys_of(variables: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The variables that are settings, and the keys that they name: two underscores are a dot; models have hyphens."""
    for variable in sorted(variables):
        if not variable.startswith(PREFIX):
            continue
        parts = variable.removeprefix(PREFIX).lower().split("__")
        if parts[0] == "model" and len(parts) == 3:
            parts[1] = parts[1].replace("_", "-")
        yield variable, ".".join(parts)


def _settings(folder: Path, environment: str, values: dict[str, Any]) -> Settings:
    overrides: dict[str, dict[str, object]] = {}
    named: dict[str, Any] = {}
    for key, value in values.items():
        if key.startswith("model."):
            _, model, setting = key.split(".")
            overrides.setdefault(model, {})[setting] = value
        else:
            named[ATTRIBUTES.get(key, key.rpartition(".")[2])] = value
    named.setdefault("project", folder.resolve().name)
    return Settings(environment=environment, overrides=overrides, **named)


def _rooted(settings: Settings, folder: Path, where: str) -> Settings:
    """Settings whose relative paths are taken from the project's folder."""
    database, storage = settings.database, settings.storage
    scheme, mark, path = database.partition(":///")
    if mark and scheme.startswith("sqlite") and path and not path.startswith((":memory:", "/")):
        if "?" in str(folder):
            what = f"the folder {folder} has a question mark in its path, which a database's URL cannot hold"
            raise SettingsError(
                f"{where} is not right", (Mistake(where="database", what=what),), mend="move the project"
            )
        database = f"{scheme}:///{folder / path}"
    if "://" not in storage:
        storage = str(folder / storage)
    return replace(settings, database=database, storage=storage)
