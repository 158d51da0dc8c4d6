"""Names that were probably meant."""

from __future__ import annotations

import pytest

from perene.definition.spelling import did_you_mean

NAMES = ("demand", "delivery-time", "late-arrival")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("delivery-tme", "delivery-time"),
        ("deliv", "delivery-time"),
        ("lat", "late-arrival"),
        ("de", None),
        ("time", None),
        ("x", None),
        ("", None),
    ],
)
def test_what_was_meant_is_close_or_begins_so(name, meant) -> None:
    """A name with a slip, or the first letters (three at least) of one; nothing is guessed of less."""
    assert did_you_mean(name, NAMES) == (f"; did you mean {meant}?" if meant else "")
