"""secretbox: Bernstein's vector (NaCl, tests/secretbox.c), and that nothing else opens a box."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.formats import secretbox

KEY = bytes.fromhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389")
NONCE = bytes.fromhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
MESSAGE = bytes.fromhex(
    "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f4"
    "1db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd4924ca1c60902e52"
    "f0a089bc76897040e082f937763848645e0705"
)
BOX = bytes.fromhex(
    "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b"
    "4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae90224368517acfeabd6bb3732bc0e9da"
    "99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74e355a5"
)


def test_the_published_vector() -> None:
    assert secretbox.seal(MESSAGE, NONCE, KEY) == BOX
    assert secretbox.unseal(BOX, NONCE, KEY) == MESSAGE


@given(st.binary(max_size=200), st.binary(min_size=24, max_size=24), st.binary(min_size=32, max_size=32))
def test_what_is_sealed_comes_back(message: bytes, nonce: bytes, key: bytes) -> None:
    box = secretbox.seal(message, nonce, key)
    assert len(box) == len(message) + secretbox.OVERHEAD
    assert secretbox.unseal(box, nonce, key) == message


@pytest.mark.parametrize("place", [0, 15, 16, 80, len(BOX) - 1])
def test_one_bit_more_or_less_and_it_stays_shut(place: int) -> None:
    changed = bytearray(BOX)
    changed[place] ^= 1
    assert secretbox.unseal(bytes(changed), NONCE, KEY) is None


def test_another_key_another_nonce_or_half_a_box() -> None:
    assert secretbox.unseal(BOX, NONCE, bytes(32)) is None
    assert secretbox.unseal(BOX, bytes(24), KEY) is None
    assert secretbox.unseal(BOX[:-1], NONCE, KEY) is None
    assert secretbox.unseal(BOX[:7], NONCE, KEY) is None
    assert secretbox.unseal(b"", NONCE, KEY) is None
