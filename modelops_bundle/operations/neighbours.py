"""Files on this machine of which no chunk list is known: what the user names, the file that is to be replaced, and the
blobs of Hugging Face's cache (facts: delta §4). They are read as a whole, so only for much that is missing; those that
nobody named only when a look at a few of their chunks shows that some are wanted.
"""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from modelops_bundle.errors import Corrupt, DiskError, WouldOverwrite
from modelops_bundle.events import Run
from modelops_bundle.formats import cuts
from modelops_bundle.formats.chunker import Chunker, Columns
from modelops_bundle.formats.tensors import Read
from modelops_bundle.model.chunkmap import ChunkList
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.paths import display
from modelops_bundle.transfer.assemble import Wanted
from modelops_bundle.transfer.seeds import Seeds, Source

if TYPE_CHECKING:
    from modelops_bundle.workspace.chunks import ChunkCache

SMALLEST = 1024 * 1024
"""Bytes of a file that is worth a look."""
MOST = 64
"""Files that the user named, at most; the largest."""
CANDIDATES = 4
"""Blobs of another program's cache that are read for one file, at most."""
LOOKS = 16
"""Blobs of another program's cache of which a few chunks are read, at most."""
_SAMPLES = 4
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


class Sought:
    """What is missing of a file: whether reading a whole candidate may be worth it.

    :param away: the places of the chunks that are missing among the `wanted`.
    """

    def __init__(self, wanted: Wanted, away: Sequence[int]) -> None:
        self._wanted = wanted
        self._away = away
        self.left = wanted.size(away)
        """Bytes that may still be read: more than that would come over a network is too much."""

    @cached_property
    def _index(self) -> Seeds:
        wanted, away = self._wanted, self._away
        digests = b"".join(wanted.digest(at) for at in away)
        return Seeds([Source(array("I", (wanted.sizes[at] for at in away)), digests, _nowhere)])

    def has_some(self, candidate: Candidate, plan: cuts.Plan, read: Read) -> bool:
        """Whether one of a few chunks of the candidate, the first one among them, is missing."""
        # A header that is a little longer must not be what forbids it.
        if candidate.size > self.left + self.left // 8:
            return False
        return any(self._index.find(digest) is not None for digest in _samples(plan, candidate.size, read))


def _nowhere() -> int:
    raise DiskError("what is missing is nowhere")


def _samples(plan: cuts.Plan, size: int, read: Read) -> Iterator[bytes]:
    """The digests of a few chunks from all over a file."""
    from blake3 import blake3

    if plan.sizes is not None:
        starts, count = list(accumulate(plan.sizes, initial=0)), len(plan.sizes)
        for at in sorted({count * number // _SAMPLES for number in range(_SAMPLES)}):
            yield blake3(read(starts[at], plan.sizes[at])).digest()
        return
    for number in range(_SAMPLES):
        # Soon behind its beginning a part is cut where the whole is.
        part = read(size * number // _SAMPLES, _SAMPLES * plan.parameters[2])
        for chunk in cuts.fastcdc(plan.parameters).cut_buf(part):
            yield blake3(chunk.data).digest()


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
    return sorted(found, key=lambda each: abs(each.size - size))[:LOOKS]


def _is_near(size: int, wanted: int) -> bool:
    return max(SMALLEST, wanted // _NEAR) <= size <= wanted * _NEAR


def _repositories(hub: Path) -> list[Path]:
    with suppress(OSError), os.scandir(hub) as listing:
        return sorted(Path(item.path) for item in listing if item.name.startswith("models--"))
    return []


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK)


def listed(
    candidates: Iterable[Candidate],
    chunker: str,
    lists: ChunkCache,
    run: Run,
    most: int = MOST,
    sought: Sought | None = None,
) -> Iterator[Source]:
    """The chunks of the first `most` of the candidates that are cut by the same chunker.

    What cannot be read is left out.

    :param lists: where those of files with a digest are kept.
    :param sought: what is missing, where nobody said that the candidates have any of it.
    """
    for candidate in candidates:
        run.check()
        found = None
        with suppress(OSError, DiskError, Corrupt, WouldOverwrite):
            found = _listed(candidate, chunker, lists, run, sought)
        if found is not None:
            yield found
            most -= 1
            if not most:
                return


def _listed(candidate: Candidate, chunker: str, lists: ChunkCache, run: Run, sought: Sought | None) -> Source | None:
    known = lists.get(candidate.digest, told=True) if candidate.digest else None
    if known is not None:
        return Source.of_list(known[1], candidate.open) if known[0] == chunker else None
    descriptor = candidate.open()
    try:
        columns = _read(candidate, chunker, descriptor, run, sought)
    finally:
        os.close(descriptor)
    if columns is None:
        return None
    chunks = ChunkList(array("I", columns.sizes), columns.digests)
    if candidate.digest is not None:
        lists.put(candidate.digest, chunker, chunks, told=True)
    return Source.of_list(chunks, candidate.open)


def _read(candidate: Candidate, chunker: str, descriptor: int, run: Run, sought: Sought | None) -> Columns | None:
    def read(offset: int, count: int) -> bytes:
        return os.pread(descriptor, count, offset)

    plan = _plan(candidate, chunker, read)
    if plan is None:
        return None
    if sought is not None:
        if not sought.has_some(candidate, plan, read):
            return None
        sought.left -= candidate.size
        run.notice("seed-read", f"reading {candidate.size} bytes of {display(candidate.name)} for chunks of them")
    made, at = Chunker(plan, candidate.size), 0
    while block := read(at, _BLOCK):
        run.check()
        made.feed(block)
        at += len(block)
    return made.finish()


def _plan(candidate: Candidate, chunker: str, read: Read) -> cuts.Plan | None:
    """How the candidate is cut by `chunker`; None when it is of another format."""
    plan = cuts.chunker_for(candidate.name, candidate.size, read, smallest=1)
    if plan is None:
        return None
    if chunker in cuts.FASTCDC and plan.chunker.startswith(_CONTENT_DEFINED):
        # The longer file may have longer chunks; those of the wanted one are what is looked for.
        return cuts.Plan(chunker, parameters=cuts.FASTCDC[chunker])
    return plan if plan.chunker == chunker else None
