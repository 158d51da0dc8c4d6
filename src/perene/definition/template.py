"""Files of new projects, as they lie in a package."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

_IGNORE = "gitignore"  # named without its dot, so that it is packed


def read_template(package: str) -> dict[Path, str]:
    """The texts of the folder ``template`` in a package, by their paths in a project."""
    found: dict[Path, str] = {}

    def walk(entry: Traversable, at: Path) -> None:
        for child in entry.iterdir():
            if child.is_dir() and child.name != "__pycache__":
                walk(child, at / child.name)
            elif child.is_file():
                name = ".gitignore" if child.name == _IGNORE else child.name
                found[at / name] = child.read_text(encoding="utf-8")

    walk(files(package) / "template", Path())
    return found
