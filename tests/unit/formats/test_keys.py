"""Keys in files: every kind that signs, and everything that is none."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa

from modelops_bundle.errors import ConfigError, Unsupported
from modelops_bundle.formats import keys
from tests.support import canary

KINDS: dict[str, Callable[[], Any]] = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}
_PEM, _DER = serialization.Encoding.PEM, serialization.Encoding.DER
_PLAIN = serialization.NoEncryption()


def nobody() -> bytes:
    raise AssertionError("nothing is encrypted, and a password was asked for")


def pem(key: Any, form: Any = serialization.PrivateFormat.PKCS8, encryption: Any = _PLAIN) -> bytes:
    data: bytes = key.private_bytes(_PEM, form, encryption)
    return data


def public_pem(key: Any) -> bytes:
    data: bytes = key.public_key().public_bytes(_PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return data


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_in_pkcs8_signs_and_its_other_half_verifies(kind: str) -> None:
    made = KINDS[kind]()
    private = keys.load_private(pem(made), "k", nobody)
    public = keys.load_public(public_pem(made), "p")
    signature = private.sign(b"message")
    assert public.verifies(signature, b"message")
    assert not public.verifies(signature, b"Message")
    assert not public.verifies(signature[:-1], b"message")
    assert not public.verifies(b"", b"message")
    assert public.hint == private.public.hint
    assert public.to_pem() == public_pem(made)
    assert private.sign(b"message") == signature, "to sign again is to sign the same"


def test_signatures_are_over_sha256_and_those_of_the_curve_are_taken_as_well() -> None:
    made = KINDS["P-384"]()
    mine = keys.load_private(pem(made), "k", nobody).sign(b"m")
    made.public_key().verify(mine, b"m", ec.ECDSA(hashes.SHA256()))
    public = keys.load_public(public_pem(made), "p")
    assert public.verifies(made.sign(b"m", ec.ECDSA(hashes.SHA384())), b"m")
    assert not public.verifies(made.sign(b"m", ec.ECDSA(hashes.SHA512())), b"m")


def test_an_rsa_signature_has_the_one_padding() -> None:
    made = KINDS["RSA"]()
    public = keys.load_public(public_pem(made), "p")
    other = made.sign(b"m", padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    assert not public.verifies(other, b"m")


def test_the_older_forms_of_openssl_and_encrypted_pkcs8() -> None:
    made = KINDS["P-256"]()
    assert keys.load_private(pem(made, serialization.PrivateFormat.TraditionalOpenSSL), "k", nobody)
    word = canary.secret().encode()
    closed = pem(made, encryption=serialization.BestAvailableEncryption(word))
    assert keys.load_private(closed, "k", lambda: word).public.to_pem() == public_pem(made)
    with pytest.raises(ConfigError) as refused:
        keys.load_private(closed, "k", lambda: b"another")
    assert word.decode() not in str(refused.value)


@pytest.mark.parametrize("password", [b"", b"p", "pässwörd".encode(), b"x" * 1000])
def test_a_generated_pair(password: bytes) -> None:
    pair = keys.generate(password)
    assert pair.private.startswith(b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n")
    assert keys.load_private(pair.private, "k", lambda: password).public.to_pem() == pair.public
    assert keys.generate(password) != pair


def test_the_older_label_of_cosign() -> None:
    pair = keys.generate(b"p")
    older = pair.private.replace(b"SIGSTORE", b"COSIGN")
    assert keys.load_private(older, "k", lambda: b"p").public.to_pem() == pair.public


def test_another_password_says_so_and_does_not_quote_it() -> None:
    word = canary.secret()
    with pytest.raises(ConfigError, match=r"not the password of my\.key") as refused:
        keys.load_private(keys.generate(b"p").private, "my.key", word.encode)
    assert word not in f"{refused.value} {refused.value.hint}"
    assert refused.value.__cause__ is None


def test_kinds_that_are_not_known() -> None:
    for made in (dsa.generate_private_key(2048), ec.generate_private_key(ec.SECP256K1())):
        with pytest.raises(Unsupported):
            keys.load_private(pem(made), "k", nobody)
        with pytest.raises(Unsupported):
            keys.load_public(public_pem(made), "p")


def _enclosed(change: Callable[[dict[str, Any]], object]) -> bytes:
    lines = keys.generate(b"p").private.decode().splitlines()
    value = json.loads(base64.b64decode("".join(lines[1:-1])))
    change(value)
    encoded = base64.b64encode(json.dumps(value).encode()).decode()
    return "\n".join([lines[0], encoded, lines[-1], ""]).encode()


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.pop("kdf"),
        lambda v: v.update(kdf=7),
        lambda v: v.update(ciphertext="%%%"),
        lambda v: v.update(ciphertext=""),
        lambda v: v["kdf"].pop("salt"),
        lambda v: v["kdf"].update(name="none"),
        lambda v: v["kdf"]["params"].update(N=1 << 40),
        lambda v: v["kdf"]["params"].update(N=65535),
        lambda v: v["kdf"]["params"].update(N=65536.0),
        lambda v: v["kdf"]["params"].update(N=1),
        lambda v: v["kdf"]["params"].update(r=1 << 20),
        lambda v: v["kdf"]["params"].update(p="1"),
        lambda v: v["cipher"].update(name="plain"),
        lambda v: v["cipher"].update(nonce="AAAA"),
    ],
)
def test_an_encrypted_key_that_was_tampered_with(change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises((ConfigError, Unsupported)):
        keys.load_private(_enclosed(change), "k", lambda: b"p")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"\x00\xff" * 100,
        b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n",
        b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n\xff\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n",
        b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nW10=\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ],
)
def test_what_is_no_key(data: bytes) -> None:
    with pytest.raises(ConfigError):
        keys.load_private(data, "k", lambda: b"p")
    with pytest.raises(ConfigError):
        keys.load_public(data, "p")


def test_a_private_key_is_no_public_one_and_the_reverse() -> None:
    made = KINDS["P-256"]()
    with pytest.raises(ConfigError, match="private key"):
        keys.load_public(pem(made), "p")
    with pytest.raises(ConfigError):
        keys.load_private(public_pem(made), "k", nobody)
