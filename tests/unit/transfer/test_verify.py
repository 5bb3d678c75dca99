"""The only place that decides whether bytes are what they were said to be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from modelops_bundle.errors import Corrupt
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.ports import Chunks
from modelops_bundle.transfer.verify import mismatch, read_small, verified
from tests.support.things import blob

DATA = b"0123456789"


class Served:
    """A reader that answers with these bytes, whatever it is asked for."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = chunks
        self.opened = 0

    def has(self, what: Descriptor) -> bool:
        return True

    @contextmanager
    def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> Iterator[Chunks]:
        self.opened += 1
        yield iter(self.chunks)


@pytest.mark.parametrize("chunks", [[DATA], [b"01234", b"56789"], [b"", DATA, b""], [bytes([b]) for b in DATA]])
def test_the_right_bytes_pass_in_any_pieces(chunks: list[bytes]) -> None:
    assert b"".join(verified(blob(DATA), chunks)) == DATA


def test_nothing_is_the_right_bytes_of_nothing() -> None:
    assert list(verified(blob(b""), [])) == []


@pytest.mark.parametrize(
    ("chunks", "why"),
    [
        ([], "0 bytes of 10"),
        ([DATA[:-1]], "9 bytes of 10"),
        ([DATA, b"x"], "more than 10 bytes"),
        ([DATA + b"x"], "more than 10 bytes"),
        ([b"012345678x"], "the bytes have sha256:"),
        ([DATA[::-1]], "the bytes have sha256:"),
    ],
)
def test_anything_else_is_corrupt(chunks: list[bytes], why: str) -> None:
    with pytest.raises(Corrupt, match=why) as caught:
        list(verified(blob(DATA), chunks))
    assert caught.value.facts["digest"] == str(blob(DATA).digest)


def test_an_endless_body_is_stopped_at_the_first_byte_too_many() -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 4
            yield b"xxxx"

    with pytest.raises(Corrupt):
        list(verified(blob(DATA), endless()))
    assert taken == 12


def test_no_byte_too_many_is_handed_on() -> None:
    passed = []
    with pytest.raises(Corrupt):
        passed.extend(verified(blob(DATA), [DATA, b"x"]))
    assert b"".join(passed) == DATA


def test_the_error_says_nothing_was_replaced() -> None:
    assert "nothing was replaced" in (mismatch(blob(DATA), "x").hint or "")


def test_a_small_blob_is_read_and_verified() -> None:
    assert read_small(Served(DATA), blob(DATA), 10) == DATA
    with pytest.raises(Corrupt):
        read_small(Served(DATA[::-1]), blob(DATA), 10)


def test_a_large_one_is_refused_before_it_is_opened() -> None:
    store = Served(DATA)
    with pytest.raises(Corrupt, match="more than the 9 accepted"):
        read_small(store, blob(DATA), 9)
    assert store.opened == 0


def test_inline_data_saves_the_request_only_when_it_is_right() -> None:
    store = Served(DATA)
    assert read_small(store, Descriptor.of("t/x", DATA, inline=True), 10) == DATA
    assert store.opened == 0
    what = blob(DATA)
    lying = Descriptor(what.media_type, what.digest, what.size, data=DATA[::-1])
    assert read_small(store, lying, 10) == DATA
    assert store.opened == 1
