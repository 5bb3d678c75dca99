"""The command `bundle diff`."""

from __future__ import annotations

import click

from modelops_bundle.operations import diff as operation
from modelops_bundle.plan.changes import Action, Change
from modelops_bundle.ui import text
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command
from modelops_bundle.ui.cli.status import LETTERS


@command("diff", example="bundle diff\nbundle diff :v1\nbundle diff :v1 :v2 --exit-code")
@click.argument("old", required=False, metavar="[A]")
@click.argument("new", required=False, metavar="[B]")
@click.option("--short", "-s", is_flag=True, help="One letter and the path.")
@click.option("--exit-code", is_flag=True, help="Exit 1 when anything differs.")
def diff(context: Context, old: str | None, new: str | None, short: bool, exit_code: bool) -> int | None:
    """Compare the tree with what it was last synced with, with version A, or compare A with B."""
    with session(context, need_bundle=new is None) as here:
        found = operation.diff(here, old, new)
    renamed = {rename.new: rename.old for rename in found.renames}
    gone = set(renamed.values())
    rows = [(change, renamed.get(change.path)) for change in found.changes if short or change.path not in gone]
    if short:
        lines = [f"{LETTERS[change.local]} {change.path}" for change, _ in rows]
    else:
        lines = [f"{found.old} -> {found.new}", *(_row(change, old_name) for change, old_name in rows)]
        lines.append(text.count(len(found.changes), "difference") if found.changes else "no difference")
    context.out.result(found.to_json, lines)
    return 1 if exit_code and found.changes else None


def _row(change: Change, renamed_from: str | None) -> str:
    if renamed_from is not None:
        return f"  {'renamed':<9} {renamed_from} -> {change.path}"
    return f"  {change.local:<9} {change.path}{_sizes(change)}"


def _sizes(change: Change) -> str:
    old, new = change.base, change.here
    if change.local is Action.MODE and new is not None:
        return "  (now executable)" if new.executable else "  (no longer executable)"
    if old is not None and new is not None:
        return f"  ({text.size(old.size)} -> {text.size(new.size)})"
    entry = new or old
    return f"  ({text.size(entry.size)})" if entry is not None and entry.kind == "file" else ""
