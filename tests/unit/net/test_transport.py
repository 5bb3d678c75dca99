"""What goes over a connection, and which settings cannot be used. Real sockets are tests/contract's."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelops_bundle.errors import ConfigError, Corrupt
from modelops_bundle.model.ports import Span
from modelops_bundle.net.options import HostOptions, NetOptions, Origin
from modelops_bundle.net.transport import Transport, _Busy, _Patient


def test_a_proxy_that_is_none() -> None:
    transport = Transport(NetOptions(https_proxy="not a url"))
    with pytest.raises(ConfigError, match="proxy"):
        transport.send("GET", "https://registry.example/", {}, None)


def test_urls_are_checked_before_anything_is_sent() -> None:
    with pytest.raises(Corrupt):
        Transport(NetOptions()).send("GET", "file:///etc/passwd", {}, None)


def test_hosts_with_other_certificates_share_no_connections() -> None:
    options = NetOptions(hosts={"a.example": HostOptions(insecure=True), "b.example:444": HostOptions(ca_file=None)})
    transport = Transport(options)
    urls = ("https://a.example/", "https://b.example:444/", "https://c.example/", "https://a.example:444/")
    a, b, c, other_port = (transport._manager(Origin.of(url)) for url in urls)
    assert a is not b
    assert b is c is other_port
    assert a.connection_pool_kw["ssl_context"].verify_mode != b.connection_pool_kw["ssl_context"].verify_mode


def test_who_waits_in_tls_inside_of_tls_can_be_woken() -> None:
    near, far = socket.socketpair()

    class Inner:
        """What urllib3 puts around the TLS to a proxy: no `shutdown`."""

        socket = near

    class Base:
        def connect(self) -> None:
            self.sock = Inner()

    class Connecting(_Patient, Base):
        busy = _Busy(threading.Event())

    connection = Connecting()
    connection.connect()
    connection.busy.add(connection.sock)
    with near, far:
        connection.busy.wake()
        assert far.recv(1) == b""


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
