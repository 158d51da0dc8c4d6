"""The journal's lines: what a server wrote becomes the line that bulk would have written, cell for cell."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perene.errors import ServingError
from perene.pipelines.journaling import (
    AnsweredRows,
    answered_rows,
    day_of,
    envelope_of,
    instant,
    row_digest,
    waiting_predictions,
)
from perene.pipelines.predictor import Predictor
from perene.pipelines.serving import serve_bulk
from perene.pipelines.tracing import find_prediction, traced
from perene.server.answering import Answering
from perene.server.batch import PredictRequest
from perene.server.lineup import Lineup
from perene.storage.journal import Journal, read_open

ALL = ["plain", "steps", "words", "whole", "binary", "chances", "classes", "sharp", "best", "featured"]
IDS = ["prediction_id", "request_id"]
bench_is_shared = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def dialect() -> str:
    """Nothing here depends on the database."""
    return "sqlite"


def written(bench, name: str) -> list[AnsweredRows]:
    """What the journals hold of a model."""
    return [answered_rows(entry.body) for entry in read_open(bench.journals).entries(name, "prediction")]


# ── law 1 and 3: the same line ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("name", ALL)
def test_a_line_through_the_journal_is_the_line_of_bulk(bench, journal, a_row, name, count) -> None:
    """Served, journaled, drained and read back: the same cells in the same types, but for the ids that are made."""
    rows = [a_row(n, zone=None if n % 3 == 1 else "far", due=None if n % 2 else "2026-05-04") for n in range(count)]
    bulk = bench.bulk(name, bench.models[name].schema.parse_json(rows), log=None)

    bench.serve(name, [rows], journal=journal)
    waiting = waiting_predictions(bench.models[name], read_open(bench.journals))
    bench.drain(journal)

    more = ["features"] if name == "featured" else []
    assert waiting.drop(IDS).equals(bulk.drop(IDS))
    assert waiting.schema == bulk.schema
    assert bench.log(name).drop("ingest").equals(waiting.drop(more))


cells = st.fixed_dictionaries(
    {
        "number": st.integers(-(2**63), 2**63 - 1),
        "owner": st.text(st.characters(codec="utf-8"), max_size=5),
        "sent_at": st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=st.just(UTC)),  # noqa: DTZ001
        "grams": st.floats(-1e12, 1e12) | st.sampled_from([-0.0, 5e-324, 0.1]),
        "zone": st.sampled_from(["near", "far", None]),
        "due": st.none() | st.dates(),
        "paid": st.none() | st.booleans(),
    }
)


@given(st.lists(cells, min_size=1, max_size=4))
@bench_is_shared
def test_any_row_comes_through_the_journal_unchanged(bench, rows) -> None:
    """Whatever a Row may hold: the requests, identities and answers of both ways are equal."""
    bench.clock.move(hours=1)
    journal = Journal(bench.journals, f"w-{bench.clock.now():%Y%m%d%H}")
    items = [
        row | {"sent_at": row["sent_at"].isoformat(), "due": row["due"] and row["due"].isoformat()} for row in rows
    ]
    bulk = bench.bulk("plain", bench.models["plain"].schema.parse_json(items), log=None)

    bench.serve("plain", [items], journal=journal)
    waiting = waiting_predictions(bench.models["plain"], read_open(bench.journals))

    assert waiting.drop(IDS).equals(bulk.drop(IDS))
    for file in (journal.rotate(), *journal.closed())[1:]:
        file.unlink()
    journal.close()


def test_each_row_has_the_place_in_its_own_request(bench, journal, a_row) -> None:
    """Requests that were answered in one batch have ids and positions of their own."""
    answers = bench.serve("plain", [[a_row(1), a_row(2)], [a_row(3)]], journal=journal)
    bench.drain(journal)

    lines = bench.log("plain").sort("event_at")
    assert lines["position"].to_list() == [0, 1, 0]
    assert lines["request_id"].to_list() == [answers[0]["request_id"]] * 2 + [answers[1]["request_id"]]
    made = [p["prediction_id"] for answer in answers for p in answer["predictions"]]
    assert lines["prediction_id"].to_list() == made


def test_the_answer_is_the_final_of_the_line(bench, journal, a_row) -> None:
    """Law 3: what the caller got is what the log says."""
    for name in ALL:
        (answer,) = bench.serve(name, [[a_row(1), a_row(2)]], journal=journal)
        bench.drain(journal)
        assert bench.log(name)["final"].to_list() == [p["prediction"] for p in answer["predictions"]]


class Spoilt:
    """Says NaN of every row."""

    def predict(self, x: pl.DataFrame) -> np.ndarray:
        return np.full(x.height, np.nan)

    def predict_proba(self, x: pl.DataFrame) -> np.ndarray:
        return np.full((x.height, 3), np.nan)


@pytest.mark.parametrize("name", ["plain", "classes"])
def test_an_answer_that_is_no_number_is_refused(bench, journal, a_row, name) -> None:
    """Laws 10 and 11: one or among probabilities, by a server and in bulk; nothing is answered or logged."""
    good = bench.predictor(name)
    spoilt = Predictor(good.version, good.model, Spoilt(), good.baseline)
    answering = Answering(good.model, bench.desk(journal))
    answering.lineup = Lineup(champion=spoilt)
    rows = good.model.schema.parse_json([a_row(1), a_row(2)])
    answers: list[bytes] = []

    with pytest.raises(ServingError, match="no number"):
        answering._work([PredictRequest([a_row(1), a_row(2)], None)], answers.extend)
    answering.batcher.close()
    with pytest.raises(ServingError, match="no number"):
        serve_bulk(
            spoilt,
            rows,
            model=good.model,
            predicted_at=bench.clock.now(),
            recorded_at=bench.clock(),
            log=bench.predictions,
        )

    assert (answers, written(bench, name), bench.log(name).height) == ([], [], 0)


# ── what is not logged, and what came later ──────────────────────────────────────────────────────────────────────────


def test_a_field_that_is_not_to_be_logged_is_not_in_the_journal(bench, journal, a_row) -> None:
    """Nor in any file of it, nor in the log: the row's digest alone knows of it."""
    bench.serve("plain", [[a_row(1, secret="hush-hush")]], journal=journal, ids=[["mine"]])

    (line,) = written(bench, "plain")
    assert "secret" not in line.request
    assert all(b"hush" not in path.read_bytes() for path in bench.journals.iterdir() if path.is_file())
    bench.drain(journal)
    assert "hush" not in str(bench.log("plain").to_dicts())


def test_a_field_that_the_row_gained_is_null_in_older_lines(bench, journal, a_row) -> None:
    """A journal from before the change is drained into the newer log."""
    model = bench.models["featured"]
    bench.serve("featured", [[a_row(1)]], journal=journal)
    (line,) = written(bench, "featured")
    fewer = msgspec.structs.replace(line, request={k: v for k, v in line.request.items() if k not in ("due", "paid")})

    frame = envelope_of(model, [fewer, line])

    assert frame["request"].struct.field("due").to_list() == [None, date(2026, 5, 4)]
    assert frame["request"].struct.field("paid").to_list() == [None, True]
    assert frame["request"].struct.field("due").dtype == pl.Date


def test_lines_of_several_versions_drain_together(bench, journal, a_row) -> None:
    """Each keeps its version and recipe; their post steps may differ in number."""
    bench.serve("steps", [[a_row(1)]], journal=journal, version=1, code=bench.models["plain"])
    bench.serve("steps", [[a_row(2)]], journal=journal, version=2)
    bench.drain(journal)

    lines = bench.log("steps").sort("model_version")
    assert lines.select("model_version", "recipe").rows() == [(1, "recipe-1"), (2, "recipe-2")]
    assert lines["steps"].list.len().to_list() == [0, 2]


def test_features_of_several_versions_drain_together(bench, journal, a_row) -> None:
    """Of one name and of different types, and none where a version did not log them."""
    model = bench.models["featured"]
    bench.serve("featured", [[a_row(1)]], journal=journal)
    (line,) = written(bench, "featured")
    lines = [
        line,
        msgspec.structs.replace(line, features=['{"sevenths":"x"}']),
        msgspec.structs.replace(line, features=None),
    ]

    frame = envelope_of(model, lines)

    first = json.loads(frame["features"][0])
    assert first == {"sevenths": 107.25 / 7, "far": 1, "zone": "far", "due": "2026-05-04", "nothing": None}
    assert frame["features"].to_list()[1:] == ['{"sevenths":"x"}', None]


def test_a_trace_tells_the_features_that_were_logged(bench, journal, a_row) -> None:
    """The same while the line waits in a journal and when it is in the lake; not those that code would make today."""
    (answer,) = bench.serve("featured", [[a_row(1)]], journal=journal)
    id_ = answer["predictions"][0]["prediction_id"]
    model, told = bench.models["featured"], []
    for _ in range(2):
        line = find_prediction(model, id_, journals=read_open(bench.journals), predictions=bench.predictions)
        own = bench.predictor("featured", code=bench.models["plain"])
        told.append(traced(model, line, None, predictor=lambda version, own=own: own)["features"])
        bench.drain(journal)

    assert told == [{"sevenths": 107.25 / 7, "far": 1, "zone": "far", "due": "2026-05-04", "nothing": None}] * 2


# ── the form on disk ─────────────────────────────────────────────────────────────────────────────────────────────────

FULL = AnsweredRows(
    model_version=3, recipe="x", predicted_at=5, recorded_at=6, prediction_id=["p", "q"], request_id=["r", "r"],
    position=[1, 2], event_at=[4, 4], request={"number": [1, 2], "due": [20574, None]}, raw=[[0.5, 0.5], [0.0, 1.0]],
    steps=[[[0.25, 0.75]], [[0.5, 0.5]]], final=["came", "went"], key=['["a"]', '["b"]'], features=["{}", None],
)  # fmt: skip
numbers = st.floats() | st.lists(st.floats(), max_size=3)
answers = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text() | st.lists(st.floats(), max_size=3)


@given(raw=st.lists(numbers, min_size=2, max_size=2), final=st.lists(answers, min_size=2, max_size=2))
@settings(deadline=None)
def test_rows_come_back_as_they_went_in(raw, final) -> None:
    """Raw outputs and answers of every type, NaN too, with their type."""
    rows = msgspec.structs.replace(FULL, raw=raw, final=final)

    (entry,) = rows.entries("m")

    assert repr(answered_rows(entry.body)) == repr(rows)
    assert (entry.kind, entry.model, entry.lines, entry.id) == ("prediction", "m", 2, None)


def test_a_given_id_has_an_entry_of_its_own() -> None:
    """The others stay together; each keeps what belongs to it."""
    entries = msgspec.structs.replace(FULL.take([0, 1, 0]), row_digest=["", "d", ""]).entries("m")

    assert [(entry.id, entry.lines) for entry in entries] == [("q", 1), (None, 2)]
    assert [answered_rows(entry.body) for entry in entries] == [
        msgspec.structs.replace(FULL.take([1]), row_digest=["d"]),
        FULL.take([0, 0]),
    ]


def test_no_rows_have_no_entry() -> None:
    """Where all were answered before, nothing is written."""
    assert FULL.take([]).entries("m") == []


def test_entries_of_today_are_read_for_ever() -> None:
    """The order of an entry's parts is fixed: what a journal of the first version holds is read as it was meant."""
    parts = [3, "x", 5, 6, ["p"], ["r"], [1], [4], {"number": [1]}, [0.5], [[]], [0.25]]

    rows = answered_rows(msgspec.msgpack.encode(parts))

    assert list(AnsweredRows.__struct_fields__)[:12] == [
        "model_version", "recipe", "predicted_at", "recorded_at", "prediction_id", "request_id", "position", "event_at",
        "request", "raw", "steps", "final",
    ]  # fmt: skip
    assert (rows.final, rows.key, rows.row_digest, rows.features, rows.role) == ([0.25], None, None, None, "champion")


@given(st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=st.just(UTC)))  # noqa: DTZ001
@settings(deadline=None)
def test_instants_are_kept_to_the_microsecond(at) -> None:
    """And give the UTC day of the event."""
    kept = instant(at)

    assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=kept) == at
    assert day_of(kept) == at.date()


def test_rows_are_kept_as_numbers_and_texts(bench, a_row) -> None:
    """Instants as microseconds, dates as days: nothing that costs a server anything."""
    _, (record,) = bench.models["plain"].schema.read_json([a_row(1)])

    assert record == {
        "number": 1, "owner": "ana", "sent_at": instant(datetime(2026, 5, 1, 13, tzinfo=UTC)), "grams": 107.25,
        "zone": "far", "due": (date(2026, 5, 4) - date(1970, 1, 1)).days, "paid": True, "secret": None,
    }  # fmt: skip


def test_a_rows_digest_knows_every_field_in_any_order() -> None:
    """The same values give the same digest; another value, or a field more, gives another."""
    record = {"number": 1, "secret": "a", "grams": 0.1}

    same = row_digest(dict(reversed(record.items())))

    assert row_digest(record) == same
    changed = [
        record | {"secret": "b"},
        record | {"grams": 0.1 + 2**-55},
        record | {"more": None},
        record | {"number": "1"},
    ]
    assert len({row_digest(record), *(row_digest(other) for other in changed)}) == 5


def test_nothing_waits_in_an_empty_journal(bench, journal) -> None:
    """There is no frame of nothing."""
    assert waiting_predictions(bench.models["plain"], read_open(bench.journals)) is None
