"""Offline predictions as a model declares them: whom, how often, how old they may be, and what comes instead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from pydantic import AwareDatetime

from perene import Label, Model, Row

AT = datetime(2026, 5, 1, tzinfo=UTC)


class Visitor(Row):
    """A visitor."""

    visitor: int
    seen: AwareDatetime


def everybody(at: datetime) -> pl.DataFrame:
    return pl.DataFrame({"visitor": [1], "seen": [at]})


def model(**changes) -> Model:
    terms = {
        "row": Visitor, "key": "visitor", "at": "seen", "label": Label("stays", bool), "train_on": "30d",
        "test_on": "10d", "features": lambda rows: rows, "train": lambda x, y: None, "source": lambda since, until: 0,
    }  # fmt: skip
    return Model("stays", **terms | changes)


def said(made: Model) -> str:
    return "\n".join(mistake.what for mistake in made.mistakes)


def test_the_terms_become_types() -> None:
    """Spans are read, and nothing is declared that was not said."""
    made, bare = model(offline="1d", max_age="2d", fallback="online", population=everybody), model()

    assert (said(made), said(bare)) == ("", "")
    assert (made.offline, made.max_age, made.fallback) == (timedelta(days=1), timedelta(days=2), "online")
    assert (bare.offline, bare.max_age, bare.fallback, bare.population_hook) == (None, None, None, None)


def test_the_population_is_given_the_instant_and_gives_what_it_likes() -> None:
    """Its ``at`` is one time, not a column, whatever it returns is handed on as it is."""
    made = model()

    @made.population
    def whom(at: datetime) -> pl.LazyFrame:
        return everybody(at).lazy()

    assert said(made) == ""
    assert made.population_hook is not None
    assert made.population_hook(at=AT).collect().rows() == [(1, AT)]


def test_the_declaration_remembers_them() -> None:
    """What the database keeps of a model says how its predictions are stored."""
    told = model(offline="1d", max_age="2d", fallback="online", population=everybody).declaration()

    kept = {name: told[name] for name in ("population", "offline", "max_age", "fallback")}
    assert kept == {"population": "everybody", "offline": 86400.0, "max_age": 172800.0, "fallback": "online"}


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"offline": "1d"}, "the model does not say whom to predict"),
        ({"offline": "soon", "population": everybody}, "'soon' is not a duration"),
        ({"offline": "0s", "population": everybody}, "must be longer than nothing"),
        ({"offline": "1d", "max_age": "1d", "population": everybody}, "max_age=1d is not longer than offline=1d"),
        ({"max_age": "0s"}, "must be longer than nothing"),
        ({"fallback": "onlin"}, "fallback='onlin' is not one of online"),
        ({"population": lambda: None}, "does not take at"),
        ({"population": lambda at, p: None}, "asks for p"),
        ({"population": everybody, "label": Label("clicks", float, group=True)}, "the model ranks groups"),
    ],
)
def test_a_mistake_is_named(changes, what) -> None:
    """Each wrong term is a mistake of the declaration, which says what is wrong."""
    assert what in said(model(**changes))


def test_one_population() -> None:
    """A second one is a mistake."""
    made = model(population=everybody)
    made.population(everybody)

    assert said(made) == "the model has a population already"
