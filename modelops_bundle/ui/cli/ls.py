"""The command `bundle ls`."""

from __future__ import annotations

import click

from modelops_bundle.operations import listing
from modelops_bundle.ui import text
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command


@command("ls", example="bundle ls\nbundle ls :v1\nbundle ls registry.example.com/team/model:v1")
@click.argument("reference", required=False, metavar="[REF]")
@click.option("--digests", is_flag=True, help="Show whole digests.")
def ls(context: Context, reference: str | None, digests: bool) -> None:
    """List the tracked files, or what a version holds, with sizes, roles and digests. Nothing is pulled."""
    with session(context, need_bundle=reference is None) as here:
        found = listing.ls(here, reference)
    snapshot = found.snapshot
    rows = []
    for path, entry in snapshot.items():
        name = f"{path} -> {entry.target}" if entry.kind == "link" else f"{path}/" if entry.kind == "dir" else path
        digest = "" if entry.kind != "file" else str(entry.digest) if digests else entry.digest.short
        size = text.size(entry.size) if entry.kind == "file" else ""
        mark = "*" if entry.executable else ""
        rows.append((size, entry.role or entry.kind, digest, name + mark))
    total = f"{text.count(len(snapshot), 'path')}, {text.size(snapshot.size)}"
    if found.storage is not None and found.storage.mode == "delta":
        total += f" (delta storage: {text.size(found.storage.stored)})"
    context.out.result(
        found.to_json(),
        [*text.table(rows, head=("SIZE", "ROLE", "DIGEST", "PATH"), right=(0,)), total],
    )
