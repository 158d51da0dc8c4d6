"""Collecting from a source: which days it is asked for, and what becomes of new, late and corrected rows."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from perene.definition.label import Label
from perene.errors import DataError, NotFound

NOW = "2013-01-31 12:00"  # with a wait of a day, the window is of 17 to 29 January
HOUR = timedelta(hours=1)
NOTHING = {"added": 0, "relabelled": 0, "restated": 0, "gone": 0}


def at(starts: str) -> pl.Expr:
    """Trips of a time."""
    return pl.col("starts") == pl.lit(starts).str.to_datetime(time_zone="UTC", time_unit="us")


def changed(bench, starts: str, **columns: object) -> pl.DataFrame:
    """What the source tells, with other values for the trips of a time."""
    return bench.told.with_columns(
        pl.when(at(starts)).then(value if isinstance(value, pl.Expr) else pl.lit(value)).otherwise(name).alias(name)
        for name, value in columns.items()
    )


# ── which days are asked for ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_collection_asks_for_the_whole_window_at_once(bench):
    """Days that follow each other are one call."""
    done = bench.collect(NOW)

    assert bench.asked == [("01-17", "01-30")]
    assert done["rows"] == 3 * 13
    assert done["source"] == NOTHING | {"added": 3 * 13}
    assert done["asked"] == [{"since": "2013-01-17", "until": "2013-01-30"}]


def test_only_missing_days_are_asked_for(bench):
    """What was asked for before is not asked for again; what the window reaches now, on either side, is."""
    bench.collect(NOW)
    bench.asked.clear()
    bench.declare(train_on="15d")
    bench.collect("2013-02-02 12:00")

    assert bench.asked == [("01-14", "01-17"), ("01-30", "02-01")]


def test_days_that_may_be_corrected_are_asked_for_again(bench):
    """``revisit`` covers the days that are younger than it."""
    bench.declare(revisit="5d")
    bench.collect(NOW)
    bench.asked.clear()
    bench.collect("2013-02-01 12:00")

    assert bench.asked == [("01-27", "01-31")]


def test_days_whose_labels_may_still_come_are_asked_for_again(bench):
    """A day that was asked for before its labels had their wait, as when that is declared longer, is asked again."""
    bench.collect(NOW)
    bench.asked.clear()
    bench.declare(label=Label("late", bool, known_at="ended", wait="72h"))
    bench.collect("2013-02-02 12:00")

    assert bench.asked == [("01-28", "01-30")]  # those of 27 January had three days when they were asked for


def test_a_source_is_not_asked_where_examples_come_from_the_log(bench):
    """``examples="log"`` leaves the source alone."""
    bench.declare(examples="log")
    bench.collect(NOW)

    assert bench.asked == []
    assert bench.said().is_empty()


def test_a_repeated_collection_asks_nothing_and_says_nothing(bench):
    """The same collection again changes nothing at all."""
    bench.collect(NOW)
    before = bench.said()
    bench.asked.clear()
    done = bench.collect(NOW)

    assert bench.asked == []
    assert done["source"] == NOTHING
    assert bench.said().equals(before)


def test_a_source_that_tells_the_same_again_says_nothing(bench):
    """Days that are revisited add no row when nothing is other."""
    bench.declare(revisit="20d")
    bench.collect(NOW)
    before = bench.said()
    done = bench.collect("2013-01-31 18:00")

    assert bench.asked == [("01-17", "01-30")] * 2
    assert done["source"] == NOTHING
    assert bench.said().equals(before)


# ── what became other ────────────────────────────────────────────────────────────────────────────────────────────────


def revisited(bench, told: pl.DataFrame) -> dict[str, object]:
    """What a second collection finds changed when the source tells this then."""
    bench.declare(revisit="20d")
    bench.collect(NOW)
    bench.told = told
    return bench.collect("2013-01-31 18:00")["source"]


def test_a_label_that_comes_late_is_a_new_line(bench):
    """The row without a label stays in the log, and what holds now has the label."""
    whole = bench.told
    bench.told = changed(bench, "2013-01-20 06:00", late=None, ended=None)

    assert revisited(bench, whole) == NOTHING | {"relabelled": 1}
    lines = bench.said().filter(pl.col("event_at") == bench.instant("2013-01-20 06:00"))
    assert lines["label"].to_list() == [None, whole.filter(at("2013-01-20 06:00"))["late"].item()]
    assert lines["known_at"].to_list() == [bench.instant("2013-01-20 05:00"), bench.instant("2013-01-20 08:00")]


def test_a_corrected_label_is_a_new_line(bench):
    """A correction does not touch the line that it corrects."""
    late = bench.told.filter(at("2013-01-20 06:00"))["late"].item()

    assert revisited(bench, changed(bench, "2013-01-20 06:00", late=not late)) == NOTHING | {"relabelled": 1}
    lines = bench.said().filter(pl.col("event_at") == bench.instant("2013-01-20 06:00"))
    assert lines["label"].to_list() == [late, not late]


def test_a_label_that_was_taken_back_is_unknown_again(bench):
    """A label that the source gives no more is null, and never a negative."""
    assert revisited(bench, changed(bench, "2013-01-20 06:00", late=None)) == NOTHING | {"relabelled": 1}
    assert bench.labels(bench.cut("2013-01-31 18:00"))["r0", "01-20 06"] is None


def test_a_row_with_other_fields_is_restated(bench):
    """Fields other than the label count apart."""
    assert revisited(bench, changed(bench, "2013-01-20 06:00", miles=99.0)) == NOTHING | {"restated": 1}
    version = bench.datasets.read(bench.model, bench.cut("2013-01-31 18:00"))
    assert version.filter(pl.col("starts") == bench.instant("2013-01-20 06:00"))["miles"].to_list() == [99.0]


def test_a_label_that_was_known_at_another_time_is_said_again(bench):
    """Another ``known_at`` counts as no change of the data, but the log has it."""
    later = bench.instant("2013-01-20 09:30")

    assert revisited(bench, changed(bench, "2013-01-20 06:00", ended=later)) == NOTHING
    lines = bench.said().filter(pl.col("event_at") == bench.instant("2013-01-20 06:00"))
    assert lines["known_at"].to_list() == [bench.instant("2013-01-20 08:00"), later]


def test_a_row_that_is_gone_is_taken_back_and_may_come_again(bench):
    """A retraction is a line that says so; when the row is told again, a third line says that."""
    whole = bench.told
    assert revisited(bench, whole.filter(~at("2013-01-20 06:00"))) == NOTHING | {"gone": 1}
    assert ("r0", "01-20 06") not in bench.labels(bench.cut("2013-01-31 18:00"))

    bench.told = whole
    assert bench.collect("2013-01-31 20:00")["source"] == NOTHING | {"added": 1}
    assert ("r0", "01-20 06") in bench.labels(bench.cut("2013-01-31 20:00"))
    lines = bench.said().filter(pl.col("event_at") == bench.instant("2013-01-20 06:00"))
    assert lines["retracted"].to_list() == [False, True, False]


def test_labels_without_a_time_are_known_when_they_arrive(bench):
    """Without ``known_at`` a label keeps the time of its first arrival, and a correction has its own."""
    whole = bench.told.drop("ended")
    bench.declare(label=Label("late", bool, wait="24h"), revisit="20d")
    bench.told = whole.with_columns(late=pl.when(~at("2013-01-21 06:00")).then("late"))
    bench.collect(NOW)
    bench.told = whole.with_columns(late=pl.when(at("2013-01-20 06:00")).then(~pl.col("late")).otherwise("late"))
    bench.collect("2013-01-31 18:00")

    known = dict(bench.said().group_by("event_at").agg(pl.col("known_at")).iter_rows())
    first, second = bench.instant(NOW), bench.instant("2013-01-31 18:00")
    assert known[bench.instant("2013-01-19 06:00")] == [first]
    assert known[bench.instant("2013-01-20 06:00")] == [first, second]
    assert known[bench.instant("2013-01-21 06:00")] == [bench.instant("2013-01-21 05:00"), second]


# ── what is known when ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_label_that_is_known_later_than_now_is_not_used(bench):
    """A source that tells the future is not believed yet: the row has no label until then."""
    whole = bench.told
    bench.told = changed(bench, "2013-01-20 06:00", ended=bench.instant("2013-01-31 15:00"))
    bench.declare(revisit="20d")
    bench.collect(NOW)

    assert bench.labels(bench.cut(NOW))["r0", "01-20 06"] is None
    assert bench.said()["known_at"].max() <= bench.instant(NOW)

    assert bench.collect("2013-01-31 15:00")["source"] == NOTHING | {"relabelled": 1}
    late = whole.filter(at("2013-01-20 06:00"))["late"].item()
    assert bench.labels(bench.cut("2013-01-31 15:00"))["r0", "01-20 06"] is late


def test_a_label_may_be_known_after_midnight(bench):
    """The row belongs to the day of its event, whenever its label was known."""
    bench.told = pl.concat(
        [bench.told, bench.trips("2013-01-20", 1, a_day=1).with_columns(rider=pl.lit("owl"))]
    ).with_columns(
        pl.when(rider="owl").then(bench.instant("2013-01-20 23:30")).otherwise("starts").alias("starts"),
        pl.when(rider="owl").then(bench.instant("2013-01-21 04:00")).otherwise("ended").alias("ended"),
    )
    bench.collect(NOW)

    line = bench.said().filter(pl.col("event_at") == bench.instant("2013-01-20 23:30"))
    assert line["day"].to_list() == [bench.instant("2013-01-20").date()]
    assert bench.labels(bench.cut(NOW))["owl", "01-20 23"] is not None


def test_an_event_at_midnight_belongs_to_the_day_that_begins(bench):
    """Nothing at the border of two days is lost, or there twice."""
    midnights = bench.trips("2013-01-01", 60, a_day=1).with_columns(
        pl.col("starts", "ended").dt.offset_by("-6h"), rider=pl.lit("bat")
    )
    bench.told = pl.concat([bench.told, midnights])
    bench.collect("2013-01-30 12:00")
    bench.collect(NOW)

    bats = [hour for rider, hour in bench.labels(bench.cut(NOW)) if rider == "bat"]
    assert bats == [f"01-{day} 00" for day in range(17, 30)]


@pytest.mark.parametrize("begin", ["2013-03-08", "2013-11-01"])
def test_days_of_23_and_25_hours_lose_nothing(bench, begin):
    """Local times over a change of the clock come once each, by their instants."""
    first = bench.instant(begin)
    hours = pl.Series([first + hour * HOUR for hour in range(5 * 24)], dtype=pl.Datetime("us", "UTC"))
    told = pl.DataFrame({"rider": "r", "starts": hours, "miles": 1.0, "late": [True, False] * 60})
    local = pl.col("starts", "ended").dt.convert_time_zone("America/New_York")
    bench.told = told.with_columns(ended=pl.col("starts") + HOUR)
    bench.declare(
        train_on="3d", test_on="2d", source=lambda since, until: bench.source(since, until).with_columns(local)
    )
    now = f"{first + timedelta(days=6, hours=1):%Y-%m-%d %H:%M}"
    bench.collect(now)

    assert bench.datasets.read(bench.model, bench.cut(now))["starts"].to_list() == hours.to_list()


# ── sources that fail ────────────────────────────────────────────────────────────────────────────────────────────────


def failing(bench, error: Exception):
    """Declare a source that raises."""

    def source(since, until):
        raise error

    bench.declare(source=source)


def test_what_a_source_raises_is_told_with_its_place(bench):
    """The error names the function, the days, what it raised and where it stands."""
    failing(bench, ConnectionError("no route to host"))

    with pytest.raises(DataError) as raised:
        bench.collect(NOW)
    assert raised.value.code == "source-failed"
    assert raised.value.what == "source() for 2013-01-17 → 2013-01-30 UTC failed"
    assert raised.value.why == "ConnectionError: no route to host"
    assert "test_collect.py:" in raised.value.mend


def test_an_error_of_ours_passes_as_it_is(bench):
    """A source that raises one of perene's errors has said what there is to say."""
    failing(bench, NotFound("no flights"))

    with pytest.raises(NotFound, match="no flights"):
        bench.collect(NOW)


def test_what_was_collected_before_a_failure_is_kept(bench):
    """The next collection asks for the rest only."""
    bench.collect(NOW)
    bench.asked.clear()
    tell = bench.source

    def breaks(since, until):
        if since > bench.instant("2013-01-20"):
            raise TimeoutError
        return tell(since, until)

    bench.declare(train_on="15d", source=breaks)
    with pytest.raises(DataError):
        bench.collect("2013-02-02 12:00")
    bench.declare(train_on="15d")
    bench.collect("2013-02-02 12:00")

    assert bench.asked == [("01-14", "01-17"), ("01-30", "02-01")]


def test_no_row_where_there_always_were_some_is_a_failure(bench):
    """A source that goes silent is found out, with what was usual; nothing is remembered as asked."""
    bench.declare(train_on="40d")
    bench.told = bench.told.filter(pl.col("starts") < bench.instant("2013-02-10"))
    bench.collect("2013-02-11 12:00")

    with pytest.raises(DataError) as raised:
        bench.collect("2013-02-13 12:00")
    assert raised.value.code == "data-empty"
    assert raised.value.why == "source() returned 0 rows for 2013-02-10 → 2013-02-12 UTC"
    assert raised.value.seen == (
        "last day with rows before: 2013-02-09 (3); the 28 days before with rows had 3–3 a day",
    )
    with pytest.raises(DataError):
        bench.collect("2013-02-13 18:00")
    assert bench.asked[-1] == ("02-10", "02-12")


def test_rows_that_came_before_cannot_all_be_gone(bench):
    """A source that takes back every row of a call has more likely failed."""
    bench.declare(revisit="20d")
    bench.collect(NOW)
    bench.told = bench.told.clear()

    with pytest.raises(DataError, match="returned 0 rows") as raised:
        bench.collect("2013-01-31 18:00")
    assert raised.value.seen[0] == "39 rows of these days came before"


def test_a_day_without_rows_among_others_passes(bench):
    """Days on which nothing happened are days that were asked for."""
    bench.told = bench.told.filter(pl.col("starts").dt.day() != 20)
    bench.collect(NOW)
    bench.asked.clear()
    bench.collect("2013-02-01 12:00")

    assert bench.asked == [("01-30", "01-31")]


def test_a_source_that_ended_leaves_the_rest_to_the_log(bench):
    """Beside the prediction log a source may have nothing more to tell."""
    bench.declare(examples="source+log", train_on="40d")
    bench.told = bench.told.filter(pl.col("starts") < bench.instant("2013-02-10"))
    bench.collect("2013-02-11 12:00")

    assert bench.collect("2013-02-13 12:00")["rows"] == 0


def test_optional_fields_may_be_left_out(bench):
    """A source need not give what the Row does not require."""
    bench.collect(NOW)

    assert bench.datasets.read(bench.model, bench.cut(NOW))["note"].null_count() == 39
