"""Cutting dataset versions: their windows, counts, changes and numbers."""

from __future__ import annotations

from typing import Literal

import polars as pl
import pytest
from pydantic import AwareDatetime

from perene.definition.label import Label
from perene.definition.row import Row
from perene.errors import DataError, NotFound
from perene.records.dataset import Changes

NOW = "2013-01-31 12:00"  # training rows of 17 to 25 January, test rows of 27 to 29


def six(bench, day: int) -> pl.Expr:
    """The trip of r0 at six on a day of January."""
    return (pl.col("starts") == bench.instant(f"2013-01-{day} 06:00")) & (pl.col("rider") == "r0")


def test_a_version_holds_its_windows_and_counts(bench):
    """Training rows, test rows, and those between, whose labels came while the test already ran."""
    bench.collect(NOW)
    version = bench.cut(NOW)

    assert (version.version, version.rows, version.train_rows, version.test_rows) == (1, 39, 27, 9)
    assert (version.labelled, version.quarantined) == (39, 0)
    assert version.as_of == version.created_at == bench.instant(NOW)
    rows = bench.datasets.read(bench.model, version)
    parts = rows.group_by("part").agg(pl.len(), pl.col("starts").min().dt.day()).sort("starts").rows()
    assert parts == [("train", 27, 17), ("gap", 3, 26), ("test", 9, 27)]


def test_a_version_reads_its_rows_by_time_and_key(bench):
    """The Row's fields with their types, the label, when it was known, and the part."""
    bench.collect(NOW)
    rows = bench.datasets.read(bench.model, bench.cut(NOW))

    assert rows.columns == ["key", "event_at", "rider", "starts", "miles", "note", "label", "known_at", "part"]
    assert rows.equals(rows.sort("event_at", "key"))
    told = bench.told.filter(pl.col("starts").is_between(rows["starts"].min(), rows["starts"].max()))
    assert rows.select("rider", "starts", "miles", "label", "known_at").rows() == told.rows()


@pytest.mark.parametrize("train_on", ["10d", "60h"])
@pytest.mark.parametrize("part", ["train", "test"])
def test_one_part_is_read_as_it_stands_in_the_whole(bench, train_on, part):
    """Asking for training or test rows gives those rows of the version, and no other."""
    bench.declare(train_on=train_on, test_on="60h", label=Label("late", bool, known_at="ended", wait="7h"))
    bench.collect(NOW)
    version = bench.cut(NOW)
    rows = bench.datasets.read(bench.model, version, part=part)

    assert rows.equals(bench.datasets.read(bench.model, version).filter(part=part))
    assert rows.height == (version.train_rows if part == "train" else version.test_rows) > 0


def test_a_missing_label_is_never_a_negative(bench):
    """It stays null, and counts as no label anywhere."""
    bench.told = bench.told.with_columns(late=pl.when(rider="r0").then(None).otherwise("late"))
    bench.collect(NOW)
    version = bench.cut(NOW)

    assert {late for (rider, _), late in bench.labels(version).items() if rider == "r0"} == {None}
    assert (version.rows, version.labelled) == (39, 26)
    assert version.statistics["train"] == {"rows": 27, "labelled": 18}
    told = bench.told.filter(pl.col("starts").is_between(version.since, version.until))
    assert version.statistics["label_mean"] == pytest.approx(told["late"].mean())


@pytest.mark.parametrize(("kind", "mean"), [(float, 2.0), (Literal["a", "b"], None)])
def test_the_mean_label_is_that_of_numbers(bench, kind, mean):
    """Classes have none."""
    bench.declare(label=Label("late", kind, known_at="ended", wait="24h"), max_bad=0)
    bench.told = bench.told.with_columns(late=pl.lit(2.0 if mean else "a"))
    bench.collect(NOW)

    assert bench.cut(NOW).statistics["label_mean"] == mean


def test_windows_of_hours_are_cut_at_the_hour(bench):
    """A day that lies in two parts is divided by its events' times."""
    bench.declare(train_on="36h", test_on="53h", label=Label("late", bool, known_at="ended", wait="2h"))
    bench.collect("2013-01-31 12:00")
    version = bench.cut("2013-01-31 12:00")  # test from 28 January 19:00, training from 27th 07:00 to 28th 17:00
    rows = bench.datasets.read(bench.model, version)

    assert [version.since, version.trained_until] == [
        bench.instant("2013-01-27 07:00"),
        bench.instant("2013-01-28 17:00"),
    ]
    assert [f"{at:%d %H}" for at in rows.filter(part="train")["starts"]] == [
        "27 07",
        "27 08",
        "28 06",
        "28 07",
        "28 08",
    ]
    assert (version.train_rows, version.test_rows, version.rows) == (5, 6, 11)
    assert version.statistics["train"] == {"rows": 5, "labelled": 5}


def test_a_test_shorter_than_a_day_is_cut_at_the_hour(bench):
    """Even the test may be of hours."""
    bench.declare(sound=False, train_on="2d", test_on="17h", label=Label("late", bool, known_at="ended", wait="0s"))
    bench.collect("2013-01-31 00:00")
    version = bench.cut("2013-01-31 00:00")  # from 07:00 on

    assert (version.train_rows, version.test_rows) == (6, 2)


def test_versions_are_numbered_and_say_what_came_and_went(bench):
    """Added, relabelled, restated and gone since the version before; rows that left the window count apart too."""
    bench.declare(revisit="30d")
    bench.collect(NOW)
    first = bench.cut(NOW)
    bench.told = bench.told.filter(~six(bench, 22)).with_columns(
        late=pl.when(six(bench, 20)).then(~pl.col("late")).otherwise("late"),
        miles=pl.when(six(bench, 21)).then(99.0).otherwise("miles"),
    )
    bench.collect("2013-02-01 12:00")
    second = bench.cut("2013-02-01 12:00")

    assert (first.version, second.version) == (1, 2)
    assert first.changes == Changes(added=39)
    assert second.changes == Changes(added=3, relabelled=1, restated=1, gone=1 + 3)
    assert second.statistics["left_window"] == 3
    assert first.digest != second.digest
    assert [version.version for version in bench.datasets.list("trip-late")] == [2, 1]
    assert bench.datasets.latest("trip-late") == second


def test_a_day_that_leaves_in_part_counts_by_its_rows(bench):
    """With a window that begins within a day, what left it is told by the event's time."""
    bench.declare(train_on="83h", test_on="60h", label=Label("late", bool, known_at="ended", wait="0s"))
    bench.collect("2013-01-31")
    first = bench.cut("2013-01-31")  # from 25 January 01:00 on
    bench.declare(train_on="77h", test_on="60h", label=Label("late", bool, known_at="ended", wait="0s"))
    second = bench.cut("2013-01-31")  # from 07:00 on

    assert (first.since.hour, second.since.hour) == (1, 7)
    assert second.changes == Changes(gone=1)
    assert second.statistics["left_window"] == 1


def test_two_versions_of_the_same_rows_have_the_same_digest(bench):
    """Nothing new: another number, no change, the same proof."""
    bench.collect(NOW)
    first, second = bench.cut(NOW), bench.cut("2013-01-31 20:00")

    assert second.version == 2
    assert second.digest == first.digest
    assert second.changes == Changes()


def test_the_digest_does_not_know_the_way_of_the_rows(bench, make_bench, tmp_path_factory):
    """The same rows by other appends, in another order, have the same digest."""
    bench.collect(NOW)
    other = make_bench(tmp_path_factory.mktemp("other"))
    rows = other.told.sample(fraction=1.0, shuffle=True, seed=1)
    for i in range(4):
        other.bring(rows.gather_every(4, offset=i), NOW)

    assert other.cut(NOW).digest == bench.cut(NOW).digest


def test_the_window_must_have_labels_to_train_on(bench):
    """The error says what there is instead, and what to do."""
    with pytest.raises(DataError) as raised:
        bench.cut(NOW)
    assert raised.value.code == "data-empty"
    assert raised.value.why == "there are 0 rows to train on, for 2013-01-17 → 2013-01-26 UTC"
    assert raised.value.seen == ("the window has no row at all",)

    bench.told = bench.told.with_columns(late=pl.when(pl.col("starts") >= bench.instant("2013-01-27")).then("late"))
    bench.collect(NOW)
    with pytest.raises(DataError) as raised:
        bench.cut(NOW)
    assert raised.value.why == "there are 27 rows but no label to train on, for 2013-01-17 → 2013-01-26 UTC"


def test_the_window_must_have_labels_to_test_on(bench):
    """A candidate that cannot be judged is not trained."""
    bench.told = bench.told.filter(pl.col("starts") < bench.instant("2013-01-27"))
    bench.collect(NOW)

    with pytest.raises(DataError) as raised:
        bench.cut(NOW)
    assert raised.value.why == "there are 0 rows to test on, for 2013-01-27 → 2013-01-30 UTC"
    assert raised.value.seen == (
        "last day with rows: 2013-01-26 (3, 3 with a label); the 9 days with rows before had 3–3 a day",
    )
    assert bench.datasets.latest("trip-late") is None


def test_days_without_rows_are_named(bench):
    """A version says which days inside it are empty."""
    bench.told = bench.told.filter(pl.col("starts").dt.day() != 20)
    bench.collect(NOW)
    statistics = bench.cut(NOW).statistics

    assert statistics["days_without_rows"] == ["2013-01-20"]
    assert (statistics["days"], statistics["first_day"], statistics["last_day"]) == (12, "2013-01-17", "2013-01-29")


def test_an_unknown_version_is_refused_with_those_that_exist(bench):
    """Versions are whole numbers from 1."""
    with pytest.raises(NotFound, match="trip-late has no dataset yet"):
        bench.datasets.get("trip-late", 1)
    bench.collect(NOW)
    bench.cut(NOW)
    with pytest.raises(NotFound, match="trip-late has v1 to v1"):
        bench.datasets.get("trip-late", 2)


def test_unchanged_days_are_not_read_again(bench, monkeypatch):
    """A new version costs the days that it touches: of the others the kept digests are used."""
    bench.collect(NOW)
    bench.cut(NOW)
    read = []
    said = bench.datasets.examples.__class__.said

    def watched(self, model, question, *, days=None):
        read.extend(days)
        return said(self, model, question, days=days)

    monkeypatch.setattr(bench.datasets.examples.__class__, "said", watched)
    bench.collect("2013-02-01 12:00")
    bench.cut("2013-02-01 12:00")

    assert read == [bench.instant("2013-01-30").date()]


class Longer(Row):
    """A trip whose Row gained fields: one that may be missing, one that has a usual value."""

    rider: str
    seats: int = 4
    starts: AwareDatetime
    miles: float
    note: str | None = None
    weather: str | None = None


def test_a_row_may_gain_fields(bench):
    """Old versions keep their digest, old rows have the new fields' usual values, and nothing is said again for it."""
    bench.collect(NOW)
    first = bench.cut(NOW)
    bench.declare(row=Longer)
    bench.told = bench.told.with_columns(seats=pl.lit(2), weather=pl.lit("rain"))
    bench.collect("2013-02-01 12:00")
    second = bench.cut("2013-02-01 12:00")

    assert bench.datasets.verify(bench.model, first).ok
    assert second.changes == Changes(added=3, gone=3)
    rows = bench.datasets.read(bench.model, second)
    new = rows["starts"] >= bench.instant("2013-01-30")
    assert rows.filter(new)["weather"].to_list() == ["rain"] * 3
    assert rows.filter(new)["seats"].to_list() == [2] * 3
    assert rows.filter(~new)["weather"].null_count() == 36
    assert set(rows.filter(~new)["seats"]) == {4}


def test_rows_that_gained_fields_are_restated_where_they_are_told_again(bench):
    """A revisited day gets the new fields' values."""
    bench.declare(revisit="20d")
    bench.collect(NOW)
    bench.cut(NOW)
    bench.declare(row=Longer, revisit="20d")
    bench.told = bench.told.with_columns(seats=pl.lit(2))
    bench.collect("2013-01-31 18:00")

    assert bench.cut("2013-01-31 18:00").changes == Changes(restated=39)
