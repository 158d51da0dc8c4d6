"""A release while requests come in: no request fails, and no answer mixes two versions."""

from __future__ import annotations

import threading
from contextlib import closing

from perene.app import open_project

MODEL = "parcel-hours"


def test_a_release_swaps_without_a_failed_request(tiny, server_of, a_row, wait_for) -> None:
    """Law 9: under load every answer is a 200, and each row's prediction is the one of the version that it names."""
    rows = [a_row(i, grams=100.0 + i * 13) for i in range(5)]
    answers: list[tuple[int, int, tuple[float, ...]]] = []
    stop = threading.Event()

    def load(port_client) -> None:
        while not stop.is_set():
            status, answer = port_client.predict(rows)
            predictions = tuple(p["prediction"] for p in answer["predictions"]) if status == 200 else ()
            answers.append((status, answer.get("model_version", 0), predictions))
        port_client.close()

    with server_of(tiny) as server:
        threads = [threading.Thread(target=load, args=(server.client(),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        app = open_project(tiny)
        app.train(MODEL, actor="test")
        app.close()
        watch = server.client()
        wait_for(lambda: watch.ask("GET", "/readyz")[1]["serves"] == {MODEL: 2}, seconds=60)
        after = len(answers)
        wait_for(lambda: len(answers) > after + 40)
        stop.set()
        for thread in threads:
            thread.join()
        watch.close()

    assert {status for status, _, _ in answers} == {200}
    assert {version for _, version, _ in answers} == {1, 2}
    assert [v for _, v, _ in answers[after + 8 :] if v != 2] == []
    for version in (1, 2):
        assert len({predictions for _, v, predictions in answers if v == version}) == 1


def test_a_version_that_cannot_be_loaded_changes_nothing(tiny, server_of, a_row, wait_for) -> None:
    """A live version whose bundle is damaged: the old one answers on, the server is not ready, an alert fires."""
    app = open_project(tiny)
    with server_of(tiny) as server:
        client = server.client()
        _damage_what_is_added(app, tiny)
        wait_for(lambda: client.ask("GET", "/readyz")[0] == 503, seconds=60)

        status, answer = client.predict([a_row()])

        assert (status, answer["model_version"]) == (200, 1)
        assert client.ask("GET", "/readyz")[1]["missing"] == [MODEL]
        (alert,) = wait_for(lambda: app.alerts.list(state="firing"), seconds=60)
        assert alert.rule == "load-failed"
        client.close()
    app.close()


def test_a_server_that_loads_takes_the_alert_of_one_that_died_back(tiny, server_of) -> None:
    """A server could not load its version and was stopped; once the bundle is mended, the next takes the alert back."""
    with closing(open_project(tiny)) as app:
        lies = app.bundles.open(app.models.champion(MODEL).bundle).folder
        lies.rename(tiny / "away")
        with server_of(tiny) as server, closing(server.client()) as client:
            before = client.ask("GET", "/readyz")[0], [alert.rule for alert in app.alerts.list(state="firing")]
        (tiny / "away").rename(lies)
        with server_of(tiny) as server, closing(server.client()) as client:
            after = client.ask("GET", "/readyz")[0], app.alerts.list(state="firing")

    assert before == (503, ["load-failed"])
    assert after == (200, [])


def _damage_what_is_added(app, folder) -> None:
    """Make a version live in the ledger's tables whose bundle does not exist."""
    from dataclasses import asdict

    from perene.storage import tables

    version = app.models.champion(MODEL)
    with app.database.write() as connection:
        values = asdict(version) | {"version": version.version + 1, "bundle": "0" * 64, "run": None}
        connection.execute(tables.model_version.insert().values(**values))
        connection.execute(tables.model.update().values(champion=version.version + 1))
