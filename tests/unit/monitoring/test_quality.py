"""The quality of what was answered."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from perene.definition.gates import gate
from perene.definition.metrics import log_loss
from perene.errors import DataError
from perene.monitoring import answers
from perene.monitoring.periods import Period, weeks
from perene.monitoring.quality import measure_quality
from perene.statistics.comparisons import compare_rows, compare_whole
from perene.statistics.scores import auc


def month_of(bench, day, *, a_day=20, days=28, seed=0):
    """Answers of ``days`` days with their labels told; gives instants, labels and outputs."""
    draw = np.random.default_rng(seed)
    at = [day(i // a_day, 1 + i % a_day) for i in range(a_day * days)]
    p = draw.uniform(0.05, 0.95, len(at))
    y = draw.uniform(size=len(at)) < p
    bench.tell(bench.answer(at, p.tolist(), miles=(10 * p).tolist()), y.tolist())
    return np.array([a.replace(tzinfo=None) for a in at], dtype="datetime64[us]"), y, p


def whole(day, days=28):
    return [Period(since=day(0), until=day(days))]


def test_metrics_are_those_of_all_rows_with_their_interval(bench, day):
    """The scores and intervals are what the statistics give of all rows at once, however the rows were read."""
    at, y, p = month_of(bench, day)

    (found,) = measure_quality(bench.model, bench.predictions, whole(day), as_of=day(60))

    loss = compare_rows(at, log_loss(y, p), np.zeros(len(y)), alpha=0.025)
    area = compare_whole(at, lambda mask: auc(y[mask], p[mask]), lambda mask: 0.0, alpha=0.025)
    for expected, name in ((loss, "log_loss"), (area, "auc")):
        live = found.metric(name).live
        assert [live.value, live.lower, live.upper] == pytest.approx(
            [float(number) for number in (expected.difference, expected.lower, expected.upper)]
        )
        assert (live.rows, live.days) == (560, 28)
    assert (found.answered, found.mature, found.labelled, found.unscored, found.coverage) == (560, 560, 560, 0, 1.0)


def test_reading_in_small_parts_changes_nothing(bench, day, monkeypatch):
    """Periods that overlap, and parts of a day, give the same whether many days are read at once or one."""
    month_of(bench, day)
    periods = [*weeks(day(0), day(28)), Period(since=day(3, 5), until=day(19, 17)), *whole(day)]
    predictor = bench.predictor(lambda x: x["miles"].to_numpy() / 20)

    at_once = measure_quality(bench.model, bench.predictions, periods, as_of=day(60), rescore=predictor)
    monkeypatch.setattr(answers, "AT_ONCE", 1)
    in_parts = measure_quality(bench.model, bench.predictions, periods, as_of=day(60), rescore=predictor)

    for one, other in zip(at_once, in_parts, strict=True):
        assert (one.answered, one.labelled, one.coverage) == (other.answered, other.labelled, other.coverage)
        for a, b in zip(one.metrics, other.metrics, strict=True):
            for part in ("live", "rescored", "difference"):
                mine, theirs = getattr(a, part), getattr(b, part)
                assert [mine.value, mine.lower, mine.upper] == pytest.approx([theirs.value, theirs.lower, theirs.upper])


def test_only_mature_rows_count(bench, day):
    """A label that came early is not counted before its row has had the wait; coverage is of mature rows."""
    ids = bench.answer([day(0), day(1), day(2), day(3)], [0.5] * 4)
    bench.tell([ids[0], ids[2], ids[3]], [True, True, False])

    (found,) = measure_quality(bench.model, bench.predictions, whole(day), as_of=day(3))

    assert (found.answered, found.mature, found.labelled) == (4, 3, 2)
    assert found.coverage == pytest.approx(2 / 3)
    assert found.metric("log_loss").live.rows == 2


def test_how_late_labels_come(bench, day):
    """The lag is from the event to its label: a day with many rows counts as one with few, and no label as none."""
    moments = [day(0), day(1), *[day(2, minutes) for minutes in range(5)], day(3)]
    ids = bench.answer(moments, [0.5] * 8)
    for id_, hours in zip(ids[:7], (2, 4, 30, 30, 30, 30, 30), strict=True):
        bench.tell([id_], [True], known_at=bench.asked[id_] + timedelta(hours=hours))

    (found,) = measure_quality(bench.model, bench.predictions, whole(day), as_of=day(30))
    (none,) = measure_quality(bench.model, bench.predictions, [Period(since=day(3), until=day(4))], as_of=day(30))

    assert found.label_lag == timedelta(hours=4)
    assert (none.answered, none.label_lag) == (1, None)


def test_a_missing_label_is_no_negative(bench, day):
    """Rows without a label lower the coverage and move no metric."""
    ids = bench.answer([day(0), day(1), day(2)], [0.9, 0.9, 0.9])
    bench.tell(ids[:1], [True])

    (found,) = measure_quality(bench.model, bench.predictions, whole(day), as_of=day(30))

    assert found.metric("log_loss").live.value == pytest.approx(-np.log(0.9))
    assert found.coverage == pytest.approx(1 / 3)


def test_what_was_known_later_does_not_count(bench, day):
    """As of an earlier time the same question has the answer that it had then."""
    ids = bench.answer([day(0)], [0.9])
    bench.tell(ids, [True], known_at=day(1))
    bench.tell(ids, [False], known_at=day(10))

    losses = [
        measure_quality(bench.model, bench.predictions, whole(day), as_of=day(when))[0].metric("log_loss").live.value
        for when in (5, 15)
    ]

    assert losses == pytest.approx([-np.log(0.9), -np.log(0.1)])


def test_only_the_champion_counts(bench, day):
    """What a challenger said beside the champion is no answer."""
    bench.tell(bench.answer([day(0)], [0.9]), [True])
    bench.tell(bench.answer([day(0)], [0.1], role="shadow"), [True])

    (found,) = measure_quality(bench.model, bench.predictions, whole(day), as_of=day(30))

    assert found.answered == 1
    assert found.metric("log_loss").live.value == pytest.approx(-np.log(0.9))


def test_each_prediction_of_a_thing_counts_once(bench, day):
    """A thing that was asked for twice gives two rows; a prediction that is in the log twice gives one."""
    first = bench.answer([day(0)], [0.9], ids=["a"])
    bench.answer([day(0)], [0.9], ids=["a"])
    bench.tell([*first, *bench.answer([day(0)], [0.8])], [True, True])

    (found,) = measure_quality(bench.model, bench.predictions, whole(day), as_of=day(30))

    assert found.answered == 2
    assert found.metric("log_loss").live.value == pytest.approx(-np.log([0.9, 0.8]).mean())


def test_rescoring_gives_the_paired_difference(bench, day):
    """Another version is scored on the same logged requests; the difference is answers minus it, row by row."""
    at, y, p = month_of(bench, day)
    other = bench.predictor(lambda x: x["miles"].to_numpy() / 20)

    (found,) = measure_quality(bench.model, bench.predictions, whole(day), as_of=day(60), rescore=other)

    metric = found.metric("log_loss")
    expected = compare_rows(at, log_loss(y, p), log_loss(y, p / 2), alpha=0.025)
    assert metric.rescored.value == pytest.approx(log_loss(y, p / 2).mean())
    assert [metric.difference.value, metric.difference.lower, metric.difference.upper] == pytest.approx(
        [expected.difference, expected.lower, expected.upper]
    )
    area = compare_whole(at, lambda mask: auc(y[mask], p[mask]), lambda mask: auc(y[mask], p[mask] / 2))
    assert found.metric("auc").difference.value == pytest.approx(area.difference, abs=1e-12)


def test_a_version_of_the_same_answers_differs_by_nothing(bench, day):
    """The version that answered, asked again, has a difference of exactly 0."""
    month_of(bench, day)
    same = bench.predictor(lambda x: x["miles"].to_numpy() / 10)

    (found,) = measure_quality(bench.model, bench.predictions, whole(day), as_of=day(60), rescore=same)

    difference = found.metric("log_loss").difference
    assert [difference.value, difference.lower, difference.upper] == pytest.approx([0, 0, 0], abs=1e-12)


def test_each_request_is_rescored_once(bench, day):
    """However many periods hold a request, the other version is asked for it once."""
    month_of(bench, day)
    asked = []
    other = bench.predictor(lambda x: asked.append(x.height) or np.full(x.height, 0.5))
    periods = [*weeks(day(0), day(28)), *whole(day), *whole(day)]

    measure_quality(bench.model, bench.predictions, periods, as_of=day(60), rescore=other)

    assert sum(asked) == 560


def test_fields_that_were_not_logged_are_null(bench, day):
    """A version whose Row has a field that the log lacks gets it as null."""
    seen = []
    other = bench.declare(features=lambda rows: seen.append(rows) or rows.select("miles"))
    bench.declare()
    bench.tell(bench.answer([day(0), day(1)], [0.9, 0.9]), [True, False])

    measure_quality(bench.model, bench.predictions, whole(day), as_of=day(30), rescore=bench.predictor(_half, other))

    assert seen[-1].columns == ["rider", "starts", "miles", "note"]
    assert seen[-1]["note"].null_count() == 2


def _half(x: pl.DataFrame) -> np.ndarray:
    return np.full(x.height, 0.5)


def test_output_that_is_no_number_is_left_out_and_counted(bench, day):
    """A row whose logged output is missing or NaN moves no metric, and is counted."""
    bench.tell(bench.answer([day(0), day(1), day(2)], [0.9, float("nan"), None]), [True, True, True])

    (found,) = measure_quality(bench.model, bench.predictions, whole(day), as_of=day(30))

    assert (found.labelled, found.unscored) == (3, 2)
    assert found.metric("log_loss").live.value == pytest.approx(-np.log(0.9))


def test_nothing_answered_is_nothing_measured(bench, day):
    """A period without rows has no numbers, and no error."""
    (found,) = measure_quality(bench.model, bench.predictions, whole(day), as_of=day(30))

    assert (found.answered, found.mature, found.coverage) == (0, 0, None)
    assert [(m.name, m.live) for m in found.metrics] == [("log_loss", None), ("auc", None), ("squared_error", None)]


def test_one_class_has_no_auc(bench, day):
    """Labels of one class give no AUC; the other metrics stand."""
    bench.tell(bench.answer([day(0), day(1)], [0.9, 0.8]), [True, True])

    (found,) = measure_quality(bench.model, bench.predictions, whole(day), as_of=day(30))

    assert found.metric("auc").live is None
    assert found.metric("log_loss").live is not None


def test_a_single_day_has_no_interval(bench, day):
    """One day says nothing of how days differ: there is a value, without bounds."""
    bench.tell(bench.answer([day(0), day(0, 1)], [0.9, 0.8]), [True, True])

    (found,) = measure_quality(bench.model, bench.predictions, whole(day), as_of=day(30))

    live = found.metric("log_loss").live
    assert (live.lower, live.upper, live.days) == (None, None, 1)


def test_declared_metrics_get_what_they_name(bench, day):
    """A declared metric per row or of all rows is given rows, features and times, and keeps its direction and unit."""

    def weighted(y, p, rows, x, at):
        return np.abs(y - p) * rows["miles"].to_numpy() + 0 * x["miles"].to_numpy() + 0 * at.astype(np.int64)

    def median(y, p, rows):
        return float(np.median(np.abs(y - p) * rows["miles"].to_numpy()))

    options = {"better": "higher", "unit": "mi"}
    bench.declare(metric=[(weighted, options), (median, {"whole": True})], gate=gate(metric="weighted"))
    bench.tell(bench.answer([day(0), day(1), day(2)], [0.9, 0.8, 0.7], miles=[1, 2, 3]), [True, True, True])

    (found,) = measure_quality(bench.model, bench.predictions, whole(day), as_of=day(30))

    mine = found.metric("weighted")
    assert (mine.live.value, mine.better, mine.unit) == (pytest.approx((0.1 + 0.4 + 0.9) / 3), "higher", "mi")
    assert found.metric("median").live.value == pytest.approx(0.4)


def test_a_metric_that_fails_is_named(bench, day):
    """An error in a user's metric arrives as one that names the metric and its line."""

    def broken(y, p):
        raise ZeroDivisionError("no days")

    bench.declare(metric=broken)
    bench.tell(bench.answer([day(0)], [0.9]), [True])

    with pytest.raises(DataError, match="broken") as caught:
        measure_quality(bench.model, bench.predictions, whole(day), as_of=day(30))

    assert "no days" in caught.value.why


def test_classes_are_measured_in_the_label_s_order(bench, day, classes):
    """Outputs of classes come as a matrix; a row of another width is left out and counted; there is no bias."""
    bench.declare(name="trip-speed", kind=classes)
    raw = [[0.2, 0.3, 0.5], [0.6, 0.3, 0.1], [1.0]]
    bench.tell(bench.answer([day(0), day(1), day(2)], raw), ["fast", "slow", "slow"])

    (found,) = measure_quality(bench.model, bench.predictions, whole(day), as_of=day(30))

    assert found.metric("log_loss").live.value == pytest.approx(-np.log([0.5, 0.6]).mean())
    assert (found.labelled, found.unscored, found.bias) == (3, 1, None)


def test_chosen_metrics_only(bench, day):
    """Who asks for one metric gets one."""
    month_of(bench, day, days=2)

    (found,) = measure_quality(bench.model, bench.predictions, whole(day), as_of=day(30), metrics=["auc"])

    assert [metric.name for metric in found.metrics] == ["auc"]


def test_a_zone_of_the_caller_changes_nothing(bench, day):
    """A period may be given in any zone."""
    bench.tell(bench.answer([day(0, 3), day(1)], [0.9, 0.8]), [True, True])
    zone = ZoneInfo("America/New_York")
    period = Period(since=day(0).astimezone(zone), until=(day(0) + timedelta(hours=4)).astimezone(zone))

    (found,) = measure_quality(bench.model, bench.predictions, [period], as_of=day(30).astimezone(zone))

    assert found.labelled == 1
