"""The files of a new project, from the template beside this module."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from string import Template

from perene.definition.template import read_template
from perene.errors import Conflict


def write_project(folder: Path, *, today: date, name: str | None = None) -> list[Path]:
    """Write a new project into a folder and return the files, relative to it. No file that is there is changed.

    Its example orders are of the day before ``today``: those of long ago would count in no status.

    Raises:
        Conflict: some of its files exist already; nothing is written.
    """
    texts = read_template("perene.cli")
    if (folder / ".gitignore").exists():
        del texts[Path(".gitignore")]
    there = sorted(path for path in texts if (folder / path).exists())
    if there:
        raise Conflict(
            f"{folder} has files of a project already",
            seen=tuple(str(folder / path) for path in there),
            mend="choose a new folder: perene init NAME",
        )
    values = {
        "project": _slug(name or folder.resolve().name),
        "yesterday": (today - timedelta(days=1)).isoformat(),
    }
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(_filled(path, text, values), encoding="utf-8")
    return sorted(texts)


def _filled(path: Path, text: str, values: Mapping[str, str]) -> str:
    return Template(text).substitute(values) if path.suffix in (".toml", ".md", ".json") else text


def _slug(text: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return slug if slug[:1].isalpha() else f"project-{slug}".rstrip("-")
