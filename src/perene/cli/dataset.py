"""``perene dataset``: dataset versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perene.cli.door import Door
from perene.cli.failures import NEGATIVE
from perene.cli.naming import model_and_version
from perene.cli.options import (
    dataset_version_option,
    file_argument,
    format_option,
    limit_option,
    model_argument,
    model_if_given,
    version_of_model,
)
from perene.cli.output import Column
from perene.cli.steps import changes_of
from perene.cli.verbs import Noun, Verb
from perene.cli.words import ago, counted, instant, version

if TYPE_CHECKING:
    from datetime import datetime

    from perene.records.dataset import DatasetVersion


@click.group("dataset", cls=Noun)
def command() -> None:
    """Dataset versions: what models learnt from."""


@command.command(
    "list",
    cls=Verb,
    examples="""
      perene dataset list
      perene dataset list late-arrival --limit 5
    """,
)
@model_if_given
@limit_option
@click.pass_obj
def list_datasets(door: Door, model: str | None, limit: int) -> None:
    """List dataset versions, newest first."""
    app = door.app()
    if model is not None:
        app.models.get(model)
    versions = app.datasets.list(model, limit=limit + 1)
    door.out.table(
        "dataset.list",
        versions,
        columns=_columns(app.time.now()),
        id_of=lambda d: f"{d.model}@{d.version}",
        empty="no dataset versions yet: perene train MODEL makes one",
        limit=limit,
    )


@command.command(
    "show",
    cls=Verb,
    examples="""
      perene dataset show late-arrival
      perene dataset show late-arrival@3 --json
    """,
)
@version_of_model
@dataset_version_option
@click.pass_obj
def show_dataset(door: Door, model: str, wanted: int | None) -> None:
    """Show a dataset version: its windows, counts, changes and digest."""
    found = _found(door, model, wanted)
    came_and_went = [
        (found.changes.added, "added"),
        (found.changes.relabelled, "relabelled"),
        (found.changes.restated, "restated"),
        (found.changes.gone, "gone"),
    ]
    fields: list[tuple[str, object]] = [
        ("dataset", f"{found.model}@{version(found.version)}"),
        ("training", f"{instant(found.since)} → {instant(found.trained_until)}: {counted(found.train_rows, 'row')}"),
        ("test", f"{instant(found.split)} → {instant(found.until)}: {counted(found.test_rows, 'row')}"),
        ("as of", instant(found.as_of)),
        ("labelled", f"{found.labelled:,} of {counted(found.rows, 'row')}"),
        ("changes", ", ".join(f"{count:,} {word}" for count, word in came_and_went)),
        ("quarantined", counted(found.quarantined, "row")),
        ("run", found.run or "-"),
        ("made", instant(found.created_at)),
        ("digest", found.digest),
    ]
    door.out.record("dataset", found, fields, id=f"{found.model}@{found.version}")
    door.out.next(f"perene dataset verify {found.model}@{found.version}")


@command.command(
    "verify",
    cls=Verb,
    examples="""
      perene dataset verify late-arrival
      perene dataset verify late-arrival --version 3
    """,
)
@version_of_model
@dataset_version_option
@click.pass_context
def verify_dataset(context: click.Context, model: str, wanted: int | None) -> None:
    """Read a dataset version again and compare its digest with the one it was made with.

    The exit code is 3 when they differ.
    """
    door: Door = context.obj
    found = _found(door, model, wanted)
    model, app = found.model, door.app()
    verified = app.datasets.verify(app.model(model), found.version)
    name = f"{model}@{version(found.version)}"
    if verified.ok:
        text = f"● {name} reads back the same: {counted(found.rows, 'row')}, digest {found.digest}"
    else:
        days = ", ".join(str(day) for day in verified.days)
        text = f"✗ {name} is not what it was\n  then  {verified.then}\n  now   {verified.now}\n  days  {days or '-'}"
    door.out.done("dataset.verify", verified, text=text, id=f"{model}@{found.version}")
    if not verified.ok:
        context.exit(NEGATIVE)


@command.command(
    "import",
    cls=Verb,
    examples="""
      perene dataset import late-arrival history.parquet
      perene dataset import late-arrival history.csv
      cat history.ndjson | perene dataset import late-arrival -
    """,
)
@model_argument
@file_argument
@format_option
@click.pass_obj
def import_examples(door: Door, model: str, file: str, format: str | None) -> None:
    """Bring in examples of the past: the Row's fields, the label, and when it was known."""
    from perene.cli.files import read_rows

    app = door.app(may_begin=True)
    declared = app.model(model)
    dtypes = dict(declared.schema.polars) | {declared.label.name: declared.label.dtype}
    if declared.label.known_at:
        dtypes[declared.label.known_at] = dtypes[declared.at]
    imported = app.import_examples(model, read_rows(file, dtypes, format=format))
    text = f"{model}: {counted(int(str(imported['rows'])), 'row')} read, {changes_of(imported, imported)}"
    if imported["later"]:
        text += f", {counted(int(str(imported['later'])), 'label')} that will count once known"
    door.out.done("dataset.import", imported, text=text, id=model)
    door.out.next(f"perene train {model}")


def _found(door: Door, model: str, wanted: int | None) -> DatasetVersion:
    from perene.errors import NotFound

    model, wanted = model_and_version(model, wanted)
    app = door.app()
    app.models.get(model)
    found = app.datasets.latest(model) if wanted is None else app.datasets.get(model, wanted)
    if found is None:
        raise NotFound(f"{model} has no dataset yet", why="a run makes one", mend=f"perene train {model}")
    return found


def _columns(now: datetime) -> list[Column[DatasetVersion]]:
    return [
        Column(title="model", value=lambda d: d.model),
        Column(title="version", value=lambda d: d.version, text=lambda d: version(d.version)),
        Column(title="from", value=lambda d: d.since, text=lambda d: instant(d.since)[:10], spare=2),
        Column(title="until", value=lambda d: d.until, text=lambda d: instant(d.until)[:10], spare=1),
        Column(title="train rows", value=lambda d: d.train_rows, text=lambda d: f"{d.train_rows:,}", right=True),
        Column(title="test rows", value=lambda d: d.test_rows, text=lambda d: f"{d.test_rows:,}", right=True),
        Column(
            title="added", value=lambda d: d.changes.added, text=lambda d: f"{d.changes.added:,}", right=True, spare=3
        ),
        Column(title="gone", value=lambda d: d.changes.gone, text=lambda d: f"{d.changes.gone:,}", right=True, spare=3),
        Column(title="made", value=lambda d: d.created_at, text=lambda d: ago(d.created_at, now)),
        Column(title="digest", value=lambda d: d.digest, text=lambda d: d.digest[:12], spare=4),
    ]
