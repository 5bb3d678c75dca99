"""Proxies on loopback: HTTP (absolute form, CONNECT, Basic logins) and SOCKS 4 and 5 (RFC 1928, RFC 1929).

Both write down whom they were asked for, and reach names that exist for one test only: `names` says where these are.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import socket
import ssl
import struct
import threading
from collections.abc import Mapping
from typing import Self

from tests.support.http_wire import Gone, Head, Wire

_PIECE = 256 * 1024


class Proxy:
    """Listens on a port of its own until it is closed.

    :param login: user and password that it wants.
    :param names: by `HOST:PORT` as it is asked for, the port of 127.0.0.1 that it means.
    :param tls: speak TLS with clients.
    """

    def __init__(
        self,
        login: tuple[str, str] | None = None,
        names: Mapping[str, int] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.login = login
        self.names = dict(names or {})
        self.asked: list[str] = []
        """Each request: `CONNECT host:port`, `GET http://…`, `SOCKS5 host:port`."""
        self.refused = 0
        """Requests without the right login."""
        self.moved = 0
        """Bytes that went through, both ways."""
        self._tls = tls
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, and end every connection."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        with self._lock:
            for each in self._open:
                _end(each)

    def url(self, scheme: str, *, login: tuple[str, str] | None = None) -> str:
        """Its address for a proxy variable."""
        user = f"{login[0]}:{login[1]}@" if login else ""
        return f"{scheme}://{user}localhost:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, Gone, EOFError):
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            with self._lock:
                self._open.add(client)
            self.handle(client)
        with self._lock:
            self._open.discard(client)
        client.close()

    def handle(self, client: socket.socket) -> None:
        """Do what one client asks for, until it leaves."""
        raise NotImplementedError

    def reach(self, host: str, port: int) -> socket.socket:
        """A connection to where `HOST:PORT` is."""
        known = self.names.get(f"{host}:{port}")
        there = socket.create_connection(("127.0.0.1", known) if known else (host, port), 10)
        there.settimeout(None)
        with self._lock:
            self._open.add(there)
        return there

    def relay(self, client: socket.socket, there: socket.socket) -> None:
        """Carry bytes both ways until one side ends."""
        back = threading.Thread(target=self._carry, args=(there, client), daemon=True)
        back.start()
        self._carry(client, there)
        back.join()
        there.close()
        with self._lock:
            self._open.discard(there)

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_PIECE):
                self.count(len(data))
                target.sendall(data)
        _end(source)
        _end(target)

    def count(self, amount: int) -> None:
        """Note bytes that went through."""
        with self._lock:
            self.moved += amount


class HTTPProxy(Proxy):
    """RFC 9110 §9.3.6 and RFC 9112 §3.2.2."""

    def handle(self, client: socket.socket) -> None:
        wire = Wire(client)
        while (head := wire.head()) is not None:
            self.asked.append(f"{head.method} {head.target}")
            if not self._may(head):
                self.refused += 1
                for _ in wire.body(head):
                    pass
                wire.send(
                    b"HTTP/1.1 407 Proxy Authentication Required\r\n"
                    b'Proxy-Authenticate: Basic realm="proxy"\r\nContent-Length: 0\r\n\r\n'
                )
            elif head.method == "CONNECT":
                self._connect(client, wire, head)
                return
            else:
                self._forward(wire, head)

    def _may(self, head: Head) -> bool:
        if self.login is None:
            return True
        wanted = base64.b64encode(":".join(self.login).encode()).decode()
        return head.fields.get("proxy-authorization") == f"Basic {wanted}"

    def _connect(self, client: socket.socket, wire: Wire, head: Head) -> None:
        host, _, port = head.target.rpartition(":")
        try:
            there = self.reach(host.strip("[]"), int(port))
        except OSError:
            wire.send(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        wire.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self.relay(client, there)

    def _forward(self, wire: Wire, head: Head) -> None:
        place, _, path = head.target.removeprefix("http://").partition("/")
        host, _, port = place.rpartition(":") if ":" in place else (place, "", "80")
        first = f"{head.method} /{path} HTTP/1.1"
        asked = Head(first, head.fields).having(proxy_authorization=None, connection="close")
        try:
            there = self.reach(host.strip("[]"), int(port))
        except OSError:
            wire.send(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        with there:
            far = Wire(there)
            far.send(asked.to_bytes())
            for piece in wire.body(head):
                self.count(len(piece))
                far.send(piece)
            answer = far.head()
            if answer is None:
                raise EOFError
            wire.send(answer.having(connection=None).to_bytes())
            if head.method != "HEAD" and answer.status not in (204, 304):
                for piece in far.body(answer):
                    self.count(len(piece))
                    wire.send(piece)


class SOCKSProxy(Proxy):
    """Versions 5 (with names, addresses, user and password), 4 and 4a."""

    def handle(self, client: socket.socket) -> None:
        version = _exactly(client, 1)[0]
        found = self._ask5(client) if version == 5 else self._ask4(client)
        if found is None:
            self.refused += 1
            return
        host, port = found
        self.asked.append(f"SOCKS{version} {host}:{port}")
        try:
            there = self.reach(host, port)
        except OSError:
            client.sendall(b"\5\5\0\1" + bytes(6) if version == 5 else b"\0\x5b" + bytes(6))
            return
        client.sendall(b"\5\0\0\1" + bytes(6) if version == 5 else b"\0\x5a" + bytes(6))
        self.relay(client, there)

    def _ask5(self, client: socket.socket) -> tuple[str, int] | None:
        offered = _exactly(client, _exactly(client, 1)[0])
        wanted = 0 if self.login is None else 2
        if wanted not in offered:
            client.sendall(b"\5\xff")
            return None
        client.sendall(bytes([5, wanted]))
        if self.login is not None:
            _exactly(client, 1)
            said = tuple(_exactly(client, _exactly(client, 1)[0]).decode() for _ in range(2))
            client.sendall(b"\1\0" if said == self.login else b"\1\1")
            if said != self.login:
                return None
        kind = _exactly(client, 4)[3]
        if kind == 3:
            host = _exactly(client, _exactly(client, 1)[0]).decode()
        else:
            host = str(ipaddress.ip_address(_exactly(client, 4 if kind == 1 else 16)))
        (port,) = struct.unpack(">H", _exactly(client, 2))
        return host, port

    def _ask4(self, client: socket.socket) -> tuple[str, int]:
        _, port, packed = struct.unpack(">BH4s", _exactly(client, 7))
        _until_zero(client)
        named = packed[:3] == b"\0\0\0" and packed != bytes(4)
        return (_until_zero(client).decode() if named else str(ipaddress.ip_address(packed))), port


def _exactly(sock: socket.socket, amount: int) -> bytes:
    data = b""
    while len(data) < amount:
        more = sock.recv(amount - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _until_zero(sock: socket.socket) -> bytes:
    data = b""
    while (byte := _exactly(sock, 1)) != b"\0":
        data += byte
    return data


def _end(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
