"""A project whose database is PostgreSQL: all that one does with it, from the first command to a rollback."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

MODEL = "delivery-time"


@pytest.fixture
def shop(tmp_path: Path, postgres) -> Path:
    """A new project on an empty PostgreSQL database."""
    perene(tmp_path, "init", "shop")
    settings = tmp_path / "shop" / "perene.toml"
    text = settings.read_text()
    usual = '# database = "sqlite:///.perene/perene.db"'
    assert usual in text
    settings.write_text(text.replace(usual, f'database = "{postgres.create()}"'))
    return settings.parent


def perene(folder: Path, *arguments: str, fails: bool = False) -> str:
    """Call perene in a process of its own; what it printed."""
    command = [sys.executable, "-m", "perene.cli", *arguments]
    called = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert (called.returncode != 0) == fails, called.stdout + called.stderr
    return called.stderr if fails else called.stdout


def data(folder: Path, *arguments: str) -> Any:
    """What a command tells programs."""
    return json.loads(perene(folder, *arguments, "--json"))["data"]


def test_the_whole_loop_on_postgres(shop, server_of, wait_for) -> None:
    """Trained, released, served, told the truth, trained again beside the server, rolled back: by every door."""
    left = (datetime.now(UTC) - timedelta(hours=2)).replace(microsecond=0)
    order = {"order": 900001, "district": "north", "leaves_at": left.isoformat(), "km": 2.5, "items": 1}
    came = {"order": 900001, "leaves_at": order["leaves_at"], "minutes": 21.5}
    came["arrived_at"] = (left + timedelta(minutes=21.5)).isoformat()
    given = {**order, "prediction_id": "mine"}

    assert "released: v1 is live" in perene(shop, "train", MODEL)
    with server_of(shop) as server:
        client = server.client()
        _, first = client.predict([given], model=MODEL)
        assert client.post_truth([came], model=MODEL) == (202, {"accepted": 1})
        (line,) = data(shop, "prediction", "list", MODEL)
        _, again = client.predict([given], model=MODEL)
        perene(shop, "train", MODEL)
        (newest, *_) = data(shop, "release", "list")
        if newest["state"] != "live":
            perene(shop, "release", "approve", str(newest["id"]), "--why", "a test")
        wait_for(lambda: client.predict([order], model=MODEL)[1]["model_version"] == 2)
        perene(shop, "release", "rollback", MODEL, "--why", "a test")
        wait_for(lambda: client.predict([order], model=MODEL)[1]["model_version"] == 1)
        client.close()
        assert server.end(signal.SIGTERM) == 0

    assert first["model_version"] == 1
    assert again["predictions"] == [{**first["predictions"][0], "model_version": 1, "repeated": True}]
    assert line["truth"]["label"] == 21.5
    assert [release["state"] for release in data(shop, "release", "list")] == ["live", "rolled back", "replaced"]
    assert data(shop, "dataset", "verify", f"{MODEL}@1")["ok"]
    assert not list((shop / ".perene").glob("perene.db*"))


def test_a_server_that_goes_away_leaves_the_answers(shop, own_postgres, server_of, wait_for) -> None:
    """While its database is away a server answers, and keeps what it answered; when it is back, all of it is there."""
    settings = shop / "perene.toml"
    settings.write_text(re.sub(r'database = ".*"', f'database = "{own_postgres.url}"', settings.read_text()))
    perene(shop, "train", MODEL)
    order = {"district": "north", "leaves_at": "2026-01-15T18:30:00Z", "km": 2.5, "items": 1}

    with server_of(shop) as server:
        client = server.client()
        for number in range(10):
            if number == 5:
                own_postgres.restart()
            assert client.predict([{**order, "order": number}], model=MODEL)[0] == 200
        client.close()
        lines = wait_for(lambda: len(found := data(shop, "prediction", "list", MODEL)) == 10 and found)
        assert server.end(signal.SIGTERM) == 0

    assert len({line["prediction_id"] for line in lines}) == 10
    assert len(data(shop, "prediction", "list", MODEL)) == 10


def test_a_wrong_setting_says_what_to_mend_and_no_password(shop) -> None:
    """A command whose database's server is not there ends with the four parts, and its password is shown nowhere."""
    settings = shop / "perene.toml"
    url = "postgresql+psycopg://ana:not-for-print@127.0.0.1:1/shop"
    settings.write_text(re.sub(r'database = ".*"', f'database = "{url}"', settings.read_text()))

    said = perene(shop, "train", MODEL, fails=True)

    assert "error[database-unreachable]: the database postgresql://ana@127.0.0.1:1/shop does not answer" in said
    assert "not-for-print" not in said
