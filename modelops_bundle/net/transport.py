"""urllib3, and the translation of its exceptions: the only module that imports it, itself imported at first use."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, cast

import urllib3
from urllib3 import exceptions as failures
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import Timeout, make_headers, parse_url

from modelops_bundle.errors import BundleError, ConfigError, Corrupt, Unavailable
from modelops_bundle.model.ports import Piece, Span
from modelops_bundle.net.options import CONNECT_TIMEOUT, NetOptions, Origin
from modelops_bundle.net.redact import redact, safe
from modelops_bundle.net.retry import Transient
from modelops_bundle.net.throttle import BLOCK

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


def _pool_classes(stall: float, busy: _Busy) -> dict[str, type[HTTPConnectionPool]]:
    ours = {"stall": stall, "busy": busy}
    plain = type("PatientConnection", (_Patient, HTTPConnection), ours)
    tls = type("PatientTLSConnection", (_Patient, HTTPSConnection), ours)
    return {
        "http": type("PatientPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("PatientTLSPool", (HTTPSConnectionPool,), {"ConnectionCls": tls}),
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
        self._managers: dict[tuple[str, bool, str | None], urllib3.PoolManager] = {}
        self._live: set[Received] = set()
        if options.insecure_hosts:
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
        insecure = origin.netloc in self._options.insecure_hosts
        key = (origin.scheme, insecure, self._options.proxy_for(origin))
        with self._lock:
            if key not in self._managers:
                self._managers[key] = self._build(*key)
            return self._managers[key]

    def _build(self, scheme: str, insecure: bool, proxy: str | None) -> urllib3.PoolManager:
        settings: dict[str, Any] = {"num_pools": 64, "maxsize": _CONNECTIONS, "blocksize": BLOCK}
        if scheme == "https":
            settings["ssl_context"] = tls_context(self._options.ca_file, insecure)
        manager = urllib3.PoolManager(**settings) if proxy is None else self._through(proxy, settings)
        manager.pool_classes_by_scheme = _pool_classes(self._options.stall_timeout, self._busy)
        return manager

    def _through(self, proxy: str, settings: dict[str, Any]) -> urllib3.PoolManager:
        try:
            parts = parse_url(proxy)
            if parts.scheme == "https":
                settings["proxy_ssl_context"] = tls_context(self._options.ca_file, insecure=False)
            login = make_headers(proxy_basic_auth=parts.auth) if parts.auth else None
            return urllib3.ProxyManager(proxy, proxy_headers=login, **settings)
        except failures.HTTPError as error:
            raise ConfigError(f"not the URL of a proxy: {redact(proxy)}") from error


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


def tls_context(ca_file: str | None, insecure: bool) -> ssl.SSLContext:
    """TLS as the system trusts it, plus the authorities of `ca_file`.

    :raises ConfigError: `ca_file` cannot be used.
    """
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:
            raise ConfigError(f"cannot use the CA file {ca_file}: {error.strerror or error}") from error
    return context


def translate(error: Exception, origin: Origin, options: NetOptions) -> Transient | BundleError:
    """What `error`, raised while talking to `origin`, means."""
    host = origin.netloc
    reason = safe(redact(_innermost(error)), 200)
    if isinstance(error, failures.LocationValueError):
        return Corrupt(f"not a usable URL at {host}: {reason}")
    if isinstance(error, failures.ProxyError):
        return Transient(_unavailable(f"cannot reach {host} through the proxy: {reason}", host), cause="refused")
    if isinstance(error, failures.SSLError):
        return _tls_problem(reason, host)
    if isinstance(error, failures.NameResolutionError):
        hint = "check the spelling of the host, and the network"
        return Transient(
            Unavailable(f"cannot find the host {origin.host}", hint=hint, host=host, unreachable=True), cause="refused"
        )
    if isinstance(error, failures.NewConnectionError):
        return Transient(_unavailable(f"cannot connect to {host}: {reason}", host), cause="refused")
    if isinstance(error, failures.ConnectTimeoutError):
        return Transient(_unavailable(f"no connection to {host} within {CONNECT_TIMEOUT:.0f} s", host), cause="refused")
    if isinstance(error, (failures.TimeoutError, TimeoutError)) or "timed out" in reason:
        silent = _unavailable(f"{host} sent nothing for {options.stall_timeout:.0f} s", host)
        return Transient(silent, cause="stall")
    return Transient(_unavailable(f"{host} broke the connection: {reason}", host))


def _unavailable(message: str, host: str) -> Unavailable:
    hint = "check the network, then run the same command again"
    return Unavailable(message, hint=hint, host=host, unreachable=True)


def _tls_problem(reason: str, host: str) -> Transient | BundleError:
    text = reason.lower()
    if "certificate" in text or "hostname" in text:
        hint = "give the authority's certificate with --ca-file"
        return Unavailable(f"the certificate of {host} is not trusted: {reason}", hint=hint, host=host)
    if "wrong version number" in text or "record layer failure" in text:
        return Unavailable(f"{host} does not speak TLS", hint="use --plain-http if that is meant", host=host)
    return Transient(_unavailable(f"TLS with {host} failed: {reason}", host))


def _innermost(error: BaseException) -> str:
    """The words of the deepest cause: urllib3 wraps them in the spelling of its own classes."""
    seen = error
    for _ in range(5):
        inner = next((part for part in reversed(seen.args) if isinstance(part, BaseException)), None)
        inner = inner or getattr(seen, "reason", None) or seen.__cause__
        if not isinstance(inner, BaseException):
            break
        seen = inner
    if isinstance(seen, OSError) and seen.strerror:
        return seen.strerror
    return str(seen) or type(seen).__name__
