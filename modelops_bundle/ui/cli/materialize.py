"""The command `bundle materialize`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modelops_bundle.ui import text
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command
from modelops_bundle.ui.text import Line

if TYPE_CHECKING:
    from modelops_bundle.operations import materialize as operation

_MOST = 20


@command(
    "materialize",
    example="oras pull registry.example.com/team/model:v2 -o model\nbundle materialize model\n"
    "bundle materialize model --remove-packs",
)
@click.argument("place", default=".", metavar="[DIR]")
@click.option("--overwrite", is_flag=True, help="Replace other files and links that are at the paths.")
@click.option("--remove-packs", is_flag=True, help="Remove the chunk packs when every file is there and verified.")
@click.option("--dry-run", "-n", is_flag=True, help="Say what would be done.")
def materialize(context: Context, place: str, overwrite: bool, remove_packs: bool, dry_run: bool) -> None:
    """Put the files of a delta version together from what another tool pulled into DIR. Needs no network.

    Pointers are replaced by the files that they stand for; every file is verified before it gets its name.
    """
    from modelops_bundle.operations import materialize as operation

    choices = operation.Choices(overwrite, remove_packs, dry_run)
    with session(context, need_bundle=False, configure=False) as here:
        done = operation.materialize(here, context.settings.resolve(place), choices)
    context.out.result(done.to_json(), _lines(done))


def _lines(done: operation.Result) -> list[Line]:
    would = "Would put together" if done.dry_run else "Put together"
    lines: list[Line] = []
    if done.rebuilt:
        lines.append(f"{would} {text.count(len(done.rebuilt), 'file')} ({text.size(done.size)}) in {done.directory}")
        lines += [f"  {path}" for path in done.rebuilt[:_MOST]]
        if len(done.rebuilt) > _MOST:
            lines.append(f"  … and {len(done.rebuilt) - _MOST} more")
    elif done.already:
        lines.append(f"Nothing to do: {text.count(len(done.already), 'file')} verified in {done.directory}")
    else:
        lines.append(f"Nothing to do: every file of {done.directory} is stored whole")
    if done.removed:
        verb = "Would remove" if done.dry_run else "Removed"
        lines.append(f"{verb} {text.count(done.removed, 'chunk pack')} ({text.size(done.removed_size)})")
    return lines
