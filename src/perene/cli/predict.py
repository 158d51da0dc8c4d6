"""``perene predict``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perene.cli.door import Door
from perene.cli.options import format_option, model_argument
from perene.cli.output import Column, Mode
from perene.cli.verbs import Verb

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from perene.app import App

_SHOWN = 20
_SPARE = {"model_version": 2, "prediction_id": 1}


@click.command(
    "predict",
    cls=Verb,
    examples="""
      perene predict late-arrival flights.csv
      perene predict late-arrival flights.parquet --out answers.parquet
      cat flights.ndjson | perene predict late-arrival - --json
      perene predict late-arrival flights.csv --log     keep them in the log
      perene predict churn subscribers.parquet --store  to be looked up by key
      perene predict churn --store                      of the model's population
    """,
)
@model_argument
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@format_option
@click.option(
    "--out", metavar="FILE", type=click.Path(dir_okay=False), help="Write to a .json, .ndjson, .csv or .parquet."
)
@click.option(
    "--log", is_flag=True, help="Keep the predictions in the prediction log, to be met by their ground truth."
)
@click.option(
    "--store", is_flag=True, help="Keep the predictions by key, to be looked up; they replace those stored before."
)
@click.pass_obj
def command(
    door: Door, model: str, file: str | None, format: str | None, out: str | None, *, log: bool, store: bool
) -> None:
    """Predict the rows of a file.

    FILE is JSON, NDJSON, CSV or Parquet with the fields of the model's Row, or - for stdin. The live version answers.
    A file may be larger than memory, unless it is JSON. Without FILE, --store predicts the model's population.
    """
    if store and (log or out is not None):
        raise click.UsageError("--store keeps the predictions by key; --out and --log are of others")
    if file is None and not store:
        raise click.UsageError("name a FILE, or predict the model's population with --store")
    if store:
        from perene.cli.children import LOAD, give_way

        give_way(LOAD)
    app = door.app()
    if store:
        _store(door, app, model, file, format)
    elif out is not None:
        _write(door, _answers(app, model, str(file), format, log=log), model, out)
    else:
        _show(door, _answers(app, model, str(file), format, log=log))


def _store(door: Door, app: App, model: str, file: str | None, format: str | None) -> None:
    from pathlib import Path

    from perene.cli.files import read_batches
    from perene.cli.words import counted, version

    rows = None if file is None else read_batches(file, app.model(model).schema.polars, format=format)
    origin = "rows" if file is None else "stdin" if file == "-" else Path(file).name
    made = app.store(model, rows, actor=door.actor, origin=origin)
    text = (
        f"{counted(made.rows, 'prediction')} of {model} {version(made.version)} stored by {counted(made.keys, 'key')}"
    )
    if made.aside:
        text += f"; {counted(made.aside, 'bad row')} set aside"
    told = {
        "generation": made.id, "model": model, "model_version": made.version, "origin": made.origin,
        "computed_at": made.computed_at, "rows": made.rows, "keys": made.keys, "aside": made.aside,
    }  # fmt: skip
    door.out.done("predict.store", told, text=text, id=made.id)
    door.out.next(f"perene prediction lookup {model} KEY")


def _answers(app: App, model: str, file: str, format: str | None, *, log: bool) -> Iterator[pl.DataFrame]:
    """The answers to the rows of a file, batch by batch. Nothing is logged before all rows are known to be good."""
    from perene.cli.files import read_batches, read_rows
    from perene.definition.label import Task
    from perene.pipelines.bulk import ahead, refuse_bad

    schema = app.model(model).schema
    is_ranking = app.model(model).label.task is Task.RANKING  # a group lies in one batch
    if is_ranking or (log and file == "-"):  # which cannot be read twice
        yield app.predict(model, read_rows(file, schema.polars, format=format), log=log)
        return
    if log:
        for batch in read_batches(file, schema.polars, format=format):
            refuse_bad(app.model(model), schema.check(batch))
    batches = ahead(read_batches(file, schema.polars, format=format))
    yield from ahead(app.predict(model, batch, log=log) for batch in batches)


def _write(door: Door, answers: Iterator[pl.DataFrame], model: str, out: str) -> None:
    from pathlib import Path

    from perene.cli.files import write_rows
    from perene.cli.words import counted

    rows = write_rows(answers, Path(out))
    text = f"{counted(rows, 'prediction')} of {model} in {out}"
    door.out.done("predict", {"model": model, "file": out, "rows": rows}, text=text, id=out)


def _show(door: Door, answers: Iterator[pl.DataFrame]) -> None:
    import polars as pl

    parts, height = [], 0
    for answer in answers:
        parts.append(answer.head(_SHOWN - height if height < _SHOWN else 0) if door.out.mode is Mode.HUMAN else answer)
        height += answer.height
    shown = pl.concat(parts)
    columns = [_column(name, spare=_SPARE.get(name, 0)) for name in shown.columns]
    door.out.table(
        "predict", shown.to_dicts(), columns=columns, id_of=lambda row: row["prediction_id"], empty="no rows"
    )
    if shown.height < height:
        door.out.text(f"and {height - shown.height:,} more: --out FILE keeps all", tone="faint")


def _column(name: str, *, spare: int) -> Column[dict[str, object]]:
    from perene.cli.words import value_words

    return Column(title=name, value=lambda row: row[name], text=lambda row: value_words(row[name]), spare=spare)
