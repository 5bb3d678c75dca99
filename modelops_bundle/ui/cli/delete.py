"""The command `bundle delete`."""

from __future__ import annotations

import click

from modelops_bundle.operations import deleting as operation
from modelops_bundle.ui import text
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command
from modelops_bundle.ui.text import Line, Paint

_MOST = 20


@command("delete", example="bundle delete :old --dry-run\nbundle delete registry.example.com/team/model:old --yes")
@click.argument("reference", metavar="REF")
@click.option("--dry-run", "-n", is_flag=True, help="Say what would be deleted.")
@click.option("--missing-ok", is_flag=True, help="A version that is not there is no error.")
def delete(context: Context, reference: str, dry_run: bool, missing_ok: bool) -> None:
    """Delete a version with every tag that stands for it. Asks first."""
    with session(context, need_bundle=False) as here:
        deletion = operation.plan_delete(here, reference, missing_ok=missing_ok)
    shown = _lines(deletion)
    if dry_run or deletion.what is None:
        context.out.result({**deletion.to_json(), "deleted": False, "dry_run": dry_run}, shown)
        return
    context.out.confirm(f"delete {deletion.reference.at()}@{deletion.what.digest}?", shown)
    with session(context, need_bundle=False) as here:
        operation.apply_delete(here, deletion)
    done: list[Line] = [f"Deleted {deletion.reference.at()}@{deletion.what.digest}"]
    if deletion.tags:
        done.append(f"  with {text.count(len(deletion.tags), 'tag')}: {_some(deletion.tags)}")
    if deletion.reference.scheme == "oci":
        done.append("Its blobs stay until the registry collects what nothing needs")
    context.out.result({**deletion.to_json(), "deleted": True}, done)


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_MOST]) + (f" and {len(names) - _MOST:,} more" if len(names) > _MOST else "")


def _lines(deletion: operation.Deletion) -> list[Line]:
    if deletion.what is None:
        return [f"{deletion.reference} does not exist"]
    lines: list[Line] = [f"{deletion.reference.at()}@{deletion.what.digest}"]
    if deletion.tags is None:
        lines.append("  and every tag that stands for it; this store cannot list them")
    elif deletion.tags:
        lines.append(f"  with {text.count(len(deletion.tags), 'tag')}: {_some(deletion.tags)}")
    else:
        lines.append("  which has no tag")
    if deletion.referrers:
        lines.append(f"  {text.count(len(deletion.referrers), 'manifest')} attached to it would refer to nothing:")
        lines += [f"    {each.digest} {each.artifact_type or ''}" for each in deletion.referrers[:_MOST]]
    if deletion.synced:
        lines.append(Paint("  The tree here was last synced with it: pull and restore could not bring it back", "red"))
    return lines
