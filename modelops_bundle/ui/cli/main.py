"""`bundle`: the first word of every command line. Commands are imported when they are called, not before."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import cast

import click

from modelops_bundle import __version__
from modelops_bundle.ui.cli.command import GLOBAL_NAMES, HELP_OPTIONS, BundleGroup, write_example, write_options
from modelops_bundle.ui.cli.errors import run_cli
from modelops_bundle.ui.cli.options import wants_json

COMMANDS: dict[str, str] = {
    "init": "modelops_bundle.ui.cli.init:init",
    "add": "modelops_bundle.ui.cli.add:add",
    "rm": "modelops_bundle.ui.cli.rm:rm",
    "ls": "modelops_bundle.ui.cli.ls:ls",
    "status": "modelops_bundle.ui.cli.status:status",
    "diff": "modelops_bundle.ui.cli.diff:diff",
    "push": "modelops_bundle.ui.cli.push:push",
    "pull": "modelops_bundle.ui.cli.pull:pull",
    "restore": "modelops_bundle.ui.cli.restore:restore",
    "clone": "modelops_bundle.ui.cli.clone:clone",
    "apply": "modelops_bundle.ui.cli.apply:apply",
    "ensure": "modelops_bundle.ui.cli.ensure:ensure",
    "cache": "modelops_bundle.ui.cli.cache:cache",
    "tags": "modelops_bundle.ui.cli.tags:tags",
    "inspect": "modelops_bundle.ui.cli.inspect:inspect",
    "cat": "modelops_bundle.ui.cli.cat:cat",
    "log": "modelops_bundle.ui.cli.log:log",
    "verify": "modelops_bundle.ui.cli.verify:verify",
    "doctor": "modelops_bundle.ui.cli.doctor:doctor",
    "cp": "modelops_bundle.ui.cli.cp:cp",
    "export": "modelops_bundle.ui.cli.export:export",
    "import": "modelops_bundle.ui.cli.importing:import_",
    "materialize": "modelops_bundle.ui.cli.materialize:materialize",
    "flatten": "modelops_bundle.ui.cli.flatten:flatten",
    "tag": "modelops_bundle.ui.cli.tag:tag",
    "untag": "modelops_bundle.ui.cli.untag:untag",
    "delete": "modelops_bundle.ui.cli.delete:delete",
    "attach": "modelops_bundle.ui.cli.attach:attach",
    "referrers": "modelops_bundle.ui.cli.referrers:referrers",
    "sign": "modelops_bundle.ui.cli.sign:sign",
    "login": "modelops_bundle.ui.cli.login:login",
    "logout": "modelops_bundle.ui.cli.logout:logout",
    "registry": "modelops_bundle.ui.cli.registry:registry",
    "remote": "modelops_bundle.ui.cli.remote:remote",
    "config": "modelops_bundle.ui.cli.config:config",
    "completion": "modelops_bundle.ui.cli.completion:completion",
}

SECTIONS: dict[str, tuple[str, ...]] = {
    "Work": ("init", "add", "rm", "ls", "status", "diff", "push", "pull", "restore", "clone", "apply"),
    "Deploy": ("ensure", "cache"),
    "Look": ("tags", "inspect", "cat", "log", "verify", "doctor"),
    "Move": ("cp", "export", "import", "materialize", "flatten"),
    "Organise": ("tag", "untag", "delete", "attach", "referrers"),
    "Trust": ("sign", "login", "logout"),
    "Registries": ("remote", "registry"),
    "See": ("config", "completion"),
}

_EXAMPLE = """\
bundle init registry.example.com/team/model
bundle add .
bundle push --tag v1"""


class LazyGroup(BundleGroup):
    """The top level: commands from `COMMANDS`, global options explained."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        where = COMMANDS.get(cmd_name)
        if where is None:
            return None
        module, _, attribute = where.partition(":")
        return cast(click.Command, getattr(import_module(module), attribute))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        write_options(self, ctx, formatter)
        shared = [each for each in self.get_params(ctx) if each.name in GLOBAL_NAMES]
        with formatter.section("Options of every command, before or after its name"):
            formatter.write_dl([record for each in shared if (record := each.get_help_record(ctx)) is not None])

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in SECTIONS.items():
            found = [(name, made) for name in names if (made := self.get_command(ctx, name)) is not None]
            if found:
                with formatter.section(title):
                    formatter.write_dl([(name, made.get_short_help_str(90)) for name, made in found])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        write_example(formatter, self.example)


def _show_version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        click.echo(f"bundle {__version__}")
        context.exit()


@click.group("bundle", cls=LazyGroup, example=_EXAMPLE, context_settings=HELP_OPTIONS)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="The version.")
def cli() -> None:
    """Git for model directories over any OCI registry."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # A command lives shortly and keeps most of what it makes: looking through all of it for cycles is for nothing.
    gc.set_threshold(100_000, 50, 50)
    _prepare_streams()
    return run_cli(lambda: _dispatch(arguments), json_output=wants_json(arguments, os.environ))


def _dispatch(arguments: list[str]) -> object:
    from modelops_bundle.ui.cli.completion import PROGRAM, VARIABLE

    instruction = os.environ.get(VARIABLE)
    if instruction:
        from click.shell_completion import shell_complete

        return shell_complete(cli, {}, PROGRAM, VARIABLE, instruction)
    with cli.make_context(PROGRAM, arguments) as context:
        return cli.invoke(context)


def _prepare_streams() -> None:
    """Names that the terminal's encoding lacks are escaped, and closed streams swallow what is written to them."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # started with the descriptor closed (`>&-`)
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - open until the end
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
