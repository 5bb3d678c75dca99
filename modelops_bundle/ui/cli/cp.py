"""The command `bundle cp`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modelops_bundle.errors import UsageError
from modelops_bundle.ui import text
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command
from modelops_bundle.ui.text import Line

if TYPE_CHECKING:
    from modelops_bundle.operations.cp import Result


@command(
    "cp",
    example="bundle cp registry.example.com/team/model:v1 registry.example.com/prod/model\n"
    "bundle cp model.tar:v1 localhost:5000/team/model --recursive",
)
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST")
@click.option("--recursive", "-r", is_flag=True, help="With what refers to it: signatures, attachments.")
@click.option("--all-tags", is_flag=True, help="Every tag of SRC.")
@click.option("--tags", "pattern", metavar="GLOB", help="Every tag of SRC that looks like GLOB.")
@click.option("--expect", metavar="DIGEST", help="Replace this version although this clone has not seen it.")
@click.option("--force", is_flag=True, help="Replace whatever the tags stand for.")
@click.option("--dry-run", "-n", is_flag=True, help="Say what would be copied.")
def cp(
    context: Context,
    *,
    source: str,
    destination: str,
    recursive: bool,
    all_tags: bool,
    pattern: str | None,
    expect: str | None,
    force: bool,
    dry_run: bool,
) -> None:
    """Copy versions between registries, OCI layouts and archives. Sends only what is missing, through no working tree."""
    if all_tags and pattern is not None:
        raise UsageError("--all-tags and --tags say different things", hint="give one of them")
    from modelops_bundle.operations import cp as operation

    wanted = "*" if all_tags else pattern
    request = operation.Request(source, destination, wanted, recursive, force, expect, dry_run)
    with session(context, need_bundle=False) as here:
        done = operation.cp(here, request)
    context.out.result(done.to_json(), copied_lines(done))


def copied_lines(done: Result) -> list[Line]:
    """What was copied, for people."""
    verb = "Would copy" if done.dry_run else "Copied"
    lines: list[Line] = [f"{verb} {tag} {digest}" for tag, digest in done.tags.items()] or [f"{verb} {done.source}"]
    what = f"{text.count(done.manifests, 'manifest')}, {text.count(done.blobs, 'blob')} ({text.size(done.size)})"
    sent = f"; {done.sent_blobs} sent ({text.size(done.sent_bytes)}), {done.existing_blobs} already there"
    return [*lines, f"To {done.destination}: {what}" + ("" if done.dry_run else sent)]
