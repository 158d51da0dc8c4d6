"""perene check before anything is trained: golden rows, and the features on rows of the source."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from perene.app import open_project, try_project
from perene.definition.project import Project, load_project
from perene.errors import DeclarationError, NotFound
from perene.pipelines.trying import Tried

NOW = datetime(2026, 11, 25, 9, tzinfo=UTC)
TRAIN = """
def train(x, y):
    return None

"""
PLAIN = TRAIN + 'm = Model("parcels", label=Label("hours", float, **WAIT), train=train, **terms)\n'
GOLDEN = """
@m.golden
def light():
    return pl.DataFrame({"number": [1], "sent_at": [EPOCH], "grams": [GRAMS], "zone": ["near"], "most": [1.0]})
"""


def changed(body: str, features: str = "", **other: str) -> str:
    """The plain model with other features, or another source."""
    given = ", ".join(f"{name}={name}" for name in (["features"] if features else []) + list(other))
    return features + "".join(other.values()) + body.replace("**terms)", f"**(terms | dict({given})))")


@pytest.fixture
def dialect() -> str:
    """SQLite alone: nothing is written."""
    return "sqlite"


@pytest.fixture
def project(write_project) -> Callable[..., Project]:
    """Write a project and load it."""

    def load(body: str = PLAIN, **more: str) -> Project:
        return load_project(write_project(body, **more), environment=None, variables={})

    return load


def tried(project: Project, name: str | None = None) -> list[Tried]:
    """What trying it gives."""
    return try_project(project, name, machine=lambda: NOW)


def mistakes(project: Project) -> list[str]:
    """Everything that trying it finds wrong."""
    with pytest.raises(DeclarationError) as refused:
        tried(project)
    return [str(mistake) for mistake in refused.value.mistakes]


def test_features_are_tried_on_rows_of_the_source(project) -> None:
    """A sound model is tried on the rows of the newest day that training would ask for; nothing is made of it."""
    found = project()

    assert tried(found) == [Tried(model="parcels", rows=48, golden=None, mistakes=())]
    assert not (found.folder / ".perene").exists()


def test_what_polars_raises_is_told(project) -> None:
    """A column that is not there is a mistake of the features, in polars' words."""
    (found,) = mistakes(project(changed(PLAIN, 'def features(rows):\n    return rows.select("gramms")\n')))

    assert "features features raised ColumnNotFoundError" in found


def test_the_line_is_that_which_raised(project) -> None:
    """Not where the function begins, but where it went wrong."""
    found = project(changed(PLAIN, "def features(rows):\n    a = 1\n    b = a / 0\n    return rows\n"))
    lines = (found.folder / "models" / "parcels.py").read_text().splitlines()

    (told,) = mistakes(found)

    assert told.startswith(f"models/parcels.py:{lines.index('    b = a / 0') + 1}: features features raised Zero")


def test_features_that_look_at_other_rows_are_refused(project) -> None:
    """Law 1: what is not row-wise is found before the first training."""
    body = changed(PLAIN, 'def features(rows):\n    return rows.select(k=pl.col("grams") - pl.col("grams").mean())\n')

    (found,) = mistakes(project(body))

    assert "is not row-wise: k is" in found


def test_a_source_that_raises_is_a_mistake(project) -> None:
    """It would fail the training too."""
    body = changed(PLAIN, source='def source(since, until):\n    raise ConnectionError("no route to the warehouse")\n')

    (found,) = mistakes(project(body))

    assert "source source raised ConnectionError: no route to the warehouse" in found


def test_a_source_whose_rows_do_not_fit_is_a_mistake(project) -> None:
    """More bad rows than max_bad allows, with the field."""
    body = changed(
        PLAIN,
        source="def source(since, until):\n    return parcels(since, until).with_columns(grams=pl.lit(-1.0))\n",
    )

    (found,) = mistakes(project(body))

    assert "48 of 48 rows of source() for 2026-11-24 to 2026-11-25 do not fit Parcel" in found
    assert "; grams must be " in found


def test_a_source_without_rows_of_late_is_no_mistake(project) -> None:
    """Where nothing came for 30 days, the features are not tried, and that is told."""
    body = changed(PLAIN, source="def source(since, until):\n    return parcels(since, until).head(0)\n")

    assert tried(project(body)) == [Tried(model="parcels", rows=0, golden=None, mistakes=())]


def test_older_days_are_asked_for_until_there_are_rows(project) -> None:
    """A source that has been quiet for some days is tried on those before."""
    quiet = "def source(since, until):\n    end = datetime(2026, 11, 20, tzinfo=UTC)\n    return parcels(since, end)\n"

    (found,) = tried(project(changed(PLAIN, source=quiet)))

    assert found.rows == 2 * 48


def test_golden_rows_are_tried_too(project) -> None:
    """They must fit the Row, and the features are computed for them."""
    (found,) = tried(project(PLAIN + GOLDEN.replace("GRAMS", "5.0")))

    assert (found.rows, found.golden) == (48, 1)


def test_unsound_golden_rows_are_a_mistake(project) -> None:
    """Rows that no caller could send, at the place of the hook."""
    (found,) = mistakes(project(PLAIN + GOLDEN.replace("GRAMS", "-5.0")))

    assert "golden light gives rows that do not fit Parcel: grams" in found


def test_every_model_s_mistakes_are_named_at_once(project) -> None:
    """Mistakes of two models, and of one model's golden rows and features, come in one error."""
    bad = "def broken(rows):\n    raise KeyError(1)\n"
    second = (
        'n = Model("others", label=Label("hours", float, **WAIT), train=train, **(terms | dict(features=broken)))\n'
    )
    found = project(bad + PLAIN + second + GOLDEN.replace("GRAMS", "-5.0"))

    with pytest.raises(DeclarationError, match="the hooks of others, parcels do not go with their rows") as refused:
        tried(found)

    assert len(refused.value.mistakes) == 2


def test_one_model_can_be_tried(project) -> None:
    """By its name; an unknown one is not found."""
    found = project()

    assert [one.model for one in tried(found, "parcels")] == ["parcels"]
    with pytest.raises(NotFound, match="there is no model 'parcel'"):
        tried(found, "parcel")


def test_a_replay_is_tried_at_its_own_time(write_project: Callable[..., Path]) -> None:
    """Rows are those of late in project time, which a replay keeps in the database."""
    first_days = (
        "def source(since, until):\n    return parcels(since, until) if since.year == 2020 else parcels(since, since)\n"
    )
    folder = write_project(changed(PLAIN, source=first_days))
    app = open_project(folder)
    app.time.start_replay(datetime(2020, 6, 1, tzinfo=UTC))
    found = app.project
    app.close()

    assert [one.rows for one in tried(found)] == [48]
