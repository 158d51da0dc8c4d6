"""Registering: the project's models become known to its database."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from perene.definition.changes import unfit_changes
from perene.definition.model import Model
from perene.errors import DeclarationError
from perene.repositories.models import Models
from perene.storage.envelope import Log
from perene.storage.lake import Lake


def register(declared: Mapping[str, Model], *, models: Models, lake: Lake, now: datetime) -> None:
    """Make a project's models known. Readers of an unchanged project write nothing.

    Raises DeclarationError for changes that the data of a model cannot follow.
    """
    known = {model.name: model.declaration for model in models.list()}
    changed = {
        name: (model, model.declaration()) for name, model in declared.items() if known.get(name) != model.declaration()
    }
    mistakes = [
        mistake
        for name, (model, declaration) in changed.items()
        if name in known and any(lake.horizon(name, log) for log in Log)
        for mistake in unfit_changes(known[name], declaration, line=model.line)
    ]
    if mistakes:
        raise DeclarationError("the data of this project does not fit its models any more", tuple(mistakes))
    for name, (_, declaration) in changed.items():
        models.register(name, declaration, now)
