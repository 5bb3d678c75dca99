"""Optional abilities are found by `isinstance`, and only where they are."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import (
    ABSENT,
    ANYTHING,
    Atomic,
    Chunks,
    Dated,
    Deleter,
    Expect,
    Lister,
    Mounter,
    Openable,
    Parts,
    Referrers,
    SendFile,
    Span,
    Untagger,
    Upload,
)


class Everything:
    @property
    def atomic_tags(self) -> Literal[True]:
        return True

    def tags(self) -> list[str]:
        return []

    def untag(self, name: str, what: Descriptor, *, keep: bool = False) -> bool:
        return True

    def delete(self, what: Descriptor) -> None:
        return None

    def referrers(self, subject: Digest, artifact_type: str | None = None) -> list[Descriptor]:
        return []

    def refer(self, subject: Digest, what: Descriptor, data: bytes) -> None:
        return None

    def now(self) -> float | None:
        return None

    @property
    def host(self) -> str:
        return "h"

    def part(
        self, what: Descriptor, start: int, stop: int, hindered: Callable[[], None]
    ) -> AbstractContextManager[Chunks | None]:
        return nullcontext()

    def upload(self, name: str, size: int, chunks: object) -> None:
        return None

    def mount(self, what: Descriptor, chunks: object, repositories: object) -> bool:
        return False

    def open(self) -> None:
        return None

    def spans(self, start: int = 0) -> list[Span]:
        return []


@pytest.mark.parametrize(
    "port", [Atomic, Dated, Deleter, Lister, Mounter, Openable, Parts, Referrers, SendFile, Untagger, Upload]
)
def test_an_ability_is_found_where_it_is(port: type) -> None:
    assert isinstance(Everything(), port)
    assert not isinstance(object(), port)


def test_absent_and_anything_are_two_things() -> None:
    assert ABSENT is Expect.ABSENT
    assert ANYTHING is Expect.ANYTHING
    assert ABSENT != ANYTHING


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 120), st.integers(0, 120))
def test_spans_are_sliced_as_bytes_are(start: int, size: int, first: int, last: int) -> None:
    span = Span(7, start, start + size)
    data = range(start, start + size)
    part = span[first:last]
    assert (len(span), bool(span)) == (size, size > 0)
    assert list(range(part.start, part.stop)) == list(data[first:last])
    assert (part.descriptor, len(part)) == (7, len(data[first:last]))
    rest = span[first:]
    assert list(range(rest.start, rest.stop)) == list(data[first:])
