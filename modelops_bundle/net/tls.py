"""TLS: whom we trust, who we are, and what a failed handshake means (RFC 8446; RFC 5280 for certificates)."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import NoReturn

from modelops_bundle.errors import ConfigError, Unavailable
from modelops_bundle.net.options import HostOptions

_NO_TLS = ("wrong version number", "record layer failure", "packet length too long", "http request", "unknown protocol")
_OLD = ("unsupported protocol", "protocol version", "no protocols available", "version too low", "dh key too small")
_WANTS_CERTIFICATE = ("certificate required", "bad certificate", "handshake failure")
_REFUSED_CERTIFICATE = (
    *("alert unknown ca", "alert certificate", "certificate unknown", "unknown certificate", "access denied"),
    *("certificate expired", "certificate revoked", "unsupported certificate", "decrypt error"),
)
_EXPIRED = ("certificate has expired", "certificate is not yet valid")
_OTHER_NAME = ("hostname mismatch", "ip address mismatch", "doesn't match")


def make_context(options: HostOptions) -> ssl.SSLContext:
    """TLS 1.2 or newer as the system trusts it (`SSL_CERT_FILE`, `SSL_CERT_DIR`), and what `options` add to that.

    :raises ConfigError: one of their files cannot be used.
    """
    context = ssl.create_default_context()
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if options.ca_file is not None:
        _require(options.ca_file, "CA file")
        try:
            context.load_verify_locations(cafile=options.ca_file)
        except OSError as error:
            raise ConfigError(f"cannot use the CA file {options.ca_file}: it holds no certificate in PEM") from error
    if options.client_cert is not None:
        _load_identity(context, options.client_cert, options.client_key)
    return context


def _load_identity(context: ssl.SSLContext, certificate: str, key: str | None) -> None:
    _require(certificate, "client certificate")
    if key is not None:
        _require(key, "client key")
    holder = key or certificate

    def ask() -> NoReturn:
        raise ConfigError(
            f"the client key in {holder} is encrypted",
            hint=f"there is no way to give its password: decrypt it with 'openssl pkey -in {holder}' and chmod 600",
        )

    try:
        context.load_cert_chain(certificate, key, password=ask)
    except ssl.SSLError as error:
        if "mismatch" in str(error).lower():
            raise ConfigError(f"the client key in {holder} is not that of the certificate in {certificate}") from error
        if not _holds(certificate, b"CERTIFICATE-----"):
            raise ConfigError(f"{certificate} holds no certificate in PEM") from error
        hint = None if key else "give the key's file with --client-key"
        raise ConfigError(f"{holder} holds no usable key in PEM", hint=hint) from error


def _require(path: str, what: str) -> None:
    """:raises ConfigError: the file cannot be read; OpenSSL would not say which one."""
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except OSError as error:
        raise ConfigError(f"cannot use the {what} {path}: {error.strerror or error}") from error


def _holds(path: str, words: bytes) -> bool:
    with Path(path).open("rb") as file:
        return words in file.read(1 << 20)


def problem(reason: str, host: str, options: HostOptions) -> Unavailable | None:
    """What OpenSSL's `reason` means that no further attempt will change; None when one may.

    :param options: what is said of `host`, which the hint takes into account.
    """
    reason = re.sub(r"^\[[^]]*\] | \(_ssl\.c:\d+\)$", "", reason)
    text = reason.lower()

    def has(words: tuple[str, ...]) -> bool:
        return any(word in text for word in words)

    if "verify failed" not in text and has(_WANTS_CERTIFICATE + _REFUSED_CERTIFICATE):
        return _about_our_certificate(reason, host, options, sure=not text.endswith("handshake failure"))
    if has(_NO_TLS):
        return Unavailable(f"{host} does not speak TLS", hint="use --plain-http if that is meant", host=host)
    if has(_OLD):
        hint = "the registry needs TLS 1.2 or newer; nothing on this side can make up for that"
        return Unavailable(f"{host} speaks an old version of TLS: {reason}", hint=hint, host=host)
    if "certificate" not in text and not has(_OTHER_NAME):
        return None
    if has(_EXPIRED):
        hint = "tell the registry's operator, and check this machine's clock"
        return Unavailable(f"the certificate of {host} is not valid now: {reason}", hint=hint, host=host)
    if has(_OTHER_NAME):
        hint = "write the host as its certificate names it"
        return Unavailable(f"the certificate of {host} is for another host: {reason}", hint=hint, host=host)
    hint = "give the authority's certificate with --ca-file"
    return Unavailable(f"the certificate of {host} is not trusted: {reason}", hint=hint, host=host)


def _about_our_certificate(reason: str, host: str, options: HostOptions, *, sure: bool) -> Unavailable:
    if options.client_cert is not None:
        hint = f"{options.client_cert} is not what it accepts: ask the registry's operator for another one"
        return Unavailable(f"{host} refused the client certificate: {reason}", hint=hint, host=host)
    hint = "give it with --client-cert and --client-key"
    wants = "wants" if sure else "refused the handshake; it may want"
    return Unavailable(f"{host} {wants} a client certificate: {reason}", hint=hint, host=host)
