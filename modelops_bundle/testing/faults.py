"""A store that fails on order, around any other store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.ports import Atomic, Chunks, Expected, Lister, Store, Untagger

Method = Literal["has", "open", "put", "resolve", "tag", "tags", "untag"]


class Mangler(Protocol):
    """Turns the pieces of a content into other ones; may raise."""

    def __call__(self, chunks: Iterable[bytes]) -> Iterator[bytes]: ...


@dataclass
class _Order:
    method: Method
    skip: int
    left: int | None
    error: Callable[[], BaseException] | None
    mangle: Mangler | None
    when: Literal["before", "after"]


class FaultyStore:
    """The ports of `store`, each of which can be told to fail. Every call is in `calls`, in order.

    Build it with `FaultyStore.around`: the result promises atomic tags when `store` does.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.calls: list[tuple[Method, str]] = []
        self._orders: list[_Order] = []
        self._lock = threading.Lock()

    @staticmethod
    def around(store: Store) -> FaultyStore:
        """The faulty twin of `store`."""
        return _FaultyAtomicStore(store) if isinstance(store, Atomic) else FaultyStore(store)

    def fail(
        self,
        method: Method,
        error: Callable[[], BaseException],
        *,
        at: int = 1,
        times: int | None = 1,
        when: Literal["before", "after"] = "before",
    ) -> None:
        """Raise `error()` at the `at`-th call of `method` from now and the following ones, `times` in all.

        :param when: before the call reached the store, or after it did its work.
        """
        self._order(_Order(method, at - 1, times, error, None, when))

    def mangle(self, method: Literal["open", "put"], mangler: Mangler, *, at: int = 1, times: int | None = 1) -> None:
        """Let the bytes that `open` gives, or that `put` takes, go through `mangler`."""
        self._order(_Order(method, at - 1, times, None, mangler, "before"))

    def _order(self, order: _Order) -> None:
        with self._lock:
            self._orders.append(order)

    def _called(self, method: Method, name: str) -> _Order | None:
        with self._lock:
            self.calls.append((method, name))
            for order in self._orders:
                if order.method != method or order.left == 0:
                    continue
                if order.skip > 0:
                    order.skip -= 1
                    continue
                if order.left is not None:
                    order.left -= 1
                return order
        return None

    @contextmanager
    def _around(self, method: Method, name: str) -> Iterator[Mangler]:
        order = self._called(method, name)
        if order is not None and order.error is not None and order.when == "before":
            raise order.error()
        yield order.mangle if order is not None and order.mangle is not None else _same
        if order is not None and order.error is not None:
            raise order.error()

    def has(self, what: Descriptor) -> bool:
        with self._around("has", str(what.digest)):
            return self.store.has(what)

    def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> AbstractContextManager[Chunks]:
        return self._opened(what, start, stop)

    @contextmanager
    def _opened(self, what: Descriptor, start: int, stop: int | None) -> Iterator[Chunks]:
        with self._around("open", str(what.digest)) as mangler, self.store.open(what, start, stop) as chunks:
            yield mangler(chunks)

    def put(self, what: Descriptor, chunks: Iterable[bytes]) -> None:
        with self._around("put", str(what.digest)) as mangler:
            self.store.put(what, chunks if mangler is _same else mangler(chunks))

    def resolve(self, name: str, *, data: bool = False) -> Descriptor | None:
        with self._around("resolve", name):
            return self.store.resolve(name, data=data)

    def tag(self, name: str, what: Descriptor, data: bytes, expect: Expected) -> None:
        with self._around("tag", name):
            self.store.tag(name, what, data, expect)

    def tags(self) -> Sequence[str]:
        with self._around("tags", ""):
            assert isinstance(self.store, Lister), f"{self.store!r} cannot list its tags"
            return self.store.tags()

    def untag(self, name: str, what: Descriptor, *, keep: bool = False) -> bool:
        with self._around("untag", name):
            return self.store.untag(name, what, keep=keep) if isinstance(self.store, Untagger) else False


class _FaultyAtomicStore(FaultyStore):
    @property
    def atomic_tags(self) -> Literal[True]:
        return True


def _same(chunks: Iterable[bytes]) -> Iterator[bytes]:
    return iter(chunks)


def cut(at: int) -> Mangler:
    """End the content after `at` bytes."""

    def mangled(chunks: Iterable[bytes]) -> Iterator[bytes]:
        left = at
        for chunk in chunks:
            if left <= 0:
                return
            yield chunk[:left]
            left -= len(chunk)

    return mangled


def flip(at: int) -> Mangler:
    """Flip the bits of the byte at `at`."""

    def mangled(chunks: Iterable[bytes]) -> Iterator[bytes]:
        position = 0
        for chunk in chunks:
            if position <= at < position + len(chunk):
                changed = bytearray(chunk)
                changed[at - position] ^= 0xFF
                chunk = bytes(changed)
            position += len(chunk)
            yield chunk

    return mangled


def broken(at: int, error: Callable[[], BaseException]) -> Mangler:
    """Raise `error()` after `at` bytes."""

    def mangled(chunks: Iterable[bytes]) -> Iterator[bytes]:
        yield from cut(at)(chunks)
        raise error()

    return mangled
