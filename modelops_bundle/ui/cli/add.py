"""The command `bundle add`."""

from __future__ import annotations

import click

from modelops_bundle.operations import add as operation
from modelops_bundle.ui import text
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command


@command("add", example="bundle add README.md weights\nbundle add 'weights/**/*.safetensors'")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--force", "-f", is_flag=True, help="Add what ignore rules exclude, too.")
@click.option("--dry-run", "-n", is_flag=True, help="Say what would be added.")
@click.option("--follow-links", is_flag=True, help="Store what the links named here point to.")
def add(context: Context, paths: tuple[str, ...], force: bool, dry_run: bool, follow_links: bool) -> None:
    """Track files, directories and patterns.

    Paths are recorded, not contents: push sends what is on disk.
    """
    with session(context) as here:
        done = operation.add(here, paths, force=force, dry_run=dry_run, follow_links=follow_links)
    verb = "Would add" if dry_run else "Added"
    lines = [f"  {path}" for path in done.added] if dry_run or len(done.added) <= 20 else []
    context.out.result(done.to_json(), [f"{verb} {text.count(len(done.added), 'path')}", *lines])
