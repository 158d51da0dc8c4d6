"""Traps of labels, each with the test that a dataset version does not fall into it. Numbered as in the notes."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

NOW = "2013-01-31 12:00"  # with a wait of a day: test rows are those of 27 to 29 January


def test_trap_18_early_labels(bench):
    """Trips that are late tell so later: of rows younger than the wait the label looks rarer, so they are not cut."""
    slow = timedelta(hours=20)
    late = pl.col("starts").dt.hour() == 6  # one trip of three
    bench.told = bench.told.with_columns(
        late=late, ended=pl.when(late).then(pl.col("starts") + slow).otherwise(pl.col("ended"))
    )
    bench.collect(NOW)
    rows = bench.datasets.read(bench.model, bench.cut(NOW))

    now = bench.instant(NOW)
    known = bench.told.filter((pl.col("ended") <= now) & (pl.col("starts") >= bench.instant("2013-01-31")))
    assert (known.height, known["late"].sum()) == (2, 0)  # what a careless window would learn of today
    assert rows["starts"].max() < bench.instant("2013-01-30")
    assert rows["label"].null_count() == 0
    assert rows["label"].mean() == 1 / 3


def test_trap_19_rows_that_are_never_labelled(bench):
    """They stay in the version without a label, are counted, and are no negatives."""
    cancelled = pl.col("rider") == "r2"
    bench.told = bench.told.with_columns(
        late=pl.when(cancelled).then(None).otherwise(pl.col("late")),
        ended=pl.when(cancelled).then(None).otherwise(pl.col("ended")),
    )
    bench.collect(NOW)
    version = bench.cut(NOW)
    rows = bench.datasets.read(bench.model, version)

    never = rows.filter(rider="r2")
    assert never.height == version.rows - version.labelled == version.rows // 3
    assert never["label"].null_count() == never.height


def test_trap_21_repeated_ids_and_labels(bench):
    """An id that was logged twice, a label that was told twice, and one that was corrected make one example each."""
    bench.declare(examples="log")
    trips = bench.trips("2013-01-20", 9, a_day=2)
    ids = [f"p{i}" for i in range(trips.height)]
    bench.predict(trips, ids, source="first process")
    bench.predict(trips, ids, source="second process")
    bench.tell(trips, source="truth")
    bench.tell(trips, source="truth, sent again")
    corrected = trips.head(1).with_columns(late=~pl.col("late"), ended=pl.col("ended") + timedelta(hours=1))
    bench.tell(corrected, source="correction")
    bench.collect(NOW)
    rows = bench.datasets.read(bench.model, bench.cut(NOW))

    assert rows.select("key", "event_at").is_duplicated().sum() == 0
    assert rows.height == trips.height
    first = rows.filter(pl.col("event_at") == trips["starts"][0])
    assert first["label"].to_list() == corrected["late"].to_list()
