"""Keys that sign versions: PEM files, and cosign's encrypted ones. `cryptography` is known here and in `secretbox`.

Signatures are those that cosign 3.1 verifies: ECDSA in ASN.1 and RSA with PKCS #1 v1.5, over SHA-256 for keys of any
size, and pure Ed25519. What cosign itself signs with P-384 and P-521 is over the hash that fits the curve, which it then
does not accept; here both are.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from modelops_bundle.errors import ConfigError, Corrupt, Unsupported
from modelops_bundle.formats import secretbox
from modelops_bundle.model import canonical

MAX_KEY = 64 * 1024
"""Bytes of a file with a key."""
_LABELS = ("ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY")
_COST = (1 << 16, 8, 1)
"""scrypt's N, r and p in what cosign writes: 64 MiB."""
_FITTING = {"secp384r1": hashes.SHA384(), "secp521r1": hashes.SHA512()}
_MOST_N = 1 << 17
_SALT = 32

PublicKeys = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
PrivateKeys = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
Password = Callable[[], bytes]
"""Asked only where a key is encrypted."""


class PublicKey:
    """What signatures are verified with."""

    def __init__(self, key: PublicKeys) -> None:
        self._key = key

    @property
    def hint(self) -> str:
        """How bundles name the key: base64 of the SHA-256 of its SubjectPublicKeyInfo."""
        return base64.b64encode(hashlib.sha256(self._info).digest()).decode("ascii")

    @property
    def fingerprint(self) -> str:
        """How people name it: `SHA256:` and the same in hexadecimal."""
        return f"SHA256:{hashlib.sha256(self._info).hexdigest()}"

    @property
    def _info(self) -> bytes:
        return self._key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    def to_pem(self) -> bytes:
        """The key as a file holds it."""
        return self._key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether `signature` is one over `message` by the owner of this key."""
        fitting = _FITTING.get(self._key.curve.name) if isinstance(self._key, ec.EllipticCurvePublicKey) else None
        hashed = [hashes.SHA256(), *([fitting] if fitting else [])]
        return any(self._fits(signature, message, each) for each in hashed)

    def _fits(self, signature: bytes, message: bytes, hashed: hashes.HashAlgorithm) -> bool:
        key = self._key
        try:
            if isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(signature, message)
            elif isinstance(key, rsa.RSAPublicKey):
                key.verify(signature, message, padding.PKCS1v15(), hashed)
            else:
                key.verify(signature, message, ec.ECDSA(hashed))
        except InvalidSignature:
            return False
        return True


class PrivateKey:
    """What versions are signed with."""

    def __init__(self, key: PrivateKeys) -> None:
        self._key = key

    @property
    def public(self) -> PublicKey:
        """The other half."""
        return PublicKey(self._key.public_key())

    def sign(self, message: bytes) -> bytes:
        """A signature over `message`."""
        key = self._key
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return key.sign(message)
        if isinstance(key, rsa.RSAPrivateKey):
            return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        try:
            # RFC 6979: to sign again is to sign the same, and what is attached again is there already.
            return key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        except UnsupportedAlgorithm:  # OpenSSL before 3.2
            return key.sign(message, ec.ECDSA(hashes.SHA256()))


class Pair(NamedTuple):
    """The files of a new key."""

    private: bytes
    public: bytes


def _is_known(key: object) -> bool:
    if isinstance(key, (ec.EllipticCurvePublicKey, ec.EllipticCurvePrivateKey)):
        return key.curve.name in ("secp256r1", "secp384r1", "secp521r1")
    if isinstance(key, (rsa.RSAPublicKey, rsa.RSAPrivateKey)):
        return key.key_size >= 2048
    return isinstance(key, (ed25519.Ed25519PublicKey, ed25519.Ed25519PrivateKey))


def load_public(data: bytes, where: str) -> PublicKey:
    """The key in a PEM file. :param where: names the file in messages.

    :raises ConfigError: not a public key. :raises Unsupported: a key of another kind.
    """
    if b"PRIVATE KEY-----" in data:
        raise ConfigError(f"{where} is a private key", hint="what signatures are verified with is the .pub beside it")
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{where} is not a public key in PEM", hint="cosign.pub is one") from error
    if not _is_known(key):
        raise _unknown(where)
    return PublicKey(key)  # type: ignore[arg-type]


def load_private(data: bytes, where: str, password: Password) -> PrivateKey:
    """The key in a PEM file: cosign's, or PKCS #8, encrypted or not, or the older forms of OpenSSL.

    :param password: asked when the key is encrypted.
    :raises ConfigError: not a private key, or another password. :raises Unsupported: a key of another kind.
    """
    label = next((label for label in _LABELS if f"-----BEGIN {label}-----".encode() in data), None)
    try:
        if label is not None:
            key = serialization.load_der_private_key(_opened(data, label, where, password), None)
        elif b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in data or b"Proc-Type: 4,ENCRYPTED" in data:
            key = serialization.load_pem_private_key(data, password())
        else:
            key = serialization.load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Not as its cause: nothing about a private key is worth the risk of being printed.
        raise ConfigError(f"{where} is not a private key in PEM, or its password is another one") from None
    if not _is_known(key):
        raise _unknown(where)
    return PrivateKey(key)  # type: ignore[arg-type]


def generate(password: bytes) -> Pair:
    """A new key on P-256, encrypted as cosign does it."""
    key = ec.generate_private_key(ec.SECP256R1())
    plain = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Pair(_closed(plain, password), PrivateKey(key).public.to_pem())


def _unknown(where: str) -> Unsupported:
    return Unsupported(
        f"{where} is a key of a kind that is not known here",
        hint="ECDSA on P-256, P-384 or P-521, RSA from 2048, Ed25519",
    )


# --- cosign's encryption (secure-systems-lab/go-securesystemslib, encrypted)


def _closed(plain: bytes, password: bytes) -> bytes:
    salt, nonce = os.urandom(_SALT), os.urandom(secretbox.NONCE_SIZE)
    n, r, p = _COST
    value = {
        "kdf": {"name": "scrypt", "params": {"N": n, "r": r, "p": p}, "salt": _text(salt)},
        "cipher": {"name": "nacl/secretbox", "nonce": _text(nonce)},
        "ciphertext": _text(secretbox.seal(plain, nonce, _derived(password, salt, n))),
    }
    body = base64.b64encode(canonical.dumps(value))
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    label = _LABELS[0].encode()
    return b"\n".join([b"-----BEGIN %s-----" % label, *lines, b"-----END %s-----" % label, b""])


def _opened(data: bytes, label: str, where: str, password: Password) -> bytes:
    _, _, rest = data.partition(f"-----BEGIN {label}-----".encode())
    body, _, _ = rest.partition(f"-----END {label}-----".encode())
    try:
        value = canonical.loads(_bytes("".join(body.decode("ascii", "replace").split())), where, limit=MAX_KEY)
        kdf, cipher = value["kdf"], value["cipher"]
        n, r, p = (kdf["params"][name] for name in "Nrp")
        salt, nonce, box = _bytes(kdf["salt"]), _bytes(cipher["nonce"]), _bytes(value["ciphertext"])
        names = (kdf["name"], cipher["name"])
    except (Corrupt, KeyError, TypeError, ValueError):
        raise ConfigError(f"{where} lacks what is needed to decrypt it") from None
    fits = type(n) is int and 1 < n <= _MOST_N and n & (n - 1) == 0 and (r, p) == _COST[1:]
    if names != ("scrypt", "nacl/secretbox") or not fits or len(nonce) != secretbox.NONCE_SIZE:
        raise Unsupported(f"{where} is encrypted in a way that is not known here")
    plain = secretbox.unseal(box, nonce, _derived(password(), salt, n))
    if plain is None:
        raise ConfigError(f"this is not the password of {where}", hint="COSIGN_PASSWORD, or type it when asked")
    return plain


def _derived(password: bytes, salt: bytes, n: int) -> bytes:
    _, r, p = _COST
    return hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=2 * 128 * n * r, dklen=secretbox.KEY_SIZE)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
