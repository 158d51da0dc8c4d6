"""``perene label``: ground truth."""

from __future__ import annotations

import click

from perene.cli.door import Door
from perene.cli.options import file_argument, format_option, model_argument
from perene.cli.verbs import Noun, Verb


@click.group("label", cls=Noun)
def command() -> None:
    """Ground truth: what came true."""


@command.command(
    "import",
    cls=Verb,
    examples="""
      perene label import late-arrival landed.csv
      perene label import late-arrival landed.parquet --source tower
      cat landed.ndjson | perene label import late-arrival -
    """,
)
@model_argument
@file_argument
@format_option
@click.option("--source", metavar="NAME", help="Where it comes from, for the log (default: the file's name).")
@click.pass_obj
def import_labels(door: Door, model: str, file: str, format: str | None, source: str | None) -> None:
    """Bring in ground truth: by prediction_id, or by key and event time.

    A row has the label under its name, and when it was known (now, if it does not say). An empty label takes back what
    was said before. A later row corrects an earlier one of the same kind: what names a prediction always wins over what
    names its key and time, however late that comes.
    """
    import polars as pl

    from perene.cli.files import read_rows
    from perene.cli.words import counted

    app = door.app(may_begin=True)
    declared = app.model(model)
    fields = {name: declared.schema.polars[name] for name in (*declared.key, declared.at)}
    dtypes = fields | {
        declared.label.name: declared.label.dtype,
        declared.label.known_at or "known_at": pl.Datetime("us", "UTC"),
    }
    rows = read_rows(file, dtypes, format=format)
    count = app.add_truths(model, rows, source=source or f"import:{file}")
    door.out.done(
        "label.import", {"model": model, "rows": count}, text=f"{model}: {counted(count, 'label')} taken in", id=model
    )
    door.out.next(f"perene status {model}")
