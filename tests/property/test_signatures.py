"""Whatever happens to a good signature on its way: it says the same as before, or nothing."""

from __future__ import annotations

import base64
import json

from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.errors import Corrupt
from modelops_bundle.formats import keys
from modelops_bundle.model import signatures
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.dsse import Envelope, pae

KEY = keys.PrivateKey(ec.generate_private_key(ec.SECP256R1()))
ONE, OTHER = Digest.of(b"one"), Digest.of(b"other")
STATEMENT = signatures.statement(ONE, signatures.SIGNED, {})
SIGNATURE = KEY.sign(pae(signatures.INTOTO, STATEMENT))
BUNDLE = signatures.write_bundle(Envelope(signatures.INTOTO, STATEMENT, (SIGNATURE,)), KEY.public.hint)


def signed(data: bytes, digest: Digest) -> bool:
    """Whether `data` is a signature of `digest` by the key, as `operations.trust` decides it."""
    try:
        found = signatures.read_bundle(data)
        by_key = any(KEY.public.verifies(each, found.message) for each in found.signatures)
        return by_key and found.covers(digest)
    except Corrupt:
        return False


def test_the_good_one() -> None:
    assert signed(BUNDLE, ONE)
    assert not signed(BUNDLE, OTHER)


@given(st.integers(0, len(BUNDLE) - 1), st.integers(1, 255))
def test_one_byte_changed(place: int, change: int) -> None:
    data = bytearray(BUNDLE)
    data[place] ^= change
    assert not signed(bytes(data), OTHER)
    if signed(bytes(data), ONE):
        assert signatures.read_bundle(bytes(data)).message == pae(signatures.INTOTO, STATEMENT)


@given(st.integers(0, len(BUNDLE)), st.binary(max_size=40))
def test_cut_and_continued(place: int, more: bytes) -> None:
    data = BUNDLE[:place] + more
    assert not signed(data, OTHER)
    if signed(data, ONE):
        assert signatures.read_bundle(data).message == pae(signatures.INTOTO, STATEMENT)


@given(st.binary(max_size=200), st.text(max_size=20))
def test_any_other_payload_under_the_good_signature(payload: bytes, kind: str) -> None:
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": kind,
        "signatures": [{"sig": base64.b64encode(SIGNATURE).decode()}],
    }
    data = json.dumps({"dsseEnvelope": envelope}).encode()
    assert not signed(data, ONE)


@given(st.binary(max_size=300))
def test_anything_at_all(data: bytes) -> None:
    assert not signed(data, ONE)
    assert not signed(b'{"dsseEnvelope":' + data + b"}", ONE)
