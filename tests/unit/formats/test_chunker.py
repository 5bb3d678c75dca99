"""Chunks of files that come in pieces: the same whatever the pieces are."""

from __future__ import annotations

import random
from array import array
from itertools import pairwise

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from pyfastcdc import FastCDC

from modelops_bundle.errors import Corrupt
from modelops_bundle.formats.chunker import Chunker, Columns
from modelops_bundle.formats.cuts import FASTCDC, Plan

TINY = (64, 256, 1024)
"""What the library takes at least."""


def fed(plan: Plan, data: bytes, cuts: list[int]) -> Columns:
    chunker = Chunker(plan, len(data))
    for start, stop in pairwise([0, *sorted(cuts), len(data)]):
        chunker.feed(memoryview(data)[start:stop])
    return chunker.finish()


def digests(data: bytes, sizes: list[int]) -> bytes:
    found, at = b"", 0
    for size in sizes:
        found += blake3(data[at : at + size]).digest()
        at += size
    return found


def whole(data: bytes, parameters: tuple[int, int, int]) -> list[int]:
    """The cuts of the library, with the file in one piece."""
    smallest, average, longest = parameters
    return [chunk.length for chunk in FastCDC(average, min_size=smallest, max_size=longest).cut_buf(data)]


def content(seed: int, size: int) -> bytes:
    """Noise, and runs of one byte in which there is no cut."""
    chance, found = random.Random(seed), b""
    while len(found) < size:
        found += chance.randbytes(chance.randrange(4000)) + bytes(chance.randrange(3000))
    return found[:size]


PLACES = st.lists(st.integers(0, 1 << 20), max_size=12)


@given(st.integers(0, 1 << 32), st.integers(0, 20_000), PLACES)
def test_cuts_by_content_are_those_of_the_whole_file(seed: int, size: int, places: list[int]) -> None:
    data = content(seed, size)
    found = fed(Plan("fastcdc2020/64k", parameters=TINY), data, [place % (size + 1) for place in places])
    assert list(found.sizes) == whole(data, TINY)
    assert found.digests == digests(data, list(found.sizes))
    assert all(0 < size <= TINY[2] for size in found.sizes)


@pytest.mark.parametrize("size", [1, 63, 64, 65, 1023, 1024, 1025, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
@pytest.mark.parametrize("piece", [1 << 20, 65_537, 1023])
def test_cuts_at_the_ends_of_the_buffer(size: int, piece: int) -> None:
    data = content(size, size)
    found = fed(Plan("fastcdc2020/64k", parameters=TINY), data, list(range(0, size, piece)))
    assert list(found.sizes) == whole(data, TINY)


@pytest.mark.parametrize("name", FASTCDC)
def test_the_parameters_that_indexes_name(name: str) -> None:
    data = random.Random(name).randbytes(20 << 20)
    found = fed(Plan(name, parameters=FASTCDC[name]), data, list(range(0, len(data), 1 << 20)))
    assert list(found.sizes) == whole(data, FASTCDC[name])
    assert found.digests == digests(data, list(found.sizes))


def test_cuts_by_content_are_part_of_the_format() -> None:
    """Another library, or another version of this one, has to cut here as well."""
    data = b"".join(blake3(number.to_bytes(4, "little")).digest(length=1 << 16) for number in range(16))
    found = fed(Plan("fastcdc2020/64k", parameters=FASTCDC["fastcdc2020/64k"]), data, [])
    assert list(found.sizes) == KNOWN


KNOWN = [57272, 75222, 66020, 20156, 34755, 61115, 161059, 80737, 107351, 68870, 65971, 32046, 100339, 117663]


def test_no_bytes_have_no_chunks() -> None:
    assert fed(Plan("fastcdc2020/64k", parameters=TINY), b"", []) == Columns(array("I"), b"")
    assert fed(Plan("zip/1m", array("I")), b"", []) == Columns(array("I"), b"")


@given(st.lists(st.integers(1, 300), min_size=1, max_size=20), PLACES)
def test_known_cuts(sizes: list[int], places: list[int]) -> None:
    data = random.Random(len(sizes)).randbytes(sum(sizes))
    found = fed(Plan("safetensors/1m", array("I", sizes)), data, [place % (len(data) + 1) for place in places])
    assert list(found.sizes) == sizes
    assert found.digests == digests(data, sizes)


def test_what_was_fed_may_change_afterwards() -> None:
    """Whoever reads a file reads it into the same buffer again and again."""
    for plan in (Plan("fastcdc2020/64k", parameters=TINY), Plan("zip/1m", array("I", [1500, 1500]))):
        data, buffer, chunker = content(1, 3000), bytearray(100), Chunker(plan, 3000)
        for at in range(0, 3000, 100):
            buffer[:] = data[at : at + 100]
            chunker.feed(buffer)
        assert chunker.finish() == fed(plan, data, [])


PLANS = [Plan("fastcdc2020/64k", parameters=TINY), Plan("zip/1m", array("I", [6, 4]))]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("came", [0, 9, 11, 5000])
def test_a_file_of_another_length(plan: Plan, came: int) -> None:
    chunker = Chunker(plan, 10)
    for _ in range(came):
        chunker.feed(b"x")
    with pytest.raises(Corrupt, match=f"{came} bytes came of a file of 10"):
        chunker.finish()


@pytest.mark.parametrize("sizes", [[6, 3], [6, 5], [6, 4, 1], [6, 0, 4], []])
def test_cuts_of_another_file(sizes: list[int]) -> None:
    chunker = Chunker(Plan("zip/1m", array("I", sizes)), 10)
    chunker.feed(bytes(10))
    with pytest.raises(Corrupt, match="those of another"):
        chunker.finish()
