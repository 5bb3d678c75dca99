from __future__ import annotations

import json
from typing import Any

import pytest

from modelops_bundle.errors import Corrupt
from modelops_bundle.model import signatures
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.dsse import Envelope, pae
from modelops_bundle.model.signatures import INTOTO, SIGNED, Signed

ONE, OTHER = Digest.of(b"one"), Digest.of(b"other")


def bundled(payload: bytes, kind: str = INTOTO) -> Signed:
    return signatures.read_bundle(signatures.write_bundle(Envelope(kind, payload, (b"sig",)), "hint"))


def test_a_bundle_there_and_back() -> None:
    payload = signatures.statement(ONE, SIGNED, {})
    found = bundled(payload)
    assert (found.form, found.payload, found.signatures) == ("bundle", payload, (b"sig",))
    assert found.message == pae(INTOTO, payload)
    assert found.covers(ONE)
    assert not found.covers(OTHER)


def test_what_cosign_3_1_wrote_is_read() -> None:
    """A statement as it left cosign 3.1.1, with what it adds."""
    subject = {"digest": {"sha256": ONE.hex}, "annotations": {}}
    value = {"_type": "https://in-toto.io/Statement/v1", "subject": [subject], "predicateType": SIGNED, "predicate": {}}
    assert bundled(json.dumps(value).encode()).covers(ONE)


def _statement(**changes: Any) -> bytes:
    return json.dumps({**json.loads(signatures.statement(ONE, SIGNED, {})), **changes}).encode()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"{}",
        b"\xff\xfe",
        _statement(_type="https://example.com/Statement/v9"),
        _statement(predicateType="https://slsa.dev/provenance/v1"),
        _statement(subject=None),
        _statement(subject={"digest": {"sha256": ONE.hex}}),
        signatures.statement(ONE, SIGNED, {})[:-1] + b',"predicateType":"x"}',
        b'{"a":' * 100 + b"1" + b"}" * 100,
    ],
)
def test_statements_that_sign_no_version(payload: bytes) -> None:
    with pytest.raises(Corrupt):
        Signed("bundle", b"", payload, (), INTOTO).covers(ONE)


@pytest.mark.parametrize(
    "subject",
    [
        [],
        [None],
        [{}],
        [{"digest": None}],
        [{"digest": []}],
        [{"digest": {"sha512": ONE.hex}}],
        [{"digest": {"sha256": ONE.hex.upper()}}],
        [{"digest": {"sha256": f" {ONE.hex}"}}],
        [{"digest": {"sha256": [ONE.hex]}}],
        [{"name": ONE.hex}],
    ],
)
def test_subjects_that_are_not_this_version(subject: object) -> None:
    assert not Signed("bundle", b"", _statement(subject=subject), (), INTOTO).covers(ONE)


def test_the_type_of_the_payload_counts() -> None:
    assert not bundled(signatures.statement(ONE, SIGNED, {}), "application/json").covers(ONE)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"dsseEnvelope":{}}', b'{"messageSignature":{"signature":"YQ=="}}', b"{" * 10_000]
)
def test_what_is_no_bundle(data: bytes) -> None:
    with pytest.raises(Corrupt):
        signatures.read_bundle(data)


def test_a_huge_bundle_is_not_parsed() -> None:
    with pytest.raises(Corrupt, match="more than"):
        signatures.read_bundle(b" " * (signatures.MAX_BUNDLE + 1))


def test_the_older_form_there_and_back() -> None:
    payload = signatures.simple_payload(ONE, "registry.example.com/m")
    found = signatures.read_simple(payload, b"sig")
    assert (found.form, found.message, found.signatures) == ("simple", payload, (b"sig",))
    assert found.covers(ONE)
    assert not found.covers(OTHER)


def test_a_payload_of_one_form_is_none_of_the_other() -> None:
    with pytest.raises(Corrupt):
        signatures.read_simple(signatures.statement(ONE, SIGNED, {}), b"sig").covers(ONE)
    with pytest.raises(Corrupt):
        bundled(signatures.simple_payload(ONE, "h/m")).covers(ONE)


@pytest.mark.parametrize("critical", [None, [], {}, {"type": "another"}, {"type": signatures.SIMPLE_TYPE, "image": 1}])
def test_older_payloads_that_sign_nothing(critical: object) -> None:
    signed = signatures.read_simple(json.dumps({"critical": critical}).encode(), b"sig")
    try:
        assert not signed.covers(ONE)
    except Corrupt:
        pass


def test_only_layers_of_the_older_form_count() -> None:
    def layer(kind: str = signatures.SIMPLE, size: int = 5, **annotations: str) -> Descriptor:
        return Descriptor(kind, ONE, size, annotations)

    good = layer(**{signatures.SIMPLE_SIGNATURE: "c2ln"})
    bad = [
        layer(),
        layer(**{signatures.SIMPLE_SIGNATURE: "%"}),
        layer("application/octet-stream", **{signatures.SIMPLE_SIGNATURE: "c2ln"}),
        layer(size=signatures.MAX_BUNDLE + 1, **{signatures.SIMPLE_SIGNATURE: "c2ln"}),
    ]
    assert signatures.simple_layers([*bad, good]) == [(good, b"sig")]


def test_the_tag_of_the_older_form() -> None:
    assert signatures.legacy_tag(ONE) == f"sha256-{ONE.hex}.sig"
