"""Versions as people name them: a model, ``MODEL@V``, or ``--version V`` beside the model."""

from __future__ import annotations

import click


def model_and_version(text: str, wanted: int | None) -> tuple[str, int | None]:
    """The model that is named, and its version if one is. Raises BadParameter for what names none, or two."""
    model, _, after = text.partition("@")
    if not after:
        return model, wanted
    number = after.removeprefix("v")
    if not number.isdecimal() or wanted not in (None, int(number)):
        raise click.BadParameter(f"{text} names no version, or another than --version", param_hint="MODEL")
    return model, int(number)
