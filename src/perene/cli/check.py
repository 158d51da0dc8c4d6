"""``perene check``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perene.cli.completing import models, versions
from perene.cli.door import Door
from perene.cli.failures import NEGATIVE
from perene.cli.naming import model_and_version
from perene.cli.output import Column
from perene.cli.verbs import Verb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from perene.definition.model import Model
    from perene.pipelines.trying import Tried


@click.command(
    "check",
    cls=Verb,
    examples="""
      perene check                           the project here
      perene check late-arrival              one model of it
      perene check --env production          with the settings of an environment
      perene check late-arrival --serving    how its newest version would serve
      perene check late-arrival@3 --serving
    """,
)
@click.argument("model", required=False, metavar="[MODEL[@V]]", shell_complete=models)
@click.option("--serving", is_flag=True, help="Load a version, replay rows through the server's path, and measure.")
@click.option(
    "--version",
    "wanted",
    type=int,
    metavar="V",
    shell_complete=versions,
    help="The version to load (default: the newest).",
)
@click.pass_context
def command(context: click.Context, model: str | None, serving: bool, wanted: int | None) -> None:
    """Verify models and settings, try the hooks on rows; nothing is changed.

    The features are computed for rows that the source gives for its newest days, and for the golden rows, and must be
    row-wise. Every mistake is named at once, with its file and line or its dotted key. The exit code is 2 when there is
    one.

    With --serving a version, the newest if none is named, is loaded in a process of its own and asked as in a server,
    without the network. The exit code is 3 when a declared budget (latency, memory) does not hold, a golden row is
    answered wrongly, or a request fails.
    """
    door: Door = context.obj
    name, number = (None, wanted) if model is None else model_and_version(model, wanted)
    if serving:
        if name is None:
            raise click.UsageError("--serving needs a MODEL", context)
        from perene.cli.rehearsals import show_serving

        found = door.app().check_serving(name, number)
        show_serving(door.out, found)
        if not found.holds:
            context.exit(NEGATIVE)
        return
    if number is not None:
        raise click.UsageError("a version is checked with --serving", context)
    _check(door, name)


def _check(door: Door, name: str | None) -> None:
    from perene.app import try_project
    from perene.cli.words import counted

    project = door.project()
    tried = try_project(project, name)
    found = [project.models[one.model] for one in tried]
    door.out.table(
        "check",
        found,
        columns=_columns({one.model: one for one in tried}),
        id_of=lambda model: model.name,
        empty=f"no model in {', '.join(project.settings.models)}",
        data=[
            {**model.declaration(), "tried": {"rows": one.rows, "golden": one.golden}}
            for model, one in zip(found, tried, strict=True)
        ],
    )
    door.out.text(f"● sound: {counted(len(found), 'model')} and the settings of {project.folder}", tone="good")
    for one in tried:
        if not one.rows and not one.golden:
            door.out.text(f"  {_untried(one)}", tone="warn")
    if found:
        door.out.next(f"perene train {found[0].name}")


def _untried(one: Tried) -> str:
    why = "it has no source and no golden rows" if one.rows is None else "its source gave no row of late"
    return f"the features of {one.model} were not tried: {why}"


def _columns(tried: Mapping[str, Tried]) -> list[Column[Model]]:
    from perene.definition.durations import show_duration

    return [
        Column(title="model", value=lambda m: m.name),
        Column(title="predicts", value=lambda m: f"{m.label.name} ({m.label.task})"),
        Column(title="fields", value=lambda m: len(m.schema.fields), right=True, spare=3),
        Column(title="examples", value=lambda m: m.examples, spare=2),
        Column(title="train on", value=lambda m: m.train_on, text=lambda m: show_duration(m.train_on), right=True),
        Column(title="test on", value=lambda m: m.test_on, text=lambda m: show_duration(m.test_on), right=True),
        Column(
            title="every",
            value=lambda m: m.every,
            text=lambda m: show_duration(m.every) if m.every else "-",
            right=True,
        ),
        Column(title="gate", value=lambda m: m.gate_metric.name, spare=1),
        Column(title="tried", value=lambda m: _tried(tried[m.name]), spare=4),
        Column(title="release", value=lambda m: m.release),
    ]


def _tried(one: Tried) -> str:
    from perene.cli.words import counted

    parts = [counted(one.rows, "row")] if one.rows is not None else []
    return ", ".join(parts + ([f"{one.golden} golden"] if one.golden is not None else []))
