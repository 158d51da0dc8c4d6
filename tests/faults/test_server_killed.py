"""Fault: SIGKILL of a server under load. Promise: law 8, no acknowledged write is lost, none is there twice."""

from __future__ import annotations

import http.client
import signal
import threading
import time

from perene.app import open_project
from perene.pipelines.drain import drain_orphans
from perene.storage.journal import journal_folder

MODEL = "parcel-hours"


def test_what_was_acknowledged_is_in_the_log_exactly_once(tiny, server_of, a_row, wait_for) -> None:
    """Proof: four clients note every id that they were given; after the kill each is in the drained log once."""
    acknowledged: list[str] = []
    truths: list[int] = []
    noting = threading.Lock()

    def load(client, number: int) -> None:
        sent = 0
        try:
            while True:
                sent += 1
                row = a_row(number * 1_000_000 + sent)
                given = {"prediction_id": f"{number}-{sent}"} if sent % 5 == 0 else {}
                status, answer = client.predict([row | given, a_row(number)])
                assert status == 200
                with noting:
                    acknowledged.extend(p["prediction_id"] for p in answer["predictions"])
                if sent % 7 == 0:
                    status, _ = client.post_truth([{"number": row["number"], "sent_at": row["sent_at"], "hours": 0.5}])
                    assert status == 202
                    with noting:
                        truths.append(row["number"])
        except (OSError, http.client.HTTPException, ValueError):
            client.close()

    with server_of(tiny) as server:
        threads = [threading.Thread(target=load, args=(server.client(), n)) for n in range(4)]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(acknowledged) > 1000)
        server.end(signal.SIGKILL)
        for thread in threads:
            thread.join()

    app = open_project(tiny)
    folder = journal_folder(tiny)
    drained = drain_orphans(folder, app.logs)
    model = app.project.models[MODEL]
    log = app.predictions.scan(model).collect()
    said = app.truths.scan(model).collect()

    assert drained.failures == []
    assert log["prediction_id"].is_duplicated().sum() == 0
    assert set(acknowledged) <= set(log["prediction_id"])
    assert len(acknowledged) == len(set(acknowledged))
    assert {f"[{number}]" for number in truths} <= set(said["key"])
    assert list(folder.glob("*")) == []
    app.close()


def test_a_second_server_drains_what_the_first_left(tiny, server_of, a_row, wait_for) -> None:
    """Proof: the next server of the project brings a killed one's predictions into the log by itself."""
    with server_of(tiny) as first:
        client = first.client()
        made = client.predict([a_row(i) for i in range(20)])[1]["predictions"]
        first.end(signal.SIGKILL)
        client.close()

    app = open_project(tiny)
    model = app.project.models[MODEL]
    with server_of(tiny):
        wait_for(lambda: app.predictions.scan(model).collect().height >= 20)

    assert set(app.predictions.scan(model).collect()["prediction_id"]) == {p["prediction_id"] for p in made}
    app.close()


def test_a_signal_ends_a_server_cleanly(tiny, server_of, a_row) -> None:
    """SIGTERM under load: exit code 0, everything answered is in the lake, the server's row and journal are gone."""
    acknowledged: list[str] = []

    def load(client) -> None:
        try:
            while True:
                acknowledged.extend(p["prediction_id"] for p in client.predict([a_row(), a_row(2)])[1]["predictions"])
        except (OSError, http.client.HTTPException, KeyError):
            client.close()

    for sig in (signal.SIGTERM, signal.SIGINT):
        with server_of(tiny) as server:
            threads = [threading.Thread(target=load, args=(server.client(),)) for _ in range(3)]
            for thread in threads:
                thread.start()
            time.sleep(0.5)
            code = server.end(sig)
            for thread in threads:
                thread.join()
        assert code == 0

    app = open_project(tiny)
    log = app.predictions.scan(app.project.models[MODEL]).collect()
    assert set(acknowledged) == set(log["prediction_id"])
    assert list(journal_folder(tiny).glob("*")) == []
    from datetime import timedelta

    assert app.servers.alive(timedelta(hours=1)) == []
    app.close()
