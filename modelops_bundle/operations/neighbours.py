"""Files on this machine of which no chunk list is known: what the user names, the file that is to be replaced, and the
blobs of Hugging Face's cache (facts: delta §4). They are read as a whole, so only for much that is missing.
"""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from modelops_bundle.errors import Corrupt, DiskError, WouldOverwrite
from modelops_bundle.events import Run
from modelops_bundle.formats import cuts
from modelops_bundle.formats.chunker import Chunker
from modelops_bundle.formats.tensors import Read
from modelops_bundle.model.chunkmap import ChunkList
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.paths import display
from modelops_bundle.transfer.seeds import Source

if TYPE_CHECKING:
    from modelops_bundle.workspace.chunks import ChunkCache

SMALLEST = 1024 * 1024
"""Bytes of a file that is worth a look."""
MOST = 64
"""Files that the user named, at most; the largest."""
CANDIDATES = 4
"""Blobs of another program's cache that are read for one file, at most."""
_NEAR = 4
"""How many times as large or small they may be."""
_BLOCK = 1024 * 1024
_CONTENT_DEFINED = "fastcdc2020/"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may have chunks in common with another.

    :param name: tells it from others, and its ending what it is. :param size: bytes. :param open: opens it; the caller closes.
    :param digest: of its content, as far as anybody knows.
    """

    name: str
    size: int
    open: Callable[[], int]
    digest: Digest | None = None


def named(paths: Iterable[Path], run: Run) -> list[Candidate]:
    """The large files among `paths`, and in the directories among them; those that links there lead to as well.

    What is mounted below a directory is left alone: /proc has files of any size.

    :raises Interrupted: somebody asked to stop.
    """
    found: dict[tuple[int, int], Candidate] = {}
    for path in paths:
        for file, facts in _files(path, run):
            if stat.S_ISREG(facts.st_mode) and facts.st_size >= SMALLEST:
                made = Candidate(str(file), facts.st_size, partial(_open, file))
                found.setdefault((facts.st_dev, facts.st_ino), made)
    return sorted(found.values(), key=lambda each: -each.size)[:MOST]


def _files(path: Path, run: Run) -> Iterator[tuple[Path, os.stat_result]]:
    """A file, or all that are in a directory."""
    with suppress(OSError):
        root = path.stat()
        if not stat.S_ISDIR(root.st_mode):
            yield path, root
            return
        run.notice("seed-walk", f"looking through {display(str(path))} for files to take chunks from")
        for directory, folders, names in os.walk(path):
            run.check()
            folders[:] = [name for name in folders if _is_on(root.st_dev, Path(directory, name))]
            for file in (Path(directory, name) for name in names):
                run.check()
                with suppress(OSError):
                    facts = file.stat()
                    if facts.st_dev == root.st_dev:
                        yield file, facts


def _is_on(device: int, folder: Path) -> bool:
    with suppress(OSError):
        return folder.lstat().st_dev == device
    return False


def whole(hub: Path, digest: Digest) -> int | None:
    """The file that Hugging Face's cache calls by this digest, open: large files are named so there."""
    for repository in _repositories(hub):
        with suppress(OSError):
            return _open(repository / "blobs" / digest.hex)
    return None


def blobs(hub: Path, size: int) -> list[Candidate]:
    """The files of Hugging Face's cache that are about as large, the nearest first."""
    found: list[Candidate] = []
    for repository in _repositories(hub):
        with suppress(OSError), os.scandir(repository / "blobs") as listing:
            for item in listing:
                is_near = item.is_file(follow_symlinks=False) and _is_near(
                    item.stat(follow_symlinks=False).st_size, size
                )
                # Others are in git, or still on their way.
                if is_near and len(item.name) == 64 and not item.name.strip("0123456789abcdef"):
                    facts = item.stat(follow_symlinks=False)
                    opened = partial(_open, Path(item.path))
                    found.append(Candidate(item.name, facts.st_size, opened, Digest("sha256", item.name)))
    return sorted(found, key=lambda each: abs(each.size - size))


def _is_near(size: int, wanted: int) -> bool:
    return max(SMALLEST, wanted // _NEAR) <= size <= wanted * _NEAR


def _repositories(hub: Path) -> list[Path]:
    with suppress(OSError), os.scandir(hub) as listing:
        return sorted(Path(item.path) for item in listing if item.name.startswith("models--"))
    return []


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK)


def listed(
    candidates: Iterable[Candidate], chunker: str, lists: ChunkCache, run: Run, most: int = MOST
) -> Iterator[Source]:
    """The chunks of the first `most` of the candidates that are cut by the same chunker.

    What cannot be read is left out. :param lists: where those of files with a digest are kept.
    """
    for candidate in candidates:
        run.check()
        found = None
        with suppress(OSError, DiskError, Corrupt, WouldOverwrite):
            found = _listed(candidate, chunker, lists, run)
        if found is not None:
            yield found
            most -= 1
            if not most:
                return


def _listed(candidate: Candidate, chunker: str, lists: ChunkCache, run: Run) -> Source | None:
    known = lists.get(candidate.digest, told=True) if candidate.digest else None
    if known is not None:
        return Source.of_list(known[1], candidate.open) if known[0] == chunker else None
    descriptor = candidate.open()
    try:
        plan = _plan(candidate, chunker, lambda offset, count: os.pread(descriptor, count, offset))
        if plan is None:
            return None
        made, at = Chunker(plan, candidate.size), 0
        while block := os.pread(descriptor, _BLOCK, at):
            run.check()
            made.feed(block)
            at += len(block)
        columns = made.finish()
    finally:
        os.close(descriptor)
    chunks = ChunkList(array("I", columns.sizes), columns.digests)
    if candidate.digest is not None:
        lists.put(candidate.digest, chunker, chunks, told=True)
    return Source.of_list(chunks, candidate.open)


def _plan(candidate: Candidate, chunker: str, read: Read) -> cuts.Plan | None:
    """How the candidate is cut by `chunker`; None when it is of another format."""
    plan = cuts.chunker_for(candidate.name, candidate.size, read, smallest=1)
    if plan is None:
        return None
    if chunker in cuts.FASTCDC and plan.chunker.startswith(_CONTENT_DEFINED):
        # The longer file may have longer chunks; those of the wanted one are what is looked for.
        return cuts.Plan(chunker, parameters=cuts.FASTCDC[chunker])
    return plan if plan.chunker == chunker else None
