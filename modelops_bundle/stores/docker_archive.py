"""What `skopeo copy … docker-archive:` and `crane pull` make of an image of ours, read as the version it was.

Such an archive has the config and the layers, and no manifest: that follows from them and from the index in its layer, since
an image of ours is a function of its tree. Annotations of its maker are not in there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from modelops_bundle.errors import Corrupt, Unsupported
from modelops_bundle.events import Run
from modelops_bundle.formats import tar
from modelops_bundle.model import artifact, canonical, image, media, packs
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.packs import Pack
from modelops_bundle.stores.unpacked import Framed, Readable, blocks

LIST = "manifest.json"
_MAX_LIST = 4 << 20
_MAX_CONFIG = 4 << 20
_MOST_IMAGES = 1000
_GZIP = b"\x1f\x8b"
_FILE = re.compile(r"[0-9a-f]{64}(?:\.tar|\.tar\.gz|\.json|/VERSION|/json|/layer\.tar)|sha256:[0-9a-f]{64}")
_FOLDER = re.compile(r"[0-9a-f]{64}")
_LINK = re.compile(r"[0-9a-f]{64}/layer\.tar")


def belongs(name: str, is_file: bool) -> bool:
    """Whether a member of that name is in such archives."""
    return bool(_FILE.fullmatch(name)) if is_file else bool(_FOLDER.fullmatch(name) or is_link(name))


def is_link(name: str) -> bool:
    """Whether a member may be a link, which nobody follows: old readers find layers by them."""
    return bool(_LINK.fullmatch(name))


class Blob(Protocol):
    """The bytes of a blob, somewhere in an archive."""

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """Those from `start` to before `stop`. :raises Corrupt: there are fewer."""
        ...


@dataclass(frozen=True, slots=True)
class Slice:
    """The bytes of a member, where it lies."""

    archive: Readable
    offset: int
    size: int

    def read(self, offset: int, size: int) -> bytes:
        """As many as asked for, fewer at the end."""
        return self.archive.read(self.offset + offset, min(size, self.size - offset)) if offset < self.size else b""

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """Those from `start` to before `stop`."""
        return self.archive.chunks(self.offset + start, self.offset + stop)

    def close(self) -> None:
        """The archive is closed by whoever opened it."""


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes that were made."""

    data: bytes

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.data)

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """Those from `start` to before `stop`."""
        return iter((self.data[start:stop],))


@dataclass(frozen=True, slots=True)
class Pressed:
    """The gzip of stored blocks that a layer's tar was before somebody unpacked it.

    :param trailer: its last bytes, which only a reading of all of the tar tells.
    """

    tar: Slice
    trailer: bytes

    @property
    def size(self) -> int:
        """Bytes of the gzip."""
        return packs.gzip_size(self.tar.size)

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """Those from `start` to before `stop`."""
        at = 0
        for piece in self._pieces(start):
            if isinstance(piece, int):
                at = piece
                continue
            if at >= stop:
                return
            if at + len(piece) > start:
                yield piece[max(0, start - at) : stop - at]
            at += len(piece)

    def _pieces(self, start: int) -> Iterator[bytes | int]:
        """Its bytes in pieces; a number says where the next one begins."""
        yield packs.GZIP_HEAD
        block = packs.STORED + 5
        first = max(0, start - len(packs.GZIP_HEAD)) // block
        yield len(packs.GZIP_HEAD) + first * block
        for at in range(first * packs.STORED, max(1, self.tar.size), packs.STORED):
            yield packs.block_head(self.tar.size - at) + self.tar.read(at, packs.STORED)
        yield self.size - len(self.trailer)
        yield self.trailer


def read(files: Mapping[str, tar.Member], source: Readable, run: Run) -> tuple[list[dict[str, Any]], dict[str, Blob]]:
    """The entries of an index of the images in an archive, and the blobs that they need by the hex of their digests.

    :param files: the archive's files by name.
    :raises Corrupt: layers, config and index do not fit each other. :raises Unsupported: it holds images of others.
    """
    entries: list[dict[str, Any]] = []
    blobs: dict[str, Blob] = {}
    for said in _images(_bytes_of(files, LIST, source, _MAX_LIST)):
        what, found = _Image(files, source, run).read(said)
        blobs.update(found)
        entries += [{**what.to_json(), "annotations": {media.REF_NAME: tag}} for tag in _tags(said)] or [what.to_json()]
    return entries, blobs


def _images(data: bytes) -> Sequence[Mapping[str, Any]]:
    # A list at the top is no canonical JSON document of ours.
    value = canonical.loads(b'{"images":' + data + b"}", LIST, limit=_MAX_LIST + 16)
    listed = value.get("images")
    if len(value) != 1 or not isinstance(listed, list) or not all(isinstance(image, dict) for image in listed):
        raise Corrupt(f"{LIST} of the archive is no list of images")
    if len(listed) > _MOST_IMAGES:
        raise Corrupt(f"{LIST} of the archive lists {len(listed)} images")
    return listed


def _tags(said: Mapping[str, Any]) -> list[str]:
    names = said.get("RepoTags")
    return [name for name in names if isinstance(name, str) and name] if isinstance(names, list) else []


def _bytes_of(files: Mapping[str, tar.Member], name: object, source: Readable, limit: int) -> bytes:
    member = files.get(name) if isinstance(name, str) else None
    if member is None:
        raise Corrupt(f"the archive lacks {str(name)[:100]!r}, which its list names")
    if member.size > limit:
        raise Corrupt(f"{member.name} in the archive has {member.size} bytes")
    return source.read(member.offset, member.size)


class _Image:
    """One image of the archive."""

    def __init__(self, files: Mapping[str, tar.Member], source: Readable, run: Run) -> None:
        self._files = files
        self._source = source
        self._run = run
        self._blobs: dict[str, Blob] = {}

    def read(self, said: Mapping[str, Any]) -> tuple[Descriptor, dict[str, Blob]]:
        """The descriptor of its manifest, and its blobs.

        :raises Corrupt: it is damaged. :raises Unsupported: somebody else made it.
        """
        config = _bytes_of(self._files, said.get("Config"), self._source, _MAX_CONFIG)
        names = said.get("Layers")
        if not isinstance(names, list) or not 0 < len(names) <= image.MOST_LAYERS:
            raise _not_ours()
        layers = [self._layer(name) for name in names]
        index = next((data for pack in layers if (data := self._index(pack)) is not None), None)
        if index is None:
            raise _not_ours()
        made = image.rebuilt(index, [pack for pack in layers if pack.digest != Digest.of(index)], config)
        data = made.to_bytes()
        self._blobs[made.config.digest.hex] = Held(config)
        self._blobs[made.digest.hex] = Held(data)
        return Descriptor(made.media_type, made.digest, len(data)), self._blobs

    def _layer(self, name: object) -> Pack:
        """A layer as the blob it was, with its digests; what is in it is not looked at."""
        member = self._files.get(name) if isinstance(name, str) else None
        if member is None:
            raise Corrupt(f"the archive lacks the layer {str(name)[:100]!r}, which its list names")
        content = Slice(self._source, member.offset, member.size)
        if content.read(0, 2) == _GZIP:
            inside = Framed.of(content)
            if inside is None:
                raise _not_ours()
            digest, tar_digest = (
                self._digest(content.chunks(0, content.size)),
                self._digest(blocks(inside, 0, inside.size)),
            )
            self._blobs[digest.hex] = content
            return Pack((), digest, content.size, tar_digest)
        unpacked = hashlib.sha256()
        framed = packs.framed(_noted(content.chunks(0, content.size), unpacked.update), content.size)
        trailer = b""

        def last(piece: bytes) -> None:
            nonlocal trailer
            trailer = (trailer + piece)[-8:]

        digest = self._digest(_noted(framed, last))
        blob = Pressed(content, trailer)
        self._blobs[digest.hex] = blob
        return Pack((), digest, blob.size, Digest("sha256", unpacked.hexdigest()))

    def _digest(self, chunks: Iterator[bytes]) -> Digest:
        hasher = hashlib.sha256()
        for chunk in chunks:
            self._run.check()
            hasher.update(chunk)
        return Digest("sha256", hasher.hexdigest())

    def _index(self, pack: Pack) -> bytes | None:
        """The layer's blob when it is the one with the index."""
        if pack.size > artifact.MAX_INDEX:
            return None
        start = packs.position(0)
        blob = self._blobs[pack.digest.hex]
        if b"".join(blob.chunks(start, start + 9))[:9] != b".bundle/\0":
            return None
        return b"".join(blob.chunks(0, blob.size))


def _noted(chunks: Iterator[bytes], note: Callable[[bytes], object]) -> Iterator[bytes]:
    for chunk in chunks:
        note(chunk)
        yield chunk


def _not_ours() -> Unsupported:
    return Unsupported(
        "the archive holds container images that no 'bundle push --layout image' made",
        hint="skopeo copy docker-archive:FILE oci-archive:OTHER makes a layout of it",
    )
