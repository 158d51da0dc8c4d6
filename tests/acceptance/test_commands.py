"""What commands do on a small project, and their exit codes."""

from __future__ import annotations

import io
import json
import re
import shutil
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from perene.app import App, open_project

MODEL = "parcel-hours"


def test_status_tells_the_three_axes_and_what_waits(call, lived) -> None:
    """One line of status has freshness, health and release, each in words, and why a model is not well."""
    line, reason, *_ = call(lived, "status", width=140).lines[1:]

    assert re.search("● fresh|◐ ageing", line)
    assert "✗ degraded" in line
    assert "held" in line
    assert "run 3 failed: " in reason


def test_status_of_a_model_says_how_much_of_its_age_is_hold_out(call, lived) -> None:
    """The record explains the age, and gives every reason."""
    said = call(lived, "status", MODEL)

    fields = dict(line.split("\t") for line in said.lines)
    assert re.fullmatch(r". \w+: 1\d d of \d+ d, of which 1\d d are hold-out: .*", fields["freshness"])
    assert "run 3 failed" in fields["reasons"]
    assert fields["labels"] == "67 % of those that could be known, 16 h after their events"


def test_status_check_is_3_when_a_model_is_not_well(call, lived, tiny) -> None:
    """--check asks for a verdict: 0 for a sound project, 3 where a model is stale or degraded."""
    assert call(tiny, "status", "--check").code == 0
    assert call(lived, "status", "--check").code == 3
    assert call(lived, "status", MODEL, "--check", "--json").code == 3


def test_a_live_version_is_listed_since_when_it_is_live(call, lived) -> None:
    """model list says since when the live version is live, not since when the model is known."""
    app = open_project(lived)
    since = app.releases.history(MODEL)[-1].since
    app.close()

    (model,) = call(lived, "model", "list", "--json").data

    assert datetime.fromisoformat(model["live_since"]) == since
    assert since > datetime.fromisoformat(model["created_at"])


def test_predictions_are_listed_with_their_truth(call, lived) -> None:
    """The newest predictions come with key, event, answer, version, and the truth where it is known."""
    lines = call(lived, "prediction", "list", MODEL, "--json").data

    assert {line["key"]["number"]: line["truth"] and line["truth"]["label"] for line in lines} == {
        0: None,
        1: 0.5,
        2: 0.5,
    }
    assert {line["model_version"] for line in lines} == {2}
    assert [line["predicted_at"] for line in lines] == sorted((line["predicted_at"] for line in lines), reverse=True)


def test_predictions_are_listed_by_event_time(call, lived) -> None:
    """--since, --until and --limit choose, in UTC unless they say otherwise."""
    lines = call(lived, "prediction", "list", MODEL, "--json").data
    oldest, middle, newest = sorted(lines, key=lambda line: line["event_at"])

    def listed(*arguments: str) -> set[str]:
        return set(call(lived, "prediction", "list", MODEL, "-q", *arguments).lines)

    assert listed("--since", newest["event_at"]) == {newest["prediction_id"]}
    assert listed("--since", middle["event_at"], "--until", newest["event_at"].rstrip("Z")) == {middle["prediction_id"]}
    assert listed("--until", oldest["event_at"]) == set()
    assert len(listed("--limit", "2")) == 2


def test_a_trace_tells_the_whole_way(call, lived) -> None:
    """prediction show has request, features, model, answer and truth; --json has them exact."""
    line = next(p for p in call(lived, "prediction", "list", MODEL, "--json").data if p["key"] == {"number": 1})

    said = call(lived, "prediction", "show", line["prediction_id"])
    trace = call(lived, "prediction", "show", line["prediction_id"], "--json").data

    fields = dict(text.split("\t") for text in said.lines)
    assert "grams=501" in fields["1 request"]
    assert fields["2 features"].startswith("not known: ")  # the Row has a field that is not logged
    assert fields["3 model v2"].startswith("raw 0.5")
    assert fields["5 truth"].startswith("0.5, known ")
    assert trace["request"]["grams"] == 501.0
    assert trace["answer"] == line["answer"]


def test_what_waits_in_a_journal_is_listed(call, tiny, server_of, a_row) -> None:
    """A prediction and its truth are listed at once, before the server has drained them, and once after."""
    with server_of(tiny) as server:
        client = server.client()
        made = client.predict([a_row(1), a_row(2)])[1]["predictions"]
        client.post_truth([{"prediction_id": made[0]["prediction_id"], "hours": 0.7}])
        at_once = call(tiny, "prediction", "list", MODEL, "--json").data
        client.close()
        server.end()

    later = call(tiny, "prediction", "list", MODEL, "--json").data

    assert [p["prediction_id"] for p in at_once] == [m["prediction_id"] for m in reversed(made)]
    assert [p["truth"] and p["truth"]["label"] for p in at_once] == [None, 0.7]
    assert later == at_once


def test_train_tells_each_step_and_the_verdict(call, tiny) -> None:
    """Each step is told on stderr as it ends, and stdout has the outcome with the verdict in words."""
    said = call(tiny, "train", MODEL)

    steps = [line.split()[0] for line in said.err.splitlines()[1:]]
    fields = dict(line.split("\t") for line in said.lines)
    assert said.code == 0
    assert said.err.startswith("run 2 of parcel-hours\n")
    assert steps == ["collect", "dataset", "train", "validate", "release"]
    assert fields["outcome"] == "released: v2 is live"
    assert fields["verdict"].startswith("● pass: not significantly worse than the champion")


@pytest.mark.parametrize(
    ("change", "outcome", "said"),
    [
        ({"release": "review"}, "waiting", "v2 waits for review; v1 stays live"),
        ({"held": True}, "held", "v2 waits, because the model is on hold; v1 stays live"),
        ({"worse": True}, "worse", "v2 is rejected; v1 stays live"),
    ],
)
def test_a_candidate_that_is_not_released_is_no_failure(call, tiny, change, outcome, said) -> None:
    """The exit code is 0 whatever became of the candidate; --check gives 3 for a worse one, 8 for one that waits."""
    prepare(call, tiny, **change)

    first, second = call(tiny, "train", MODEL, "--json"), call(tiny, "train", MODEL, "--check")

    assert (first.code, first.data["run"]["outcome"]) == (0, outcome)
    assert second.code == (3 if outcome == "worse" else 8)
    assert dict(line.split("\t") for line in second.lines)["outcome"].endswith(said.replace("v2", "v3"))


def test_a_run_that_fails_is_told_in_its_own_words(call, tiny) -> None:
    """When a step fails, train says what, why, what was seen and what serves on; the exit code is 1."""
    prepare(call, tiny, failing=True)

    said = call(tiny, "train", MODEL)
    document = json.loads(call(tiny, "train", MODEL, "--json").err.splitlines()[-1])

    assert said.code == 1
    assert "error[" in said.err
    assert "no parcels today" in said.err
    assert re.search(r"v1 stays live; it is (fresh|ageing), its limit is \d{4}-", said.err)
    assert document["kind"] == "error"
    assert set(document["data"]) == {"code", "what", "why", "seen", "mend"}


def test_a_candidate_that_waits_can_be_approved_or_rejected(call, tiny) -> None:
    """release approve makes it live; reject leaves what is live; both need a reason and keep who and why."""
    prepare(call, tiny, release="review")
    call(tiny, "train", MODEL)
    waiting = call(tiny, "release", "list", "--state", "waiting", "-q").lines
    approved = call(tiny, "release", "approve", *waiting, "--why", "looks right", "--json").data
    call(tiny, "train", MODEL)
    waiting = call(tiny, "release", "list", "--state", "waiting", "-q").lines
    rejected = call(tiny, "release", "reject", *waiting, "--why", "not today", "--json").data

    assert (approved["state"], rejected["state"]) == ("live", "rejected")
    assert call(tiny, "model", "list", "--json").data[0]["champion"] == 2
    said = call(tiny, "model", "history", MODEL).out
    assert "ana\tlooks right" in said
    assert "ana\tnot today" in said
    assert call(tiny, "release", "approve", 3).code == 2


def test_what_is_decided_already_is_not_said_to_change(call, tiny) -> None:
    """To approve what is live and to reject what is rejected says that nothing is changed, and writes nothing."""
    prepare(call, tiny, worse=True)
    call(tiny, "train", MODEL)
    before = call(tiny, "model", "history", MODEL).out

    live = call(tiny, "release", "approve", 1, "--why", "again")
    rejected = call(tiny, "release", "reject", 2, "--why", "again")

    assert (live.code, live.out) == (0, "parcel-hours: v1 is live already; nothing is changed\n")
    assert (rejected.code, rejected.out) == (0, "parcel-hours: v2 is rejected already; nothing is changed\n")
    assert call(tiny, "model", "history", MODEL).out == before


def test_a_rollback_can_be_tried_before_it_is_done(call, tiny) -> None:
    """--dry-run says what would be live and changes nothing; the rollback holds the model, resume lets it go on."""
    call(tiny, "train", MODEL)

    tried = call(tiny, "release", "rollback", MODEL, "--dry-run", "--why", "test")
    before = call(tiny, "model", "list", "--json").data[0]
    done = call(tiny, "release", "rollback", MODEL, "--why", "test")
    after = call(tiny, "model", "list", "--json").data[0]
    call(tiny, "model", "resume", MODEL)

    assert "nothing is changed" in tried.out
    assert (before["champion"], before["held_at"]) == (2, None)
    assert done.out.startswith("parcel-hours: v2 → v1")
    assert (after["champion"], after["held_by"]) == (1, "ana")
    assert call(tiny, "model", "list", "--json").data[0]["held_at"] is None


def test_predictions_of_a_file_go_to_a_file(call, lived, tmp_path) -> None:
    """predict reads and writes by the files' endings, and without --log it keeps nothing."""
    rows = pl.DataFrame({"number": [7], "sent_at": ["2026-05-01T12:00:00Z"], "grams": [250.0]})
    rows.write_csv(tmp_path / "rows.csv")
    before = call(lived, "prediction", "list", MODEL, "-q").lines

    said = call(lived, "predict", MODEL, tmp_path / "rows.csv", "--out", tmp_path / "answers.parquet")

    assert said.out == f"1 prediction of parcel-hours in {tmp_path / 'answers.parquet'}\n"
    assert pl.read_parquet(tmp_path / "answers.parquet")["number"].to_list() == [7]
    assert call(lived, "prediction", "list", MODEL, "-q").lines == before


def test_examples_of_the_past_are_brought_in(call, tiny, tmp_path) -> None:
    """dataset import says how many rows came in and what they changed."""
    rows = [
        {
            "number": 1,
            "sent_at": "2020-05-01T12:00:00Z",
            "grams": 1.0,
            "hours": 2.0,
            "arrived_at": "2020-05-02T12:00:00Z",
        }
    ]
    (tmp_path / "past.json").write_text(json.dumps(rows))

    said = call(tiny, "dataset", "import", MODEL, tmp_path / "past.json")
    again = call(tiny, "dataset", "import", MODEL, tmp_path / "past.json", "--json").data

    assert said.out == "parcel-hours: 1 row read, 1 added\n"
    assert (again["rows"], again["added"]) == (1, 0)


def test_a_dataset_reads_back_the_same_or_the_days_are_named(call, tiny) -> None:
    """dataset verify gives 0 while the digest holds, and 3 with the days that differ when a file was changed."""
    assert call(tiny, "dataset", "verify", MODEL).code == 0
    changed = spoil_a_day(tiny)

    said = call(tiny, "dataset", "verify", MODEL)

    assert said.code == 3
    assert changed in said.out


def spoil_a_day(folder: Path) -> str:
    """Change the labels of a day behind perene's back; the day's name."""
    table = DeltaTable(folder / ".perene" / "store" / MODEL / "examples")
    days = sorted(pl.DataFrame(table.get_add_actions(flatten=True))["partition.day"].unique())
    table.update({"label": "label + 1"}, predicate=f"day = '{days[len(days) // 2]}'")
    return str(days[len(days) // 2])


def prepare(
    call, folder: Path, *, release: str = "", held: bool = False, worse: bool = False, failing: bool = False
) -> None:
    """Bring a project to where its next candidate comes to another end."""
    code = folder / "models" / "parcel_hours.py"
    if release:
        settings = (folder / "perene.toml").read_text()
        (folder / "perene.toml").write_text(f'{settings}\n[model.{MODEL}]\nrelease = "{release}"\n')
    if held:
        call(folder, "model", "hold", MODEL, "--why", "a test")
    if worse:
        code.write_text(code.read_text().replace("float(base) +", "float(base) + 5 +"))
    if failing:
        code.write_text(
            code.read_text().replace("    slope, base", '    raise ValueError("no parcels today")\n    slope, base', 1)
        )


def test_the_audit_log_has_who_and_why(call, tiny) -> None:
    """What a command changes is in the audit log under the name of who called, with the reason."""
    call(tiny, "model", "hold", MODEL, "--why", "the feed is broken")

    app = open_project(tiny)
    (line,) = [line for line in app.audits.list(about=f"model {MODEL}") if line.verb == "hold"]
    app.close()

    assert (line.actor, line.why) == ("ana", "the feed is broken")
    assert line.at <= datetime.now(UTC)


def test_the_history_is_told_by_versions(call, lived) -> None:
    """model history -q prints the version that each line is about, the newest first; a hold is about the model."""
    said = call(lived, "model", "history", MODEL, "-q")

    assert set(said.lines) == {MODEL, f"{MODEL}@1", f"{MODEL}@2"}
    assert call(lived, "model", "show", said.lines[0], "-q").lines == [said.lines[0]]


def test_a_list_of_releases_says_verdict_and_why(call, lived) -> None:
    """release list has what the gate said of each, and why it was or was not released."""
    back, second, first = call(lived, "release", "list", "--json").data
    lines = [dict(zip(*pair, strict=True)) for pair in titled(call(lived, "release", "list").lines)]

    assert (first["verdict"], second["verdict"], back["verdict"]) == ("pass", "pass", None)
    assert first["why"].startswith("better than a constant prediction")
    assert second["why"].startswith("not significantly worse")
    assert back["why"] == "a test"
    assert [(line["verdict"], line["why"]) for line in lines] == [
        (release["verdict"] or "", release["why"]) for release in (back, second, first)
    ]
    assert "● pass" in call(lived, "release", "list", width=120).lines[2]


def test_a_rejected_release_says_who_decided_so(call, tiny) -> None:
    """The reason of a person stands in the list, not the gate's."""
    prepare(call, tiny, release="review")
    call(tiny, "train", MODEL)
    waiting = call(tiny, "release", "show", 2, "--check")
    call(tiny, "release", "reject", 2, "--why", "not today")

    (rejected, *_) = call(tiny, "release", "list", "--json").data

    assert (waiting.code, call(tiny, "release", "show", 2, "--check").code) == (8, 0)
    assert (rejected["verdict"], rejected["state"], rejected["why"]) == ("pass", "rejected", "not today")


def test_a_worse_candidate_is_3_for_whoever_asks(call, tiny) -> None:
    """release show --check gives 3 for a verdict that is worse."""
    prepare(call, tiny, worse=True)
    call(tiny, "train", MODEL)

    assert (call(tiny, "release", "show", 2).code, call(tiny, "release", "show", 2, "--check").code) == (0, 3)


def test_an_alert_is_shown_with_what_mends_it(call, lived) -> None:
    """alert show has what, why, since when and the mend."""
    fields = dict(line.split("\t") for line in call(lived, "alert", "show", 1).lines)

    assert fields["what"] == "run 3 of parcel-hours failed: train of parcel-hours failed"
    assert fields["state"] == "▲ firing"
    assert "no parcels today" in fields["why"]
    assert fields["mend"].startswith("mend models/parcel_hours.py:")
    assert fields["last"].endswith(", 1 time in all")


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "list"], ["release", "list"], ["dataset", "list"], ["model", "history", MODEL],
        ["prediction", "list", MODEL],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_a_limit_cuts_is_said(call, lived, arguments) -> None:
    """--limit says on stderr that there is more, and in JSON "more": true; a list that is whole says nothing."""
    cut = [call(lived, *arguments, "--limit", 2, *how) for how in ([], ["-q"])]
    document = call(lived, *arguments, "--limit", 2, "--json")
    whole = call(lived, *arguments, "--limit", 99)

    assert [said.err for said in cut] == ["… and more: --limit 4 shows twice as many\n"] * 2
    assert [len(said.lines) for said in cut] == [3, 2]
    assert (document.err, json.loads(document.out)["more"], len(json.loads(document.out)["data"])) == ("", True, 2)
    assert whole.err == ""
    assert "more" not in json.loads(call(lived, *arguments, "--limit", 99, "--json").out)


def test_a_rollback_to_an_old_version_warns(call, tmp_path) -> None:
    """A rollback says how old its version is, and warns when it is stale or soon will be; a dry run warns too."""
    said = {}
    with closing(replayed(tmp_path)) as app:
        app.train(MODEL, actor="test")
        app.train(MODEL, actor="test")
        stale_at = app.freshness(app.models.version(MODEL, 1)).stale_at
        for hours in (48, 3, -5):
            app.time.advance(stale_at - timedelta(hours=hours))
            said[hours] = call(tmp_path / "tiny", "release", "rollback", MODEL, "--dry-run", "--why", "x")
    done = call(tmp_path / "tiny", "release", "rollback", MODEL, "--why", "x", "--json")

    assert "v2 → v1 (11 d old; limit 13 d), and the model would be held" in said[48].out
    assert said[48].err == ""
    assert said[3].err.startswith("warning: v1 turns stale in 3 h (2026-")
    assert said[-5].err.startswith("warning: v1 has been stale for 5 h (2026-")
    assert done.err == said[-5].err
    assert (done.data["version"], done.data["freshness"]["state"]) == (1, "stale")


def test_train_stops_waiting_when_its_time_is_over(call, tiny) -> None:
    """--timeout gives 124 and leaves the run queued, to go on where it stood; a span that is none is wrong usage."""
    code = tiny / "models" / "parcel_hours.py"
    code.write_text(code.read_text().replace("    slope, base", "    import time; time.sleep(99)\n    slope, base", 1))

    said = call(tiny, "train", MODEL, "--timeout", "1s", "--json")
    (run, *_) = call(tiny, "run", "list", "--json").data

    assert said.code == 124
    error = json.loads(said.err.splitlines()[-1])["data"]
    assert (error["code"], error["mend"]) == (
        "timeout", f"perene worker --once --model {MODEL}, or a longer --timeout",
    )  # fmt: skip
    assert run["state"] == "queued"
    assert call(tiny, "train", MODEL, "--timeout", "soon").code == 2


def test_the_version_is_asked_for_both_ways(call, tmp_path) -> None:
    """perene --version and perene version say the same number."""
    number = call(tmp_path, "version", "-q").out

    assert call(tmp_path, "--version").out == f"perene {number}"


def test_an_earlier_demo_is_replaced_only_after_a_yes(call, tmp_path, monkeypatch) -> None:
    """At a terminal the demo asks before it replaces a folder of its own; a no leaves the folder as it is."""
    (tmp_path / "perene-demo").mkdir()
    (tmp_path / "perene-demo" / ".perene-demo").write_text("")
    monkeypatch.setattr("sys.stdin", Typed("n\n"))

    said = call(tmp_path, "demo", width=80)

    assert said.code == 4
    assert "Replace perene-demo, an earlier demo" in said.out + said.err
    assert [path.name for path in (tmp_path / "perene-demo").iterdir()] == [".perene-demo"]


class Typed(io.StringIO):
    """What a person types at a terminal."""

    def isatty(self) -> bool:
        return True


def titled(lines: list[str]) -> list[tuple[list[str], list[str]]]:
    """The cells of each line of a table beside the titles."""
    return [(lines[0].split("\t"), line.split("\t")) for line in lines[1:]]


def replayed(folder: Path) -> App:
    """The tiny project, opened, whose time is a replay that begins at noon of 20 May 2026."""
    shutil.copytree(Path(__file__).parent.parent / "tiny", folder / "tiny")
    app = open_project(folder / "tiny")
    app.time.start_replay(datetime(2026, 5, 20, 12, tzinfo=UTC))
    return app
