"""Packs as a `Reader`: made from their members' bytes each time they are read, or once into a file without a name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from modelops_bundle.disk.chunks import FileChunks
from modelops_bundle.disk.spool import Spool
from modelops_bundle.errors import NotFound, WorkspaceChanged
from modelops_bundle.events import Run
from modelops_bundle.model import packs
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.packs import Member, Pack
from modelops_bundle.model.paths import display
from modelops_bundle.model.ports import Chunks

Contents = Callable[[str], Iterable[bytes]]
"""The bytes of the member at a path, all of them."""

Spooled = Mapping[Digest, Spool]
"""Files without a name that hold packs."""


class Packs:
    """A reader on `made`, whose members' bytes `contents` brings.

    :param spooled: files that hold some of them whole.
    """

    def __init__(self, made: Iterable[Pack], contents: Contents, spooled: Spooled = MappingProxyType({})) -> None:
        self._packs = {pack.digest: pack for pack in made}
        self._contents = contents
        self._spooled = spooled

    def has(self, what: Descriptor) -> bool:
        """Whether it is one of the packs."""
        return what.digest in self._packs

    @contextmanager
    def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> Iterator[Chunks]:
        """The bytes of a pack.

        :raises NotFound: it is none of them. :raises BundleError: whatever reading a member raises.
        """
        pack = self._packs.get(what.digest)
        if pack is None:
            raise NotFound(f"no pack here is {what.digest}")
        end, file = what.size if stop is None else stop, self._spooled.get(what.digest)
        if file is None:
            yield _part(blob(pack.members, self._contents), start, end)
        else:
            yield FileChunks("a pack", file.fileno(), start, end, _unchanged)


def blob(members: tuple[Member, ...], contents: Contents) -> Iterator[bytes]:
    """The bytes of the pack of `members`."""
    return packs.framed(_tar(members, contents), packs.tar_size(members))


def _tar(members: tuple[Member, ...], contents: Contents) -> Iterator[bytes]:
    for piece in packs.pieces(members):
        if isinstance(piece, bytes):
            yield piece
        else:
            yield from contents(piece)


def _part(chunks: Iterable[bytes], start: int, stop: int) -> Iterator[bytes]:
    at = 0
    for chunk in chunks:
        if at < stop and at + len(chunk) > start:
            yield chunk[max(0, start - at) : stop - at]
        at += len(chunk)


def _unchanged() -> None:
    """Nobody else knows the file: it has no name."""


def seal(
    members: tuple[Member, ...], contents: Contents, run: Run, spool: Spool | None = None, *, inner: bool = False
) -> Pack:
    """Find the digest of the pack of `members` by making it once.

    :param inner: find the digest of its tar as well.
    :param spool: an empty file that takes the pack, so that it need not be made again.
    :raises WorkspaceChanged: a member is not what its entry says. :raises BundleError: whatever reading one raises.
    """
    entries = dict(members)

    def checked(path: str) -> Iterator[bytes]:
        # No registry sees the digest of a member: a wrong one would be found by those who pull it, too late.
        hasher, size, entry = hashlib.sha256(), 0, entries[path]
        for chunk in contents(path):
            hasher.update(chunk)
            size += len(chunk)
            yield chunk
        if size != entry.size or hasher.hexdigest() != entry.digest.hex:
            raise WorkspaceChanged(
                f"{display(path)} changed since it was hashed", hint="run the command again", path=display(path)
            )

    within = hashlib.sha256()

    def tar() -> Iterator[bytes]:
        for piece in _tar(members, checked):
            if inner:
                within.update(piece)
            yield piece

    hasher, size = hashlib.sha256(), packs.tar_size(members)
    for chunk in packs.framed(tar(), size):
        run.check()
        hasher.update(chunk)
        if spool is not None:
            spool.write(chunk)
    digest = Digest("sha256", hasher.hexdigest())
    return Pack(members, digest, packs.gzip_size(size), Digest("sha256", within.hexdigest()) if inner else None)
