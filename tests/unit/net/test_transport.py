"""The translation of urllib3's exceptions, its settings, and TLS files. Real sockets are tests/contract's."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from urllib3 import exceptions as failures
from urllib3.connection import HTTPConnection

from modelops_bundle.errors import BundleError, ConfigError, Corrupt, Unavailable
from modelops_bundle.model.ports import Span
from modelops_bundle.net.options import NetOptions, Origin
from modelops_bundle.net.retry import Transient
from modelops_bundle.net.transport import Transport, _Patient, tls_context, translate

HOST = Origin.of("https://registry.example/")
CONNECTION = HTTPConnection("registry.example")
POOL: Any = None


@pytest.mark.parametrize(
    ("error", "cause", "words"),
    [
        (failures.NewConnectionError(CONNECTION, "refused"), "refused", "cannot connect"),
        (failures.ConnectTimeoutError(CONNECTION, "slow"), "refused", "no connection to registry.example within 10 s"),
        (failures.ProxyError("proxy", OSError(111, "Connection refused")), "refused", "through the proxy"),
        (failures.ReadTimeoutError(POOL, "/", "Read timed out."), "stall", "sent nothing for 30 s"),
        (
            failures.ProtocolError("Connection aborted.", ConnectionResetError(104, "Connection reset")),
            "answer",
            "reset",
        ),
        (failures.ProtocolError("x", TimeoutError("timed out")), "stall", "sent nothing"),
        (failures.IncompleteRead(5, 3), "answer", "broke the connection"),
        (failures.HTTPError("odd"), "answer", "odd"),
        (failures.SSLError("EOF occurred in violation of protocol"), "answer", "TLS with registry.example failed"),
    ],
)
def test_what_may_work_next_time(error: Exception, cause: str, words: str) -> None:
    found = translate(error, HOST, NetOptions())
    assert isinstance(found, Transient)
    assert found.cause == cause
    assert words in found.error.message
    assert isinstance(found.error, Unavailable)
    assert found.error.facts["host"] == "registry.example"


@pytest.mark.parametrize(
    ("error", "kind", "hint"),
    [
        (failures.SSLError("certificate verify failed: unable to get local issuer"), Unavailable, "--ca-file"),
        (failures.SSLError("[SSL: WRONG_VERSION_NUMBER] wrong version number"), Unavailable, "--plain-http"),
        (failures.LocationParseError("https://[bad"), Corrupt, ""),
    ],
)
def test_what_will_not(error: Exception, kind: type[BundleError], hint: str) -> None:
    found = translate(error, HOST, NetOptions())
    assert isinstance(found, kind)
    assert hint in (found.hint or "")


def test_an_unknown_host_is_named() -> None:
    error = failures.NameResolutionError("registry.example", CONNECTION, OSError(-2, "Name or service not known"))  # type: ignore[arg-type]
    found = translate(error, HOST, NetOptions())
    assert isinstance(found, Transient)
    assert (found.cause, found.error.message) == ("refused", "cannot find the host registry.example")


def test_no_secret_of_a_url_gets_into_words() -> None:
    error = failures.ProtocolError("x", OSError("https://u:canary@h/?sig=canary broke\x1b[31m"))
    found = translate(error, HOST, NetOptions())
    assert isinstance(found, Transient)
    assert "canary" not in found.error.message
    assert "\x1b" not in found.error.message


def test_ca_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot use the CA file"):
        tls_context(str(tmp_path / "absent.pem"), insecure=False)
    (tmp_path / "bad.pem").write_text("no certificate")
    with pytest.raises(ConfigError):
        tls_context(str(tmp_path / "bad.pem"), insecure=False)


def test_certificates_are_checked_unless_the_host_is_named_insecure() -> None:
    assert tls_context(None, insecure=False).verify_mode is ssl.CERT_REQUIRED
    assert tls_context(None, insecure=False).check_hostname
    assert tls_context(None, insecure=True).verify_mode is ssl.CERT_NONE


def test_a_proxy_that_is_none() -> None:
    transport = Transport(NetOptions(proxy="not a url"))
    with pytest.raises(ConfigError, match="proxy"):
        transport.send("GET", "https://registry.example/", {}, None)


def test_urls_are_checked_before_anything_is_sent() -> None:
    with pytest.raises(Corrupt):
        Transport(NetOptions()).send("GET", "file:///etc/passwd", {}, None)


# --- bodies that lie in files

CONTENT = os.urandom(300_000)


class Wire:
    """A socket as TLS gives it: it takes bytes only."""

    def __init__(self) -> None:
        self.got = b""

    def sendall(self, data: memoryview) -> None:
        self.got += data


class Connection(_Patient):
    def __init__(self, sock: object) -> None:
        self.sock = sock


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "f").write_bytes(CONTENT)
    descriptor = os.open(tmp_path / "f", os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize(("start", "stop"), [(0, 300_000), (1, 2), (250_000, 300_000)])
def test_tls_gets_the_bytes_of_a_span(descriptor: int, start: int, stop: int) -> None:
    wire = Wire()
    Connection(wire).send(Span(descriptor, start, stop))
    assert wire.got == CONTENT[start:stop]


def test_a_plain_socket_gets_the_span_from_the_kernel(descriptor: int) -> None:
    near, far = socket.socketpair()
    with near, far:
        Connection(near).send(Span(descriptor, 1000, 50_000))
        near.shutdown(socket.SHUT_WR)
        with far.makefile("rb") as reading:
            assert reading.read() == CONTENT[1000:50_000]


@pytest.mark.parametrize("tls", [False, True])
def test_a_span_beyond_the_end_breaks_the_request(descriptor: int, tls: bool) -> None:
    near, far = socket.socketpair()
    with near, far, pytest.raises(OSError, match="became shorter"):
        Connection(Wire() if tls else near).send(Span(descriptor, 299_000, 300_001))
