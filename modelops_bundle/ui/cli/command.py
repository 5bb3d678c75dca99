"""How a command is written: `@command` gives it the global options, a context, and an example in its help.

@command("greet", example="bundle greet world")
@click.argument("name")
def greet(context: Context, name: str) -> None:
    \"\"\"Say hello.\"\"\"
    context.out.result({"greeted": name}, [f"hello {name}"])
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import click

from modelops_bundle.errors import UsageError
from modelops_bundle.ui.cli.options import OPTIONS, Settings, click_options, current, make_run
from modelops_bundle.ui.cli.output import Output

if TYPE_CHECKING:
    from modelops_bundle.events import Run

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}
GLOBAL_NAMES = frozenset([*(option.name for option in OPTIONS), "config"])


class Context:
    """What a command works with: settings, output, and runs."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.out = Output(settings)

    def configure(self, project_config: Mapping[str, Any]) -> None:
        """Fill in the project's config, before the first `run`."""
        self.settings = self.settings.override(project_config)
        self.out = Output(self.settings)

    def run(self, *, progress: bool = True) -> AbstractContextManager[Run]:
        """A run for one operation: progress, limits, signals. Ask and print outside of it.

        :param progress: False for a command that writes to stdout while it works.
        """
        return make_run(self.settings, progress=progress)


class BundleCommand(click.Command):
    """A command whose help ends in an example and does not repeat the global options."""

    def __init__(self, *args: Any, example: str = "", **attributes: Any) -> None:
        attributes.setdefault("context_settings", HELP_OPTIONS)
        super().__init__(*args, **attributes)
        self.example = example
        self.params.extend(click_options())

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_options(self, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        write_everywhere(formatter)
        write_example(formatter, self.example)


class BundleGroup(click.Group):
    """A command that has commands (`remote add`)."""

    command_class = BundleCommand

    def __init__(self, *args: Any, example: str = "", **attributes: Any) -> None:
        attributes.setdefault("context_settings", HELP_OPTIONS)
        attributes["no_args_is_help"] = False  # parse_args does it, alike under every version of click
        super().__init__(*args, **attributes)
        self.example = example
        self.params.extend(click_options())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not (args or self.invoke_without_command or ctx.resilient_parsing):
            click.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        found = self.get_command(ctx, name)
        if found is None and not ctx.resilient_parsing:
            hint = did_you_mean(name, self.list_commands(ctx)) or f"{ctx.command_path} --help lists the commands"
            raise UsageError(f"no such command: {name}", hint=hint)
        return (name if found else None), found, args[1:]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        write_everywhere(formatter)
        write_example(formatter, self.example)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """`did you mean push?`, None when nothing known is near."""
    from difflib import get_close_matches

    close = get_close_matches(word, list(known), n=2)
    return f"did you mean {' or '.join(close)}?" if close else None


def write_options(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """The command's own options."""
    records = [
        record
        for each in command.get_params(ctx)
        if isinstance(each, click.Option)
        and each.name not in GLOBAL_NAMES
        and (record := each.get_help_record(ctx)) is not None
    ]
    if records:
        with formatter.section("Options"):
            formatter.write_dl(records)


def write_everywhere(formatter: click.HelpFormatter) -> None:
    """The names of the global options; `bundle --help` explains them."""
    import textwrap

    names = ", ".join([*(option.flags[0] for option in OPTIONS), "--config"])
    with formatter.section("Everywhere (bundle --help explains them)"):
        for line in textwrap.wrap(names, formatter.width - formatter.current_indent, break_on_hyphens=False):
            formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def write_example(formatter: click.HelpFormatter, example: str) -> None:
    """The example's lines, exactly as they were written."""
    if not example:
        return
    with formatter.section("Example"):
        for line in example.strip().splitlines():
            formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def command(
    name: str, *, example: str, group: click.Group | None = None, **attributes: Any
) -> Callable[[Callable[..., int | None]], BundleCommand]:
    """Make a command of a function that takes a `Context` and its own parameters.

    The function returns None, or its exit code.

    :param example: one or more lines for the help.
    :param group: where the command belongs, when it is not one of the first level.
    """

    def decorate(function: Callable[..., int | None]) -> BundleCommand:
        made = click.command(name, cls=BundleCommand, example=example, **attributes)(_called_with_context(function))
        if group is not None:
            group.add_command(made)
        return made

    return decorate


def group(name: str, *, example: str, **attributes: Any) -> Callable[[Callable[..., int | None]], BundleGroup]:
    """Make a group of commands. Its function runs only with `invoke_without_command=True`, when no command follows."""

    def decorate(function: Callable[..., int | None]) -> BundleGroup:
        with_context = _called_with_context(function)

        @functools.wraps(with_context)
        def callback(**values: Any) -> int | None:
            if click.get_current_context().invoked_subcommand is not None:
                return None
            return with_context(**values)

        return click.group(name, cls=BundleGroup, example=example, **attributes)(callback)

    return decorate


def _called_with_context(function: Callable[..., int | None]) -> Callable[..., int | None]:
    @functools.wraps(function)
    def callback(**values: Any) -> int | None:
        return function(Context(current(click.get_current_context())), **values)

    return callback
