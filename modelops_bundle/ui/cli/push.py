"""The command `bundle push`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from modelops_bundle.operations import push as operation
from modelops_bundle.ui import text
from modelops_bundle.ui.cli.bundle import annotations_of, only_shown, session, source_date_epoch
from modelops_bundle.ui.cli.command import Context, command
from modelops_bundle.ui.text import Line, Paint

if TYPE_CHECKING:
    # A push of nothing new comes without.
    from modelops_bundle.plan.push import PushPlan
    from modelops_bundle.plan.semver import Part

_MOST = 50


@command("push", example="bundle push\nbundle push --tag v1 --tag latest\nbundle push --bump minor --dry-run")
@click.argument("reference", required=False, metavar="[REF]")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Push under this tag; may be given several times.")
@click.option("--bump", type=click.Choice(["major", "minor", "patch"]), help="Push under the next release tag.")
@click.option("--expect", metavar="DIGEST", help="Replace this version although this clone has not seen it.")
@click.option("--force", is_flag=True, help="Replace whatever the tag holds; what that drops is listed.")
@click.option("--annotation", "annotations", multiple=True, metavar="KEY=VALUE", help="Annotate the manifest.")
@click.option(
    "--pack",
    type=click.Choice(["auto", "always", "never"]),
    help="Pack small files: when there are many (auto), always, or never.",
)
@click.option(
    "--layout", type=click.Choice(["plain", "image"]), help="Store a ModelPack artifact or a container image."
)
@click.option("--prefix", metavar="DIR", help="Put the tree below DIR of the image (KServe looks into models).")
@click.option("--delta", is_flag=True, help="Store large files as chunks, and send those the repository lacks.")
@click.option("--plain", is_flag=True, help="Store every large file whole, whatever the remote is set to.")
@click.option("--xor-base", metavar="SRC", help="With --delta: store new chunks as differences to those of SRC.")
@click.option("--dry-run", "-n", is_flag=True, help="Show the plan and do nothing.")
@click.option("--plan-out", metavar="FILE", help="Save the plan (- is stdout) and do nothing else.")
def push(
    context: Context,
    *,
    reference: str | None,
    tags: tuple[str, ...],
    bump: Part | None,
    expect: str | None,
    force: bool,
    annotations: tuple[str, ...],
    pack: str | None,
    layout: str | None,
    prefix: str | None,
    delta: bool,
    plain: bool,
    xor_base: str | None,
    dry_run: bool,
    plan_out: str | None,
) -> None:
    """Send the tracked files as they are on disk.

    Refuses to replace a version that this clone has not seen.
    """
    direct, notes = not (dry_run or plan_out), _annotations(annotations)
    request = operation.PushRequest(
        reference, tags, bump, expect, force, notes, pack, layout, prefix, delta, plain, xor_base, direct
    )
    with session(context) as planned:
        look = operation.Look(planned, request)
        plan = (look.unchanged() if request.direct else None) or look.plan()
    if isinstance(plan, operation.Result):
        context.out.result(plan.to_json(), result_lines(plan))
        return
    shown = plan_lines(plan)
    if only_shown(context, plan, _document(plan), shown, dry_run=dry_run, plan_out=plan_out):
        return
    plan.check()
    asked = _confirm(context, plan, shown)
    (context.out.warn if plan.force and plan.losses else context.out.note)(*shown)
    with session(context, after=planned) as here:
        done = operation.apply_push(here, plan, since=None if asked else look.state)
    context.out.result(done.to_json(), result_lines(done))


def _annotations(pairs: Sequence[str]) -> dict[str, str]:
    epoch = source_date_epoch()
    created = operation.created(epoch) if epoch is not None else {}
    return {**created, **annotations_of(pairs)}


def _document(plan: PushPlan) -> dict[str, object]:
    return {
        "place": plan.place,
        "tags": [move.to_json() for move in plan.tags],
        "digest": None if plan.open else str(plan.artifact.digest),
        "changes": [{"path": path, "action": str(action)} for path, action, _ in plan.changes()],
        "dropped": list(plan.dropped),
        "losses": [loss.to_json() for loss in plan.losses],
        "upload_bytes": plan.upload_size,
        "ways": dict(plan.ways),
    }


def plan_lines(plan: PushPlan) -> list[Line]:
    """The plan for people."""
    names = ", ".join(move.tag for move in plan.tags)
    changes = plan.changes()
    lines: list[Line] = [f"Push to {plan.place}:{names}" + ("" if plan.open else f" as {plan.artifact.digest}")]
    lines += [f"  {action:<9} {path}" for path, action, _ in changes[:_MOST]]
    if len(changes) > _MOST:
        lines.append(f"  … and {len(changes) - _MOST:,} more")
    if plan.nothing:
        lines.append("Nothing to do: the remote holds exactly this")
    else:
        lines.append(f"At most {text.size(plan.upload_size)} to send")
        lines += _ways(plan)
    if plan.losses:
        lines.append(Paint("Changes of others that this loses:", "red"))
        lines += [f"  {loss.path} ({loss.action} there)" for loss in plan.losses]
    return lines


def _ways(plan: PushPlan) -> list[Line]:
    """What the other way of storing large files would send."""
    whole, delta = plan.ways.get("plain", 0), plan.ways.get("delta", 0)
    if plan.fresh or plan.reused:
        return [f"  large files as chunks: {text.size(delta)}, instead of {text.size(whole)} whole"]
    return [f"  large files whole: {text.size(whole)}; with --delta about {text.size(delta)}"] if delta < whole else []


def _confirm(context: Context, plan: PushPlan, shown: list[Line]) -> bool:
    """Ask where the plan wants it; whether somebody was asked."""
    from modelops_bundle.plan.push import drops_most

    drops = drops_most(plan.base, plan.snapshot)
    if plan.strays_from is not None:
        context.out.confirm(f"this tree is at {plan.strays_from}; replace {plan.place}:{plan.tags[0].tag}?", shown)
    if drops:
        context.out.confirm(
            f"drop {text.count(len(plan.dropped), 'path')} of {len(plan.base):,} from {plan.place}?", shown
        )
    return drops or plan.strays_from is not None


def result_lines(done: operation.Result) -> list[str]:
    """What a push did, for people."""
    names = ", ".join(done.tags)
    if not done.changed:
        return [f"{done.place}:{names} is up to date ({done.digest})"]
    return [
        f"Pushed {done.place}:{names} {done.digest}",
        f"{text.count(done.sent, 'blob')} sent ({text.size(done.sent_bytes)}), {done.existing:,} already there",
        *([f"{text.size(done.reused_bytes)} in chunks that were there"] if done.reused_bytes else []),
    ]
