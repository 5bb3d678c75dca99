"""The command `bundle restore`."""

from __future__ import annotations

import click

from modelops_bundle.operations import restore as operation
from modelops_bundle.ui import text
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command


@command("restore", example="bundle restore config.json\nbundle restore --source :v1 'weights/*'")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--source", metavar="REF", help="Take them from this version instead of the last synced one.")
@click.option("--dry-run", "-n", is_flag=True, help="Say what would be put back.")
def restore(context: Context, paths: tuple[str, ...], source: str | None, dry_run: bool) -> None:
    """Put files back to the version the tree was last synced with."""
    with session(context) as here:
        plan = operation.plan_restore(here, paths, source)
    lines = [f"  {step.path}" for step in plan.steps]
    document = {"restored": [step.path for step in plan.steps], "discards": list(plan.discards), "dry_run": dry_run}
    if dry_run:
        context.out.result(document, ["Would restore:", *lines])
        return
    plan.check()
    if plan.discards:
        question = f"discard local work in {text.count(len(plan.discards), 'path')}?"
        context.out.confirm(question, [f"  {path}" for path in plan.discards])
    with session(context) as here:
        count = operation.apply_restore(here, plan)
    context.out.result(document, [f"Restored {text.count(count, 'path')}", *lines[:20]])
