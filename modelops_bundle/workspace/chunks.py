"""The chunk lists of large files by the digest of their content, so that nobody cuts the same bytes twice.

They are made while a file is hashed for another reason. Disposable like the digest cache: what is damaged, foreign or
gone is made again, and what cannot be made or kept is only slower the next time.
"""

from __future__ import annotations

import hashlib
import os
import struct
import sys
from array import array
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from modelops_bundle.disk.files import read_file, write_file
from modelops_bundle.errors import BundleError, DiskError
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.paths import TEMPORARY_PREFIX

if TYPE_CHECKING:
    # Only large files come to need them.
    from modelops_bundle.formats.chunker import Chunker
    from modelops_bundle.formats.cuts import Plan
    from modelops_bundle.model.chunkmap import ChunkList

SMALLEST = 64 * 1024 * 1024
"""Bytes of the smallest file that is cut: that of `formats.cuts`, which nothing below loads."""
MOST = 256 * 1024 * 1024
"""Bytes of all lists together: 36 for each chunk, so those of some terabytes of tensors."""

_MAGIC = f"MOCHUNKS1{sys.byteorder[0]}\n".encode()
"""Another number as soon as the same bytes are cut elsewhere: what a push makes must not depend on what is kept."""
_HEADER = struct.Struct("<BBI32s")
_SEAL = 32
_FAILURES = (
    BundleError,
    OSError,
    ImportError,
    MemoryError,
    ValueError,
    ArithmeticError,
    LookupError,
    RuntimeError,
    StopIteration,
    struct.error,
)
"""What stands between a file and its chunk list, and is no reason not to hash it."""

Listed = tuple[str, "ChunkList"]
"""The name of a chunker, and the chunks it made."""


class ChunkCache:
    """Chunk lists of whole files in `folder`, a file each; the longest unused go first.

    :param most: bytes that all of them may take.
    """

    def __init__(self, folder: Path, most: int = MOST) -> None:
        self._folder = folder
        self._most = most

    def get(self, digest: Digest, *, told: bool = False) -> Listed | None:
        """The list of the content `digest`; None where there is none that can be read.

        :param told: also one that nobody here has compared with the content: good enough where each chunk is looked at
            when it is used, not for passing it on.
        """
        path = self._folder / digest.hex
        try:
            data = read_file(path)
        except DiskError:
            return None
        found = _parsed(data, digest) if data is not None else None
        if found is None or (found[0] and not told):
            return None
        with suppress(OSError):
            os.utime(path)
        return found[1]

    def put(self, digest: Digest, chunker: str, chunks: ChunkList, *, told: bool = False) -> None:
        """Keep the list of the content `digest`. One whose chunks are stored in another way than they are is not kept.

        :param told: it is somebody's word, which does not replace what was found here.
        """
        if chunks.stored is not None or any(chunks.codecs or b""):
            return
        if self.get(digest, told=told) == (chunker, chunks) or (told and self.get(digest) is not None):
            return
        name = chunker.encode()
        header = _HEADER.pack(told, len(name), len(chunks), bytes.fromhex(digest.hex))
        body = b"".join((_MAGIC, header, name, chunks.sizes.tobytes(), chunks.digests))
        with suppress(DiskError):
            write_file(self._folder / digest.hex, body + hashlib.sha256(body).digest())
            self._prune(digest.hex)

    def _prune(self, fresh: str) -> None:
        left = self._most
        with suppress(OSError), os.scandir(self._folder) as listing:
            lists = [entry for entry in listing if entry.is_file(follow_symlinks=False)]
            # What is removed by somebody else at the same time is pruned by him.
            aged = {entry: (entry.name == fresh, entry.stat(follow_symlinks=False).st_mtime_ns) for entry in lists}
            for entry in sorted(lists, key=lambda entry: aged[entry], reverse=True):
                left -= entry.stat(follow_symlinks=False).st_size
                if left < 0 and entry.name != fresh and not entry.name.startswith(TEMPORARY_PREFIX):
                    os.unlink(entry.path)

    def watch(self, path: str, size: int, read: Callable[[int, int], bytes]) -> Listing | None:
        """What makes and keeps the list of a file while its bytes pass; None for files that are not cut.

        This is a `disk.hashing.Watch`.

        :param size: its bytes. :param read: those from an offset on, as many as asked for.
        """
        if size < SMALLEST:
            return None
        try:
            from modelops_bundle.formats.cuts import chunker_for  # noqa: PLC0415  what only large files need

            plan = chunker_for(path, size, read, smallest=SMALLEST)
            return None if plan is None else Listing(self, plan, size)
        except _FAILURES:
            return None


class Listing:
    """A list that is being made (`disk.hashing.Watcher`). What fails here is not the matter of who shows the bytes.

    :param plan: how to cut the file. :param size: its bytes.
    """

    def __init__(self, cache: ChunkCache, plan: Plan, size: int) -> None:
        from modelops_bundle.formats.chunker import Chunker  # noqa: PLC0415  blake3 and FastCDC with it

        self._cache = cache
        self._name = plan.chunker
        self._chunker: Chunker | None = Chunker(plan, size)

    def feed(self, data: bytes | memoryview) -> None:
        """The next bytes of the file; they are not kept."""
        if self._chunker is None:
            return
        try:
            self._chunker.feed(data)
        except _FAILURES:
            self._chunker = None

    def finish(self, digest: Digest) -> Listed | None:
        """Keep the list and say it; None where there is none after all, for one because bytes were left out.

        :param digest: of all that came.
        """
        if self._chunker is None:
            return None
        from modelops_bundle.model.chunkmap import ChunkList  # noqa: PLC0415

        try:
            made = self._chunker.finish()
        except _FAILURES:
            return None
        chunks = ChunkList(made.sizes, made.digests)
        self._cache.put(digest, self._name, chunks)
        return self._name, chunks


def _parsed(data: bytes, digest: Digest) -> tuple[bool, Listed] | None:
    """What a file of the cache says, and whether it is somebody's word; None where it is not whole or of something else."""
    from modelops_bundle.model.chunkmap import DIGEST_SIZE, ChunkList  # noqa: PLC0415

    start, view = len(_MAGIC) + _HEADER.size, memoryview(data)
    if len(data) < start + _SEAL or not data.startswith(_MAGIC):
        return None
    if hashlib.sha256(view[:-_SEAL]).digest() != data[-_SEAL:]:
        return None
    told, length, count, whose = _HEADER.unpack_from(data, len(_MAGIC))
    sizes = array("I")
    columns, digests = start + length, start + length + sizes.itemsize * count
    if whose.hex() != digest.hex or len(data) != digests + DIGEST_SIZE * count + _SEAL:
        return None
    sizes.frombytes(view[columns:digests])
    return bool(told), (data[start:columns].decode(), ChunkList(sizes, data[digests:-_SEAL]))
