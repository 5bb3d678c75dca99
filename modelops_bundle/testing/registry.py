"""An OCI registry in this process: memory, loopback, every request logged, every fault on order.

with Registry() as registry:
    registry.fault(lambda method, path: "/blobs/" in path, Cut(100), times=2)
    ... registry.host, registry.requests
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Self
from urllib.parse import parse_qs

from modelops_bundle.testing.actions import Action
from modelops_bundle.testing.protocol import MAX_BLOB, Call, Habits, Protocol, Repository, Response, refusal

Match = Callable[[str, str], bool]
_BLOCK = 1024 * 1024
_NO_BODY = (204, 304)


def anything(_method: str, _path: str) -> bool:
    """Matches every request."""
    return True


@dataclass(frozen=True)
class Logged:
    """One request: `path` with its query, the status sent (0: none was), seconds to answer, headers received."""

    method: str
    path: str
    status: int
    seconds: float
    headers: dict[str, str] = field(repr=False)


@dataclass
class Fault:
    """An action, for which requests, how many more times (None: always), and how many to let pass first."""

    match: Match
    action: Action
    left: int | None
    skip: int
    used: int = 0


@dataclass
class _Login:
    user: str
    password: str
    life: float
    basic: bool
    anonymous_pull: bool
    identity_token: str | None


class Registry:
    """The server. Leave the context, or `close()`, to stop it.

    :param tls: serve HTTPS with this context.

    `habits` says how it differs from other registries, `repositories` holds what it stores, `requests` what it was asked,
    `connections` how many were opened.
    """

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.protocol = Protocol()
        self.requests: list[Logged] = []
        self.connections = 0
        self.realm: str | None = None
        self.clock: Callable[[], float] = time.monotonic
        self._faults: list[Fault] = []
        self._login: _Login | None = None
        self._tokens: dict[str, tuple[float, frozenset[str]]] = {}
        self._lock = threading.Lock()
        self._server = _Server(self, port, tls)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and close every connection."""
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join()

    @property
    def host(self) -> str:
        """`HOST:PORT` for references."""
        return f"localhost:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """The root URL."""
        return f"{'http' if self._server.tls is None else 'https'}://{self.host}"

    @property
    def habits(self) -> Habits:
        """How this registry behaves where registries differ."""
        return self.protocol.habits

    @property
    def repositories(self) -> dict[str, Repository]:
        """What is stored, by repository name."""
        return self.protocol.repositories

    # --- orders

    def fault(self, match: Match, action: Action, times: int | None = 1, skip: int = 0) -> Fault:
        """Let `action` happen to matching requests: after `skip` of them, `times` times, None for ever."""
        fault = Fault(match, action, times, skip)
        with self._lock:
            self._faults.append(fault)
        return fault

    def heal(self) -> None:
        """No more faults."""
        with self._lock:
            self._faults.clear()

    def hang_up(self) -> None:
        """Close every open connection; the next requests open new ones."""
        self._server.hang_up()

    def require_auth(
        self,
        user: str,
        password: str,
        token_life: float = 60.0,
        *,
        basic: bool = False,
        anonymous_pull: bool = False,
        identity_token: str | None = None,
    ) -> None:
        """Ask for a login from now on: by Bearer tokens of `/token`, or `basic`."""
        self._login = _Login(user, password, token_life, basic, anonymous_pull, identity_token)

    def expire_tokens(self) -> None:
        """Forget every token given."""
        with self._lock:
            self._tokens.clear()

    def asked(self, method: str, part: str = "") -> list[Logged]:
        """The requests so far with `method` and `part` in their path."""
        return [one for one in list(self.requests) if one.method == method and part in one.path]

    # --- answers, called by the handler's threads

    def action_for(self, method: str, target: str) -> Action:
        """The action that happens to this request."""
        with self._lock:
            for fault in self._faults:
                if fault.left == 0 or not fault.match(method, target):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.used += 1
                if fault.left is not None:
                    fault.left -= 1
                return fault.action
        return Action()

    def answer(self, call: Call, action: Action) -> Response:
        """What to send for `call`."""
        changed = action.before(call)
        if isinstance(changed, Response):
            return changed
        return action.after(changed, self._allowed(changed) or self.protocol.answer(changed))

    def _allowed(self, call: Call) -> Response | None:
        """None, or the answer to a call that may not be made (or that is the login itself)."""
        login = self._login
        if login is None:
            return None
        if call.path == "/token":
            return self._token(call, login)
        name, action = _right(call)
        said = call.headers.get("authorization", "")
        if login.basic:
            return None if said == _basic(login) else self._challenge('Basic realm="in-process"')
        with self._lock:
            expires, rights = self._tokens.get(said.removeprefix("Bearer "), (0.0, frozenset()))
        if expires > self.clock() and (f"{name}:{action}" in rights or call.path.rstrip("/") == "/v2"):
            return None
        wanted = "pull" if action == "pull" else f"pull,{action}"
        scope = "registry:catalog:*" if name == "catalog" else f"repository:{name}:{wanted}"
        realm = self.realm or f"{self.url}/token"
        return self._challenge(f'Bearer realm="{realm}",service="in-process",scope="{scope}"')

    def _challenge(self, text: str) -> Response:
        return refusal(401, "UNAUTHORIZED", "authentication required").with_headers(WWW_Authenticate=text)

    def _token(self, call: Call, login: _Login) -> Response:
        fields = parse_qs(call.body.decode("latin-1"))
        said = call.headers.get("authorization", "")
        known = said == _basic(login)
        if call.method == "POST":
            known = login.identity_token is not None and fields.get("refresh_token") == [login.identity_token]
        if not known and (said or not login.anonymous_pull):
            return self._challenge('Basic realm="in-process"')
        scopes = fields.get("scope") or parse_qs(call.target.partition("?")[2]).get("scope", [])
        rights = set()
        for scope in " ".join(scopes).split():
            _, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            rights |= {f"{name}:{action}" for action in actions.split(",") if known or action == "pull"}
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._tokens[token] = (self.clock() + login.life, frozenset(rights))
        body: dict[str, Any] = {"token": token, "expires_in": login.life}
        return Response(200, {"Content-Type": "application/json"}, json.dumps(body).encode())


def _right(call: Call) -> tuple[str, str]:
    """What a login must be allowed for `call`: a name, and the action on it."""
    if call.path == "/v2/_catalog":
        return "catalog", "*"
    name = call.path.removeprefix("/v2/")
    for word in ("/manifests/", "/blobs/", "/tags/", "/referrers/"):
        name = name.partition(word)[0]
    return name, {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}.get(call.method, "push")


def _basic(login: _Login) -> str:
    return "Basic " + base64.b64encode(f"{login.user}:{login.password}".encode()).decode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, registry: Registry, port: int, tls: ssl.SSLContext | None) -> None:
        self.registry = registry
        self.tls = tls
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own asks the name service who we are, which may take seconds.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", self.server_address[1]

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        if self.tls is None:
            return connection, address
        # The handshake happens in the connection's own thread, at its first read.
        return self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
            self.registry.connections += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that leave early are what is tested here."""

    def hang_up(self) -> None:
        with self._open_lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing on stderr."""

    def _serve(self) -> None:
        began = time.monotonic()
        registry = self.server.registry
        action = registry.action_for(self.command, self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body, whole = self._read_body(headers, action.reads_up_to) if action.reads_body else (b"", True)
        if not whole:
            registry.protocol.cut(Call(self.command, self.path, headers, body))
            self._log(0, began, headers)
            self.close_connection = True
            if action.reads_up_to is not None:
                self._reset()
            return
        response = registry.answer(Call(self.command, self.path, headers, body), action)
        self._log(response.status, began, headers)
        if not action.reads_body and headers.get("content-length", "0") != "0":
            self.close_connection = True
        self._send(response)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815  (the base class's names)

    def _log(self, status: int, began: float, headers: dict[str, str]) -> None:
        logged = Logged(self.command, self.path, status, time.monotonic() - began, headers)
        self.server.registry.requests.append(logged)

    def _read_body(self, headers: dict[str, str], limit: int | None) -> tuple[bytes, bool]:
        """What arrived of the body, at most `limit` bytes, and whether it is all of it."""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._read_chunked()
        text = headers.get("content-length", "0")
        length = int(text) if text.isdigit() else 0
        if length > MAX_BLOB:
            return b"", False
        wanted = length if limit is None else min(length, limit)
        body = self._read_some(wanted)
        return body, len(body) == length

    def _read_some(self, wanted: int) -> bytes:
        parts: list[bytes] = []
        # A reset loses what a single large read had got so far.
        with contextlib.suppress(OSError):
            while wanted and (part := self.rfile.read1(min(wanted, _BLOCK))):
                parts.append(part)
                wanted -= len(part)
        return b"".join(parts)

    def _read_chunked(self) -> tuple[bytes, bool]:
        parts: list[bytes] = []
        while True:
            line = self.rfile.readline(100).strip()
            size = int(line.partition(b";")[0] or b"0", 16) if line else None
            part = self.rfile.read(size or 0)
            self.rfile.readline(100)
            if size is None or len(part) < size:
                return b"".join(parts), False
            if size == 0:
                return b"".join(parts), True
            parts.append(part)

    def _send(self, response: Response) -> None:
        if response.status == 0:
            self._reset()
            return
        self.send_response_only(response.status)
        self.send_header("Date", formatdate(usegmt=True))
        # An empty value leaves a header out: what somebody in between answers does not say that it is a registry.
        for name, value in {"Docker-Distribution-Api-Version": "registry/2.0", **response.headers}.items():
            if value:
                self.send_header(name, value)
        if response.endless:
            self.send_header("Transfer-Encoding", "chunked")
        elif response.status not in _NO_BODY:
            length = len(response.body) if response.declared is None else response.declared
            self.send_header("Content-Length", str(length))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD" and response.status not in _NO_BODY:
            self._send_body(response)

    def _send_body(self, response: Response) -> None:
        if response.gate is not None:
            response.gate()
        if response.endless:
            self._send_forever(response.body)
            return
        body = response.body if response.cut is None else response.body[: response.cut]
        self.wfile.write(body)
        if response.cut is not None:
            if response.reset:
                self._reset()
            else:
                self.close_connection = True

    def _send_forever(self, body: bytes) -> None:
        with contextlib.suppress(OSError):
            while True:
                part = body or bytes(65536)
                body = b""
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))

    def _reset(self) -> None:
        """Close by RST: linger on, for no time."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # Closing the descriptor under rfile and wfile: the server's later shutdown must find nothing to say FIN on.
            self.connection.close()
