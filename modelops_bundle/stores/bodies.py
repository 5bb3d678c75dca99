"""What is sent for a blob: checked, hashed on the way, or taken from its file unread; whole or in parts."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

from modelops_bundle.errors import Corrupt
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Openable, Piece, SendFile, Span

_BLOCK = 1024 * 1024
_AHEAD = 64
"""Pieces that may be sent before they are hashed: they are still in the page cache then."""
_HINT = "something changed it while it was read: run the command again"


class Checked:
    """The pieces of a blob, the last one withheld until size and digest are known to be right.

    So wrong bytes never make a complete upload: the registry sees a body cut short.

    :raises Corrupt: while iterating, when the bytes are not those that `what` describes.
    """

    def __init__(self, what: Descriptor, chunks: Iterable[bytes]) -> None:
        self._what = what
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        hasher, size, held = hashlib.sha256(), 0, b""
        for chunk in self._chunks:
            if not chunk:
                continue
            size += len(chunk)
            if size > self._what.size:
                raise self._corrupt(f"more than {self._what.size} bytes")
            if held:
                yield held
            held = chunk
            hasher.update(chunk)
        if size != self._what.size:
            raise self._corrupt(f"{size} bytes instead of {self._what.size}")
        if hasher.hexdigest() != self._what.digest.hex:
            raise self._corrupt(f"bytes of sha256:{hasher.hexdigest()}")
        if held:
            yield held

    def _corrupt(self, found: str) -> Corrupt:
        digest = str(self._what.digest)
        return Corrupt(f"the content to send as {digest} has {found}", hint=_HINT, digest=digest)


class Hashed:
    """Pieces that are hashed as they pass: bytes here, parts of files by a second thread that reads them again.

    The second reading comes from the page cache and costs the sending nothing (facts: performance §4, PATCH).
    Leave the context only after the file may be closed.

    :param seen: called with all bytes too, in order and by one thread at a time; they are overwritten afterwards.
    """

    def __init__(self, pieces: Iterable[Piece], seen: Callable[[bytes | memoryview], object] | None = None) -> None:
        self._pieces = pieces
        self._seen = seen
        self._hasher = hashlib.sha256()
        self._aside: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[None]] = deque()
        self._buffer = memoryview(b"")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._aside is not None:
            self._aside.shutdown(cancel_futures=True)

    def __iter__(self) -> Iterator[Piece]:
        for piece in self._pieces:
            if self._aside is None and isinstance(piece, Span):
                self._aside = ThreadPoolExecutor(1, "hash")
                self._buffer = memoryview(bytearray(_BLOCK))
            if self._aside is None:
                self._update(piece)
            else:
                self._waiting.append(self._aside.submit(self._update, piece))
                self._wait(_AHEAD)
            yield piece

    def digest(self) -> Digest:
        """The digest of all that passed."""
        self._wait(0)
        return Digest("sha256", self._hasher.hexdigest())

    def _wait(self, most: int) -> None:
        """Until at most `most` pieces are still to be hashed."""
        while len(self._waiting) > most:
            self._waiting.popleft().result()

    def _update(self, piece: Piece) -> None:
        if not isinstance(piece, Span):
            self._take(piece)
            return
        at = piece.start
        while at < piece.stop and (count := os.preadv(piece.descriptor, [self._buffer[: piece.stop - at]], at)):
            self._take(self._buffer[:count])
            at += count

    def _take(self, data: bytes | memoryview) -> None:
        self._hasher.update(data)
        if self._seen is not None:
            self._seen(data)


class Body:
    """The `size` bytes that `pieces` yields, to be taken in one part or several.

    :raises Corrupt: while taking, when there are more or fewer.
    """

    def __init__(self, pieces: Iterable[Piece], size: int) -> None:
        self._pieces = iter(pieces)
        self._rest: Piece = b""
        self.left = size
        self.started = False

    def skip(self, amount: int) -> None:
        """Let `amount` bytes pass unsent."""
        for _ in self.take(amount):
            pass

    def take(self, amount: int) -> Iterator[Piece]:
        """The next `amount` bytes; with the last of them, whatever `pieces` does at its end is done too."""
        self.started = True
        while amount > 0:
            piece = self._rest or self._next()
            part, self._rest = (piece, b"") if len(piece) <= amount else (piece[:amount], piece[amount:])
            amount -= len(part)
            self.left -= len(part)
            yield part
        if not self.left and (self._rest or next(self._pieces, b"")):
            raise Corrupt("the content to send has more bytes than it should have", hint=_HINT)

    def _next(self) -> Piece:
        for piece in self._pieces:
            if piece:
                return piece
        raise Corrupt(f"the content to send lacks {self.left} bytes", hint=_HINT)


def opened(chunks: Iterable[bytes]) -> AbstractContextManager[Iterable[bytes]]:
    """`chunks` as they are for one attempt."""
    return chunks.open() if isinstance(chunks, Openable) else nullcontext(chunks)


def body_of(what: Descriptor, chunks: Iterable[bytes], start: int, *, trust: bool) -> Body:
    """The bytes of a blob from `start` on.

    :param chunks: as `opened` gave them.
    :param trust: leave a file whose digest was taken in its present state to the registry's own check.
    """
    if trust and isinstance(chunks, SendFile):
        return Body(chunks.spans(start), what.size - start)
    body = Body(Checked(what, chunks), what.size)
    body.skip(start)
    return body


def pieces_of(chunks: Iterable[bytes]) -> Iterable[Piece]:
    """The pieces of content that nothing is known about, as parts of its file where it lies in one."""
    return chunks.spans() if isinstance(chunks, SendFile) else chunks


def restartable(chunks: Iterable[Any]) -> bool:
    """Whether `chunks` can be had again from the start."""
    return isinstance(chunks, Openable) or iter(chunks) is not chunks
