"""urllib3, and the translation of its exceptions: the only module that imports it, itself imported at first use."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, cast

import urllib3
from urllib3 import exceptions as failures
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import Timeout

from modelops_bundle.model.ports import Piece, Span
from modelops_bundle.net import proxy as proxies
from modelops_bundle.net.broken import translate
from modelops_bundle.net.options import CONNECT_TIMEOUT, HostOptions, NetOptions, Origin
from modelops_bundle.net.throttle import BLOCK
from modelops_bundle.net.tls import make_context

_CONNECTIONS = 64
"""Idle connections kept per host: more than any sensible number of workers."""


class _Busy:
    """The sockets on which somebody sends a body or waits for an answer."""

    def __init__(self, cancelled: threading.Event) -> None:
        self._lock = threading.Lock()
        self._sockets: set[Any] = set()
        self._cancelled = cancelled

    def add(self, sock: Any) -> None:
        with self._lock:
            self._sockets.add(sock)
            if self._cancelled.is_set():
                # Everybody was woken just before.
                _end(sock)

    def remove(self, sock: Any) -> None:
        with self._lock:
            self._sockets.discard(sock)

    def wake(self) -> None:
        """End what they wait for, with an error."""
        with self._lock:
            for sock in self._sockets:
                _end(sock)


def _end(sock: Any) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


class _Patient:
    """urllib3 sends bodies under the connect timeout; a registry that writes to slow storage pauses longer."""

    sock: Any
    stall: float
    busy: _Busy
    _reading: memoryview | None = None

    def endheaders(self, message_body: Any = None, *, encode_chunked: bool = False) -> None:
        super().endheaders(message_body, encode_chunked=encode_chunked)  # type: ignore[misc]
        if self.sock is not None:
            self.sock.settimeout(self.stall)
            self.busy.add(self.sock)

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        if not hasattr(self.sock, "shutdown"):
            # urllib3's TLS inside of TLS, to an https proxy, leaves it out; who waits could not be woken.
            self.sock.shutdown = self.sock.socket.shutdown

    def _tunnel(self) -> None:
        # A proxy may think for long before it says whether it connects.
        sock = self.sock
        self.busy.add(sock)
        try:
            super()._tunnel()  # type: ignore[misc]
        finally:
            self.busy.remove(sock)

    def send(self, data: Any) -> None:
        if not isinstance(data, Span):
            super().send(data)  # type: ignore[misc]
        elif type(self.sock) is socket.socket:
            with open(data.descriptor, "rb", buffering=0, closefd=False) as file:
                if self.sock.sendfile(file, data.start, len(data)) != len(data):
                    raise _shrank()
        else:
            self._send_read(data)

    def _send_read(self, span: Span) -> None:
        """Where the bytes must pass through this process: TLS."""
        if self._reading is None:
            self._reading = memoryview(bytearray(BLOCK))
        at = span.start
        while at < span.stop:
            count = os.preadv(span.descriptor, [self._reading[: span.stop - at]], at)
            if not count:
                raise _shrank()
            self.sock.sendall(self._reading[:count])
            at += count

    def getresponse(self) -> Any:
        sock = self.sock
        try:
            return super().getresponse()  # type: ignore[misc]
        finally:
            self.busy.remove(sock)

    def close(self) -> None:
        self.busy.remove(self.sock)
        super().close()  # type: ignore[misc]


def _shrank() -> OSError:
    # Another attempt opens the file again, and finds out what became of it.
    return OSError(errno.EIO, "the file that was sent became shorter")


def _pool_classes(stall: float, busy: _Busy, plain: type, tls: type) -> dict[str, type[HTTPConnectionPool]]:
    ours = {"stall": stall, "busy": busy}
    patient = type("PatientConnection", (_Patient, plain), ours)
    patient_tls = type("PatientTLSConnection", (_Patient, tls), ours)
    return {
        "http": type("PatientPool", (HTTPConnectionPool,), {"ConnectionCls": patient}),
        "https": type("PatientTLSPool", (HTTPSConnectionPool,), {"ConnectionCls": patient_tls}),
    }


class Transport:
    """Pools of keep-alive connections, one request at a time: no redirects, no retries, no decoding.

    :param cancelled: set before `abort` is called: who begins to wait after that is woken at once.
    """

    def __init__(self, options: NetOptions, cancelled: threading.Event | None = None) -> None:
        self._options = options
        self._cancelled = cancelled or threading.Event()
        self._busy = _Busy(self._cancelled)
        self._lock = threading.Lock()
        self._managers: dict[tuple[str, HostOptions, str | None], urllib3.PoolManager] = {}
        self._live: set[Received] = set()
        if any(each.insecure for each in options.hosts.values()):
            # The user asked for it by name; urllib3 would say it again for every connection.
            urllib3.disable_warnings(failures.InsecureRequestWarning)

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Iterable[Piece] | None,
        patience: float = 0.0,
    ) -> Received:
        """Send one request and read the answer's headers.

        :param patience: seconds to wait for the answer on top of the stall timeout.
        :raises Transient: no answer, but another attempt may get one. :raises BundleError: none can.
        """
        origin = Origin.of(url)
        manager = self._manager(origin)
        try:
            response = manager.urlopen(
                method,
                url,
                body=cast("bytes | Iterable[bytes] | None", body),  # whose pieces `_Patient.send` gets
                headers=headers,
                redirect=False,
                retries=False,
                timeout=Timeout(connect=CONNECT_TIMEOUT, read=self._options.stall_timeout + patience),
                preload_content=False,
                decode_content=False,
            )
        except failures.HTTPError as error:
            raise translate(error, origin, self._options) from error
        received = Received(self, origin, response)
        with self._lock:
            self._live.add(received)
        if self._cancelled.is_set():
            received.shutdown()
        return received

    def forget(self, received: Received) -> None:
        """No longer interrupt `received` in `abort`."""
        with self._lock:
            self._live.discard(received)

    def abort(self) -> None:
        """Wake every thread that sends or waits for bytes; what it does then fails."""
        self._busy.wake()
        with self._lock:
            live = list(self._live)
        for received in live:
            received.shutdown()

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            managers = list(self._managers.values())
            self._managers.clear()
        for manager in managers:
            manager.clear()

    def _manager(self, origin: Origin) -> urllib3.PoolManager:
        own = self._options.at(origin)
        # Nobody but the host itself gets its client certificate; its authorities are trusted where it sends us, too.
        own = own.over(HostOptions(ca_file=self._options.ca_file)) if origin.scheme == "https" else HostOptions()
        key = (origin.scheme, own, self._options.proxy_for(origin))
        with self._lock:
            if key not in self._managers:
                self._managers[key] = self._build(*key)
            return self._managers[key]

    def _build(self, scheme: str, own: HostOptions, proxy: str | None) -> urllib3.PoolManager:
        settings: dict[str, Any] = {"num_pools": 64, "maxsize": _CONNECTIONS, "blocksize": BLOCK}
        if scheme == "https":
            settings["ssl_context"] = make_context(own)
        plain, tls = HTTPConnection, HTTPSConnection
        if proxy is None:
            manager = urllib3.PoolManager(**settings)
        elif proxies.is_socks(proxy):
            manager, plain, tls = proxies.through_socks(proxy, settings)
        else:
            manager = proxies.through_http(proxy, settings, HostOptions(ca_file=self._options.ca_file))
        manager.pool_classes_by_scheme = _pool_classes(self._options.stall_timeout, self._busy, plain, tls)
        return manager


class Received:
    """The headers of an answer, its body still on the wire. Names of headers are in lower case."""

    def __init__(self, transport: Transport, origin: Origin, response: urllib3.BaseHTTPResponse) -> None:
        self._transport = transport
        self._origin = origin
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}

    def read(self, amount: int) -> bytes:
        """At most `amount` bytes; fewer only at the end, none after it.

        :raises Transient: the connection broke, or stalled.
        """
        try:
            return self._response.read(amount, decode_content=False)
        except failures.HTTPError as error:
            raise translate(error, self._origin, self._transport._options) from error

    def shutdown(self) -> None:
        """Wake a thread that reads."""
        try:
            self._response.shutdown()
        except (OSError, ValueError, RuntimeError):
            # Read to its end or closed meanwhile: nobody waits.
            return

    def close(self) -> None:
        """Give the connection back when the body was read to its end, else close it."""
        self._transport.forget(self)
        if self._response.length_remaining == 0:
            # An answer to HEAD has no body, and still must be read for its connection to be kept.
            self.read(1)
        if not self._response.closed:
            self._response.close()
        self._response.release_conn()
