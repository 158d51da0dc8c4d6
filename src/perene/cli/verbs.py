"""Verbs, whose help begins with examples and which all take the same options, and groups of them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from inspect import cleandoc
from typing import TYPE_CHECKING

import click

from perene.cli.door import Door

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Lazy = dict[str, dict[str, tuple[str, str]]]
_COMMON = ("project", "environment", "json", "ids", "no_color")


class Verb(click.Command):
    """A command that does something; it is given a ``Door``.

    ``examples`` come first in its help. ``prints`` gives it --json, -q and --no-color; ``project`` --project and --env.
    """

    def __init__(
        self,
        name: str | None,
        *,
        callback: Callable[..., object],
        params: list[click.Parameter],
        help: str,
        examples: str,
        prints: bool = True,
        project: bool = True,
    ) -> None:
        common = [*(project_options() if project else []), *(_printing_options() if prints else [])]
        super().__init__(name, callback=callback, params=[*params, *common], help=help)
        self.examples = cleandoc(examples)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The sentence that says what it does, then examples."""
        super().format_help_text(ctx, formatter)
        with formatter.section("Examples"):
            formatter.write("".join(f"  {line}".rstrip() + "\n" for line in self.examples.splitlines()))

    def invoke(self, ctx: click.Context) -> object:
        """Run it with a door that the common options describe; those given before its name count too."""
        given = {name: ctx.params.pop(name) for name in _COMMON if name in ctx.params}
        before = ctx.obj or {}
        ctx.obj = Door.from_options({name: given.get(name) or before.get(name) for name in _COMMON})
        try:
            return super().invoke(ctx)
        finally:
            ctx.obj.close()


class Noun(click.Group):
    """A group of verbs on one kind of thing, in the order of their declaration."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of their declaration."""
        return list(self.commands)


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called. ``lazy`` is {section: {name: (place, summary)}}."""

    def __init__(self, name: str, *, lazy: Lazy, help: str, callback: Callable[..., object]) -> None:
        settings = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
        params = [*project_options(), _version_option()]
        super().__init__(name, callback=callback, help=help, params=params, context_settings=settings)
        self.subcommand_metavar = "COMMAND …"
        self.lazy = lazy
        self._places = {name: place for names in lazy.values() for name, (place, _) in names.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the help."""
        return list(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command."""
        if cmd_name not in self._places:
            return None
        module, _, attribute = self._places[cmd_name].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """The names that begin so, without importing them, and the options."""
        from click.shell_completion import CompletionItem

        summaries = {name: summary for names in self.lazy.values() for name, (_, summary) in names.items()}
        fitting = [CompletionItem(name, help=text) for name, text in summaries.items() if name.startswith(incomplete)]
        return [*fitting, *click.Command.shell_complete(self, ctx, incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the names that are near to an unknown one."""
        if args[0] not in self._places and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise click.exceptions.NoSuchCommand(args[0], possibilities=self._places, ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands, without importing them."""
        wide = max(map(len, self._places))
        for section, names in self.lazy.items():
            with formatter.section(section):
                formatter.write_dl([(f"{name:{wide}}", summary) for name, (_, summary) in names.items()])


def project_options() -> list[click.Parameter]:
    """The options that say which project is meant."""
    return [
        click.Option(
            ["--project"], metavar="DIR", envvar="PERENE_PROJECT", help="The project's folder (default: here or above)."
        ),
        click.Option(
            ["--env", "environment"], metavar="NAME", envvar="PERENE_ENV", help="The environment in perene.toml."
        ),
    ]


def _version_option() -> click.Option:
    def show(context: click.Context, option: click.Parameter, is_asked: bool) -> None:
        if is_asked and not context.resilient_parsing:
            from importlib.metadata import version

            click.echo(f"perene {version('perene')}")
            context.exit()

    return click.Option(
        ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=show, help="Print the version."
    )


def _printing_options() -> list[click.Parameter]:
    return [
        click.Option(["--json"], is_flag=True, help="Print one JSON document."),
        click.Option(["-q", "--quiet", "ids"], is_flag=True, help="Print ids only, one per line."),
        click.Option(["--no-color"], is_flag=True, help="Print without colour."),
    ]
