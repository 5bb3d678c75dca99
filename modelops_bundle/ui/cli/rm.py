"""The command `bundle rm`."""

from __future__ import annotations

import click

from modelops_bundle.operations import remove as operation
from modelops_bundle.ui import text
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command


@command("rm", example="bundle rm old.bin\nbundle rm --delete 'checkpoints/*.pt'")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--delete", is_flag=True, help="Delete the files as well.")
@click.option("--dry-run", "-n", is_flag=True, help="Say what would go.")
def rm(context: Context, paths: tuple[str, ...], delete: bool, dry_run: bool) -> None:
    """Stop tracking paths; the next push leaves them out. The files stay unless --delete says otherwise."""
    with session(context) as here:
        removal = operation.plan_remove(here, paths, delete=delete)
    lines = [f"  {path}" for path in removal.paths]
    if dry_run:
        context.out.result({**removal.to_json(), "dry_run": True}, ["Would remove:", *lines])
        return
    if removal.unsaved:
        context.out.confirm(
            f"delete {text.count(len(removal.unsaved), 'file')} whose content was never pushed?",
            [f"  {path}" for path in removal.unsaved],
        )
    with session(context) as here:
        operation.apply_remove(here, removal)
    verb = "Deleted" if delete else "No longer tracking"
    context.out.result(removal.to_json(), [f"{verb} {text.count(len(removal.paths), 'path')}", *lines[:20]])
