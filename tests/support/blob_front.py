"""A registry that keeps its blobs elsewhere: a front that redirects, and an object store that takes signed addresses.

The store is as strict as S3: a request with any login of its own is refused ("Only one auth mechanism allowed"), so is one
with a cookie, and a signature that is not good (any more) is a 403. Signatures expire on order, not by a clock.
"""

from __future__ import annotations

import http.client
import itertools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.support.canary import secret

_HOPS = frozenset(["connection", "transfer-encoding", "keep-alive", "content-length"])
_COOKIE = "session"


@dataclass(frozen=True)
class Seen:
    """One request to the object store, and its answer."""

    path: str
    headers: Mapping[str, str] = field(repr=False)
    status: int


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class BlobFront:
    """Listens on two ports for the registry at `upstream` (HOST:PORT): `host` is the registry for clients, `elsewhere` the
    object store. A context manager.

    :param login: the `Authorization` with which the store itself reads a path from the registry.
    """

    def __init__(self, upstream: str, login: Callable[[str], str] = lambda _: "") -> None:
        self._upstream = upstream
        self._login = login
        self._signatures: dict[str, str] = {}
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self.stillborn = 0
        """How many of the next signatures are expired before anybody can use them."""
        self.seen: list[Seen] = []
        self.redirected = 0
        self._servers = [_Server(self._at_the_front), _Server(self._at_the_store)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def host(self) -> str:
        """As references name the registry."""
        return f"localhost:{self._servers[0].server_address[1]}"

    @property
    def elsewhere(self) -> str:
        """The object store: another name and another port."""
        return f"127.0.0.1:{self._servers[1].server_address[1]}"

    def expire(self) -> None:
        """Every address that was signed so far is good no more."""
        with self._lock:
            self._signatures.clear()

    # --- the two servers

    def _at_the_front(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> _Answer:
        answer = self._ask(method, target, headers, body)
        is_blob = "/blobs/sha256:" in target
        if method != "GET" or not is_blob or answer.status not in (200, 206):
            return answer
        with self._lock:
            self.redirected += 1
            signature = secret(f"signature{next(self._numbers)}")
            if self.stillborn:
                self.stillborn -= 1
            else:
                self._signatures[signature] = target
        # Some of it under names that do not sound secret.
        query = f"X-Amz-Expires=1200&X-Amz-Signature={signature}&sp={signature}&X-Amz-Credential={signature}"
        location = f"http://{self.elsewhere}{target}?{query}"
        return _Answer(307, [("Location", location), ("Set-Cookie", f"{_COOKIE}={secret('cookie')}; Path=/")], b"")

    def _at_the_store(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> _Answer:
        parts = urlsplit(target)
        [signature] = parse_qs(parts.query).get("X-Amz-Signature", [""])
        with self._lock:
            good = self._signatures.get(signature) == parts.path
        if "authorization" in headers or "cookie" in headers or "proxy-authorization" in headers:
            answer = _Answer(400, [], b"<Error><Message>Only one auth mechanism allowed</Message></Error>")
        elif not good:
            answer = _Answer(403, [], b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")
        else:
            kept = {"range": headers["range"]} if "range" in headers else {}
            login = self._login(parts.path)
            answer = self._ask("GET", parts.path, {**kept, **({"authorization": login} if login else {})}, b"")
        self.seen.append(Seen(target, dict(headers), answer.status))
        return answer

    def _ask(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> _Answer:
        connection = http.client.HTTPConnection(self._upstream, timeout=60)
        try:
            passed = {name: value for name, value in headers.items() if name not in _HOPS}
            connection.request(method, target, body or None, {**passed, "content-length": str(len(body))})
            answer = connection.getresponse()
            data = answer.read()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOPS]
            if method == "HEAD":
                kept.append(("Content-Length", answer.getheader("Content-Length", "0")))
            return _Answer(answer.status, kept, data)
        finally:
            connection.close()


Handle = Callable[[str, str, Mapping[str, str], bytes], _Answer]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, handle: Handle) -> None:
        self.handle_call = handle
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing on stderr."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.handle_call(self.command, self.path, headers, body)
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815
