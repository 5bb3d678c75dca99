"""Writing content as an OCI image layout in one tar (image-spec 1.1, `image-layout.md`), without ever holding much of it.

The same content gives the same bytes: members in one order, nobody's, of no time; what the index says is sorted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from modelops_bundle.events import Advanced, Finished, ItemStarted, Run, Started
from modelops_bundle.model import canonical, media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.packs import header
from modelops_bundle.model.ports import Chunks
from modelops_bundle.model.snapshot import Entry
from modelops_bundle.transfer.verify import verified

_BLOCK = 512
_END = bytes(2 * _BLOCK)
_DIRECTORIES = ("blobs", "blobs/sha256")
_MARKER = canonical.dumps({"imageLayoutVersion": "1.0.0"})

Open = Callable[[Descriptor], AbstractContextManager[Chunks]]


@dataclass(frozen=True, slots=True)
class Listing:
    """What an archive holds.

    :param manifests: those that its index names, each with a tag or None; the same one may have several.
    :param blobs: everything that they need, themselves included, each digest once.
    """

    manifests: tuple[tuple[Descriptor, str | None], ...]
    blobs: tuple[Descriptor, ...]

    @property
    def size(self) -> int:
        """Bytes of the archive."""
        small = sum(_member_size(name, len(data)) for name, data in self.files())
        large = sum(_member_size(_blob_name(what), what.size) for what in self.blobs)
        return small + large + sum(len(header(name, Entry.directory())) for name in _DIRECTORIES) + len(_END)

    def files(self) -> Sequence[tuple[str, bytes]]:
        """The members that make it a layout, with their content."""
        return (("index.json", self._index()), ("oci-layout", _MARKER))

    def _index(self) -> bytes:
        def order(named: tuple[Descriptor, str | None]) -> tuple[str, str]:
            return named[1] or "", str(named[0].digest)

        entries = []
        for what, tag in sorted(self.manifests, key=order):
            plain = Descriptor(what.media_type, what.digest, what.size).to_json()
            entries.append(plain if tag is None else {**plain, "annotations": {media.REF_NAME: tag}})
        return canonical.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": entries})


def _blob_name(what: Descriptor) -> str:
    return f"blobs/{what.digest.algorithm}/{what.digest.hex}"


def _member_size(name: str, size: int) -> int:
    return len(header(name, Entry("file", Digest.of(b""), size))) + size + -size % _BLOCK


def archive(listing: Listing, source: Open, run: Run) -> Iterator[bytes]:
    """The bytes of the archive: `listing.size` of them.

    :param source: opens a blob; its bytes are verified on the way, the last ones before they are passed on.
    :raises Corrupt: a blob is not what it should be; what was yielded is no archive then.
    """
    run.emit(Started("export", len(listing.blobs), sum(what.size for what in listing.blobs)))
    for name, data in listing.files():
        yield header(name, Entry("file", Digest.of(data), len(data)))
        yield data + bytes(-len(data) % _BLOCK)
    for name in _DIRECTORIES:
        yield header(name, Entry.directory())
    for what in sorted(listing.blobs, key=lambda what: what.digest.hex):
        yield from _blob(what, source, run)
    yield _END


def _blob(what: Descriptor, source: Open, run: Run) -> Iterator[bytes]:
    key = str(what.digest)
    run.emit(ItemStarted(key, what.annotations.get(media.TITLE, key), what.size))
    yield header(_blob_name(what), Entry("file", what.digest, what.size))
    with source(what) as chunks:
        for chunk in verified(what, chunks):
            run.check()
            yield chunk
            run.emit(Advanced(key, len(chunk)))
    yield bytes(-what.size % _BLOCK)
    run.emit(Finished(key, "copied"))
