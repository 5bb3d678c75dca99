"""The command `bundle status`."""

from __future__ import annotations

from collections.abc import Iterable

import click

from modelops_bundle.operations import status as operation
from modelops_bundle.operations.status import Status
from modelops_bundle.plan.changes import Action, Change, Side
from modelops_bundle.ui import text
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command
from modelops_bundle.ui.text import Line, Paint

LETTERS = {Action.ADDED: "A", Action.MODIFIED: "M", Action.DELETED: "D", Action.MODE: "X", Action.NONE: " "}
_MOST = 200


@command("status", example="bundle status\nbundle status --short --exit-code")
@click.argument("reference", required=False, metavar="[REF]")
@click.option("--short", "-s", is_flag=True, help="One line per path: what was done here, what was done there.")
@click.option("--untracked/--no-untracked", "-u", default=True, help="List files that are not tracked (default).")
@click.option("--ignored", is_flag=True, help="List ignored files with the rule that ignores them.")
@click.option("--exit-code", is_flag=True, help="Exit 1 when anything differs.")
def status(
    context: Context, reference: str | None, short: bool, untracked: bool, ignored: bool, exit_code: bool
) -> int | None:
    """Show what changed here and on the remote since they last agreed."""
    with session(context) as here:
        found = operation.status(here, reference, untracked=untracked, ignored=ignored)
    context.out.result(found.to_json, _short(found) if short else _long(found))
    return 1 if exit_code and not found.clean else None


def _short(found: Status) -> Iterable[Line]:
    for change in found.changes:
        yield f"{LETTERS[change.local]}{LETTERS[change.remote]} {change.path}"
    for path in found.untracked:
        yield f"?? {path}"
    for path in found.ignored:
        yield f"!! {path}"


def _long(found: Status) -> Iterable[Line]:
    yield _head(found)
    yield f"{text.count(found.tracked, 'path')} tracked, {text.size(found.size)}"
    yield from _section("Pushed by you, and undone there since:", [f"  {path}" for path in found.lost])
    renamed = {rename.new: rename.old for rename in found.renames}
    gone = set(renamed.values())
    here = [change for change in found.side(Side.HERE, Side.BOTH_SAME) if change.path not in gone]
    yield from _section("Changed here (bundle push sends it):", [_row(c, c.local, renamed) for c in here])
    yield from _section(
        "Changed there (bundle pull brings it):", [_row(c, c.remote, {}) for c in found.side(Side.THERE)]
    )
    yield from _section(
        "Changed on both sides (bundle pull --ours PATH or --theirs PATH settles it):",
        [f"  {f'{c.local} here, {c.remote} there':<32} {c.path}" for c in found.side(Side.CONFLICT)],
    )
    yield from _section("Not tracked (bundle add PATH):", [f"  {path}" for path in found.untracked])
    yield from _section("Ignored:", [f"  {path}  by {rule}" for path, rule in found.ignored.items()])


def _head(found: Status) -> Line:
    if not found.online:
        return f"{found.reference}: not asked ({found.why_offline}); compared with what was last seen"
    if found.gone and found.seen is not None:
        return f"{found.reference} is gone; this clone last saw {found.seen.short}"
    if found.remote is None:
        return f"{found.reference} does not exist yet"
    if found.clean:
        return [f"{found.reference} ", Paint("is up to date", "green"), f" ({found.remote.short})"]
    return f"{found.reference} is at {found.remote.short}"


def _row(change: Change, action: Action, renamed: dict[str, str]) -> str:
    if change.path in renamed:
        return f"  {'renamed':<9} {renamed[change.path]} -> {change.path}"
    return f"  {action:<9} {change.path}"


def _section(title: str, rows: list[str]) -> list[Line]:
    if not rows:
        return []
    more = [f"  … and {len(rows) - _MOST:,} more"] if len(rows) > _MOST else []
    return ["", Paint(title, "bold"), *rows[:_MOST], *more]
