"""``perene prediction``: what was answered, from what, and what came true."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from perene.cli.door import Door
from perene.cli.options import limit_option, model_argument
from perene.cli.output import Column
from perene.cli.stored import lookup, stored
from perene.cli.verbs import Noun, Verb
from perene.cli.words import instant, version

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    Line = dict[str, Any]


class Moment(click.ParamType["datetime"]):
    """An instant as people type it: a day, or a day and an hour; in UTC unless it says otherwise."""

    name = "instant"

    def convert(self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read it."""
        from datetime import UTC, datetime

        if isinstance(value, datetime):
            return value
        try:
            read = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no instant: write 2013-11-24 or 2013-11-24T14:15Z", param, ctx)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


@click.group("prediction", cls=Noun)
def command() -> None:
    """Predictions, and what came true."""


@command.command(
    "list",
    cls=Verb,
    examples="""
      perene prediction list late-arrival
      perene prediction list late-arrival --since 2013-11-24T14:15Z --limit 99
      perene prediction list late-arrival -q        the ids only
    """,
)
@model_argument
@click.option("--since", type=Moment(), metavar="TIME", help="Of events from this time on, as 2013-11-24T14:15Z.")
@click.option("--until", type=Moment(), metavar="TIME", help="Of events before this time.")
@limit_option
@click.pass_obj
def list_predictions(door: Door, model: str, since: datetime | None, until: datetime | None, limit: int) -> None:
    """List the newest predictions of a model, each with its ground truth where it is known."""
    app = door.app()
    names = app.model(model).key
    found = app.newest_predictions(model, since=since, until=until, limit=limit + 1)
    lines = [_line(row, names) for row in found.to_dicts()]
    door.out.table(
        "prediction.list",
        lines,
        columns=_columns(),
        id_of=lambda line: line["prediction_id"],
        empty="no predictions: perene up answers them over HTTP, perene predict --log keeps those of a file",
        limit=limit,
    )
    if lines:
        door.out.next(f"perene prediction show {lines[0]['prediction_id']}")


@command.command(
    "show",
    cls=Verb,
    examples="""
      perene prediction show 01a2105d-c83a-7d3c-8f4e-2b1a6c0d9e7f
      perene prediction show 01a2105d-c83a-7d3c-8f4e-2b1a6c0d9e7f --json
    """,
)
@click.argument("prediction_id", metavar="ID")
@click.pass_obj
def show_prediction(door: Door, prediction_id: str) -> None:
    """Show a prediction's whole way: request, features, model, post steps, answer, ground truth."""
    from perene.cli.tracing import trace_fields

    app = door.app()
    trace = app.trace(prediction_id)
    door.out.record("prediction", trace, trace_fields(app.model(str(trace["model"])), trace), id=prediction_id)
    door.out.next(f"perene model show {trace['model']} --version {trace['model_version']}")


command.add_command(lookup)
command.add_command(stored)


def _line(row: Line, names: Sequence[str]) -> Line:
    """A row of the log in the trace's words."""
    from perene.records.identity import key_of

    key, answer, label, known_at = (row.pop(name) for name in ("key", "final", "label", "known_at"))
    truth = None if known_at is None else {"label": label, "known_at": known_at}
    return {
        "prediction_id": row.pop("prediction_id"),
        "key": key_of(names, key),
        **row,
        "answer": answer,
        "truth": truth,
    }


def _columns() -> list[Column[Line]]:
    from perene.cli.tracing import key_words
    from perene.cli.words import value_words

    return [
        Column(title="prediction", value=lambda p: p["prediction_id"]),
        Column(title="key", value=lambda p: p["key"], text=lambda p: key_words(p["key"])),
        Column(title="event", value=lambda p: p["event_at"], text=lambda p: instant(p["event_at"]), spare=1),
        Column(title="answer", value=lambda p: p["answer"], text=lambda p: value_words(p["answer"]), right=True),
        Column(
            title="truth", value=lambda p: _of_truth(p, "label"), text=lambda p: value_words(_of_truth(p, "label")),
            right=True,
        ),
        Column(
            title="version", value=lambda p: p["model_version"], text=lambda p: version(p["model_version"]), spare=2
        ),
        Column(title="role", value=lambda p: p["role"], spare=4),
        Column(
            title="known", value=lambda p: _of_truth(p, "known_at"), text=lambda p: instant(_of_truth(p, "known_at")),
            spare=3,
        ),
    ]  # fmt: skip


def _of_truth(line: Line, name: str) -> Any:  # noqa: ANN401 - a label can be a number, a text or a boolean
    return (line["truth"] or {}).get(name)
