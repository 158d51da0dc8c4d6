"""``perene predict``."""

from __future__ import annotations

import click

from perene.cli.door import Door
from perene.cli.options import file_argument, format_option, model_argument
from perene.cli.output import Column, Mode
from perene.cli.verbs import Verb

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
    """,
)
@model_argument
@file_argument
@format_option
@click.option(
    "--out", metavar="FILE", type=click.Path(dir_okay=False), help="Write to a .json, .ndjson, .csv or .parquet."
)
@click.option(
    "--log", is_flag=True, help="Keep the predictions in the prediction log, to be met by their ground truth."
)
@click.pass_obj
def command(door: Door, model: str, file: str, format: str | None, out: str | None, log: bool) -> None:
    """Predict the rows of a file.

    FILE is JSON, NDJSON, CSV or Parquet with the fields of the model's Row, or - for stdin. The live version answers.
    """
    from pathlib import Path

    from perene.cli.files import read_rows, write_rows
    from perene.cli.words import counted

    app = door.app()
    rows = read_rows(file, app.model(model).schema.polars, format=format)
    answers = app.predict(model, rows, log=log)
    if out is not None:
        write_rows(answers, Path(out))
        text = f"{counted(answers.height, 'prediction')} of {model} in {out}"
        door.out.done("predict", {"model": model, "file": out, "rows": answers.height}, text=text, id=out)
        return
    shown = answers.head(_SHOWN) if door.out.mode is Mode.HUMAN else answers
    columns = [_column(name, spare=_SPARE.get(name, 0)) for name in answers.columns]
    door.out.table(
        "predict", shown.to_dicts(), columns=columns, id_of=lambda row: row["prediction_id"], empty="no rows"
    )
    if shown.height < answers.height:
        door.out.text(f"and {answers.height - shown.height:,} more: --out FILE keeps all", tone="faint")


def _column(name: str, *, spare: int) -> Column[dict[str, object]]:
    from perene.cli.words import value_words

    return Column(title=name, value=lambda row: row[name], text=lambda row: value_words(row[name]), spare=spare)
