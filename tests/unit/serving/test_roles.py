"""Which version answers which rows, what is asked beside it, and what is counted and logged of each."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest

from perene.errors import ServingError
from perene.pipelines.journaling import AnsweredRows, answered_rows
from perene.pipelines.predictor import Predictor
from perene.records.roles import answered_id
from perene.server.answering import Answering
from perene.server.batch import PredictRequest
from perene.server.lineup import Lineup, routed
from perene.server.requests import take_ids
from perene.storage.journal import read_open

KEYS = [f"[{number}]" for number in range(20_000)]


class Fitted:
    """Says one number, or fails on some rows."""

    def __init__(self, said: float, fails: Callable[[pl.DataFrame], bool] = lambda _: False) -> None:
        self.said, self.fails = said, fails

    def predict(self, x: pl.DataFrame) -> np.ndarray:
        if self.fails(x):
            raise ValueError("no such parcel")
        return np.full(x.height, self.said)


class Server:
    """One model of a server, with its journal; ``tally`` by role."""

    def __init__(self, bench, journal, **lineup: Any) -> None:
        self.bench, self.desk = bench, bench.desk(journal)
        self.answering = Answering(bench.models["plain"], self.desk)
        self.answering.lineup = Lineup(**lineup)
        self.journals = read_open(bench.journals)

    def ask(self, *requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        answers: list[bytes] = []
        self.answering._work([PredictRequest(list(rows), None) for rows in requests], answers.extend)
        return [json.loads(answer) for answer in answers]

    def end(self) -> dict[tuple[int, str], dict[str, float]]:
        """What was counted, by version and role, once all that was asked aside is done."""
        self.answering.batcher.close()
        self.desk.aside.stop()
        return {served[1:]: counts for served, counts in self.desk.tally.take_untold().items()}

    def logged(self, role: str) -> list[dict[str, object]]:
        """The journal's lines of a role, one by one."""
        found = [answered_rows(e.body) for e in self.journals.entries("plain", "prediction")]
        return [line_of(rows, place) for rows in found if rows.role == role for place in range(len(rows))]


def line_of(rows: AnsweredRows, place: int) -> dict[str, object]:
    """One line of an entry; its request's fields among the others."""
    columns = {name: getattr(rows, name) for name in AnsweredRows.__struct_fields__} | rows.request
    return {name: column[place] if isinstance(column, list) else column for name, column in columns.items()}


@pytest.fixture
def version(bench) -> Callable[..., Predictor]:
    """A version that says its number, or fails on some rows."""

    def made(number: int, fails: Callable[[pl.DataFrame], bool] = lambda _: False) -> Predictor:
        known = bench.predictor("plain", number)
        return Predictor(known.version, known.model, Fitted(float(number), fails), known.baseline)

    return made


def test_a_key_stays_on_its_side_while_the_share_grows() -> None:
    """Every process routes alike, a grown share keeps whom it had, and each version has other first keys."""
    shares = (0.01, 0.1, 0.5, 0.9)
    sides = [routed(KEYS, share, salt="m v2 ") for share in shares]
    other = routed(KEYS, 0.1, salt="m v3 ")

    assert [sum(side) / len(KEYS) for side in sides] == pytest.approx(shares, abs=0.01)
    for smaller, larger in pairwise(sides):
        assert not any(few and not many for few, many in zip(smaller, larger, strict=True))
    both = sum(a and b for a, b in zip(sides[1], other, strict=True)) / len(KEYS)
    assert both == pytest.approx(0.01, abs=0.005)
    assert routed(KEYS[:3], 1e-9, salt="") == [False] * 3


def test_rows_are_answered_by_the_version_of_their_key(bench, journal, a_row, version) -> None:
    """In one batch, each row by one version as the answer and the log say; the same key always by the same."""
    server = Server(bench, journal, champion=version(1), canary=version(2), share=0.5)
    rows = [a_row(number) for number in range(40)]
    (first, second, mixed) = server.ask(rows[:20], rows[20:], [rows[0], rows[0]])
    (again,) = server.ask(rows)
    counts = server.end()

    said = [p["prediction"] for p in first["predictions"] + second["predictions"]]
    assert [p["prediction"] for p in again["predictions"]] == said
    assert {*said} == {1.0, 2.0}
    for answer in (first, second, again):
        assert [p.get("model_version", answer["model_version"]) for p in answer["predictions"]] == [
            int(p["prediction"]) for p in answer["predictions"]
        ]
    assert mixed["model_version"] == int(said[0])
    assert {line["final"] for line in server.logged("canary")} == {2.0}
    assert {line["final"] for line in server.logged("champion")} == {1.0}
    assert counts[1, "champion"]["rows"] + counts[2, "canary"]["rows"] == 82
    assert len(server.logged("champion")) + len(server.logged("canary")) == 82


def test_the_champion_answers_where_a_canary_fails(bench, journal, a_row, version) -> None:
    """Only the requests on which it fails, and each counts against it once; nobody sees an error."""
    canary = version(2, fails=lambda x: bool((x["sevenths"] == 666).any()))
    server = Server(bench, journal, champion=version(1), canary=canary, share=0.999999)
    bad, good = a_row(1) | {"grams": 7 * 666.0}, a_row(2)
    answers = server.ask([bad, good], [good], [bad])
    counts = server.end()

    assert [[p["prediction"] for p in answer["predictions"]] for answer in answers] == [[1.0, 1.0], [2.0], [1.0]]
    assert (counts[2, "canary"]["errors"], counts[2, "canary"]["requests"]) == (2, 1)
    assert counts[1, "champion"]["errors"] == 0
    assert sorted(line["role"] for line in server.logged("champion") + server.logged("canary")) == [
        "canary", "champion", "champion", "champion",
    ]  # fmt: skip


def test_rows_on_which_both_fail_are_no_version_s_fault(bench, journal, a_row, version) -> None:
    """A canary, or a fresh champion, is not blamed for what the other version fails on too."""

    def fails(x: pl.DataFrame) -> bool:
        return bool((x["sevenths"] == 666).any())

    bad = a_row(1) | {"grams": 7 * 666.0}
    both = Server(bench, journal, champion=version(1, fails), canary=version(2, fails), share=0.999999)
    fresh = Server(bench, journal, champion=version(2, fails), former=version(1, fails))
    alone = Server(bench, journal, champion=version(2, fails), former=version(1))
    for server in (both, fresh, alone):
        with pytest.raises(ServingError, match="no such parcel"):
            server.ask([bad])
    counts = [server.end() for server in (both, fresh, alone)]

    assert (2, "canary") not in counts[0]
    assert counts[1] == {}
    assert counts[2][2, "champion"]["errors"] == 1


def test_a_shadow_is_logged_beside_the_answer_and_never_answers(bench, journal, a_row, version) -> None:
    """The champion's answer comes; the shadow's line has its own id, made of the answered one, and all else alike."""
    server = Server(bench, journal, champion=version(1), shadow=version(3))
    (answer,) = server.ask([a_row(1), a_row(2)])
    counts = server.end()
    shadows, answered = server.logged("shadow"), server.logged("champion")

    assert [p["prediction"] for p in answer["predictions"]] == [1.0, 1.0]
    assert [(line["final"], line["model_version"]) for line in shadows] == [(3.0, 3)] * 2
    assert [line["prediction_id"] for line in shadows] == [f"shadow:3:{line['prediction_id']}" for line in answered]
    assert [answered_id(line["prediction_id"]) for line in shadows] == [line["prediction_id"] for line in answered]
    same = ("request_id", "position", "request", "event_at", "predicted_at")
    assert [[line[name] for name in same] for line in shadows] == [[line[name] for name in same] for line in answered]
    assert counts[3, "shadow"]["rows"] == 2


def test_what_a_shadow_is_asked_at_once_is_logged_row_by_row(bench, journal, a_row) -> None:
    """Batches that waited are computed together, and each line beside an answer has what was said of its own row."""
    server = Server(bench, journal, champion=bench.predictor("plain", 1), shadow=bench.predictor("plain", 3))
    with server.desk.aside._changed:  # it begins when all of them wait
        server.ask([a_row(1), a_row(2)])
        server.ask([a_row(3)], [a_row(4), a_row(5), a_row(6)])
    counts = server.end()

    same = ("number", "event_at", "raw", "steps", "final")
    answered = {line["prediction_id"]: [line[name] for name in same] for line in server.logged("champion")}
    beside = {answered_id(line["prediction_id"]): [line[name] for name in same] for line in server.logged("shadow")}
    assert beside == answered
    assert len({line[-1] for line in answered.values()}) == 6
    assert counts[3, "shadow"]["rows"] == 6


def test_a_shadow_that_fails_or_falls_behind_is_counted(bench, journal, a_row, version, monkeypatch) -> None:
    """Neither changes an answer; a row that cannot be taken in is dropped."""
    server = Server(bench, journal, champion=version(1), shadow=version(3, fails=lambda _: True))
    (answer,) = server.ask([a_row(1)])
    failed = server.end()
    monkeypatch.setattr("perene.server.aside.WAITING_ROWS", 1)
    slow = Server(bench, journal, champion=version(1), shadow=version(3))
    (late,) = slow.ask([a_row(1), a_row(2)])
    dropped = slow.end()

    assert [answer["predictions"][0]["prediction"], late["predictions"][0]["prediction"]] == [1.0, 1.0]
    assert failed[3, "shadow"]["errors"] == 1
    assert dropped[3, "shadow"]["dropped"] == 2
    assert server.logged("shadow") == []


def test_a_tried_version_is_compared_with_the_other_on_the_same_rows(bench, journal, a_row, version) -> None:
    """A canary with the champion, a fresh champion with the former one; each thing and time counts once."""
    canary = Server(bench, journal, champion=version(1), canary=version(4), share=0.999999)
    fresh = Server(bench, journal, champion=version(4), former=version(1))
    for server in (canary, fresh):
        server.ask([a_row(1), a_row(2)])
        server.ask([a_row(1)])
    counts = canary.end()[4, "canary"], fresh.end()[4, "champion"]

    for count in counts:
        sums = {name: count[name] for name in ("pairs", "gap", "gap_sq", "other", "other_sq")}
        assert sums == {"pairs": 2, "gap": 6, "gap_sq": 18, "other": 2, "other_sq": 2}


def test_a_champion_alone_asks_nobody_else(bench, journal, a_row, version) -> None:
    """Nothing runs beside it, and its answers are counted."""
    server = Server(bench, journal, champion=version(1))
    server.ask([a_row(1)], [a_row(2), a_row(3)])

    assert server.desk.aside._thread is None
    counts = server.end()[1, "champion"]
    assert (counts["requests"], counts["rows"], counts["batches"], counts["pairs"]) == (2, 3, 1, 0)
    assert counts["seconds"] > 0


def test_an_id_that_a_shadow_would_have_is_refused(a_row) -> None:
    """Law 11: no caller's id is taken for a shadow's; one that only looks like it is an id."""
    with pytest.raises(Exception, match="prediction ids"):
        take_ids([a_row(1) | {"prediction_id": "shadow:3:p"}])

    assert take_ids([a_row(1) | {"prediction_id": "shadow:x:p"}]) == ["shadow:x:p"]


def test_code_that_would_end_a_process_is_a_failure_like_any_other(bench, journal, a_row, version) -> None:
    """sys.exit(), or a panic of a library, in a canary or a shadow: the champion answers, and it counts."""

    def exits(_: pl.DataFrame) -> bool:
        raise SystemExit(3)

    canary = Server(bench, journal, champion=version(1), canary=version(2, exits), share=0.999999)
    shadow = Server(bench, journal, champion=version(1), shadow=version(3, exits))
    answers = [server.ask([a_row(1)])[0] for server in (canary, shadow)]
    counts = canary.end()[2, "canary"], shadow.end()[3, "shadow"]

    assert [answer["predictions"][0]["prediction"] for answer in answers] == [1.0, 1.0]
    assert [count["errors"] for count in counts] == [1, 1]


def test_a_row_on_which_the_other_version_fails_leaves_the_rest_compared(bench, journal, a_row, version) -> None:
    """Rows that were asked at once with it are compared without it."""
    former = version(1, fails=lambda x: bool((x["sevenths"] == 666).any()))
    server = Server(bench, journal, champion=version(4), former=former)
    asked = [a_row(1), a_row(2) | {"grams": 7 * 666.0}, a_row(3)]
    aside = server.desk.aside
    aside._pairs_left = 100.0
    kept: list[Any] = []
    aside._queue = lambda one: kept.append(one) or True  # type: ignore[method-assign]
    for row in asked:
        server.ask([row])
    aside._do(kept)

    assert server.end()[4, "champion"]["pairs"] == 2


def test_a_slow_canary_is_not_asked_where_requests_come_in(bench, journal, a_row, version) -> None:
    """A request is light only where every version that may answer it is quick."""
    server = Server(bench, journal, champion=version(1), canary=version(2), share=0.5)
    asked: list[bool] = []
    server.answering.batcher.submit = lambda *_, is_light, **__: asked.append(is_light)  # type: ignore[method-assign]
    lineup = server.answering.lineup
    lineup.champion.took(1, 1e-5)
    for seconds in (0.01, 1e-5):
        lineup.canary.took(1, seconds)
        server.answering.submit([a_row(1)], None)
    server.end()

    assert asked == [False, True]
