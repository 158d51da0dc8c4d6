"""Ground truth that belongs to nothing that was answered."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from perene.monitoring.periods import Period
from perene.monitoring.status import status_of
from perene.monitoring.unmatched import count_unmatched
from perene.storage import lake, tables
from perene.storage.envelope import INSTANT


@pytest.fixture
def unmatched(bench, day):
    """Count of the ten days from day 10 on."""

    def count(*, until=20):
        period = Period(since=day(until - 10), until=day(until))
        return count_unmatched(bench.model, bench.predictions, period)

    return count


def say(bench, at, *, rider="r", label=True, hours=1.0):
    """Tell the truth of trips by key and time, known some hours after; a label of None takes it back."""
    bench.numbers += 1
    starts = pl.Series(at, dtype=INSTANT)
    rows = pl.DataFrame({"key": [f'["{rider}"]'] * len(at), "event_at": starts}).with_columns(
        label=pl.lit(label, dtype=pl.Boolean), known_at=starts + timedelta(hours=hours), day=starts.dt.date(),
        retracted=pl.lit(label is None), source=pl.lit("test"),
    )  # fmt: skip
    bench.truths.append(bench.model, rows, f"said-{bench.numbers}")


def name(bench, ids, known_at, *, label=True):
    """Tell the truth of predictions by their ids; a label of None takes it back."""
    bench.numbers += 1
    rows = pl.DataFrame({"prediction_id": ids}).with_columns(
        label=pl.lit(label, dtype=pl.Boolean), known_at=pl.lit(known_at, dtype=INSTANT), day=pl.lit(known_at.date()),
        retracted=pl.lit(label is None), source=pl.lit("test"),
    )  # fmt: skip
    bench.truths.append(bench.model, rows, f"named-{bench.numbers}")


def long_ago(bench):
    """Let all that was logged so far have been logged ten years ago."""
    then = bench.lake.machine() - timedelta(days=3650)
    with bench.database.write() as connection:
        connection.execute(tables.ingest.update().values(created_at=then))


def test_an_id_that_nobody_knows_is_counted_once(bench, day, unmatched):
    """However often it is told of; one that was answered is not counted, nor one that was taken back."""
    (known,) = bench.answer([day(12)], [0.5])
    name(bench, [known, "wrong", "mistaken"], day(13))
    name(bench, ["wrong", "wronger"], day(14))
    name(bench, ["mistaken"], day(15), label=None)

    assert unmatched() == 2


def test_a_key_and_time_that_nobody_asked_for_are_counted(bench, day, unmatched):
    """Both must be those of an answer: another time, and another rider, are not."""
    bench.answer([day(12)], [0.5])
    say(bench, [day(12), day(12, 1)])
    say(bench, [day(12)], rider="s")

    assert unmatched() == 2


def test_a_truth_that_comes_before_its_prediction_is_counted_until_that_is_there(bench, day, unmatched):
    """What is not drained yet is found later."""
    name(bench, ["early"], day(13))
    before = unmatched()
    bench.answer([day(13)], [0.5], ids=["early"])

    assert (before, unmatched()) == (1, 0)


def test_a_label_that_comes_late_is_no_wrong_one(bench, day, unmatched):
    """It became known in the period, of an event as long before the period as that lasts."""
    late, later = bench.answer([day(1), day(-20)], [0.5, 0.5])
    long_ago(bench)
    name(bench, [late, later], day(15))

    assert unmatched() == 1


def test_a_prediction_of_late_about_an_old_event_is_found(bench, day, unmatched):
    """Whoever replays what happened last year, and tells what came of it, is not told that nothing matches."""
    name(bench, bench.answer([day(-300)], [0.5]), day(15))

    assert unmatched() == 0


def test_what_was_known_before_or_later_is_of_another_time(bench, day, unmatched):
    """By its id a truth counts in the period in which it became known, by its key in that of its event."""
    name(bench, ["before"], day(9, 23))
    name(bench, ["in"], day(10))
    name(bench, ["after"], day(20, 1))
    say(bench, [day(9, 23), day(10), day(20, 1)])
    say(bench, [day(19)], hours=48.0)

    assert (unmatched(), unmatched(until=30)) == (2, 2)


def test_what_a_shadow_said_is_no_answer(bench, day, unmatched):
    """A truth that names its line belongs to nothing that was answered."""
    bench.answer([day(12)], [0.5], role="shadow", ids=["shadow:2:a"])
    name(bench, ["shadow:2:a"], day(13))
    say(bench, [day(12)])

    assert unmatched() == 2


def test_reading_in_small_parts_changes_no_count(bench, day, unmatched, monkeypatch):
    """Day by day or at once."""
    ids = bench.answer([day(n) for n in range(3, 20)], [0.5] * 17)
    name(bench, [*ids, "wrong"], day(19))
    say(bench, [day(11), day(12, 1), day(13)])
    at_once = unmatched()
    monkeypatch.setattr(lake, "_ROWS_AT_ONCE", 1)

    assert (at_once, unmatched()) == (2, 2)


@pytest.mark.parametrize(("known", "gone"), [(0, (-20, -1)), (12, (-20, -1, 5, 9))])
def test_the_whole_log_is_not_read(bench, day, unmatched, monkeypatch, known, gone):
    """Days before those that count may be gone; where all is found, those before the period too."""
    monkeypatch.setattr(lake, "_ROWS_AT_ONCE", 1)
    told = {n: id_ for n in (-20, -1, 0, 5, 9, 12) for id_ in bench.answer([day(n)], [0.5])}
    long_ago(bench)
    name(bench, [told[known]], day(15))
    folder = Path(bench.lake._uri(bench.model.name, "predictions"))
    for n in gone:
        shutil.rmtree(folder / f"day={day(n).date()}")

    assert unmatched() == 0


def test_status_counts_from_the_rows_that_it_judges_up_to_now(bench, day):
    """The last ``test_on`` of mature rows and the wait: an id that was told of a minute ago counts at once."""
    name(bench, ["old"], day(12, 11))
    name(bench, ["first"], day(12, 12))
    name(bench, ["last"], day(20, 11.9))

    measured, brief = (status_of(bench.model, bench, now=day(20, 12), measured=measured) for measured in (True, False))
    assert (measured.unmatched_labels, brief.unmatched_labels) == (2, None)
