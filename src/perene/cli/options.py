"""Arguments and options that several commands have."""

from __future__ import annotations

import click

from perene.cli.completing import alerts, datasets, models, releases, runs, versions

model_argument = click.argument("model", shell_complete=models)
model_if_given = click.argument("model", required=False, shell_complete=models)
version_of_model = click.argument("model", metavar="MODEL[@V]", shell_complete=models)
version_option = click.option(
    "--version",
    "wanted",
    type=int,
    metavar="V",
    shell_complete=versions,
    help="The version to show (default: the live one).",
)
dataset_version_option = click.option(
    "--version", "wanted", type=int, metavar="V", shell_complete=datasets, help="The version (default: the newest)."
)
release_argument = click.argument("number", metavar="N", type=int, shell_complete=releases)
run_argument = click.argument("number", metavar="ID", type=int, shell_complete=runs)
alert_argument = click.argument("number", metavar="ID", type=int, shell_complete=alerts)
limit_option = click.option(
    "--limit", type=click.IntRange(min=1), default=20, metavar="N", help="Show at most N, newest first (default 20)."
)
why_option = click.option("--why", required=True, metavar="TEXT", help="The reason; the ledger keeps it.")
format_option = click.option(
    "--format",
    type=click.Choice(["json", "ndjson", "csv", "parquet"]),
    help="The file's format (default: what its name or its content says).",
)
file_argument = click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
