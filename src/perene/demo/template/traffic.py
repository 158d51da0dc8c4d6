"""December's flights: each is asked for one hour before it is due to leave, and its truth is told when it has landed.

    perene up                        in one terminal
    python traffic.py                in another; Ctrl-C ends it, and it may be started again at any time

This is what an airline's own programs would do. It needs nothing but Python, and goes by the project's time.
"""

import argparse
import gzip
import http.client
import json
import time
from pathlib import Path

MODEL = "late-arrival"
FLIGHTS = Path(__file__).parent / "data" / "december.jsonl.gz"
LOOK_EVERY_S = 0.5
AT_ONCE = 500  # rows of a request


class Server:
    """The running server, over one kept connection."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def time(self):
        """Project time to the second, as text that sorts."""
        return self.ask("GET", "/v1/models")["project_time"][:19] + "Z"

    def post(self, what, rows):
        """Send rows to a route of the model, in parts."""
        for start in range(0, len(rows), AT_ONCE):
            self.ask("POST", f"/v1/models/{MODEL}/{what}", json.dumps({"rows": rows[start : start + AT_ONCE]}))

    def ask(self, method, path, body=None):
        self.connection.request(method, path, body, {"content-type": "application/json"})
        response = self.connection.getresponse()
        answer = json.loads(response.read())
        if response.status >= 400:
            raise SystemExit(f"{method} {path}: {response.status} {answer.get('what')}")
        return answer


def prediction_id(row):
    """The same flight has the same id, so that to ask about it again changes nothing."""
    return "-".join(str(row[name]) for name in ("carrier", "flight", "origin", "sched_dep"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8780, help="the server's port")
    server = Server(parser.parse_args().port)
    with gzip.open(FLIGHTS, "rt", encoding="utf-8") as file:
        flights = [json.loads(line) for line in file]
    to_ask = sorted((f for f in flights if f["row"]), key=lambda f: f["asked_at"])
    to_tell = sorted((f for f in flights if f["truth"]), key=lambda f: f["landed_at"])
    asked = told = 0
    day = ""
    while to_ask or to_tell:
        now = server.time()
        # Those that left while nobody asked are not asked for any more; what landed meanwhile is told.
        due = [f for f in to_ask if f["asked_at"] <= now]
        rows = [f["row"] | {"prediction_id": prediction_id(f["row"])} for f in due if now < f["sched_dep"]]
        landed = [f for f in to_tell if f["landed_at"] <= now]
        server.post("predict", rows)
        server.post("ground-truth", [f["truth"] for f in landed])
        to_ask, to_tell = to_ask[len(due) :], to_tell[len(landed) :]
        asked, told = asked + len(rows), told + len(landed)
        if now[:10] != day:
            day = now[:10]
            print(f"{day}  {asked:,} flights asked for, {told:,} have landed", flush=True)
        time.sleep(LOOK_EVERY_S)
    print("all flights of the year have landed")


if __name__ == "__main__":
    try:
        main()
    except (ConnectionError, http.client.HTTPException):
        raise SystemExit("no server answers: start `perene up` in another terminal, then this again") from None
    except KeyboardInterrupt:
        pass
