"""The command `bundle diff`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from modelops_bundle.errors import UsageError
from modelops_bundle.operations import diff as operation
from modelops_bundle.plan.changes import Action, Change
from modelops_bundle.ui import text
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command
from modelops_bundle.ui.cli.status import LETTERS
from modelops_bundle.ui.text import Line, Paint

if TYPE_CHECKING:
    from modelops_bundle.operations.tensor_diff import At, TensorChange, TensorDiff


@command("diff", example="bundle diff\nbundle diff :v1\nbundle diff :v1 :v2 --exit-code\nbundle diff :v1 :v2 --tensors")
@click.argument("old", required=False, metavar="[A]")
@click.argument("new", required=False, metavar="[B]")
@click.option("--short", "-s", is_flag=True, help="One letter and the path.")
@click.option("--tensors", is_flag=True, help="Say which tensors of safetensors and GGUF files differ.")
@click.option("--exit-code", is_flag=True, help="Exit 1 when anything differs.")
def diff(
    context: Context, old: str | None, new: str | None, *, short: bool, tensors: bool, exit_code: bool
) -> int | None:
    """Compare the tree with what it was last synced with, with version A, or compare A with B."""
    if tensors:
        if short:
            raise UsageError("--short is for files, --tensors for what is in them")
        return _tensors(context, old, new, exit_code)
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


def _tensors(context: Context, old: str | None, new: str | None, exit_code: bool) -> int | None:
    from modelops_bundle.operations import tensor_diff  # reads headers, and files as git would not

    with session(context, need_bundle=new is None) as here:
        found = tensor_diff.tensor_diff(here, old, new)
    context.out.result(found.to_json, [f"{found.diff.old} -> {found.diff.new}", *_files(found), *_summary(found)])
    return 1 if exit_code and found.diff.changes else None


def _files(found: TensorDiff) -> Iterator[Line]:
    for file in found.files:
        yield Paint(f"{file.path}  ({file.action}, {text.size(file.size)})", "bold")
        yield from (f"  unread: {problem}" for problem in file.problems)
        rows = [
            (f"  {change.kind}", change.name, _said(change), text.size(change.at.size))
            for change in found.shown(file.path)
        ]
        yield from text.table(rows, right=(3,))
        yield from (f"  metadata {what}  {key}" for key, what in file.metadata.items())
        if file.header:
            yield "  header differs in what is not shown (order, padding, long values)"


def _said(change: TensorChange) -> str:
    """Type and shape, both of them where they differ, and the file that a tensor came from."""
    at, old = change.at, change.old
    said = _form(at)
    if old is not None and _form(old) != said:
        said = f"{_form(old)} -> {said}"
    return f"{said}, was in {old.path}" if old is not None and old.path != at.path else said


def _form(at: At) -> str:
    return f"{at.tensor.dtype} {'×'.join(map(str, at.tensor.shape)) or 'scalar'}"


def _summary(found: TensorDiff) -> Iterator[Line]:
    from modelops_bundle.operations.tensor_diff import Kind

    if not found.diff.changes:
        yield "no difference"
        return
    edited = (Kind.CHANGED, Kind.RESHAPED)
    said = [
        f"{found.count(*edited):,} of {text.count(found.total, 'tensor')} changed, {text.size(found.size(*edited))}"
    ]
    said += [
        f"{found.count(kind):,} {kind}, {text.size(found.size(kind))}"
        for kind in (Kind.ADDED, Kind.REMOVED, Kind.UNKNOWN)
        if found.count(kind)
    ]
    if found.count(Kind.MOVED):
        said.append(f"{found.count(Kind.MOVED):,} moved")
    yield "; ".join(said)
    yield from (f"unknown: {why}" for why in found.why)
    if found.others:
        yield f"{text.count(found.others, 'other file')} {'differs' if found.others == 1 else 'differ'}: bundle diff"
