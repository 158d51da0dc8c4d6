"""``perene completion``."""

from __future__ import annotations

import click

from perene.cli.verbs import Verb

SHELLS = ("bash", "zsh", "fish")


@click.command(
    "completion",
    cls=Verb,
    prints=False,
    project=False,
    examples="""
      eval "$(perene completion bash)"      in ~/.bashrc
      eval "$(perene completion zsh)"       in ~/.zshrc
      perene completion fish | source       in ~/.config/fish/config.fish
    """,
)
@click.argument("shell", type=click.Choice(SHELLS), metavar="bash|zsh|fish")
def command(shell: str) -> None:
    """Print the script that makes a shell complete perene's commands.

    Names of models, and numbers of versions, releases, runs and alerts come from the project that the shell stands in.
    """
    from click.shell_completion import get_completion_class

    from perene.cli.tree import root

    completing = get_completion_class(shell)
    assert completing is not None
    click.echo(completing(root, {}, "perene", "_PERENE_COMPLETE").source())
