"""Examples from the product's own log: predictions joined with the truth that came about them."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

NOW = "2013-01-31 12:00"  # with a wait of a day, days before 30 January are joined
DAY = "2013-01-20"
NOTHING = {"added": 0, "relabelled": 0, "restated": 0, "gone": 0}


@pytest.fixture
def dialect() -> str:
    """Nothing here depends on the database."""
    return "sqlite"


@pytest.fixture
def log(bench):
    """A bench whose model learns from its log, which has a prediction of r0 and of r1 on 20 January."""
    bench.declare(examples="log")
    bench.predict(bench.trips(DAY, 1, a_day=2), ["p0", "p1"], source="first")
    return bench


def trip(bench, late: bool, *, rider: str = "r0", day: str = DAY) -> pl.DataFrame:
    """One trip at six o'clock, with its outcome."""
    return bench.trips(day, 1, a_day=1).with_columns(rider=pl.lit(rider), late=pl.lit(late))


def held(bench) -> dict[str, bool | None]:
    """What holds of 20 January as the log last told it: the label of each rider."""
    rows = bench.datasets.examples.current(bench.model, "log", [bench.instant(DAY).date()])
    return {key.strip('["]'): label for key, label in rows.select("key", "label").rows()}


def test_a_prediction_and_its_truth_are_an_example(log):
    """The request as it was logged, with the label and the time at which it was known."""
    log.tell(trip(log, late=True), source="truth")

    assert log.collect(NOW)["log"] == NOTHING | {"added": 2}
    row = log.said().row(0, named=True)
    assert row["row"] == {"rider": "r0", "starts": log.instant("2013-01-20 06:00"), "miles": 1.0, "note": None}
    assert (row["label"], row["known_at"]) == (True, log.instant("2013-01-20 08:00"))
    assert row["origin"] == "log"


def test_a_prediction_without_truth_has_no_label(log):
    """Silence is unknown, and never a negative."""
    log.tell(trip(log, late=False), source="truth")
    log.collect(NOW)

    assert held(log) == {"r0": False, "r1": None}


def test_nothing_is_joined_before_its_wait_is_over(log):
    """A day's predictions become examples once all its labels were due."""
    log.tell(trip(log, late=True), source="truth")

    assert log.collect("2013-01-21 23:59")["log"] == NOTHING
    assert log.collect("2013-01-22")["log"] == NOTHING | {"added": 2}


def test_a_repeated_join_says_nothing(log):
    """Without news no line is added, now or later."""
    log.tell(trip(log, late=True), source="truth")
    log.collect(NOW)
    before = log.said()

    assert log.collect(NOW)["log"] == NOTHING
    assert log.collect("2013-02-20")["log"] == NOTHING
    assert log.said().equals(before)


@pytest.mark.parametrize("by_id", [True, False])
def test_a_truth_that_comes_weeks_later_is_a_new_line(log, by_id):
    """The join waits for it: only that row is said again."""
    log.collect(NOW)
    log.tell(
        trip(log, late=True), source="late", ids=["p0"] if by_id else None, known_at=log.instant("2013-03-01 10:00")
    )

    assert log.collect("2013-03-01 09:00")["log"] == NOTHING
    assert log.collect("2013-03-01 10:00")["log"] == NOTHING | {"relabelled": 1}
    assert held(log) == {"r0": True, "r1": None}
    assert log.said()["label"].to_list() == [None, None, True]


def test_a_truth_that_is_said_of_the_future_counts_from_then_on(log):
    """It is in the log already, but no label that is known later than now is used."""
    log.tell(trip(log, late=True), source="ahead", known_at=log.instant("2013-02-10 10:00"))

    log.collect(NOW)
    assert held(log) == {"r0": None, "r1": None}
    assert log.collect("2013-02-10 10:00")["log"] == NOTHING | {"relabelled": 1}
    assert held(log)["r0"] is True


@pytest.mark.parametrize("id_first", [True, False])
def test_a_truth_of_the_prediction_wins_over_one_of_its_key(log, id_first):
    """It does whatever came first, or was known first."""
    known = [log.instant("2013-01-20 10:00"), log.instant("2013-01-20 11:00")]
    of_id, of_key = known if id_first else reversed(known)
    log.tell(trip(log, late=False), source="key", known_at=of_key)
    log.tell(trip(log, late=True), source="id", ids=["p0"], known_at=of_id)
    log.collect(NOW)

    assert held(log)["r0"] is True


@pytest.mark.parametrize("by_id", [True, False])
@pytest.mark.parametrize("in_order", [True, False])
def test_of_several_truths_that_which_was_known_last_holds(log, by_id, in_order):
    """The order in which they arrive does not matter."""
    ids = ["p0"] if by_id else None
    said = [(False, "2013-01-20 10:00"), (True, "2013-01-20 11:00")]
    for late, known in said if in_order else reversed(said):
        log.tell(trip(log, late), source=known, ids=ids, known_at=log.instant(known))
    log.collect(NOW)

    assert held(log)["r0"] is True


def test_of_truths_known_at_once_that_which_came_last_holds(log):
    """A correction need not know a later time."""
    log.tell(trip(log, late=False), source="one")
    log.collect(NOW)
    log.tell(trip(log, late=True), source="two")

    assert log.collect(NOW)["log"] == NOTHING | {"relabelled": 1}
    assert held(log)["r0"] is True


def test_a_truth_that_was_taken_back_leaves_no_label(log):
    """And that of the key holds again, when that of the prediction was taken back."""
    log.tell(trip(log, late=True), source="id", ids=["p0"])
    log.collect(NOW)
    log.tell(trip(log, late=True), source="back", ids=["p0"], known_at=log.instant(NOW), retracted=True)

    assert log.collect(NOW)["log"] == NOTHING | {"relabelled": 1}
    assert held(log)["r0"] is None

    log.tell(trip(log, late=False), source="key")
    log.collect(NOW)
    assert held(log)["r0"] is False


def test_truth_may_come_before_its_prediction(log):
    """A drain may bring the truth first; both meet when both are there."""
    log.tell(trip(log, late=True, rider="r5"), source="truth")
    log.collect(NOW)
    log.predict(trip(log, late=True, rider="r5"), ["p5"], source="second")

    assert log.collect(NOW)["log"] == NOTHING | {"added": 1}
    assert held(log)["r5"] is True


def test_a_prediction_that_comes_late_into_the_log_is_joined(log):
    """Days that were joined before are joined again when a server's journal is drained weeks after."""
    log.collect(NOW)
    log.predict(trip(log, late=True, rider="r5"), ["p5"], source="second")

    assert log.collect("2013-02-20")["log"] == NOTHING | {"added": 1}


def test_a_truth_long_before_the_event_finds_its_prediction(log):
    """Who asks ten days ahead and hears five days ahead is heard."""
    asked = log.instant("2013-01-10 06:00")
    log.predict(trip(log, late=True, rider="r5"), ["p5"], source="early", made_at=asked)
    log.tell(trip(log, late=True), source="truth", ids=["p5"], known_at=asked + timedelta(days=5))
    log.collect(NOW)

    assert held(log)["r5"] is True


def test_of_several_requests_the_last_before_the_event_is_learnt_from(log):
    """One example per identity; a request that was made after the event may tell of its outcome, and does not count."""
    again = trip(log, late=True)
    for hours, miles in ((-3, 3.0), (-0.5, 4.0), (2, 5.0)):
        made = log.instant("2013-01-20 06:00") + timedelta(hours=hours)
        log.predict(again.with_columns(miles=pl.lit(miles)), [f"p{miles}"], source=f"at {hours}", made_at=made)
    log.tell(again, source="truth", ids=["p3.0"])
    log.collect(NOW)

    lines = log.said().filter(pl.col("key") == '["r0"]')
    assert lines.select(pl.col("row").struct.field("miles"), "label").rows() == [(4.0, True)]


def test_of_requests_after_the_event_the_first_is_learnt_from(log):
    """Where nobody asked before, the request that knew least counts."""
    for hours in (3, 2):
        made = log.instant("2013-01-20 06:00") + timedelta(hours=hours)
        row = trip(log, late=True, rider="r5").with_columns(miles=pl.lit(float(hours)))
        log.predict(row, [f"p5-{hours}"], source=f"at {hours}", made_at=made)
    log.collect(NOW)

    lines = log.said().filter(pl.col("key") == '["r5"]')
    assert lines["row"].struct.field("miles").to_list() == [2.0]


def test_an_id_that_was_logged_twice_stands_for_its_first_row(log):
    """What two processes let through counts once."""
    log.predict(trip(log, late=True).with_columns(miles=pl.lit(9.0)), ["p0"], source="second")
    log.collect(NOW)

    lines = log.said().filter(pl.col("key") == '["r0"]')
    assert lines["row"].struct.field("miles").to_list() == [1.0]


def test_the_source_wins_over_the_log(bench):
    """With both, there is one example per identity, as the source tells it, as long as it does."""
    bench.declare(examples="source+log", revisit="20d")
    whole = bench.told
    bench.predict(trip(bench, late=True).with_columns(miles=pl.lit(9.0)), ["p0"], source="first")
    bench.predict(trip(bench, late=True, rider="r9"), ["p9"], source="second")
    bench.tell(trip(bench, late=True), source="truth", ids=["p0"])
    bench.collect(NOW)

    def miles(now: str) -> dict[str, float]:
        rows = bench.datasets.read(bench.model, bench.cut(now))
        return dict(rows.filter(starts=bench.instant("2013-01-20 06:00")).select("rider", "miles").rows())

    told = whole.filter(starts=bench.instant("2013-01-20 06:00"))["miles"].item()
    assert miles(NOW) == {"r0": told, "r9": 1.0}

    bench.told = whole.filter(pl.col("starts") != bench.instant("2013-01-20 06:00"))
    bench.collect("2013-01-31 18:00")
    assert miles("2013-01-31 18:00") == {"r0": 9.0, "r9": 1.0}


def test_the_first_join_reaches_back_to_everything_in_the_log(bench):
    """A model that learnt from its source and now learns from its log finds what was logged meanwhile."""
    bench.predict(trip(bench, late=True), ["p0"], source="first")
    bench.collect(NOW)
    bench.declare(examples="source+log")

    assert bench.collect("2013-02-01")["log"] == NOTHING | {"added": 1}


def test_predictions_with_their_truth_are_those_of_an_instant(log):
    """What was known at an instant is told so later too, and only of the events that were asked about."""
    log.tell(trip(log, late=False), source="one", known_at=log.instant("2013-01-20 10:00"))
    log.tell(trip(log, late=True), source="two", ids=["p0"], known_at=log.instant("2013-01-25 10:00"))

    def labels(as_of: str) -> list[tuple[str, bool | None]]:
        since, until = log.instant(DAY), log.instant("2013-01-21")
        rows = log.predictions.with_truth(log.model, since, until, log.instant(as_of)).collect()
        return sorted(rows.select("prediction_id", "label").rows())

    assert labels("2013-01-20 09:59") == [("p0", None), ("p1", None)]
    assert labels("2013-01-20 10:00") == [("p0", False), ("p1", None)]
    assert labels("2013-01-25 10:00") == [("p0", True), ("p1", None)]
    none = log.predictions.with_truth(log.model, log.instant("2013-01-21"), log.instant("2013-01-22"), log.instant(NOW))
    assert none.collect().is_empty()
