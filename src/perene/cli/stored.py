"""``perene prediction lookup`` and ``stored``: offline predictions by key, and the loads that made them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from perene.cli.completing import models
from perene.cli.door import Door
from perene.cli.options import limit_option, model_argument
from perene.cli.output import Column
from perene.cli.verbs import Verb
from perene.cli.words import instant, state, version

if TYPE_CHECKING:
    from perene.records.generation import Generation

    Line = dict[str, Any]


@click.command(
    "lookup",
    cls=Verb,
    examples="""
      perene prediction lookup churn 81723
      perene prediction lookup late-arrival B6,715,JFK
      perene prediction lookup late-arrival '["B6", 715, "JFK"]'
    """,
)
@model_argument
@click.argument("keys", metavar="KEY…", nargs=-1, required=True)
@click.option("--log", is_flag=True, help="Keep them in the prediction log, as answers that were given.")
@click.pass_obj
def lookup(door: Door, model: str, keys: tuple[str, ...], *, log: bool) -> None:
    """Show the stored predictions of keys."""
    from perene.pipelines.keying import read_key

    app = door.app()
    declared = app.model(model)
    found = app.lookup(model, [read_key(declared, key) for key in keys], log=log).to_dicts()
    lines = [_answer(line, declared.key, declared.at) for line in found]
    door.out.table(
        "prediction.lookup",
        lines,
        columns=_answer_columns(),
        id_of=lambda line: ",".join(str(part) for part in line["key"].values()),
        empty="no keys",
    )
    if any(line["outdated"] for line in lines):
        door.out.text("outdated: another version is live by now", tone="warn")


@click.command(
    "stored",
    cls=Verb,
    examples="""
      perene prediction stored
      perene prediction stored churn --limit 5
    """,
)
@click.argument("model", required=False, shell_complete=models)
@limit_option
@click.pass_obj
def stored(door: Door, model: str | None, limit: int) -> None:
    """List the loads of stored predictions, newest first, and which one is looked up."""
    app = door.app()
    names = [app.model(model).name] if model else list(app.project.models)
    current = {name: app.generations.current(name) for name in names}
    live = {name: app.models.champion(name) for name in names}
    lines = []
    for made in app.generations.list(model, limit=limit + 1):
        read, champion = current.get(made.model), live.get(made.model)
        is_read = read is not None and read.id == made.id
        outdated = is_read and (champion is None or champion.version != made.version)
        lines.append(_load(made, is_read=is_read, outdated=outdated))
    door.out.table(
        "prediction.stored",
        lines,
        columns=_load_columns(),
        id_of=lambda line: line["generation"],
        empty="nothing is stored: perene predict MODEL FILE --store",
        limit=limit,
    )


def _answer(line: Line, key: tuple[str, ...], at: str) -> Line:
    named = {name: line.pop(name) for name in dict.fromkeys((*key, at))}
    return {
        "prediction_id": line.pop("prediction_id"),
        "key": {name: named[name] for name in key},
        "event_at": named[at],
        "answer": line.pop("prediction"),
        **line,
    }


def _answer_columns() -> list[Column[Line]]:
    from perene.cli.tracing import key_words
    from perene.cli.words import value_words

    return [
        Column(title="key", value=lambda p: p["key"], text=lambda p: key_words(p["key"])),
        Column(title="event", value=lambda p: p["event_at"], text=lambda p: instant(p["event_at"]), spare=1),
        Column(title="answer", value=lambda p: p["answer"], text=lambda p: value_words(p["answer"]), right=True),
        Column(title="version", value=lambda p: p["model_version"], text=lambda p: version(p["model_version"])),
        Column(title="computed", value=lambda p: p["computed_at"], text=lambda p: instant(p["computed_at"])),
        Column(title="outdated", value=lambda p: p["outdated"], text=lambda p: "yes" if p["outdated"] else "no"),
        Column(title="prediction", value=lambda p: p["prediction_id"], spare=2),
    ]


def _load(made: Generation, *, is_read: bool, outdated: bool) -> Line:
    return {
        "generation": made.id,
        "model": made.model,
        "state": made.state.value,
        "is_read": is_read,
        "outdated": outdated,
        "model_version": made.version,
        "origin": made.origin,
        "computed_at": made.computed_at,
        "rows": made.rows,
        "keys": made.keys,
        "aside": made.aside,
        "actor": made.actor,
        "run": made.run,
        "error": made.error,
    }


def _load_columns() -> list[Column[Line]]:
    return [
        Column(title="id", value=lambda g: g["generation"], right=True),
        Column(title="model", value=lambda g: g["model"]),
        Column(title="state", value=lambda g: g["state"], text=_state),
        Column(title="version", value=lambda g: g["model_version"], text=lambda g: version(g["model_version"])),
        Column(title="computed", value=lambda g: g["computed_at"], text=lambda g: instant(g["computed_at"])),
        Column(title="rows", value=lambda g: g["rows"], text=lambda g: f"{g['rows']:,}", right=True),
        Column(title="keys", value=lambda g: g["keys"], text=lambda g: f"{g['keys']:,}", right=True, spare=1),
        Column(title="origin", value=lambda g: g["origin"], spare=2),
        Column(title="error", value=lambda g: g["error"], text=lambda g: (g["error"] or {}).get("what", ""), spare=3),
    ]


def _state(line: Line) -> str:
    if not line["is_read"]:
        return state(line["state"])
    return "◐ read, outdated" if line["outdated"] else "● read"
