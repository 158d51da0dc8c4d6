"""The server over HTTP: predictions, refusals, ground truth, what is served."""

from __future__ import annotations

import http.client
import json
from datetime import UTC, datetime, timedelta

import pytest

from perene.app import open_project
from perene.errors import NotAllowed
from perene.server.process import serve

MODEL = "parcel-hours"


def test_rows_are_answered_in_their_order(client, a_row) -> None:
    """Each row gets its prediction, a prediction id of its own, and the version that answered."""
    status, answer = client.predict([a_row(1, grams=1000), a_row(2, grams=2000)])

    first, second = answer["predictions"]
    assert status == 200
    assert answer["model"] == MODEL
    assert answer["model_version"] == 1
    assert second["prediction"] - first["prediction"] == pytest.approx(1.0, abs=0.01)
    assert first["prediction_id"] < second["prediction_id"]


def test_one_row_and_many_give_the_same_numbers(client, a_row) -> None:
    """A row's prediction does not depend on the rows beside it."""
    rows = [a_row(i, grams=100 + i * 7.3) for i in range(50)]
    alone = [client.predict([row])[1]["predictions"][0]["prediction"] for row in rows]

    _, answer = client.predict(rows)

    assert [p["prediction"] for p in answer["predictions"]] == alone


def test_each_bad_row_and_field_is_named(client, a_row) -> None:
    """A request with bad rows is refused as a whole, with every mistake by row and field."""
    status, answer = client.predict([a_row(), a_row(grams=-1), a_row(number="x", colour="red")])

    named = {(e["row"], e["field"]) for e in answer["errors"]}
    assert status == 422
    assert client.headers["content-type"] == "application/problem+json"
    assert {(1, "grams"), (2, "number"), (2, "colour")} <= named
    assert {"code", "what", "why", "mend", "title", "type", "status"} <= set(answer)


def test_an_unknown_model_is_404_with_the_names(client, a_row) -> None:
    """Who asks for a model that is not there is told which are."""
    status, answer = client.predict([a_row()], model="parcel-days")

    assert status == 404
    assert MODEL in answer["why"]


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b'{"rows": [', {}, 400, "bad-request"),
        (b'{"rows": []}', {}, 400, "bad-request"),
        (b'{"lines": []}', {}, 400, "bad-request"),
        (b'{"rows": 3}', {}, 400, "bad-request"),
        (b'{"rows": [3]}', {}, 422, "bad-rows"),
        (b'{"rows": [{}]}', {"content-type": "text/plain"}, 415, "not-json"),
        (b'{"rows": [{}]}', {"host": "evil.example"}, 421, "host-refused"),
        (b'{"rows": [' + b"{}," * 10_000 + b"{}]}", {}, 413, "too-large"),
        (b'{"rows": [{"prediction_id": 3}]}', {}, 422, "bad-rows"),
    ],
)
@pytest.mark.parametrize("route", ["predict", "ground-truth"])
def test_what_is_no_request_is_refused(client, route, body, headers, status, code) -> None:
    """A body, header or host that is wrong gets its status and a stable code."""
    got, answer = client.ask("POST", f"/v1/models/{MODEL}/{route}", body, headers)

    assert (got, answer["code"]) == (status, code)


def test_a_body_that_is_too_large_is_refused_unread(client) -> None:
    """The declared length is enough to refuse a body."""
    status, answer = client.ask("POST", f"/v1/models/{MODEL}/predict", b"{}", {"content-length": str(1 << 30)})

    assert (status, answer["code"]) == (413, "too-large")


def test_a_prediction_is_not_asked_with_get(client) -> None:
    """Another method is refused, on the hot route and beside it."""
    assert client.ask("GET", f"/v1/models/{MODEL}/predict")[0] == 405
    assert client.ask("DELETE", "/v1/models")[0] == 405


def test_what_is_not_there_is_a_problem_too(client) -> None:
    """An unknown path gets the same form of refusal."""
    status, answer = client.ask("GET", "/v1/health")

    assert (status, answer["code"]) == (404, "not-found")


def test_every_route_checks_the_host(client) -> None:
    """A web page that was rebound to loopback reads nothing."""
    for path in ("/v1/models", "/healthz", "/readyz", "/v1/predictions/x"):
        assert client.ask("GET", path, headers={"host": "evil.example:80"})[0] == 421


def test_the_names_of_loopback_are_served(client, server) -> None:
    """localhost, 127.0.0.1 and [::1] are this machine, with any port."""
    for host in ("localhost", f"127.0.0.1:{server.port}", "[::1]:1", "LOCALHOST:80"):
        assert client.ask("GET", "/healthz", headers={"host": host}) == (200, {"status": "ok"})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_nothing_listens_beyond_loopback(tiny, host) -> None:
    """Law 12: without authentication this machine only is answered; an address that others reach is refused."""
    app = open_project(tiny)

    with pytest.raises(NotAllowed, match="may not listen"):
        serve(app, host=host, port=0)
    app.close()


def test_the_same_id_and_row_get_the_logged_answer(client, a_row) -> None:
    """A repeat is answered from the log, and says so; it makes no second line."""
    first = client.predict([a_row(7, prediction_id="order-7")])[1]["predictions"][0]

    status, answer = client.predict([a_row(7, prediction_id="order-7"), a_row(8)])

    again, fresh = answer["predictions"]
    assert status == 200
    assert (again["prediction"], again["repeated"], again["model_version"]) == (first["prediction"], True, 1)
    assert "repeated" not in fresh


def test_the_same_id_with_another_row_is_409(client, a_row) -> None:
    """A prediction id stands for one row; the request is refused as a whole."""
    client.predict([a_row(9, prediction_id="order-9")])

    status, answer = client.predict([a_row(10), a_row(9, grams=501.0, prediction_id="order-9")])

    assert (status, answer["code"]) == (409, "conflict")
    assert "order-9" in answer["what"]


def test_a_field_that_is_not_logged_counts_for_the_same_row(client, a_row) -> None:
    """Two rows that differ only in an unlogged field are two rows."""
    client.predict([a_row(11, prediction_id="order-11", note="a")])

    assert client.predict([a_row(11, prediction_id="order-11", note="b")])[0] == 409


def test_a_given_id_is_known_after_its_drain(client, server, a_row, wait_for) -> None:
    """Once drained, the id is found in the database and its answer in the lake."""
    first = client.predict([a_row(12, prediction_id="order-12")])[1]["predictions"][0]
    journals = server.folder / ".perene" / "journal"
    before = {p.name for p in journals.glob("*.db")}
    wait_for(lambda: not before & {p.name for p in journals.glob("*.db")})

    status, answer = client.predict([a_row(12, prediction_id="order-12")])
    refused = client.predict([a_row(12, grams=1.0, prediction_id="order-12")])[0]

    assert (status, refused) == (200, 409)
    assert answer["predictions"][0]["prediction"] == first["prediction"]


def test_an_id_stands_once_in_a_request(client, a_row) -> None:
    """Two rows of one request cannot share an id."""
    status, answer = client.predict([a_row(1, prediction_id="twice"), a_row(2, prediction_id="twice")])

    assert status == 422
    assert answer["errors"] == [{"row": 1, "field": "prediction_id", "what": answer["errors"][0]["what"]}]


def test_a_prediction_can_be_traced_at_once_and_later(client, server, a_row, wait_for) -> None:
    """A prediction is found by its id while it is in a journal, and after the drain."""
    made = client.predict([a_row(13, note="secret")])[1]["predictions"][0]
    path = f"/v1/predictions/{made['prediction_id']}?model={MODEL}"

    at_once = client.ask("GET", path)
    journals = server.folder / ".perene" / "journal"
    before = {p.name for p in journals.glob("*.db")}
    wait_for(lambda: not before & {p.name for p in journals.glob("*.db")})
    later = client.ask("GET", path)

    for status, trace in (at_once, later):
        assert status == 200
        assert made["prediction_id"] in json.dumps(trace)
        assert "secret" not in json.dumps(trace)


def test_a_prediction_that_was_never_made_is_404(client) -> None:
    """An unknown id is said to be unknown."""
    assert client.ask("GET", "/v1/predictions/nobody")[0] == 404


def test_an_id_has_no_nul(client, a_row) -> None:
    """An id that not every database can keep is refused where it comes in."""
    status, problem = client.predict([a_row(12, prediction_id="order\0twelve")])

    assert status == 422
    assert problem["code"] == "bad-rows"


def test_ground_truth_is_taken_by_id_and_by_key(client, a_row) -> None:
    """A truth names a prediction, or a key and a time; null takes one back."""
    made = client.predict([a_row(14)])[1]["predictions"][0]["prediction_id"]
    known = (datetime.now(UTC) - timedelta(hours=1)).isoformat()

    status, answer = client.post_truth(
        [
            {"prediction_id": made, "hours": 0.5},
            {"prediction_id": made, "hours": 0.7, "arrived_at": known},
            {"number": 14, "sent_at": "2026-05-01T12:00:00Z", "hours": None},
        ]
    )

    assert (status, answer) == (202, {"accepted": 3})


def test_each_bad_ground_truth_is_named(client) -> None:
    """A truth of the wrong type, for no thing, in the future, or with unknown fields is refused by row and field."""
    ahead = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    status, answer = client.post_truth(
        [
            {"prediction_id": "a", "hours": "long"},
            {"prediction_id": "a", "hours": True},
            {"prediction_id": "a"},
            {"number": 14, "hours": 1.0},
            {"prediction_id": "a", "hours": 1.0, "arrived_at": ahead},
            {"prediction_id": "a", "hours": 1.0, "late": True},
            {"prediction_id": "a", "hours": 1.0},
        ]
    )

    named = {(e["row"], e["field"]) for e in answer["errors"]}
    assert status == 422
    assert named == {(0, "hours"), (1, "hours"), (2, "hours"), (3, "sent_at"), (4, "arrived_at"), (5, "late")}


def test_the_models_say_what_is_live(client) -> None:
    """GET /v1/models names the live version, what it learnt from, and how far; and project time."""
    before = datetime.now(UTC)
    status, answer = client.ask("GET", "/v1/models")

    (model,) = answer["models"]
    assert status == 200
    assert before <= datetime.fromisoformat(answer["project_time"]) <= datetime.now(UTC)
    assert (model["name"], model["live_version"]) == (MODEL, 1)
    assert model["dataset_version"] == 1
    assert model["trained_through"] < datetime.now(UTC).isoformat()
    assert client.ask("GET", f"/v1/models/{MODEL}") == (200, model)


def test_a_server_with_everything_loaded_is_ready(client) -> None:
    """/readyz says which version of each model answers."""
    said = {"status": "ready", "serves": {MODEL: 1}, "missing": [], "troubles": {}, "lost": 0}
    assert client.ask("GET", "/readyz") == (200, said)


def test_a_connection_survives_a_refusal(server, a_row) -> None:
    """After a refused request the same connection answers the next."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    for body, expected in ((b"{", 400), (json.dumps({"rows": [a_row()]}).encode(), 200)):
        connection.request("POST", f"/v1/models/{MODEL}/predict", body, {"content-type": "application/json"})
        response = connection.getresponse()
        response.read()
        assert response.status == expected
    connection.close()
