"""The command `bundle pull`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from modelops_bundle.operations import pull as operation
from modelops_bundle.ui import text
from modelops_bundle.ui.cli.bundle import only_shown, session
from modelops_bundle.ui.cli.command import Context, command
from modelops_bundle.ui.text import Line, Paint

if TYPE_CHECKING:
    # A pull of nothing new comes without.
    from modelops_bundle.operations.seeding import Moving
    from modelops_bundle.operations.session import Session
    from modelops_bundle.plan.pull import Choices, PullPlan

_MOST = 50


@command("pull", example="bundle pull\nbundle pull :v2\nbundle pull --merge --ours config.json")
@click.argument("reference", required=False, metavar="[REF]")
@click.option("--merge", is_flag=True, help="Apply what does not conflict, and leave the conflicts.")
@click.option("--overwrite", is_flag=True, help="Make every tracked path and every remote path equal the remote.")
@click.option("--ours", multiple=True, metavar="PATH", help="Settle a conflict by keeping the local version.")
@click.option("--theirs", multiple=True, metavar="PATH", help="Settle a conflict by taking the remote version.")
@click.option("--seed", "seeds", multiple=True, metavar="PATH", help="Take chunks from this file or directory as well.")
@click.option("--dry-run", "-n", is_flag=True, help="Show the plan and do nothing.")
@click.option("--plan-out", metavar="FILE", help="Save the plan (- is stdout) and do nothing else.")
def pull(
    context: Context,
    *,
    reference: str | None,
    merge: bool,
    overwrite: bool,
    ours: tuple[str, ...],
    theirs: tuple[str, ...],
    seeds: tuple[str, ...],
    dry_run: bool,
    plan_out: str | None,
) -> None:
    """Bring the tree to a version of the remote, keeping local work.

    All or nothing: one path that both sides changed, or an untracked file in the way, stops it.
    """
    with session(context, seeds=seeds) as here:
        look = operation.Look(here, reference)
        plain = not (merge or overwrite or ours or theirs or dry_run or plan_out)
        plan = (look.unchanged() if plain else None) or look.plan(_choices(here, merge, overwrite, ours, theirs))
        moving = None if plain or isinstance(plan, operation.Result) else _moving(here, plan)
    if isinstance(plan, operation.Result):
        context.out.result(plan.to_json(), result_lines(plan))
        return
    shown = plan_lines(plan, moving)
    if only_shown(context, plan, document(plan, moving), shown, dry_run=dry_run, plan_out=plan_out):
        return
    plan.check()
    if plan.discards:
        context.out.confirm(f"discard local work in {text.count(len(plan.discards), 'path')}?", shown)
    with session(context, after=here, seeds=seeds) as here:
        done = operation.apply_pull(here, plan)
    context.out.result(done.to_json(), result_lines(done))


def _choices(here: Session, merge: bool, overwrite: bool, ours: Sequence[str], theirs: Sequence[str]) -> Choices:
    from modelops_bundle.operations.select import relative
    from modelops_bundle.plan.pull import Choices

    kept, taken = (tuple(relative(here, word) for word in words) for words in (ours, theirs))
    return Choices(merge, overwrite, kept, taken)


def _moving(here: Session, plan: PullPlan) -> Moving | None:
    """What a plan would move, where there is more than one way to do that."""
    if not any(place.recipe is not None for place in plan.places.values()):
        return None
    from modelops_bundle.operations.seeding import estimate

    return estimate(here, plan)


def document(plan: PullPlan, moving: Moving | None = None) -> dict[str, object]:
    """The plan for ``--json``."""
    return {
        "reference": plan.reference,
        "digest": str(plan.digest),
        "steps": [step.to_json() for step in plan.steps],
        "conflicts": [change.to_json() for change in plan.conflicts],
        "collisions": list(plan.collisions),
        "kept": list(plan.kept),
        "adopted": list(plan.adopted),
        "discards": list(plan.discards),
        "refused": plan.refused,
        "write_bytes": plan.size,
        "whole_bytes": moving.whole if moving else plan.size,
        "fetch_bytes": moving.delta if moving else plan.size,
    }


def plan_lines(plan: PullPlan, moving: Moving | None = None) -> list[Line]:
    """The plan for people."""
    lines: list[Line] = [f"Pull {plan.reference} ({plan.digest})"]
    rows = [f"  {'delete' if step.after is None else 'write':<9} {step.path}" for step in plan.steps]
    lines += rows[:_MOST]
    if len(rows) > _MOST:
        lines.append(f"  … and {len(rows) - _MOST:,} more")
    if not plan.steps:
        lines.append("Nothing to change on disk")
    elif moving is not None and moving.delta < moving.whole:
        lines.append(
            f"About {text.size(moving.delta)} to fetch of {text.size(moving.whole)}: the other chunks are here"
        )
    else:
        lines.append(f"At most {text.size(plan.size)} to fetch")
    for title, listed in (
        ("Changed on both sides:", [change.path for change in plan.conflicts]),
        ("Not tracked, and in the way:", list(plan.collisions)),
        ("Local work that is discarded:", list(plan.discards)),
    ):
        if listed:
            lines += [Paint(title, "red"), *(f"  {path}" for path in listed)]
    return lines


def result_lines(done: operation.Result) -> list[str]:
    """What a pull did, for people."""
    if not done.changed:
        return [f"{done.reference} is up to date ({done.digest})"]
    return [
        f"Pulled {done.reference} {done.digest}",
        (
            f"{text.count(done.written, 'path')} written, {done.deleted:,} deleted, {done.adopted:,} adopted, "
            f"{done.kept:,} kept; {text.count(done.fetched, 'blob')} fetched, {done.reused:,} reused"
        ),
        f"{text.size(done.fetched_bytes)} fetched, {text.size(done.reused_bytes)} reused",
    ]
