"""Every command, option, error and event stands in docs/reference, and every command's --help has an example."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import get_args

import click
from click.testing import CliRunner

from modelops_bundle import errors, events
from modelops_bundle.errors import BundleError
from tests.support.tree import ROOT

REFERENCE = ROOT / "docs" / "reference"
EVERYWHERE = "Options of every command"
"""The heading in commands.md under which options stand that every command takes."""


def commands(root: click.Command, name: str = "bundle") -> Iterator[tuple[str, click.Command]]:
    """Every visible command below `root` that does something, with the words that call it."""
    if isinstance(root, click.Group):
        context = click.Context(root)
        for word in root.list_commands(context):
            child = root.get_command(context, word)
            if child is not None and not child.hidden:
                yield from commands(child, f"{name} {word}")
    else:
        yield name, root


def sections(markdown: str) -> dict[str, str]:
    """Heading (without backticks; a command's without its arguments) to the text under it, up to the next heading."""
    found: dict[str, str] = {}
    heading = ""
    fenced = False
    for line in markdown.splitlines():
        fenced ^= line.lstrip().startswith("```")
        if not fenced and (match := re.match(r"#+\s+(.*)", line)):
            heading = match[1].replace("`", "").strip()
            if command := re.match(r"bundle(?: [a-z][a-z0-9-]*)+(?= |$)", heading):
                heading = command[0]
            found.setdefault(heading, "")
        else:
            found[heading] = found.get(heading, "") + line + "\n"
    return found


def undocumented_commands(cli: click.Command, markdown: str) -> list[str]:
    """Commands without a heading, options that neither their command's section nor the common one mentions."""
    text = sections(markdown)
    missing = []
    for name, command in commands(cli):
        if name not in text:
            missing.append(f"{name}: no heading")
            continue
        known = text[name] + text.get(EVERYWHERE, "")
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                spellings = [*parameter.opts, *parameter.secondary_opts]
                long = [option for option in spellings if option.startswith("--")] or spellings
                missing += [f"{name}: {option}" for option in long if not _mentions(known, option)]
    return missing


def _mentions(text: str, option: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text) is not None


def without_example(cli: click.Command) -> list[str]:
    """The commands whose --help shows no example."""
    runner = CliRunner()
    return [
        name
        for name, _ in commands(cli)
        if "Example" not in runner.invoke(cli, [*name.split()[1:], "--help"], prog_name="bundle").output
    ]


def undocumented_errors(module: ModuleType, markdown: str) -> list[str]:
    """Error classes of `module` without a row in a table that has their code and their exit code as cells."""
    rows = [
        {cell.strip().replace("`", "") for cell in line.strip().strip("|").split("|")}
        for line in markdown.splitlines()
        if line.lstrip().startswith("|")
    ]
    classes = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, BundleError) and value is not BundleError
    ]
    return [
        f"{error.__name__}: {error.code}, {error.exit_code}"
        for error in classes
        if not any({error.code, str(error.exit_code)} <= row for row in rows)
    ]


def undocumented_events(classes: Iterable[type], markdown: str) -> list[str]:
    """Event classes that no heading or code span names."""
    return [event.__name__ for event in classes if not re.search(rf"(`|^#+\s.*\b){event.__name__}\b", markdown, re.M)]


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_every_command_and_option_is_documented() -> None:
    from modelops_bundle.ui.cli.main import cli

    assert undocumented_commands(cli, _read(REFERENCE / "commands.md")) == []


def test_every_help_has_an_example() -> None:
    from modelops_bundle.ui.cli.main import cli

    assert without_example(cli) == []


def test_every_error_is_documented() -> None:
    assert undocumented_errors(errors, _read(REFERENCE / "errors.md")) == []


def test_every_event_is_documented() -> None:
    assert undocumented_events(get_args(events.Event), _read(REFERENCE / "events.md")) == []


# --- each rule shown something bad


def _sample() -> click.Group:
    @click.group()
    def cli() -> None:
        """The sample."""

    @cli.group()
    def remote() -> None:
        """Remotes."""

    @remote.command()
    @click.option("--force", is_flag=True)
    @click.option("--force-all/--no-force-all")
    @click.option("--json", is_flag=True)
    def add(force: bool, force_all: bool, json: bool) -> None:
        """Add one.

        \b
        Example:
          bundle remote add origin
        """

    @cli.command()
    @click.option("-n", "--number")
    def push(number: str) -> None:
        """Push."""

    @cli.command(hidden=True)
    def secret() -> None:
        """Not shown, not documented."""

    return cli


_DOCUMENT = """
# Commands
## Options of every command
`--json` prints JSON.
## `bundle push [REF]`
`-n`, `--number N`
### `bundle remote add NAME REF`
`--force` `--force-all` `--no-force-all`
"""


def test_a_documented_sample_is_content() -> None:
    assert undocumented_commands(_sample(), _DOCUMENT) == []


def test_the_rule_sees_missing_commands_and_options() -> None:
    assert undocumented_commands(_sample(), _DOCUMENT.replace("`--force` ", "").replace("--json", "")) == [
        "bundle remote add: --force",
        "bundle remote add: --json",
    ]
    assert undocumented_commands(_sample(), _DOCUMENT.replace("bundle push", "bundle pushes")) == [
        "bundle push: no heading"
    ]


def test_the_rule_sees_missing_examples() -> None:
    assert without_example(_sample()) == ["bundle push"]


def test_the_rule_sees_missing_errors() -> None:
    module = ModuleType("sample")
    module.__dict__.update(Corrupt=errors.Corrupt, NotFound=errors.NotFound, BundleError=BundleError)
    table = "| exit | code | class |\n|---|---|---|\n| 9 | `corrupt` | `Corrupt` |\n| 5 | `not-found` | `NotFound` |\n"
    assert undocumented_errors(module, table) == ["NotFound: not-found, 6"]


def test_the_rule_sees_missing_events() -> None:
    markdown = "## Started\n`Finished(key, outcome)`, Retrying\n"
    assert undocumented_events([events.Started, events.Finished, events.Retrying], markdown) == ["Retrying"]
