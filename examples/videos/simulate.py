"""Lives some weeks of a made-up video site: train, serve, rank, learn from clicks, obey a court, train again.

    python examples/videos/simulate.py                 writes the project to ./perene-videos and lives in it
    python examples/videos/simulate.py --to FOLDER     … or in another new folder

Users, videos and clicks are simulated (world.py). Everything else is what a real project would do: the ranking is asked
for over HTTP, clicks are told over HTTP, and `perene` commands look at it afterwards.
"""

import argparse
import http.client
import json
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import perene

HERE = Path(__file__).parent
MODEL = "videos"
FIRST_PAGE = 5
PATIENCE_S = 60


def main() -> None:
    """One command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=Path("perene-videos"), help="a new folder (default: %(default)s)")
    parser.add_argument("--days", type=int, default=21, help="how many days to live (default: %(default)s)")
    parser.add_argument("--visits", type=int, default=60, help="visits of a day (default: %(default)s)")
    asked = parser.parse_args()
    if asked.to.exists():
        parser.error(f"{asked.to} is there already: name another folder, or take it away")
    ignored = shutil.ignore_patterns(".perene", "__pycache__")
    shutil.copytree(HERE, asked.to, ignore=ignored)
    live(asked.to, days=asked.days, visits=asked.visits)


def live(folder: Path, *, days: int, visits: int) -> None:
    """Days of visits in a project's folder, with a court's order in the middle and a new version at the end."""
    app = perene.open_project(folder)
    from models.videos import OPENED  # the project's own code, as its folder is open now
    from world import World

    world = World()
    app.time.start_replay(OPENED, actor="simulate", why="the site opens")
    say(f"trained {trained(app)} on the archive, where lists were in no order")
    with server(folder) as client:
        for day in (OPENED + timedelta(days=n) for n in range(days)):
            if day == OPENED + timedelta(days=days // 2):
                obey(folder, client, world, day)
            clicks = [visit(client, app, world, *each) for each in world.visits(day, visits)]
            say(f"{day:%d %B}: {visits} visits, {sum(clicks)} clicks")
        app.time.advance(OPENED + timedelta(days=days, hours=2))
        app.drained()
        tell(app)
        say(f"trained {trained(app)}, on the archive and on what the log says was shown and clicked")
    say(f"look around:  cd {folder}; perene status; perene prediction list {MODEL}; perene prediction show ID")
    app.close()


def trained(app) -> str:
    """Train a candidate; what became of it."""
    run = app.train(MODEL, actor="simulate")
    if run.state != "succeeded":
        raise SystemExit(f"the run ended {run.state}: {run.error}")
    newest = app.models.versions(MODEL)[0]
    live = app.models.champion(MODEL)
    is_live = live is not None and live.version == newest.version
    return f"v{newest.version} ({'released' if is_live else 'not released'})"


def visit(client, app, world, name, at, user, videos) -> int:
    """A user comes: rank the candidates, show the list, and tell what was clicked of what was looked at."""
    app.time.advance(at)
    candidates = world.candidates(name, at, user, videos)
    answer = client.ask(f"/v1/models/{MODEL}/predict", [plain(row) for row in candidates])
    shown = {candidates[one["item"]]["video"]: one["prediction_id"] for one in answer["predictions"]}
    done = world.looks_at(name, at, user, list(shown))
    truths = [{"prediction_id": shown[video], "clicked": clicked} for video, clicked in done.items()]
    client.ask(f"/v1/models/{MODEL}/ground-truth", truths)
    return sum(done.values())


def obey(folder: Path, client, world, day) -> None:
    """A court forbids a video: its id comes into the list, and the running server obeys at the next request."""
    _, at, user, videos = next(iter(world.visits(day, 1)))
    rows = [plain(row) for row in world.candidates("court-0", at, user, videos)]
    best = rows[client.ask(f"/v1/models/{MODEL}/predict", rows)["predictions"][0]["item"]]["video"]
    listed = folder / "removed" / "videos.txt"
    fresh = listed.with_suffix(".new")
    fresh.write_text(listed.read_text() + f"{best}  # case 7/26\n")
    fresh.replace(listed)  # at once: no request sees half a list
    answer = client.ask(f"/v1/models/{MODEL}/predict", rows)
    gone = next(one for one in answer["removed"] if rows[one["item"]]["video"] == best)
    say(f"{day:%d %B}: {best} was first in a list; now it is removed, {gone['reason']}. Its trace:")
    command = [
        sys.executable,
        "-m",
        "perene.cli",
        "prediction",
        "show",
        gone["prediction_id"],
        "--project",
        str(folder),
    ]
    say(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def tell(app) -> None:
    """What the steps did to the lists: the first places as the model would have had them, and as they were shown."""
    log = app.predictions.scan(app.model(MODEL)).collect()
    raw, shown = [], []
    for (_,), group in log.group_by("group"):
        raw.append(group.sort("raw", descending=True).head(FIRST_PAGE)["request"].struct.unnest())
        staying = group.filter(group["rank"].is_not_null()).sort("rank")
        shown.append(staying.head(FIRST_PAGE)["request"].struct.unnest())
    say(f"the first {FIRST_PAGE} of {len(shown)} lists        by the model   as shown")
    for what, measure in (
        ("different topics", lambda page: page["topic"].n_unique()),
        ("of trusted channels", lambda page: page["is_trusted"].sum()),
        ("clickbait, mean", lambda page: page["clickbait"].mean()),
        ("toxic", lambda page: (page["toxicity"] > 0.4).sum()),
    ):
        by_model, as_shown = (sum(map(measure, pages)) / len(pages) for pages in (raw, shown))
        say(f"  {what:28}  {by_model:12.2f}   {as_shown:8.2f}")


def command(folder: Path, *arguments: str) -> str:
    """What a command of perene prints."""
    whole = [sys.executable, "-m", "perene.cli", *arguments, "--project", str(folder)]
    return subprocess.run(whole, check=True, capture_output=True, text=True).stdout


class Client:
    """The running server, over one kept connection."""

    def __init__(self, port: int):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)

    def ask(self, path: str, rows: list) -> dict:
        """Post rows; the answer."""
        body = json.dumps({"rows": rows})
        self.connection.request("POST", path, body, {"content-type": "application/json"})
        response = self.connection.getresponse()
        answer = json.loads(response.read())
        if response.status >= 400:
            raise SystemExit(f"{path}: {response.status} {answer.get('what')} {answer.get('why')}")
        return answer


@contextmanager
def server(folder: Path):
    """``perene serve`` beside this program, until it is not needed any more."""
    log = folder / ".perene" / "server.log"
    with log.open("w") as out:
        whole = [sys.executable, "-m", "perene.cli", "serve", "--project", str(folder), "--port", "0"]
        process = subprocess.Popen(whole, stdout=out, stderr=out)
    try:
        yield Client(port_of(process, log))
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def port_of(process, log: Path) -> int:
    """The port that the server says it listens on, as soon as it does."""
    until = time.monotonic() + PATIENCE_S
    while not (said := re.search(r"listening on http://[^:\s]+:(\d+)", log.read_text())):
        if process.poll() is not None or time.monotonic() > until:
            raise SystemExit(f"the server did not start:\n{log.read_text()}")
        time.sleep(0.05)
    return int(said.group(1))


def plain(row: dict) -> dict:
    """A row as JSON has it."""
    return {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in row.items()}


def say(text: str) -> None:
    """To the terminal, at once."""
    print(text, flush=True)


if __name__ == "__main__":
    main()
