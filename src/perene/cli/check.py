"""``perene check``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perene.cli.door import Door
from perene.cli.output import Column
from perene.cli.verbs import Verb

if TYPE_CHECKING:
    from perene.definition.model import Model


@click.command(
    "check",
    cls=Verb,
    examples="""
      perene check                      the project here
      perene check --env production     with the settings of an environment
      perene check --project shop
    """,
)
@click.pass_obj
def command(door: Door) -> None:
    """Verify the models and the settings; nothing is changed.

    Every mistake is named at once, with its file and line or its dotted key. The exit code is 2 when there is one.
    """
    from perene.cli.words import counted

    project = door.project()
    models = list(project.models.values())
    door.out.table(
        "check",
        models,
        columns=_columns(),
        id_of=lambda model: model.name,
        empty=f"no model in {', '.join(project.settings.models)}",
        data=[model.declaration() for model in models],
    )
    door.out.text(f"● sound: {counted(len(models), 'model')} and the settings of {project.folder}", tone="good")
    if models:
        door.out.next(f"perene train {models[0].name}")


def _columns() -> list[Column[Model]]:
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
        Column(title="release", value=lambda m: m.release),
    ]
