"""Rows that do not fit: set aside, counted and shown; too many of them fail the run."""

from __future__ import annotations

from typing import Annotated, Literal

import polars as pl
import pytest
from annotated_types import Gt
from pydantic import AwareDatetime

from perene.definition.label import Label
from perene.definition.row import Log, Row
from perene.errors import DataError

NOW = "2013-01-31 12:00"  # the window is of 17 to 29 January: 39 rows
INSTANT = pl.Datetime("us", "UTC")


def spoil(bench, days: list[int], **columns: object) -> None:
    """Let the source tell other values for r0 on these days of January, and allow ten bad rows in a hundred."""
    mine = (pl.col("rider") == "r0") & pl.col("starts").dt.day().is_in(days) & (pl.col("starts").dt.month() == 1)
    bench.told = bench.told.with_columns(
        pl.when(mine).then(value if isinstance(value, pl.Expr) else pl.lit(value)).otherwise(name).alias(name)
        for name, value in columns.items()
    )
    bench.declare(max_bad="10%")


def reasons(bench) -> dict[str, tuple[str, int]]:
    """What was set aside: by field why, and how many rows."""
    return {aside.field: (aside.what, aside.rows) for aside in bench.sources.quarantined("trip-late")}


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("miles", -1.0, "must be greater than 0"),
        ("miles", None, "must not be null"),
        ("miles", float("nan"), "must be a finite number"),
        ("rider", None, "must not be null"),
        ("ended", pl.lit(None, dtype=INSTANT), "must say when the label was known"),
    ],
)
def test_a_bad_row_is_set_aside_counted_and_shown(bench, field, value, why):
    """It is no example; the reason stands with the rows' number and a sample, and the good rows go on."""
    spoil(bench, [20, 21], **{field: value})
    done = bench.collect(NOW, run=7)

    assert done["quarantined"] == 2
    assert done["source"]["added"] == 37
    (aside,) = bench.sources.quarantined("trip-late", run=7)
    assert (aside.field, aside.rows, aside.origin, aside.at) == (field, 2, "source", bench.instant(NOW))
    assert why in aside.what
    assert [row["starts"][:10] for row in aside.sample] == ["2013-01-20", "2013-01-21"]
    assert bench.cut(NOW).quarantined == 2


def test_bad_rows_count_on_their_days(bench):
    """Each day that was asked for says how many of its rows were good, labelled and set aside."""
    spoil(bench, [20, 21], miles=-1.0)
    bench.collect(NOW)

    days = bench.sources.days("trip-late", bench.instant("2013-01-19").date(), bench.instant("2013-01-22").date())
    assert [(day.rows, day.labelled, day.quarantined) for day in days.values()] == [(3, 3, 0), (2, 2, 1), (2, 2, 1)]


def test_a_day_that_is_asked_again_counts_anew(bench):
    """What was bad before and is good now does not count any more; what was set aside stays on record."""
    spoil(bench, [20, 21], miles=-1.0)
    bench.collect(NOW)
    bench.told = bench.trips("2013-01-01", 60)
    bench.declare(max_bad="10%", revisit="20d")
    bench.collect("2013-01-31 18:00")

    assert bench.cut("2013-01-31 18:00").quarantined == 0
    assert reasons(bench)["miles"][1] == 2


def test_more_than_the_declared_share_fails_and_says_nothing(bench):
    """The rows are on record, no example is said, and the days are asked for again."""
    spoil(bench, [20, 21, 22, 23], miles=-1.0)

    with pytest.raises(DataError) as raised:
        bench.collect(NOW)
    assert raised.value.code == "bad-rows"
    assert raised.value.what.startswith("4 of 39 rows of source() for 2013-01-17 → 2013-01-30 UTC do not fit Trip")
    assert raised.value.why == "10.3% are bad; max_bad allows 10.0%"
    assert "miles" in raised.value.seen[0]
    assert "'rider': 'r0'" in raised.value.seen[0]
    assert bench.said().is_empty()
    assert reasons(bench)["miles"][1] == 4

    with pytest.raises(DataError):
        bench.collect("2013-01-31 18:00")
    assert bench.asked == [("01-17", "01-30")] * 2


@pytest.mark.parametrize(("share", "days"), [("29%", 100), ("7%", 100), ("1%", 300)])
def test_exactly_the_declared_share_passes(bench, share, days):
    """The share is compared as a share, so that no rounding makes it one row less."""
    bad = round(float(share[:-1]) * days / 100)
    rows = bench.trips("2012-01-01", days, a_day=1).with_columns(
        miles=pl.when(pl.int_range(pl.len()) < bad).then(-1.0).otherwise("miles")
    )
    bench.declare(max_bad=share)

    assert bench.bring(rows, NOW)["quarantined"] == bad


def test_rows_of_other_days_are_bad(bench):
    """A source that tells more than it was asked for is not believed about those days."""
    tell = bench.source
    bench.declare(
        max_bad="10%",
        source=lambda since, until: pl.concat([tell(since, until), bench.trips("2013-02-05", 1)]),
    )
    bench.collect(NOW)

    assert reasons(bench) == {"starts": ("is not in [2013-01-17, 2013-01-30), for which it was asked", 3)}
    assert bench.said()["event_at"].max() < bench.instant("2013-01-30")


def test_of_rows_with_one_identity_the_last_holds(bench):
    """Key and time twice in one answer: the earlier row is set aside."""
    again = bench.trips("2013-01-20", 1, a_day=1).with_columns(miles=50.0)
    bench.declare(max_bad="10%")
    bench.told = pl.concat([bench.told, again])
    bench.collect(NOW)

    assert reasons(bench) == {"": ("has the same rider and starts as a later row", 1)}
    version = bench.datasets.read(bench.model, bench.cut(NOW))
    assert version.filter(starts=bench.instant("2013-01-20 06:00"))["miles"].to_list() == [50.0]


def test_a_bad_row_does_not_take_the_good_one_of_its_identity_with_it(bench):
    """Of two rows with one identity that which fits is kept, although it came first."""
    again = bench.trips("2013-01-20", 1, a_day=1).with_columns(ended=pl.lit(None, dtype=INSTANT))
    bench.declare(max_bad="10%")
    bench.told = pl.concat([bench.told, again])
    done = bench.collect(NOW)

    assert done["quarantined"] == 1
    assert bench.labels(bench.cut(NOW))["r0", "01-20 06"] is not None


@pytest.mark.parametrize(
    ("kind", "label", "bad", "why"),
    [
        (float, 1.5, float("inf"), "must be a finite number or null"),
        (Literal["a", "b"], "a", "c", "must be one of a, b"),
    ],
)
def test_labels_must_fit_their_type(bench, kind, label, bad, why):
    """Numbers are finite, and classes are those that are declared; null is no label and no mistake."""
    rows = bench.trips("2013-01-17", 13, a_day=1).with_columns(late=pl.lit(label))
    rows = rows.with_columns(
        late=pl.when(pl.col("starts").dt.day() == 20).then(pl.lit(bad))
        .when(pl.col("starts").dt.day() != 21).then("late")
    )  # fmt: skip
    bench.declare(label=Label("late", kind, known_at="ended", wait="24h"), max_bad="10%")
    bench.bring(rows, NOW)

    assert reasons(bench) == {"late": (why, 1)}
    assert bench.said()["label"].to_list() == [label] * 3 + [None] + [label] * 8


def test_a_label_column_of_another_type_is_bad_in_every_row(bench):
    """0 and 1 are not taken for false and true."""
    bench.declare(max_bad="100%")
    done = bench.bring(bench.trips("2013-01-17", 2).with_columns(pl.col("late").cast(pl.Int64)), NOW)

    assert done["quarantined"] == 6
    assert reasons(bench)["late"] == ("must be true, false or null; the column is Int64", 6)


@pytest.mark.parametrize("missing", ["late", "ended"])
def test_the_columns_of_the_label_must_be_there(bench, missing):
    """Without them nothing can be learnt, so nothing is set aside either."""
    bench.told = bench.told.drop(missing)

    with pytest.raises(DataError, match=f"has no column {missing}") as raised:
        bench.collect(NOW)
    assert raised.value.code == "data-columns"
    assert reasons(bench) == {}


class Secret(Row):
    """A trip with a field that is never logged."""

    rider: str
    starts: AwareDatetime
    miles: Annotated[float, Gt(0)]
    card: Annotated[str, Log(False)]


@pytest.mark.parametrize("spoiled", ["miles", "late"])
def test_fields_that_are_not_logged_are_not_shown(bench, spoiled):
    """Neither the record of a bad row nor the error shows their values."""
    rows = bench.trips("2013-01-17", 2).with_columns(card=pl.lit("4111"))
    bad = rows.with_columns(pl.lit(-1.0).alias(spoiled))
    bench.declare(row=Secret)

    with pytest.raises(DataError) as raised:
        bench.bring(bad, NOW)
    (aside,) = bench.sources.quarantined("trip-late")
    assert "4111" not in str(raised.value)
    assert "4111" not in str(aside.sample)
    assert aside.sample[0]["rider"] == "r0"


def test_times_that_no_calendar_has_are_shown_and_set_aside(bench):
    """A label that was known in the year 10000 is a bad row like any other."""
    far = pl.lit(2**60).cast(pl.Datetime("us", "UTC"))
    rows = bench.trips("2013-01-17", 2).with_columns(ended=pl.when(rider="r0").then(far).otherwise("ended"))
    bench.declare(max_bad="50%")
    bench.bring(rows, NOW)

    assert reasons(bench) == {"ended": ("must say when the label was known", 2)}
