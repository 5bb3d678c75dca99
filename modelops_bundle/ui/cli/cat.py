"""The command `bundle cat`."""

from __future__ import annotations

import re

import click

from modelops_bundle.errors import UsageError
from modelops_bundle.operations import listing
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command


@command("cat", example="bundle cat :v1:config.json\nbundle cat registry.example.com/team/model:v1:README.md")
@click.argument("where", metavar="REF:PATH")
@click.option("--range", "part", metavar="FIRST-LAST", help="Only these bytes, the first of the file being 0.")
def cat(context: Context, where: str, part: str | None) -> None:
    """Print one file of a version. The bytes are verified; wrong ones end in an error.

    Those of a part are not: a digest is of the whole file.
    """
    reference, path = listing.split_path(where)
    if not reference or not path:
        raise UsageError(f"write REF:PATH, not {where!r}", hint="bundle cat :v1:config.json")
    wanted = None if part is None else _range(part)
    with (
        session(context, need_bundle=False, progress=False) as here,
        listing.cat(here, reference, path, wanted) as chunks,
    ):
        context.out.data(chunks)


def _range(text: str) -> tuple[int, int | None]:
    """The first byte, and the one behind the last (RFC 9110 §14.1.2)."""
    found = re.fullmatch(r"(\d{1,18})-(\d{0,18})", text)
    if found is None or (found[2] and int(found[2]) < int(found[1])):
        raise UsageError(f"not a range: {text[:40]!r}", hint="--range 0-99, or --range 100-")
    return int(found[1]), int(found[2]) + 1 if found[2] else None
