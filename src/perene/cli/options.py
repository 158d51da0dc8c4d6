"""Arguments and options that several commands have."""

from __future__ import annotations

import click

model_argument = click.argument("model")
model_if_given = click.argument("model", required=False)
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
