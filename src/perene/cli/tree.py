"""The commands, where they live, and what they do in a line. A test holds that the lines are the commands' own."""

from __future__ import annotations

import click

from perene.cli.verbs import LazyGroup


def _at(name: str, summary: str) -> tuple[str, str]:
    return f"perene.cli.{name}:command", summary


COMMANDS = {
    "Start": {
        "demo": _at("demo", "Make a working example in ./perene-demo and replay it."),
        "init": _at("init", "Write perene.toml, a first model and a README."),
    },
    "Every day": {
        "check": _at("check", "Verify models and settings, try the hooks on rows; nothing is changed."),
        "up": _at("up", "Run server, scheduler and one worker on this machine."),
        "status": _at("status", "Show freshness, health and release of every model, worst first."),
        "train": _at("train", "Build the dataset, train, validate, and release by policy, now."),
        "predict": _at("predict", "Predict the rows of a file."),
    },
    "Models and releases": {
        "model": _at("model", "list, show, history, hold, resume, shadow"),
        "release": _at("release", "list, show, approve, reject, rollback"),
    },
    "Data": {
        "dataset": _at("dataset", "list, show, verify, import"),
        "prediction": _at("prediction", "list, show, lookup, stored"),
        "label": _at("label", "import"),
    },
    "Runs and alerts": {
        "run": _at("run", "list, show"),
        "alert": _at("alert", "list, show"),
    },
    "Processes": {
        "serve": _at("serve", "Run the server that answers predictions over HTTP."),
        "scheduler": _at("scheduler", "Create the runs that are due, as time goes on."),
        "worker": _at("worker", "Work on runs, one after another."),
    },
    "Help": {
        "doctor": _at("doctor", "Examine installation, database, store, clock, processes and live versions."),
        "docs": _at("docs", "Print a page of the documentation, or the list of pages."),
        "completion": _at("completion", "Print the script that makes a shell complete perene's commands."),
        "version": _at("version", "Show the versions of perene, Python and what it stands on."),
    },
}

EXAMPLES = """\
  perene demo              a working example, replayed from real flights
  perene init shop         a new project in ./shop, whose model runs at once
  perene up                run it here; then, beside it
  perene status            how fresh is every model?
"""


class Root(LazyGroup):
    """``perene``: what it is for, examples, then the table of commands."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One sentence, then examples."""
        super().format_help_text(ctx, formatter)
        with formatter.section("Examples"):
            formatter.write(EXAMPLES)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Where to read on."""
        formatter.write("\nperene COMMAND --help shows a command's examples and options.\n")


@click.pass_context
def _remember(context: click.Context, /, **options: object) -> None:
    context.obj = options


root = Root("perene", lazy=COMMANDS, callback=_remember, help="Keep machine-learning models fresh in production.")
