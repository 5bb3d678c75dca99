"""The command `bundle inspect`."""

from __future__ import annotations

import json

import click

from modelops_bundle.operations import listing
from modelops_bundle.operations.storage import Chunked, Storage
from modelops_bundle.ui import text
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command
from modelops_bundle.ui.text import Line, Paint


@command("inspect", example="bundle inspect :v1 --files\nbundle inspect registry.example.com/team/model:v1 --manifest")
@click.argument("reference", required=False, metavar="[REF]")
@click.option("--files", is_flag=True, help="List the files.")
@click.option("--manifest", is_flag=True, help="Print the manifest, byte for byte.")
@click.option("--tensors", is_flag=True, help="List the tensors of safetensors and GGUF files, without pulling them.")
def inspect(context: Context, reference: str | None, files: bool, manifest: bool, tensors: bool) -> None:
    """Show what a reference stands for, in one request."""
    if tensors:
        _tensors(context, reference)
        return
    with session(context, need_bundle=reference is None) as here:
        found = listing.inspect(here, reference)
    if manifest and not context.settings.json:
        context.out.data([found.manifest])
        return
    document = found.to_json()
    if manifest:
        document["manifest"] = json.loads(found.manifest)
    lines = [
        f"reference  {found.reference}",
        f"digest     {found.digest}",
        f"kind       {found.kind}",
        *(f"annotation {key}={value}" for key, value in sorted(found.annotations.items())),
    ]
    if found.contents is not None:
        lines.append(f"content    {text.count(len(found.contents), 'path')}, {text.size(found.contents.size)}")
        if found.storage is not None:
            lines.append(f"storage    {_stored(found.storage)}")
        if files:
            chunked = found.storage.files if found.storage is not None else {}
            lines += [
                f"  {text.size(entry.size):>10}  {entry.role:<8} {path}{_where(chunked.get(path))}"
                for path, entry in found.contents.items()
            ]
    if found.why_unread:
        lines.append(f"unread     {found.why_unread}")
    context.out.result(document, lines)


def _stored(storage: Storage) -> str:
    if storage.mode != "delta":
        return f"{storage.mode}, {text.size(storage.stored)}"
    return f"delta, {text.size(storage.stored)}, {text.count(storage.packs, 'chunk pack')}"


def _where(chunked: Chunked | None) -> str:
    """Where the bytes of a file are that is no blob of its own."""
    if chunked is None or chunked.whole:
        return ""
    return f"  ({text.count(chunked.segments, 'segment')} of {text.count(len(chunked.packs), 'chunk pack')})"


def _tensors(context: Context, reference: str | None) -> None:
    from modelops_bundle.operations import tensors

    with session(context, need_bundle=reference is None) as here:
        place, found = tensors.tensors(here, reference)
    lines: list[Line] = []
    for weights in found:
        if weights.header is None:
            lines.append(f"{weights.path}  {weights.problem.message if weights.problem else ''}")
            continue
        types = ", ".join(f"{count:,} {kind}" for kind, count in weights.types.items())
        lines.append(Paint(f"{weights.path}  {text.count(len(weights.header.tensors), 'tensor')}: {types}", "bold"))
        rows = [
            (
                f"  {each.name}",
                each.dtype,
                "×".join(map(str, each.shape)) or "scalar",
                text.size(each.stop - each.start),
            )
            for each in weights.header.tensors
        ]
        lines += text.table(rows, right=(3,))
    context.out.result({"reference": place, "weights": [weights.to_json() for weights in found]}, lines)
