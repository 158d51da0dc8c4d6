"""Changes of the clock, zones, the edges of windows, and writers whose clocks disagree."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from perene.clock import machine_clock
from perene.definition.label import Label
from perene.errors import BadRows, DataError
from perene.pipelines.truths import check_truths, parse_truths, truths_frame
from perene.storage.database import Database
from perene.storage.lake import Lake

NEW_YORK = ZoneInfo("America/New_York")
NOW = "2013-01-31 12:00"  # the window is of 17 to 29 January
MINUTE, TICK = timedelta(minutes=1), timedelta(microseconds=1)


def trips_at(bench, *starts: datetime, hours: float = 2.0) -> pl.DataFrame:
    """One trip of one rider at each time, late in turns."""
    ends = [at + timedelta(hours=hours) for at in starts]
    return bench.trips("2013-01-01", len(starts), a_day=1).with_columns(
        starts=pl.Series(starts, dtype=pl.Datetime("us", "UTC")), ended=pl.Series(ends, dtype=pl.Datetime("us", "UTC")),
        late=pl.Series([i % 2 == 0 for i in range(len(starts))]),
    )  # fmt: skip


def labels_of(bench, now: str) -> dict[datetime, bool | None]:
    """What a version that is cut now holds, by the time of the event."""
    return dict(bench.datasets.read(bench.model, bench.cut(now)).select("starts", "label").rows())


# ── changes of the clock ─────────────────────────────────────────────────────────────────────────────────────────────


def test_an_hour_that_comes_twice_is_two_hours(bench):
    """Half past one of 3 November 2013 in New York, before and after the clock was set back: two trips, two labels."""
    instants = [datetime(2013, 11, 3, 1, 30, tzinfo=NEW_YORK, fold=fold).astimezone(UTC) for fold in (0, 1)]
    assert instants[1] - instants[0] == timedelta(hours=1)
    bench.told = pl.concat([bench.trips("2013-10-20", 20), trips_at(bench, *instants)])
    local = pl.col("starts", "ended").dt.convert_time_zone(NEW_YORK.key)
    bench.declare(source=lambda since, until: bench.source(since, until).with_columns(local))

    bench.collect("2013-11-06 12:00")

    held = labels_of(bench, "2013-11-06 12:00")
    assert [held[at] for at in instants] == [True, False]


def test_a_truth_with_an_offset_finds_the_prediction_of_its_instant(bench):
    """Ground truth in local time, with the offset of each of the two hours, reaches the one that it is of."""
    first, second = "2013-11-03T01:30:00-04:00", "2013-11-03T01:30:00-05:00"
    instants = [datetime.fromisoformat(text) for text in (first, second)]
    bench.declare(examples="log", train_on="2d", test_on="2d")
    bench.predict(trips_at(bench, *instants).with_columns(rider=pl.lit("r0")), ["p0", "p1"], source="asked")
    known = bench.instant("2013-11-03 09:00")
    items = [{"rider": "r0", "starts": second, "late": True, "ended": "2013-11-03T02:10:00-05:00"}]
    said = parse_truths(bench.model, items, now=known, recorded_at=known, source="http")
    bench.truths.append(bench.model, truths_frame(bench.model, said), "truth")

    bench.collect("2013-11-06 12:00")

    lines = bench.said().select("event_at", "label", "known_at").rows()
    assert dict((at, label) for at, label, _ in lines) == dict(zip(instants, (None, True), strict=True))
    assert lines[1][2] == bench.instant("2013-11-03 07:10")


# ── times without a zone ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("column", "says"),
    [("starts", "the column is of times without a zone"), ("ended", "as instants with a time zone; the column is")],
)
def test_times_without_a_zone_are_refused(bench, column, says):
    """From a source and in an import; the error names the column, and nothing is an example."""
    bench.told = bench.told.with_columns(pl.col(column).dt.replace_time_zone(None))
    naive = bench.told.filter(pl.col(column).dt.month() == 1)
    bench.declare(source=lambda since, until: naive)

    for bring in (lambda: bench.collect(NOW), lambda: bench.bring(naive, NOW)):
        with pytest.raises(DataError) as raised:
            bring()
        assert any(line.startswith(column) and says in line for line in raised.value.seen)
    assert bench.said().is_empty()


@pytest.mark.parametrize("column", ["starts", "ended"])
def test_ground_truth_without_a_zone_is_refused(bench, column):
    """In a request and in a table, by its row and field."""
    now = bench.instant(NOW)
    good = {"rider": "r0", "starts": now - timedelta(hours=5), "late": True, "ended": now - timedelta(hours=1)}
    naive = good | {column: good[column].replace(tzinfo=None)}
    terms = {"now": now, "recorded_at": now, "source": "test"}
    items = [{k: v.isoformat() if isinstance(v, datetime) else v for k, v in row.items()} for row in (good, naive)]

    for refused, row in (
        (lambda: parse_truths(bench.model, items, **terms), 1),
        (lambda: check_truths(bench.model, pl.DataFrame([naive]), **terms), 0),
    ):
        with pytest.raises(BadRows) as raised:
            refused()
        assert [(field.row, field.field) for field in raised.value.fields] == [(row, column)]
        assert "an instant with its time zone" in raised.value.fields[0].what


# ── edges ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("examples", ["source", "log"])
def test_rows_at_the_edges_of_a_window_are_in_one_part(bench, examples):
    """A window of hours: at each edge, and a microsecond before it, a row is in the part that it belongs to, once."""
    bench.declare(
        examples=examples, train_on="36h", test_on="53h", label=Label("late", bool, known_at="ended", wait="2h")
    )
    until = bench.instant("2013-01-31")
    split = until - timedelta(hours=53)
    trained = split - timedelta(hours=2)
    since = split - timedelta(hours=36)
    edges = [at + step for at in (since, trained, split, until) for step in (-TICK, timedelta(0))]
    bench.told = trips_at(bench, *edges, hours=1)
    bench.predict(bench.told, [f"p{i}" for i in range(8)], source="asked")
    bench.tell(bench.told, source="truth")
    bench.collect(NOW)

    version = bench.cut(NOW)

    assert (version.since, version.trained_until, version.split, version.until) == (since, trained, split, until)
    rows = bench.datasets.read(bench.model, version)
    assert rows.select("starts", "part").rows() == list(
        zip(edges[1:7], ["train", "train", "gap", "gap", "test", "test"], strict=True)
    )
    assert (version.rows, version.train_rows, version.test_rows) == (6, 2, 2)


@pytest.mark.parametrize("by_id", [True, False])
def test_a_label_counts_from_the_microsecond_at_which_it_was_known(bench, by_id):
    """Two nights after the event: not before, and from then on."""
    bench.declare(examples="log", label=Label("late", bool, known_at="ended", wait="96h"))
    days = bench.trips("2013-01-10", 17, a_day=1)
    others, row = days.filter(pl.col("starts").dt.day() != 20), days[10].with_columns(late=pl.lit(value=True))
    bench.predict(pl.concat([row, others]), [f"p{i}" for i in range(17)], source="asked")
    bench.tell(others, source="others")
    known = bench.instant("2013-01-22 00:30")
    bench.tell(row, source="truth", ids=["p0"] if by_id else None, known_at=known)

    def label(now: datetime) -> bool | None:
        span = bench.instant("2013-01-20"), bench.instant("2013-01-21")
        return bench.predictions.with_truth(bench.model, *span, now).collect()["label"].item()

    assert [label(known - TICK), label(known)] == [None, True]
    bench.collect(NOW)
    assert labels_of(bench, NOW)[row["starts"][0]] is True


# ── clocks of writers ────────────────────────────────────────────────────────────────────────────────────────────────


def as_written_by(bench, minutes: int) -> Lake:
    """The lake as a process has it whose machine's clock is wrong by some minutes."""
    return Lake(f"{bench.folder}/store", bench.database, lambda: machine_clock() + minutes * MINUTE)


def test_a_correction_by_a_slow_clock_holds(bench):
    """What came last into the log is newest, though it says that it was recorded before what it corrects."""
    bench.declare(revisit="20d")
    bench.lake = as_written_by(bench, 9)
    bench.collect(NOW)
    bench.told = bench.told.with_columns(miles=pl.col("miles") + 1, late=~pl.col("late"))
    bench.lake = as_written_by(bench, -9)
    bench.collect("2013-01-31 13:00")

    rows = bench.datasets.read(bench.model, bench.cut("2013-01-31 13:00"))

    said = bench.said()
    assert said["recorded_at"].is_sorted(descending=True)
    told = bench.told.filter(pl.col("starts").is_in(rows["starts"].to_list()))
    assert rows.select("rider", "starts", "miles", "label").equals(
        told.select("rider", "starts", "miles", label="late").sort("starts", "rider")
    )


def test_a_version_does_not_know_the_clocks_of_its_writers(bench, make_bench, new_database, tmp_path_factory):
    """The same rows have the same digest, whenever machines say that they were written."""
    database: Database = new_database()
    other = make_bench(tmp_path_factory.mktemp("other"), database)
    other.declare()
    other.lake = as_written_by(other, -60 * 24)

    digests = []
    for one in (bench, other):
        one.collect(NOW)
        digests.append(one.cut(NOW).digest)

    assert digests[0] == digests[1]


def test_the_first_line_of_an_id_is_that_which_came_first_into_the_log(bench):
    """Of two processes that answered one id, whatever their clocks say."""
    row = bench.trips("2013-01-20", 1, a_day=1)
    for miles, minutes in ((1.0, 9), (2.0, -9)):
        made = row["starts"][0] + (minutes - 60) * MINUTE
        bench.predict(row.with_columns(miles=pl.lit(miles)), ["p0"], source=f"at {made}", made_at=made)

    (line,) = bench.predictions.scan(bench.model).collect().rows(named=True)

    assert line["request"]["miles"] == 1.0
