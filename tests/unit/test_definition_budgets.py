"""Serving budgets of a model: time and memory, as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AwareDatetime

from perene import Label, Model, Row
from perene.definition.sizes import show_size, size_in_bytes
from perene.errors import DeclarationError


class Parcel(Row):
    """A parcel."""

    number: int
    sent_at: AwareDatetime


def model(**budgets: object) -> Model:
    """A sound model with these budgets."""
    return Model(
        "parcels", row=Parcel, key="number", at="sent_at", label=Label("hours", float), train_on="20d", test_on="10d",
        features=lambda rows: rows, train=lambda x, y: x, **budgets,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1GiB", 2**30),
        ("512 MiB", 512 * 2**20),
        ("1.5gib", 3 * 2**29),
        ("100MB", 10**8),
        ("1 KB", 1000),
        ("7B", 7),
        (4096, 4096),
    ],
)
def test_text_says_a_size(text, size) -> None:
    """A number and a unit, or a number of bytes, say a size; MB are millions of bytes, MiB powers of two."""
    assert size_in_bytes(text) == size


@pytest.mark.parametrize(
    "text", ["", "1", "GiB", "-1GiB", "1 GiB more", "1 gigabyte", "0B", "1iB", 0, -5, True, 1.5, None]
)
def test_other_texts_say_no_size(text) -> None:
    """Everything else is refused, with the form or with what is wrong."""
    with pytest.raises(ValueError, match=r"is not a size: write a number and a unit|less than a byte"):
        size_in_bytes(text)


@given(st.integers(min_value=1, max_value=2**50))
def test_a_shown_size_reads_back_to_a_tenth(size) -> None:
    """What is shown says the size within a tenth of its unit."""
    shown = show_size(size)
    number, unit = shown.replace(",", "").split()

    assert abs(size_in_bytes(f"{number}{unit}") - size) <= size_in_bytes(f"1{unit}") / 20 + 1


def test_budgets_are_read() -> None:
    """A model's budgets are a span and a number of bytes; without them it has none."""
    assert (model().latency, model().memory) == (None, None)
    budgeted = model(latency="20ms", memory="1GiB")
    assert (budgeted.latency, budgeted.memory) == (timedelta(milliseconds=20), 2**30)


def test_budgets_are_declared() -> None:
    """The declaration that the database remembers has the budgets, in seconds and bytes."""
    declared = model(latency="20ms", memory="1GiB").declaration()

    assert (declared["latency"], declared["memory"]) == (0.02, 2**30)


def test_wrong_budgets_are_mistakes_of_the_declaration() -> None:
    """Both are named at once, each with the form that is right."""
    with pytest.raises(DeclarationError) as refused:
        model(latency="20 parsecs", memory="much").ensure_sound()

    first, second = refused.value.mistakes
    assert first.what.startswith("latency: '20 parsecs' is not a duration")
    assert second.what.startswith("memory: 'much' is not a size")


def test_a_budget_of_no_time_is_refused() -> None:
    """No request takes no time."""
    with pytest.raises(DeclarationError, match="declared wrong") as refused:
        model(latency="0s").ensure_sound()

    assert "longer than nothing" in refused.value.mistakes[0].what
