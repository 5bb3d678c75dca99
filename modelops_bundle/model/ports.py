"""What stores can do, in ports of one to three methods (DESIGN §2).

Optional abilities are separate ports found by `isinstance`. Stores move bytes; only `transfer` decides whether to
believe them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, Protocol, runtime_checkable

from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest

Chunks = Iterator[bytes]
"""Pieces of content in order, each of at most about 1 MiB."""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `start` to `stop` (exclusive) of an open file: content that a sender may leave to the kernel.

    Sliced as a `memoryview` is. Good for as long as the file is open.
    """

    descriptor: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, part: slice) -> Span:
        begin, end, _ = part.indices(len(self))
        return Span(self.descriptor, self.start + begin, self.start + max(begin, end))


Piece = bytes | Span
"""What a body on its way to a store consists of."""


class Expect(Enum):
    """What a tag may be when it is written, other than a certain descriptor."""

    ABSENT = "absent"
    ANYTHING = "anything"


ABSENT: Final = Expect.ABSENT
ANYTHING: Final = Expect.ANYTHING
Expected = Descriptor | Literal[Expect.ABSENT, Expect.ANYTHING]


class Reader(Protocol):
    """Content by descriptor."""

    def has(self, what: Descriptor) -> bool:
        """Whether the content is there. Absence is False, every failure raises."""
        ...

    def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> AbstractContextManager[Chunks]:
        """The bytes `start` to `stop` (exclusive) of the content, unverified.

        :raises NotFound: it is not there.
        """
        ...


@runtime_checkable
class Parts(Protocol):
    """A reader behind a network, of whose contents several parts may come at a time."""

    @property
    def host(self) -> str:
        """Whose capacity the connections share."""
        ...

    def part(
        self, what: Descriptor, start: int, stop: int, hindered: Callable[[], None]
    ) -> AbstractContextManager[Chunks | None]:
        """As `Reader.open`; None when the host has no ranges and would send everything before `start` as well.

        :param hindered: called whenever the host refuses, is too busy or falls silent, before waiting for the next
            attempt. What it raises ends the attempts.
        :raises NotFound: it is not there.
        """
        ...


class Writer(Protocol):
    """Takes content in."""

    def put(self, what: Descriptor, chunks: Iterable[bytes]) -> None:
        """Store the content that `chunks` yields. Already there: done. Manifests are put by digest, untagged.

        :param chunks: a re-iterable when the caller can produce the bytes twice (a list, an object whose `__iter__`
            starts over); then a failed attempt is retried.
        :raises Corrupt: the bytes are not those that `what` describes; nothing was stored.
        """
        ...


class Tags(Protocol):
    """Names for manifests."""

    def resolve(self, name: str, *, data: bool = False) -> Descriptor | None:
        """The manifest that tag or digest `name` stands for; None means absent, every failure raises.

        With `data` the descriptor carries the manifest's bytes, brought by the same request.
        """
        ...

    def tag(self, name: str, what: Descriptor, data: bytes, expect: Expected) -> None:
        """Let tag `name` stand for the manifest `data`.

        :param expect: what the tag must stand for now. Stores that can, compare and swap atomically.
        :raises TagMoved: it stands for something else.
        """
        ...


@runtime_checkable
class SendFile(Protocol):
    """Chunks that lie in an open file which is guarded: it is in the state that its digest was taken in."""

    def spans(self, start: int = 0) -> Iterator[Piece]:
        """The content from byte `start` on, without reading most of it.

        The last piece comes after a look whether the file is still in that state.

        :raises WorkspaceChanged: while iterating, when it is not.
        """
        ...


@runtime_checkable
class Openable(Protocol):
    """What `Writer.put` may be given as `chunks`: content that is open for the time of one attempt."""

    def open(self) -> AbstractContextManager[Chunks]:
        """Its bytes from the start, as a `SendFile` where they lie in a file."""
        ...


@runtime_checkable
class Watched(Protocol):
    """Content that somebody wants to see on its way: what `Upload.upload` may be given as `chunks`."""

    def watcher(self) -> Callable[[bytes | memoryview], object] | None:
        """What is to be called with all bytes of an attempt in order, by a store that does not iterate over them."""
        ...


@runtime_checkable
class Upload(Protocol):
    """Takes content whose digest is known only at its end."""

    def upload(self, name: str, size: int, chunks: Iterable[bytes]) -> Digest | None:
        """Store the content that `chunks` yields and say its digest, taken while it was stored.

        :param name: what events call it. :param size: bytes.
        :param chunks: as for `Writer.put`.
        :returns: None where the digest must be known first; nothing was stored, `Writer.put` works.
        :raises Corrupt: there are not `size` bytes; nothing was stored.
        """
        ...


@runtime_checkable
class Mounter(Protocol):
    """Can take content from another repository of its registry (distribution-spec, "Mounting a blob")."""

    def mount(self, what: Descriptor, chunks: Iterable[bytes], repositories: Sequence[str]) -> bool:
        """As `Writer.put`, but from one of `repositories` where that works: then True, and `chunks` was not read."""
        ...


@runtime_checkable
class Atomic(Protocol):
    """`Tags.tag` is a true compare-and-swap."""

    @property
    def atomic_tags(self) -> Literal[True]:
        """Always True: the port is its own promise."""
        ...


@runtime_checkable
class Lister(Protocol):
    """Can name its tags."""

    def tags(self) -> Sequence[str]:
        """All tags, sorted; service tags included."""
        ...


@runtime_checkable
class Rooted(Protocol):
    """Can name everything that it holds for its own sake."""

    def roots(self) -> Sequence[tuple[Descriptor, str | None]]:
        """Manifests, each with a tag of it, or None for those that have none."""
        ...


@runtime_checkable
class Untagger(Protocol):
    """Can remove a tag."""

    def untag(self, name: str, what: Descriptor, *, keep: bool = False) -> bool:
        """Remove tag `name` that stands for `what` and no other tag's manifest; False when this store cannot.

        :param keep: the manifest has to stay; else a store that can only delete manifests may take it along, and one
            that does not let this login says False.
        :raises Unauthorized: with `keep`, this login may not.
        """
        ...


@runtime_checkable
class Deleter(Protocol):
    """Can remove a manifest."""

    def delete(self, what: Descriptor) -> None:
        """Remove the manifest `what`, and with it every tag that stands for it.

        :raises NotFound: it is not there. :raises Unsupported: this store deletes nothing.
        """
        ...


@runtime_checkable
class Lists(Protocol):
    """Has lists of referrers that are kept apart from the manifests in them, and may name one that was deleted."""

    def listed(self, digest: Digest) -> Descriptor | None:
        """What a list says of the manifest `digest`; None when none names it. One request for each list.

        `Deleter.delete` of what is only listed takes it from the lists.
        """
        ...


@runtime_checkable
class Referrers(Protocol):
    """Knows which manifests have another one as their `subject` (distribution-spec 1.1, "Listing Referrers")."""

    def referrers(self, subject: Digest, artifact_type: str | None = None) -> Sequence[Descriptor]:
        """The manifests that refer to `subject`, each with its artifact type and annotations; of one type if asked.

        Nobody checked that the list is true: what it names may be gone, or refer to something else.
        """
        ...

    def refer(self, subject: Digest, what: Descriptor, data: bytes) -> None:
        """Store the manifest `data`, whose subject is `subject`, so that it is listed. Already listed: done.

        :raises Unsupported: its list is full, or something else is in its place.
        """
        ...


@runtime_checkable
class Dated(Protocol):
    """Has a clock of its own that all its clients see."""

    def now(self) -> float | None:
        """Seconds since the epoch by the store's clock at the last answer, None when it never told."""
        ...


class Store(Reader, Writer, Tags, Protocol):
    """Content and names together."""
