"""perene: machine-learning models that stay fresh in production.

The public names are loaded on first use, so that ``import perene`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perene.app import open_project
    from perene.definition.gates import gate
    from perene.definition.label import Label
    from perene.definition.model import Model
    from perene.definition.row import PII, Log, Row

__all__ = ["PII", "Label", "Log", "Model", "Row", "gate", "open_project"]

_HOMES = {
    "Label": "perene.definition.label",
    "Log": "perene.definition.row",
    "Model": "perene.definition.model",
    "PII": "perene.definition.row",
    "Row": "perene.definition.row",
    "gate": "perene.definition.gates",
    "open_project": "perene.app",
}


def __getattr__(name: str) -> object:
    if name == "post":
        return import_module("perene.post")
    if name not in _HOMES:
        raise AttributeError(f"module 'perene' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES, "post"])
