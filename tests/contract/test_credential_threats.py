"""No login gets to a second server, whatever the registry says (facts: reliability §3.4, §4 R5, C2, C3).

A registry that has gone bad answers with every kind of pointer to `Elsewhere`; what counts is what that server received.
The same matrix is shown a client without any care, and must find it out.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol, Self

import pytest
import trustme

from modelops_bundle.errors import BundleError
from modelops_bundle.events import Event, Run
from modelops_bundle.model.ports import ANYTHING
from modelops_bundle.net.client import Client
from modelops_bundle.net.credentials import Credentials, Given
from modelops_bundle.net.options import HostOptions, NetOptions
from modelops_bundle.net.retry import Policy
from modelops_bundle.stores.registry import RegistryStore
from modelops_bundle.testing import actions
from modelops_bundle.testing.actions import Action
from modelops_bundle.testing.registry import Registry
from modelops_bundle.testing.store_contract import Pieces, describe, make_manifest, put, read
from tests.support.canary import printed, secret

CONTENT = os.urandom(20_000)
BLOB = describe(CONTENT)
LOGINS = ("basic", "bearer", "identity")
_LOGIN_HEADERS = frozenset(["authorization", "cookie", "proxy-authorization"])


class Elsewhere:
    """A server that a login must not get to: willing, and it writes down everything."""

    def __init__(self) -> None:
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        self.wants_login = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.port = self._server.server_address[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        if self.wants_login:
            return 401, {"WWW-Authenticate": f'Bearer realm="http://localhost:{self.port}/token", Basic realm="x"'}, b""
        if "/token" in path:
            return 200, {}, b'{"token": "from-elsewhere", "access_token": "from-elsewhere"}'
        if "/tags/" in path:
            return 200, {}, b'{"name": "x", "tags": ["elsewhere"]}'
        if method in ("POST", "PATCH"):
            return 202, {"Location": path, "Range": "0-0"}, b""
        return (201, {}, b"") if method == "PUT" else (200, {}, CONTENT)

    def _handler(outer) -> type[BaseHTTPRequestHandler]:  # noqa: N805  (the handler's own is `self`)
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                """Log nothing on stderr."""

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.received.append((f"{self.command} {self.path}", headers, body))
                status, more, data = outer.answer(self.command, self.path)
                self.send_response_only(status)
                for name, value in {**more, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

        return Handler


class Acting(Protocol):
    """A client of registries, as far as the matrix needs one. Errors are its own business."""

    def pull(self) -> object: ...

    def push(self) -> object: ...

    def tags(self) -> object: ...


class Ours:
    """The store."""

    def __init__(self, client: Client, host: str) -> None:
        self._store = RegistryStore(client, host, "team/model")

    def pull(self) -> None:
        for act in (lambda: self._store.resolve("v1", data=True), lambda: read(self._store, BLOB)):
            with contextlib.suppress(BundleError):
                act()

    def push(self) -> None:
        data = os.urandom(5000)
        with contextlib.suppress(BundleError):
            put(self._store, data)
        with contextlib.suppress(BundleError):
            self._store.upload("f", len(data), Pieces(data[::-1], 1000))
        with contextlib.suppress(BundleError):
            what, manifest = make_manifest(self._store, CONTENT)
            self._store.tag("v1", what, manifest, ANYTHING)
        with contextlib.suppress(BundleError):
            found = self._store.resolve("v1")
            assert found is None or self._store.untag("v1", found) is not None

    def tags(self) -> None:
        with contextlib.suppress(BundleError):
            self._store.tags()


class World:
    """A registry that wants a login and is about to go bad, and the place it points to."""

    def __init__(self, login: str, tls: ssl.SSLContext | None = None) -> None:
        self.registry = Registry(tls=tls)
        self.elsewhere = Elsewhere()
        self.password, self.refresh = secret(), secret("refresh")
        self.login = login
        self.credentials = Credentials("bob", self.password)
        if login == "identity":
            self.credentials = Credentials("", "", self.refresh)
        self.registry.require_auth("bob", self.password, basic=login == "basic", identity_token=self.refresh)
        self.events: list[Event] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.registry.close()
        self.elsewhere.__exit__()

    def client(self, **options: Any) -> Client:
        return Client(
            NetOptions(**options),
            credentials=Given(self.registry.host, self.credentials),
            run=Run(emit=self.events.append),
            policy=Policy(base=0.0, attempts=2),
        )

    def log_in(self, client: Client) -> None:
        """Publish something, so that the login is known to work."""
        store = RegistryStore(client, self.registry.host, "team/model")
        what, manifest = make_manifest(store, CONTENT)
        store.tag("v1", what, manifest, ANYTHING)
        store.tags()
        assert any("authorization" in one.headers for one in self.registry.requests)

    def struck(self) -> int:
        """How often the registry was bad."""
        return sum(fault.used for fault in self.registry._faults)

    def leaked(self) -> list[str]:
        """The requests to the second server that have a login in them, in any header, the address or the body."""
        words = {one.headers.get("authorization", "") for one in self.registry.requests}
        secrets = [word.split(" ")[-1].encode() for word in words if word]
        found = []
        for first, headers, body in self.elsewhere.received:
            everything = repr((first, headers)).encode() + body
            if _LOGIN_HEADERS & set(headers) or printed(everything) or any(word in everything for word in secrets):
                found.append(first)
        return found


# --- where it points, and how

ADDRESSES: dict[str, str] = {
    "port": "http://localhost:{port}",
    "host": "http://127.0.0.1:{port}",
    "no scheme": "//127.0.0.1:{port}",
    "userinfo": "http://{registry}@127.0.0.1:{port}",
    "backslash": "http://{registry}\\@127.0.0.1:{port}",
    "blank": "http://127.0.0.1:{port}/ x",
}


def to(world: World, address: str, path: str = "") -> str:
    host = world.registry.host
    return ADDRESSES[address].format(port=world.elsewhere.port, registry=host) + path


def on(world: World, methods: str, part: str, action: Action) -> None:
    world.registry.fault(lambda method, path: method in methods.split() and part in path, action, times=None)


def redirect(methods: str, part: str, status: int = 307) -> Callable[[World, str], None]:
    return lambda world, address: on(world, methods, part, actions.Redirect(to(world, address, "{target}"), status))


def location(methods: str) -> Callable[[World, str], None]:
    def order(world: World, address: str) -> None:
        target = to(world, address, "/v2/team/model/blobs/uploads/x?_state=x")
        on(world, methods, "/blobs/uploads/", actions.Headers({"Location": target}))

    return order


def link(world: World, address: str) -> None:
    target = to(world, address, "/v2/team/model/tags/list?last=v1")
    on(world, "GET", "/tags/", actions.Headers({"Link": f'<{target}>; rel="next"'}))


def realm(status: int = 401) -> Callable[[World, str], None]:
    def order(world: World, address: str) -> None:
        words = f'Bearer realm="{to(world, address, "/token")}",service="x",error="insufficient_scope",scope="a:b:c"'
        action = actions.Status(status, {"WWW-Authenticate": words})
        world.registry.fault(lambda _, path: "/token" not in path, action, times=None)

    return order


def token_redirect(world: World, address: str) -> None:
    world.registry.expire_tokens()
    on(world, "GET POST", "/token", actions.Redirect(to(world, address, "{target}")))


def hints(world: World, address: str) -> None:
    """Fields that other clients follow."""
    there = to(world, address, "/v2/")
    fields = {"Content-Location": there, "Refresh": f"0; url={there}", "Alt-Svc": f'h2=":{world.elsewhere.port}"'}
    world.registry.fault(
        lambda *_: True, actions.Headers({**fields, "Set-Cookie": f"session={secret('cookie')}"}), None
    )


def back_and_forth(world: World, address: str) -> None:
    """There, asked for a login there, and so on."""
    world.elsewhere.wants_login = True
    redirect("GET HEAD", "/v2/")(world, address)


THREATS: dict[str, Callable[[World, str], None]] = {
    "redirected blob": redirect("GET HEAD", "/blobs/"),
    "redirected manifest": redirect("GET HEAD", "/manifests/", 302),
    "redirected tags": redirect("GET", "/tags/", 301),
    "redirected POST": redirect("POST", "/blobs/"),
    "redirected PUT": redirect("PUT", "/blobs/", 308),
    "redirected PATCH": redirect("PATCH", "/blobs/"),
    "redirected manifest PUT": redirect("PUT", "/manifests/", 303),
    "redirected DELETE": redirect("DELETE", "/"),
    "a second login": back_and_forth,
    "Location of a start": location("POST"),
    "Location of a part": location("PATCH"),
    "Location of an end": location("PUT"),
    "next page": link,
    "realm of a 401": realm(),
    "realm of a 403": realm(403),
    "redirected token server": token_redirect,
    "other fields": hints,
}
TEMPTING = {
    "redirected blob",
    "redirected manifest",
    "redirected tags",
    "a second login",
    "Location of a start",
    "next page",
    "realm of a 401",
}
"""Those that the careless client falls for."""


def act(who: Acting) -> None:
    who.pull()
    who.push()
    who.tags()


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("threat", THREATS)
def test_no_login_gets_elsewhere(threat: str, address: str, login: str) -> None:
    with World(login) as world, world.client() as client:
        world.log_in(client)
        THREATS[threat](world, address)
        act(Ours(client, world.registry.host))
        assert world.struck() or (threat, login) == ("redirected token server", "basic")
        assert world.leaked() == []
        assert not printed(repr(world.events).encode())


def test_there_are_enough_cases() -> None:
    assert len(THREATS) * len(ADDRESSES) * len(LOGINS) >= 40


# --- the control: a client without any care


class Careless:
    """Sends its login wherever it is told to."""

    def __init__(self, world: World) -> None:
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._base = f"{world.registry.url}/v2/team/model"
        self._basic = world.credentials.basic
        self._login = self._basic

    def _ask(self, method: str, url: str, again: bool = True) -> Any:
        # urllib keeps the login in a redirect.
        request = urllib.request.Request(url, method=method, headers={"Authorization": self._login}, data=None)
        try:
            with self._opener.open(request, timeout=10) as answer:
                answer.read()
                return answer.headers
        except urllib.error.HTTPError as error:
            with error:
                challenge = error.headers.get("WWW-Authenticate", "")
            realm = re.search(r'Bearer realm="([^"]*)"', challenge)
            if realm is None or not again:
                return {}
            scope = re.search(r'scope="([^"]*)"', challenge)
            address = f"{realm[1]}?scope={scope[1] if scope else ''}"
            request = urllib.request.Request(address, headers={"Authorization": self._basic})
            with contextlib.suppress(OSError, ValueError), self._opener.open(request, timeout=10) as answer:
                self._login = f"Bearer {json.loads(answer.read())['token']}"
                return self._ask(method, url, again=False)
        except (OSError, ValueError):
            return {}
        return {}

    def pull(self) -> None:
        self._ask("GET", f"{self._base}/manifests/v1")
        self._ask("GET", f"{self._base}/blobs/{BLOB.digest}")

    def push(self) -> None:
        target = self._ask("POST", f"{self._base}/blobs/uploads/").get("Location")
        if target:
            self._ask("PUT", target if "://" in target else f"http:{target}")

    def tags(self) -> None:
        target = re.match(r"<(.*)>", self._ask("GET", f"{self._base}/tags/list").get("Link", ""))
        if target:
            self._ask("GET", target[1])


@pytest.mark.parametrize("login", ["basic", "bearer"])
@pytest.mark.parametrize("address", ["port", "host"])
@pytest.mark.parametrize("threat", sorted(TEMPTING))
def test_the_matrix_finds_out_who_is_careless(threat: str, address: str, login: str) -> None:
    with World(login) as world, world.client() as client:
        world.log_in(client)
        THREATS[threat](world, address)
        act(Careless(world))
        assert world.leaked() != []


# --- from TLS to plain HTTP, and to other names


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def with_tls(host: str) -> dict[str, Any]:
    """The options that let a name of loopback have TLS."""
    return {"hosts": {host: HostOptions(plain_http=False)}}


def through(port: int, login: str = "") -> dict[str, Any]:
    """The options of a proxy."""
    url = f"http://{login}localhost:{port}"
    return {"http_proxy": url, "https_proxy": url}


def context_of(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def trusting(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("address", ["port", "host"])
@pytest.mark.parametrize("threat", THREATS)
def test_no_login_leaves_tls(authority: trustme.CA, tmp_path: Path, threat: str, address: str, login: str) -> None:
    with World(login, context_of(authority, "localhost")) as world:
        with world.client(ca_file=trusting(authority, tmp_path), **with_tls(world.registry.host)) as client:
            world.log_in(client)
            THREATS[threat](world, address)
            act(Ours(client, world.registry.host))
        assert world.struck() or (threat, login) == ("redirected token server", "basic")
        assert world.leaked() == []
        if threat != "other fields":
            assert world.elsewhere.received == [], "nothing at all goes on without TLS"


def test_a_first_realm_without_tls_gets_nothing(authority: trustme.CA, tmp_path: Path) -> None:
    for login in ("bearer", "identity"):
        with World(login, context_of(authority, "localhost")) as world:
            world.registry.realm = f"http://localhost:{world.elsewhere.port}/token"
            with world.client(**with_tls(world.registry.host)) as client:
                act(Ours(client, world.registry.host))
            assert world.elsewhere.received == []


# --- proxies


class Tunnel:
    """A proxy that connects every CONNECT to `port`, and writes down what it is told."""

    def __init__(self, port: int, status: str = "200 OK") -> None:
        self.heads: list[bytes] = []
        self._port, self._status = port, status
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        head = b""
        with client, contextlib.suppress(OSError):
            while b"\r\n\r\n" not in head:
                data = client.recv(65536)
                if not data:
                    return
                head += data
            self.heads.append(head)
            client.sendall(f"HTTP/1.1 {self._status}\r\nContent-Length: 0\r\n\r\n".encode())
            if not self._status.startswith("200"):
                return
            with socket.create_connection(("127.0.0.1", self._port)) as server:
                threading.Thread(target=self._pump, args=(server, client), daemon=True).start()
                self._pump(client, server)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def far(authority: trustme.CA) -> Iterator[Registry]:
    """A registry that only a proxy can find, as registry.example."""
    with Registry(tls=context_of(authority, "registry.example")) as registry:
        yield registry


@pytest.mark.parametrize("login", LOGINS)
def test_proxy_and_registry_see_their_own_login_only(
    far: Registry, authority: trustme.CA, tmp_path: Path, login: str
) -> None:
    password, refresh, word = secret(), secret("refresh"), secret("proxy")
    far.require_auth("bob", password, basic=login == "basic", identity_token=refresh)
    far.realm = "https://registry.example/token"
    who = Credentials("", "", refresh) if login == "identity" else Credentials("bob", password)
    with Tunnel(int(far.host.rpartition(":")[2])) as tunnel:
        options = NetOptions(ca_file=trusting(authority, tmp_path), **through(tunnel.port, f"me:{word}@"))
        with Client(options, credentials=Given("registry.example", who)) as client:
            store = RegistryStore(client, "registry.example", "team/model")
            assert read(store, put(store, CONTENT)) == CONTENT
    proxy_login = Credentials("me", word).basic.encode()
    assert tunnel.heads
    for head in tunnel.heads:
        assert head.startswith(b"CONNECT registry.example:443 ")
        assert proxy_login in head
        assert b"\r\nauthorization:" not in head.lower()
    assert all("proxy-authorization" not in one.headers for one in far.requests)
    assert any("authorization" in one.headers for one in far.requests)


def test_a_proxy_that_wants_another_login_learns_nothing(far: Registry) -> None:
    with Tunnel(0, "407 Proxy Authentication Required") as tunnel:
        options = NetOptions(**through(tunnel.port))
        given = Given("registry.example", Credentials("bob", secret()))
        with Client(options, credentials=given, policy=Policy(base=0.0)) as client:
            with pytest.raises(BundleError) as caught:
                RegistryStore(client, "registry.example", "team/model").resolve("v1")
        assert caught.value.exit_code in (7, 8)
    assert 0 < len(tunnel.heads) <= 6
    assert all(b"authorization" not in head.lower() for head in tunnel.heads)


# --- whose login it is


@pytest.mark.parametrize(
    "name", ["localhost.evil.example", "127.0.0.1.evil.example", "localhost.", "10.0.0.1", "registry", "0x7f000001"]
)
def test_plain_http_only_for_loopback_itself(name: str) -> None:
    """C3: a name that merely begins like loopback is spoken to with TLS."""
    assert NetOptions().registry(name).scheme == "https"


@pytest.mark.parametrize("key", ["other port", "prefix", "parent", "docker.io", "path"])
def test_a_login_for_another_host_is_not_sent(home: Path, key: str, tmp_path: Path) -> None:
    """C2: end to end, with Docker's file."""
    from tests.support.bundle import call

    with World("basic") as world:
        host = world.registry.host
        keys = {
            "other port": f"localhost:{int(host.rpartition(':')[2]) ^ 1}",
            "prefix": host[:-1],
            "parent": "host",
            "docker.io": "https://index.docker.io/v1/",
            "path": f"{host}/team",
        }
        path = home / ".docker" / "config.json"
        path.parent.mkdir()
        auth = world.credentials.basic.removeprefix("Basic ")
        path.write_text(json.dumps({"auths": {keys[key]: {"auth": auth}}}))
        path.chmod(0o600)
        result = call("--json", "tags", f"{host}/other/model", expect=7)
        assert "login" in result.error["hint"]
        assert world.registry.requests
        assert all("authorization" not in one.headers for one in world.registry.requests)
