"""The command `bundle ensure`."""

from __future__ import annotations

import click

from modelops_bundle.errors import ConfigError, UsageError
from modelops_bundle.operations import ensure as operation
from modelops_bundle.operations.session import Session
from modelops_bundle.ui import text
from modelops_bundle.ui.cli.bundle import options, surrounding
from modelops_bundle.ui.cli.command import Context, command
from modelops_bundle.ui.cli.values import switch
from modelops_bundle.ui.text import Line

_MOST = 20
_EXAMPLE = """\
bundle ensure registry.example.com/team/model:v1 --dest /models/current
bundle ensure registry.example.com/team/model@sha256:… --dest ./model --offline
bundle ensure --rollback --dest /models/current"""


@command("ensure", example=_EXAMPLE)
@click.argument("reference", required=False, metavar="[REF]")
@click.option("--dest", required=True, metavar="DIR", help="The directory that holds the version afterwards.")
@click.option("--rollback", is_flag=True, help="Go back to the version that DIR held before.")
@click.option("--mirror", is_flag=True, help="Leave files in DIR that are not ours.")
@click.option("--force", is_flag=True, help="Drop edits of our files; they are listed.")
@click.option("--verify", is_flag=True, help="Read every file of DIR instead of trusting its stamps.")
@click.option("--link", is_flag=True, help="Hard links into the cache where they can be; all files read-only.")
@click.option("--keep-previous", is_flag=True, help="Keep the tree that was there, as .NAME.previous beside DIR.")
@click.option(
    "--no-cache",
    "cache",
    is_flag=True,
    default=True,
    flag_value=False,
    help="Keep nothing in the shared cache, and take nothing from it.",
)
def ensure(context: Context, reference: str | None, dest: str, rollback: bool, **switches: bool) -> None:
    """Let a directory hold exactly one version, switched in at once; for workers, CI and init containers.

    Needs no bundle. A version that is named by its digest and is in the shared cache takes no request.
    """
    if rollback == (reference is not None):
        raise UsageError("ensure wants either REF or --rollback")
    switches["cache"] = switches["cache"] and _wants_cache(context)
    if switches["link"] and not switches["cache"]:
        raise UsageError("--link shares files with the cache: it excludes --no-cache and cache = false")
    if not dest:
        raise UsageError("--dest is empty")
    choices = operation.Choices(**switches)
    with context.run() as run:
        here = Session(None, run, options(context), cwd=context.settings.directory, around=surrounding(context))
        with here:
            done = operation.ensure(here, reference, context.settings.resolve(dest), choices)
    context.out.result(done.to_json(), _lines(done))


def _wants_cache(context: Context) -> bool:
    value = context.settings.get("cache", default=True)
    try:
        return switch(value)
    except ValueError as error:
        raise ConfigError(f"cache cannot be {text.safe(repr(value))}: {error}") from error


def _lines(done: operation.Result) -> list[Line]:
    if not done.changed:
        lines: list[Line] = [f"{done.dest} holds {done.reference} already"]
    else:
        placed = ", ".join(f"{way} {count:,}" for way, count in sorted(done.placed.items())) or "none"
        lines = [
            f"{done.dest} holds {done.reference}",
            (
                f"Files: {placed}; {text.count(done.counts.fetched, 'blob')} fetched ({text.size(done.counts.size)}), "
                f"{text.size(done.counts.cached)} from the cache"
            ),
        ]
    if done.dropped:
        lines.append(f"Edits dropped: {', '.join(done.dropped[:_MOST])}")
    lines += [f"Files that are not ours and could not stay are in {place}" for place in done.saved]
    return lines
