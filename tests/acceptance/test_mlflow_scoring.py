"""MLflow's scoring server over HTTP: the bodies that its clients send, and the words of its errors."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pandas as pd
import pytest

MODEL = "parcel-hours"
ROUTES = ["/invocations", f"/mlflow/{MODEL}/invocations"]


def ask(
    port: int, method: str, path: str, body: str | bytes | None = None, kind: str = "application/json"
) -> tuple[int, str, str]:
    """Status, content type and text of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body, {"content-type": kind} if body is not None else {})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, response.headers["content-type"], text


def the_rows(a_row) -> list[dict[str, Any]]:
    """Three rows, one of them with a note."""
    return [a_row(n, grams=100.0 + n * 7.3, note=None) for n in range(2)] + [a_row(5, grams=77.0, note='a "b", c')]


def bodies(rows: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """The same rows in each form: body and content type, as pandas writes them where it does."""
    frame = pd.DataFrame(rows)
    split = json.loads(frame.to_json(orient="split"))
    forms = {
        "dataframe_split": split,
        "dataframe_split without index": {name: split[name] for name in ("columns", "data")},
        "dataframe_records": json.loads(frame.to_json(orient="records")),
        "inputs": {name: [row[name] for row in rows] for name in rows[0]},
        "inputs as rows": rows,
        "instances": rows,
        "instances as columns": {name: [row[name] for row in rows] for name in rows[0]},
    }
    made = {name: (json.dumps({name.partition(" ")[0]: form}), "application/json") for name, form in forms.items()}
    return made | {
        "csv": (frame.to_csv(index=False), "text/csv"),
        "csv in UTF-8": (frame.to_csv(index=False), "text/csv; charset=utf-8"),
    }


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("form", bodies([{"a": 1}]))
def test_each_form_gets_what_the_native_api_answers(client, server, a_row, form, route) -> None:
    """Data frames, columns, rows and CSV of the same rows get the same numbers, in their order."""
    rows = the_rows(a_row)
    native = [prediction["prediction"] for prediction in client.predict(rows)[1]["predictions"]]
    body, kind = bodies(rows)[form]

    status, content_type, text = ask(server.port, "POST", route, body, kind)

    answer = json.loads(text)
    assert (status, content_type) == (200, "application/json")
    assert answer["predictions"] == native
    assert len(set(answer["prediction_ids"])) == 3
    assert answer["model_version"] == 1


def test_one_value_per_column_is_one_row(server, a_row) -> None:
    """inputs may have a value where they have one row only."""
    status, _, text = ask(server.port, "POST", "/invocations", json.dumps({"inputs": a_row(3)}))

    assert status == 200
    assert len(json.loads(text)["predictions"]) == 1


GOOD = {"number": 1, "sent_at": "2026-05-01T12:00:00Z", "grams": 500.0}


@pytest.mark.parametrize(
    ("body", "kind", "status", "code", "part"),
    [
        ("{", "application/json", 400, "BAD_REQUEST", "not JSON"),
        ("[" * 100_000, "application/json", 400, "BAD_REQUEST", "not JSON"),
        ("[]", "application/json", 400, "BAD_REQUEST", "dataframe_records"),
        ("{}", "application/json", 400, "BAD_REQUEST", "dataframe_records"),
        ({"columns": [], "data": []}, "application/json", 400, "BAD_REQUEST", "columns, data"),
        ({"inputs": [GOOD], "instances": [GOOD]}, "application/json", 400, "BAD_REQUEST", "inputs, instances"),
        ({"inputs": [GOOD], "params": {"k": 1}}, "application/json", 400, "BAD_REQUEST", "params"),
        ({"inputs": [GOOD], "params": None}, "application/json", 200, "", ""),
        ({"inputs": []}, "application/json", 400, "BAD_REQUEST", "no rows"),
        ({"inputs": {}}, "application/json", 400, "BAD_REQUEST", "no rows"),
        ({"inputs": [[1, 2.0]]}, "application/json", 400, "BAD_REQUEST", "no names"),
        ({"inputs": "x"}, "application/json", 400, "BAD_REQUEST", "no names"),
        ({"inputs": {"number": [1, 2], "grams": [1.0]}}, "application/json", 400, "BAD_REQUEST", "number has 2"),
        ({"inputs": [{"number": 1}] * 10_001}, "application/json", 413, "BAD_REQUEST", "10001 rows"),
        (
            {"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}},
            "application/json",
            400,
            "BAD_REQUEST",
            "row 0 has 2",
        ),
        ({"dataframe_split": {"columns": ["a", "a"], "data": []}}, "application/json", 400, "BAD_REQUEST", "twice"),
        ({"dataframe_split": {"columns": ["a"]}}, "application/json", 400, "BAD_REQUEST", "data"),
        ({"dataframe_split": []}, "application/json", 400, "BAD_REQUEST", "dataframe_split"),
        ({"inputs": [GOOD | {"grams": -1.0}]}, "application/json", 422, "BAD_REQUEST", "row 0, grams"),
        ({"inputs": [GOOD | {"colour": "red"}]}, "application/json", 422, "BAD_REQUEST", "row 0, colour"),
        ("number,sent_at,grams\n1,2026-05-01T12:00:00Z", "text/csv", 400, "BAD_REQUEST", "line 2 has 2 cells"),
        ("number,sent_at,grams\nx,2026-05-01T12:00:00Z,1", "text/csv", 422, "BAD_REQUEST", "row 0, number"),
        ("number,sent_at,grams\n1,2026-05-01T12:00:00Z,nan", "text/csv", 422, "BAD_REQUEST", "row 0, grams"),
        ("number,sent_at,grams\n,2026-05-01T12:00:00Z,1", "text/csv", 422, "BAD_REQUEST", "number: must not be null"),
        ("number,number\n1,2", "text/csv", 400, "BAD_REQUEST", "twice"),
        ('number\n"1', "text/csv", 400, "BAD_REQUEST", "not CSV"),
        (b"\xff\xfe", "text/csv", 400, "BAD_REQUEST", "not CSV"),
        ("number\n", "text/csv", 400, "BAD_REQUEST", "no rows"),
        ("", "text/csv", 400, "BAD_REQUEST", "no rows"),
        ("{}", "text/plain", 415, "BAD_REQUEST", "application/json or text/csv"),
        ("{}", "application/json; charset=latin-1", 415, "BAD_REQUEST", "UTF-8"),
    ],
)
def test_what_is_no_request_is_refused_in_words(server, body, kind, status, code, part) -> None:
    """Each wrong body has its status, MLflow's kind of error, and what is wrong with it."""
    got, _, text = ask(server.port, "POST", "/invocations", json.dumps(body) if isinstance(body, dict) else body, kind)

    answer = json.loads(text)
    assert got == status
    assert answer.get("error_code", "") == code
    assert part in answer.get("message", "")


@pytest.mark.parametrize("base", ["", f"/mlflow/{MODEL}"])
def test_health_and_version_answer_as_clients_expect(server, base) -> None:
    """A client waits for /ping or /health; /version is perene's."""
    assert ask(server.port, "GET", f"{base}/ping")[0] == 200
    assert ask(server.port, "GET", f"{base}/health")[0] == 200
    status, kind, text = ask(server.port, "GET", f"{base}/version")

    assert (status, kind.partition(";")[0]) == (200, "text/plain")
    assert text.count(".") == 2


def test_an_unknown_model_is_told_in_its_words(server) -> None:
    """Below /mlflow every error has one form."""
    for method, path, status in (
        ("POST", "/mlflow/x/invocations", 404),
        ("GET", "/mlflow/x", 404),
        ("GET", "/invocations", 405),
    ):
        got, _, text = ask(server.port, method, path, b"{}" if method == "POST" else None)

        assert got == status
        assert set(json.loads(text)) == {"error_code", "message"}


def test_of_several_models_the_path_names_one(tiny, server_of, a_row) -> None:
    """Where the project has two models, /invocations says how to ask, and each has a path of its own."""
    code = (tiny / "models" / "parcel_hours.py").read_text()
    (tiny / "models" / "another.py").write_text(code.replace('"parcel-hours"', '"parcel-days"'))
    with server_of(tiny) as server:
        refused = ask(server.port, "POST", "/invocations", json.dumps({"inputs": [a_row(1)]}))
        answered = ask(server.port, "POST", f"/mlflow/{MODEL}/invocations", json.dumps({"inputs": [a_row(1)]}))
        not_live = ask(server.port, "POST", "/mlflow/parcel-days/invocations", json.dumps({"inputs": [a_row(1)]}))
        pings = [
            ask(server.port, "GET", path)[0] for path in ("/ping", f"/mlflow/{MODEL}/ping", "/mlflow/parcel-days/ping")
        ]

    assert refused[0] == 404
    assert "/mlflow/MODEL/invocations" in json.loads(refused[2])["message"]
    assert answered[0] == 200
    assert (not_live[0], json.loads(not_live[2])["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
    assert pings == [503, 200, 503]
