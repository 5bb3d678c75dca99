"""The commands `bundle cache`."""

from __future__ import annotations

import re
import time

import click

from modelops_bundle.errors import UsageError
from modelops_bundle.operations import caching as operation
from modelops_bundle.ui import text
from modelops_bundle.ui.cli.bundle import session
from modelops_bundle.ui.cli.command import Context, command, group
from modelops_bundle.ui.cli.values import parse_size
from modelops_bundle.ui.text import Line

_AGE = re.compile(r"(\d{1,9})\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@group("cache", example="bundle cache info\nbundle cache prune --max-size 200G")
def cache(context: Context) -> None:
    """Look at the cache that all working trees and `ensure` share, and make it smaller."""


@command("info", group=cache, example="bundle cache info\nbundle cache info --json")
def info(context: Context) -> None:
    """Say what is in the cache: versions by their last use, the references they were used under, their sizes."""
    with session(context, need_bundle=False) as here:
        found = operation.info(here)
    rows = [
        (
            each.digest.short,
            text.size(each.size),
            text.size(each.alone),
            _ago(each.used),
            ", ".join(each.references[:3]) or "-",
        )
        for each in found.versions
    ]
    lines: list[Line] = [
        f"{found.folder}: {text.size(found.size)} in {text.count(found.blobs, 'blob')}",
        f"{text.size(found.others)} of no version: of pulls, or unfinished",
    ]
    if rows:
        lines += text.table(rows, head=("DIGEST", "SIZE", "ALONE", "USED", "REFERENCES"), right=(1, 2))
    context.out.result(found.to_json(), lines)


@command(
    "prune", group=cache, example="bundle cache prune --max-size 200G\nbundle cache prune --older-than 30d --dry-run"
)
@click.option("--max-size", metavar="SIZE", help="Until no more than this is left, as in 200G.")
@click.option("--older-than", metavar="AGE", help="What was not used for so long, as in 30d or 12h.")
@click.option("--dry-run", "-n", is_flag=True, help="Say what would be removed.")
def prune(context: Context, max_size: str | None, older_than: str | None, dry_run: bool) -> None:
    """Remove versions from the cache, least recently used first. What a process uses now stays."""
    most = _size(max_size) if max_size is not None else None
    age = _age(older_than) if older_than is not None else None
    with session(context, need_bundle=False) as here:
        done = operation.prune(here, most=most, age=age, dry_run=dry_run)
    context.out.result(done.to_json(), _pruned(done))


@command("clear", group=cache, example="bundle cache clear --yes")
def clear(context: Context) -> None:
    """Remove everything from the cache that no process uses now. Asks first."""
    with session(context, need_bundle=False) as here:
        found = operation.info(here)
    context.out.confirm("clear the cache?", [f"{found.folder}: {text.size(found.size)}"])
    with session(context, need_bundle=False) as here:
        done = operation.clear(here)
    context.out.result(done.to_json(), _pruned(done))


def _pruned(done: operation.Pruned) -> list[Line]:
    verb = "Would remove" if done.dry_run else "Removed"
    lines: list[Line] = [f"{each.digest.short}  {', '.join(each.references[:3])}" for each in done.versions]
    lines.append(
        f"{verb} {text.count(len(done.versions), 'version')}, {text.size(done.freed)}; {text.size(done.size)} left"
    )
    if done.busy:
        lines.append(f"{text.count(done.busy, 'version or blob', 'versions and blobs')} in use, left alone")
    return lines


def _ago(at: int) -> str:
    return f"{text.duration(max(0.0, time.time() - at))} ago" if at else "-"


def _size(value: str) -> int:
    try:
        return parse_size(value)
    except ValueError as error:
        raise UsageError(f"--max-size cannot be {text.safe(repr(value))}: {error}") from error


def _age(value: str) -> int:
    found = _AGE.fullmatch(value.strip().lower())
    if found is None or not value.isascii():
        raise UsageError(
            f"--older-than cannot be {text.safe(repr(value))}", hint="a number with s, m, h, d or w, as in 30d"
        )
    return int(found[1]) * _SECONDS[found[2]]
