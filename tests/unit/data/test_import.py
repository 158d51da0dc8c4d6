"""Importing examples: the start of a model without a source, and corrections by hand."""

from __future__ import annotations

import polars as pl
import pytest

from perene.definition.label import Label
from perene.errors import DataError

NOW = "2013-01-31 12:00"  # the window is of 17 to 29 January
NOTHING = {"added": 0, "relabelled": 0, "restated": 0, "gone": 0}
SIX = "01-20 06"


@pytest.fixture
def history(bench):
    """A bench whose model has no source, with a month of imported trips."""
    bench.declare(examples="log", source=None)
    bench.bring(bench.told, NOW)
    return bench


def trip(bench, *, late: bool = True, known: str = "2013-01-20 08:00", miles: float | None = None) -> pl.DataFrame:
    """The trip of r0 on 20 January at six, as it was told but for these values."""
    told = bench.told.filter(starts=bench.instant("2013-01-20 06:00"))
    return told.with_columns(
        late=pl.lit(late), ended=pl.lit(bench.instant(known)), miles=pl.coalesce(pl.lit(miles), "miles")
    )


def changes(done: dict[str, object]) -> dict[str, object]:
    """What an import changed."""
    return {name: done[name] for name in NOTHING}


def test_a_first_model_without_a_source_learns_from_an_import(bench):
    """Imported rows are examples like any other."""
    bench.declare(examples="log", source=None)
    done = bench.bring(bench.told, NOW)

    assert changes(done) == NOTHING | {"added": bench.told.height}
    assert done["rows"] == bench.told.height
    version = bench.cut(NOW)
    assert (version.rows, version.train_rows, version.test_rows) == (39, 27, 9)


def test_the_same_import_again_says_nothing(history):
    """A file that is imported twice adds no line."""
    before = history.said()
    done = history.bring(history.told, "2013-02-01")

    assert changes(done) == NOTHING
    assert history.said().equals(before)


def test_an_import_corrects_what_was_imported_before(history):
    """Other labels and fields are new lines; rows that the file lacks stay as they are."""
    was = history.labels(history.cut(NOW))[("r0", SIX)]
    done = history.bring(trip(history, late=not was, miles=42.0), NOW)

    assert changes(done) == NOTHING | {"relabelled": 1, "restated": 1}
    version = history.cut(NOW)
    assert history.labels(version)["r0", SIX] is (not was)
    assert version.rows == 39


def test_imports_of_one_file_at_one_time_all_count(history):
    """Project time may stand still: what a second and a third import change is not taken for the first again."""
    was = history.labels(history.cut(NOW))[("r0", SIX)]
    for late in (not was, was, not was):
        assert changes(history.bring(trip(history, late=late), NOW)) == NOTHING | {"relabelled": 1}
        assert history.labels(history.cut(NOW))["r0", SIX] is late


def test_a_label_of_the_future_counts_from_then_on(bench):
    """Until then the row is there without a label."""
    bench.declare(examples="log", source=None)
    bench.bring(bench.told.filter(pl.col("starts") != bench.instant("2013-01-20 06:00")), NOW)
    bench.bring(trip(bench, known="2013-01-31 15:00"), NOW)

    before, after = bench.cut("2013-01-31 14:59"), bench.cut("2013-01-31 15:00")
    assert bench.labels(before)["r0", SIX] is None
    assert bench.labels(after)["r0", SIX] is True
    assert after.changes.relabelled == 1
    assert bench.labels(before)["r0", SIX] is None


def test_what_held_before_holds_until_a_label_of_the_future_is_known(history):
    """A correction that is known only later leaves the label until then; corrected fields hold at once."""
    was = history.labels(history.cut(NOW))[("r0", SIX)]
    for known in ("2013-01-31 15:00", "2013-01-31 18:00"):  # the second, said before the first counts, takes its place
        history.bring(trip(history, late=not was, known=known, miles=42.0), NOW)

    before, after = history.cut("2013-01-31 17:59"), history.cut("2013-01-31 18:00")
    assert history.labels(before)["r0", SIX] is was
    assert history.labels(after)["r0", SIX] is (not was)
    rows = history.datasets.read(history.model, before).filter(starts=history.instant("2013-01-20 06:00"), rider="r0")
    assert rows["miles"].to_list() == [42.0]


def test_events_of_the_future_may_be_imported(history):
    """They count once their time, and that of their labels, has come."""
    ahead = history.trips("2013-03-20", 1)
    history.bring(ahead, NOW)

    assert history.cut(NOW).rows == 39
    history.bring(pl.concat([history.trips("2013-03-05", 15), history.trips("2013-03-21", 3)]), "2013-03-25")
    version = history.datasets.read(history.model, history.cut("2013-03-25"))
    assert version.filter(pl.col("starts").dt.day() == 20)["label"].to_list() == ahead["late"].to_list()


@pytest.mark.parametrize(("known", "bad"), [("05:00", 0), ("04:50", 0), ("04:49", 1), ("00:00", 1)])
def test_a_label_that_is_known_before_its_prediction_is_asked_for_is_set_aside(history, known, bad):
    """A trip at six is asked for at five; the clocks of two writers may disagree by ten minutes."""
    history.declare(examples="log", source=None, max_bad="100%")
    done = history.bring(trip(history, known=f"2013-01-20 {known}"), NOW)

    assert done["quarantined"] == bad
    whys = [(aside.field, aside.what, aside.rows) for aside in history.sources.quarantined("trip-late")]
    assert whys == [("ended", "must not be before starts - 1h, when the prediction is asked for", 1)] * bad


def test_a_row_without_a_label_says_nothing_of_when_it_was_known(history):
    """Whatever stands there."""
    row = trip(history, known="2013-01-01").with_columns(late=pl.lit(None, dtype=pl.Boolean))

    assert history.bring(row, NOW)["quarantined"] == 0


def test_a_label_of_the_future_that_was_known_at_the_import_is_set_aside(history):
    """Of a model whose labels do not say when they were known: an event of tomorrow cannot have one."""
    history.declare(examples="log", source=None, label=Label("late", bool, wait="24h"), max_bad="100%")
    done = history.bring(history.trips("2013-02-01", 1).drop("ended"), NOW)

    assert done["quarantined"] == 3
    assert [(a.field, a.what) for a in history.sources.quarantined("trip-late")] == [
        ("starts", "lies in the future, but comes with a label")
    ]


def test_labels_that_count_only_later_are_told(history):
    """They are kept, and the import says how many there are."""
    assert history.bring(trip(history, known="2013-01-31 15:00"), NOW)["later"] == 1
    assert history.bring(trip(history), NOW)["later"] == 0


def test_an_import_wins_over_the_log(history):
    """What a person imported holds, whatever the prediction log says of the same identity."""
    row = trip(history, miles=9.0)
    history.predict(row, ["p0"], source="first")
    history.collect(NOW)

    version = history.datasets.read(history.model, history.cut(NOW))
    told = history.told.filter(starts=history.instant("2013-01-20 06:00"))["miles"].to_list()
    assert version.filter(starts=history.instant("2013-01-20 06:00"))["miles"].to_list() == told


def test_of_source_and_import_that_which_spoke_last_holds(bench):
    """A correction by hand stands until the source itself says something else."""
    bench.declare(revisit="20d")
    bench.collect(NOW)
    was = bench.labels(bench.cut(NOW))["r0", SIX]
    bench.bring(trip(bench, late=not was), NOW)
    assert bench.labels(bench.cut(NOW))["r0", SIX] is (not was)

    bench.collect("2013-01-31 18:00")  # the source says what it said before
    assert bench.labels(bench.cut("2013-01-31 18:00"))["r0", SIX] is (not was)

    six = (pl.col("starts") == bench.instant("2013-01-20 06:00")) & (pl.col("rider") == "r0")
    bench.told = bench.told.with_columns(miles=pl.when(six).then(7.5).otherwise("miles"))
    bench.collect("2013-01-31 20:00")
    assert bench.labels(bench.cut("2013-01-31 20:00"))["r0", SIX] is was


def test_a_file_with_too_many_bad_rows_is_refused_whole(bench):
    """The rows are on record under the import, and none is an example."""
    bad = bench.told.with_columns(miles=pl.when(rider="r1").then(-1.0).otherwise("miles"))

    with pytest.raises(DataError, match=r"60 of 180 rows of trips\.csv do not fit Trip and its label") as raised:
        bench.bring(bad, NOW)
    assert raised.value.code == "bad-rows"
    (aside,) = bench.sources.quarantined("trip-late")
    assert (aside.origin, aside.field, aside.rows) == ("import", "miles", 60)
    assert bench.said().is_empty()


def test_an_empty_file_imports_nothing(bench):
    """No row is no mistake."""
    assert changes(bench.bring(bench.told.clear(), NOW)) == NOTHING
