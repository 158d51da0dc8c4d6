"""Stored predictions from outside: looked up over HTTP, logged, outdated, too old, computed instead, and loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from perene.app import open_project

MODEL = "parcel-hours"
AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
STORED, LOOKUP, LOADS = (f"/v1/models/{MODEL}/{part}" for part in ("predictions", "lookup", "offline"))
POPULATION = '''

@hours.population
def parcels_on_the_way(at: datetime) -> pl.DataFrame:
    """Five parcels, sent as the question is asked."""
    return pl.DataFrame({"number": range(5), "sent_at": [at] * 5, "grams": [100.0 * n + 50 for n in range(5)]})
'''


def parcels(count: int = 4, grams: float = 150.0) -> pl.DataFrame:
    return pl.DataFrame(
        {"number": range(count), "sent_at": [AT] * count, "grams": [grams + 7 * n for n in range(count)]}
    )


def sent(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"sent_at": row["sent_at"].isoformat()}


@pytest.fixture
def declared(tiny: Path) -> Callable[..., Path]:
    """Write arguments and code into the project's model."""

    def write(terms: str = "", code: str = "") -> Path:
        file = tiny / "models" / "parcel_hours.py"
        text = file.read_text()
        file.write_text(text.replace('    every="1d",\n', f'    every="1d",\n    {terms}\n') + code)
        return tiny

    return write


@pytest.fixture
def stored(tiny: Path) -> Iterator[Any]:
    """The tiny project with four stored predictions."""
    app = open_project(tiny)
    app.store(MODEL, parcels(), actor="test")
    yield app
    app.close()


def test_a_stored_answer_has_the_shape_of_a_computed_one(stored, tiny, server_of) -> None:
    """The same fields and the same prediction, bit for bit; and how it came about beside them."""
    with server_of(tiny) as server, closing(server.client()) as client:
        status, looked_up = client.ask("GET", f"{STORED}/2")
        _, computed = client.predict([sent(parcels().row(2, named=True))])
        _, both = client.ask("POST", LOOKUP, {"keys": [3, [2], {"number": 2}]})

    (one,) = looked_up["predictions"]
    made = stored.generations.current(MODEL)
    at = made.computed_at.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    assert status == 200
    assert looked_up.keys() == computed.keys()
    assert one["prediction"] == computed["predictions"][0]["prediction"]
    assert one.keys() == {"prediction_id", "prediction", "mode", "computed_at", "outdated"}
    assert (one["mode"], one["computed_at"], one["outdated"]) == ("stored", at, False)
    assert looked_up["model_version"] == 1
    assert [p["prediction"] for p in both["predictions"]][1:] == [one["prediction"]] * 2


def test_what_is_looked_up_is_in_the_log(stored, tiny, server_of) -> None:
    """Each look-up is a line of mode stored, otherwise as the line of a computed answer; traced by its id."""
    with server_of(tiny) as server, closing(server.client()) as client:
        client.ask("GET", f"{STORED}/2")
        _, given = client.ask("GET", f"{STORED}/3?prediction_id=mine")
        _, again = client.ask("POST", LOOKUP, {"keys": [{"number": 3, "prediction_id": "mine"}]})
        refused, _ = client.ask("POST", LOOKUP, {"keys": [{"number": 2, "prediction_id": "mine"}]})
        client.predict([sent(parcels().row(2, named=True))])
        _, trace = client.ask("GET", "/v1/predictions/mine")
    stored.drained()
    lines = stored.predictions.scan(stored.model(MODEL)).collect().sort("recorded_at")

    assert lines["mode"].to_list() == ["stored", "stored", "online"]
    assert given["predictions"][0]["prediction_id"] == "mine"
    assert (again["predictions"][0]["prediction"], again["predictions"][0]["repeated"], refused) == (
        given["predictions"][0]["prediction"], True, 409,
    )  # fmt: skip
    own = ["prediction_id", "request_id", "mode", "computed_at", "ingest", "predicted_at", "recorded_at"]
    assert lines[0].drop(own).equals(lines[2].drop(own))
    made = stored.generations.current(MODEL).computed_at
    assert lines["computed_at"].to_list() == [made, made, None]
    assert (trace["mode"], trace["answer"]) == ("stored", given["predictions"][0]["prediction"])
    assert trace["computed_at"] is not None


def test_ids_that_are_new_known_or_not_given_in_one_request(stored, tiny, server_of) -> None:
    """Each answer is logged once, under its own id and with its own values; what is repeated is not logged again."""
    with server_of(tiny) as server, closing(server.client()) as client:
        client.ask("GET", f"{STORED}/3?prediction_id=mine")
        keys = [2, {"number": 3, "prediction_id": "mine"}, {"number": 1, "prediction_id": "other"}]
        _, answer = client.ask("POST", LOOKUP, {"keys": keys})
        server.end()

    told = {p["prediction_id"]: p["prediction"] for p in answer["predictions"]}
    lines = stored.predictions.scan(stored.model(MODEL)).collect()
    assert ["repeated" in p for p in answer["predictions"]] == [False, True, False]
    assert dict(lines.select("prediction_id", "final").iter_rows()) == told
    keys_of = dict(lines.select("prediction_id", "key").iter_rows())
    assert [keys_of[id_] for id_ in told] == ["[2]", "[3]", "[1]"]
    assert lines.height == 3
    assert stored.alerts.list(state="firing") == []


def test_a_key_that_is_not_stored(stored, tiny, server_of) -> None:
    """404 with the key; a key of another type is 422; and a model without a load says so."""
    with server_of(tiny) as server, closing(server.client()) as client:
        unknown = client.ask("GET", f"{STORED}/77")
        partly = client.ask("POST", LOOKUP, {"keys": [1, 77, 78]})
        wrong = client.ask("GET", f"{STORED}/one")
        empty = client.ask("POST", LOOKUP, {"keys": []})
        neither = client.ask("POST", LOOKUP, {})
        odd = client.ask("GET", f"{STORED}/1?since=2026")

    assert (unknown[0], unknown[1]["code"]) == (404, "not-stored")
    assert partly[1]["seen"] == [
        "[77] is not among the 4 that were computed",
        "[78] is not among the 4 that were computed",
    ]
    assert (wrong[0], wrong[1]["code"]) == (422, "bad-rows")
    assert (empty[0], neither[0], odd[0]) == (400, 400, 400)


def test_a_new_load_and_a_release_reach_a_running_server(stored, tiny, server_of, wait_for) -> None:
    """A load replaces what is given out; another live version makes it outdated."""
    with server_of(tiny) as server, closing(server.client()) as client:
        before = client.ask("GET", f"{STORED}/1")[1]["predictions"][0]["prediction"]
        stored.store(MODEL, parcels(grams=950.0), actor="test")
        after = wait_for(
            lambda: (p := client.ask("GET", f"{STORED}/1")[1]["predictions"][0]["prediction"]) != before and p
        )
        stored.train(MODEL, actor="test")
        wait_for(lambda: client.ask("GET", f"{STORED}/1")[1]["predictions"][0]["outdated"])
        _, old = client.ask("GET", f"{STORED}/1")

    assert after > before
    assert (old["model_version"], old["predictions"][0]["prediction"]) == (1, after)


def test_too_old_is_gone_or_computed(declared, server_of) -> None:
    """Older than max_age: 410; with rows and fallback="online" it is computed, and says so. So is an unknown key."""
    folder = declared('max_age="1ms", fallback="online",')
    app = open_project(folder)
    app.store(MODEL, parcels(), actor="test")
    app.close()
    rows = [sent(row) for row in parcels(5).to_dicts()]
    with server_of(folder) as server, closing(server.client()) as client:
        by_key = client.ask("GET", f"{STORED}/1")
        status, by_row = client.ask("POST", LOOKUP, {"rows": rows})
        _, named = client.ask("POST", LOOKUP, {"rows": [rows[0] | {"prediction_id": "mine"}]})
        _, computed = client.predict(rows)

    assert (by_key[0], by_key[1]["code"]) == (410, "too-old")
    assert "max_age is 1ms" in by_key[1]["why"]
    assert status == 200
    assert [p["mode"] for p in by_row["predictions"]] == ["online"] * 5
    assert [p["prediction"] for p in by_row["predictions"]] == [p["prediction"] for p in computed["predictions"]]
    assert named["predictions"][0]["prediction_id"] == "mine"


def test_rows_get_stored_answers_where_there_are_fresh_ones(declared, server_of) -> None:
    """With rows, the stored answer is given while it is fresh; without a fallback an unknown one stays unknown."""
    folder = declared()
    app = open_project(folder)
    app.store(MODEL, parcels(), actor="test")
    app.close()
    rows = [sent(row) for row in parcels(5).to_dicts()]
    with server_of(folder) as server, closing(server.client()) as client:
        fresh = client.ask("POST", LOOKUP, {"rows": rows[:4]})
        unknown = client.ask("POST", LOOKUP, {"rows": rows})
        bad = client.ask("POST", LOOKUP, {"rows": [rows[0] | {"grams": -1.0}]})

    assert [p["mode"] for p in fresh[1]["predictions"]] == ["stored"] * 4
    assert (unknown[0], unknown[1]["code"]) == (404, "not-stored")
    assert bad[0] == 422


def test_a_load_is_asked_for_over_http_and_followed(declared, server_of) -> None:
    """202 with the run; a worker does it; its state, and what is read then, can be asked."""
    folder = declared(code=POPULATION)
    app = open_project(folder)
    with server_of(folder) as server, closing(server.client()) as client:
        status, asked = client.ask("POST", LOADS, {})
        _, twice = client.ask("POST", LOADS, {})
        _, waiting = client.ask("GET", f"{LOADS}/{asked['run']}")
        app.worker().work_one(MODEL)
        _, done = client.ask("GET", f"{LOADS}/{asked['run']}")
        _, all_ = client.ask("GET", LOADS)
        _, found = client.ask("GET", f"{STORED}/4")
        unknown = client.ask("GET", f"{LOADS}/99999999999999999999")[0]
    app.close()

    assert (status, twice["run"]) == (202, asked["run"])
    assert (waiting["state"], waiting["load"]) == ("waiting", None)
    assert (done["state"], done["load"]["state"], done["load"]["rows"]) == ("succeeded", "ready", 5)
    assert (all_["current"], all_["outdated"], len(all_["loads"])) == (done["load"]["generation"], False, 1)
    assert found["predictions"][0]["computed_at"] == done["load"]["computed_at"]
    assert unknown == 404


def test_a_model_without_a_population_cannot_be_asked_to_load(tiny, server_of) -> None:
    """Nobody says whom to predict: 403 with the mend; before any load, a key is not stored."""
    with server_of(tiny) as server, closing(server.client()) as client:
        refused = client.ask("POST", LOADS, {})
        nothing = client.ask("GET", f"{STORED}/1")
        _, loads = client.ask("GET", LOADS)

    assert refused[0] == 403
    assert (nothing[0], nothing[1]["code"]) == (404, "not-stored")
    assert loads == {"current": None, "outdated": False, "loads": []}


def test_what_is_blocked_after_the_load_is_not_given_out(declared, server_of) -> None:
    """A legal removal after a load holds at the next look-up: no new load, no new version; taken back, it is back."""
    block = 'post.block("number", file="removed.txt", reason="court order", instead=-1.0)'
    folder = declared(code=f"\nfrom perene import post\nhours.post({block})\n")
    (folder / "removed.txt").write_text("3\n")
    app = open_project(folder)
    app.train(MODEL, actor="test")
    app.store(MODEL, parcels(), actor="test")
    asks = {"keys": [0, 1, 2, 3]}
    with server_of(folder) as server, closing(server.client()) as client:
        at_load = [p["prediction"] for p in client.ask("POST", LOOKUP, asks)[1]["predictions"]]
        named = {"keys": [{"number": 1, "prediction_id": "mine"}]}
        client.ask("POST", LOOKUP, named)
        (folder / "removed.txt").write_text("1\n2\n")
        repeated = client.ask("POST", LOOKUP, named)[1]["predictions"][0]
        after = [p["prediction"] for p in client.ask("POST", LOOKUP, asks)[1]["predictions"]]
        (folder / "removed.txt").write_text("# nobody\n")
        lifted = [p["prediction"] for p in client.ask("POST", LOOKUP, asks)[1]["predictions"]]
        _, computed = client.predict([sent(row) for row in parcels().to_dicts()])
    app.drained()
    lines = app.predictions.scan(app.model(MODEL)).filter(pl.col("mode") == "stored").collect()
    app.close()

    honest = [p["prediction"] for p in computed["predictions"]]
    assert at_load == [*honest[:3], -1.0]
    assert (repeated["prediction"], repeated["removed"], repeated["repeated"]) == (-1.0, "court order", True)
    assert after == [honest[0], -1.0, -1.0, honest[3]]
    assert lifted == honest
    assert sorted(lines["removed"].drop_nulls().to_list()) == ["court order"] * 3


def test_the_database_may_go_away(stored, tiny, server_of, wait_for) -> None:
    """While the database is away, a server gives out what it read last."""
    with server_of(tiny) as server, closing(server.client()) as client:
        before = client.ask("GET", f"{STORED}/1")[1]["predictions"][0]["prediction"]
        stored.close()
        away = tiny / ".perene" / "perene.db"
        away.rename(tiny / "perene.db")
        wait_for(lambda: client.ask("GET", "/readyz")[1]["troubles"])
        during = [client.ask("GET", f"{STORED}/1") for _ in range(3)]
        (tiny / "perene.db").rename(away)

    assert [(status, answer["predictions"][0]["prediction"]) for status, answer in during] == [(200, before)] * 3


def test_keys_of_several_fields(tmp_path, server_of) -> None:
    """In a path: values with commas between, percent-encoded; or a JSON array. A value may hold a comma or a slash."""
    import shutil

    tiny = Path(__file__).parents[1] / "tiny"
    folder = Path(shutil.copytree(tiny, tmp_path / "two", ignore=shutil.ignore_patterns(".perene")))
    file = folder / "models" / "parcel_hours.py"
    text = file.read_text().replace('key=["number"]', 'key=["depot", "number"]')
    text = text.replace("    number: int\n", '    number: int\n    depot: str = "a"\n')
    file.write_text(text)
    app = open_project(folder)
    app.train(MODEL, actor="test")
    depots = ["x", "with,comma", "with/slash", "[odd", "ü %"]
    app.store(MODEL, parcels(5).with_columns(depot=pl.Series(depots)), actor="test")
    app.close()
    paths = ["x,0", "with%2Ccomma,1", "with%2Fslash,2", "%5Bodd,3", "%C3%BC%20%25,4", "%5B%22with,comma%22,1%5D"]
    with server_of(folder) as server, closing(server.client()) as client:
        found = [client.ask("GET", f"{STORED}/{path}") for path in paths]
        unknown = client.ask("GET", f"{STORED}/with,comma,1")
        by_name = client.ask("POST", LOOKUP, {"keys": [{"number": 4, "depot": "ü %"}]})

    assert [status for status, _ in found] == [200] * 6
    assert found[1][1]["predictions"][0]["prediction"] == found[5][1]["predictions"][0]["prediction"]
    assert unknown[0] == 422
    assert "a key is depot, number" in unknown[1]["errors"][0]["what"]
    assert by_name[1]["predictions"][0]["prediction"] == found[4][1]["predictions"][0]["prediction"]
