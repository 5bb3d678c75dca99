"""What stores can do, in ports of one to three methods (DESIGN §2).

Optional abilities are separate ports found by `isinstance`. Stores move bytes; only `transfer` decides whether to
believe them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from enum import Enum
from typing import Final, Literal, Protocol, runtime_checkable

from modelops_bundle.model.descriptor import Descriptor

Chunks = Iterator[bytes]
"""Pieces of content in order, each of at most about 1 MiB."""


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
class Untagger(Protocol):
    """Can remove a tag."""

    def untag(self, name: str, what: Descriptor) -> bool:
        """Remove tag `name` that stands for `what` and no other tag's manifest; False when this store cannot."""
        ...


@runtime_checkable
class Dated(Protocol):
    """Has a clock of its own that all its clients see."""

    def now(self) -> float | None:
        """Seconds since the epoch by the store's clock at the last answer, None when it never told."""
        ...


class Store(Reader, Writer, Tags, Protocol):
    """Content and names together."""
