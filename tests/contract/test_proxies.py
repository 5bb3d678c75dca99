"""Proxies between us and real registries: which one is used, what goes through it, and what is said when it does not."""

from __future__ import annotations

import functools
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelops_bundle.errors import Interrupted
from modelops_bundle.events import Run
from modelops_bundle.net import client
from modelops_bundle.net.client import Client
from modelops_bundle.net.exchange import Request
from modelops_bundle.net.options import NetOptions
from modelops_bundle.net.retry import Policy
from tests.support.bundle import Bundle, call, spawn
from tests.support.canary import secret
from tests.support.certificates import Authority, tls_settings
from tests.support.proxies import HTTPProxy, Proxy, SOCKSProxy
from tests.support.registry_process import ProcessRegistry, Unobtainable

pytestmark = pytest.mark.registry

BIG = os.urandom(3_500_000)
FILES = {"model.bin": BIG, "config.json": "{}\n"}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries do not wait."""
    monkeypatch.setattr(client, "Policy", functools.partial(Policy, base=0.001, ceiling=0.002))


class Far:
    """A registry that is reached by a name which proxies know, and nobody else."""

    def __init__(self, server: ProcessRegistry, name: str, flags: list[str]) -> None:
        self.port = int(server.host.rpartition(":")[2])
        self.host = f"{name}:{self.port}"
        self.names = {self.host: self.port}
        self.flags = flags


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


def started(make: Callable[[], ProcessRegistry]) -> Iterator[ProcessRegistry]:
    try:
        found = make()
    except Unobtainable as error:
        pytest.skip(str(error))
    yield found
    found.stop()


@pytest.fixture(scope="module")
def plain_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessRegistry]:
    # Relative, or it would tell those who upload its own name without TLS, which is right here, and not behind TLS.
    settings = {"http": {"relativeurls": True}}
    yield from started(lambda: ProcessRegistry(tmp_path_factory.mktemp("r") / "data", settings))


@pytest.fixture(scope="module")
def tls_server(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessRegistry]:
    settings = tls_settings(authority.issue("registry.test", "localhost"))
    yield from started(lambda: ProcessRegistry(tmp_path_factory.mktemp("r") / "data", settings))


@pytest.fixture(params=["http", "https"])
def far(request: pytest.FixtureRequest, authority: Authority) -> Far:
    if request.param == "http":
        return Far(request.getfixturevalue("plain_server"), "registry.test", ["--plain-http"])
    return Far(request.getfixturevalue("tls_server"), "registry.test", ["--ca-file", str(authority.file)])


@pytest.fixture
def place(far: Far, request: pytest.FixtureRequest) -> str:
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name.lower()).strip("-")
    while "--" in name:
        name = name.replace("--", "-")
    return f"{far.host}/p/{name}"


def journey(place: str, flags: list[str], tmp_path: Path) -> None:
    """Push, clone, change, push, pull: all by a way that is set up already."""
    made = Bundle(tmp_path / "a")
    made.root.mkdir()
    made.run(*flags, "init", place)
    made.commit(FILES)
    call(*flags, "clone", place, str(tmp_path / "b"))
    assert (tmp_path / "b/model.bin").read_bytes() == BIG
    Bundle(tmp_path / "b").commit({"more.txt": "more\n"})
    made.run("pull")
    assert made.read("more.txt") == "more\n"


@pytest.mark.parametrize("login", [False, True], ids=["open", "login"])
def test_a_journey_through_an_http_proxy(
    far: Far, place: str, login: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = ("me", secret()) if login else None
    with HTTPProxy(who, far.names) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url("http", login=who))
        monkeypatch.setenv("https_proxy", proxy.url("http", login=who))
        journey(place, far.flags, tmp_path)
    words = {"--plain-http": f"GET http://{far.host}/", "--ca-file": f"CONNECT {far.host}"}[far.flags[0]]
    assert all(asked.split()[0] in words or "http://" in asked for asked in proxy.asked)
    assert any(asked.startswith(words) for asked in proxy.asked)
    assert proxy.moved > 2 * len(BIG)
    assert proxy.refused == 0


def test_a_journey_through_a_proxy_that_has_tls_itself(
    far: Far, place: str, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS inside of TLS for https: the authority of the proxy is the system's."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with HTTPProxy(None, far.names, authority.issue("localhost").context()) as proxy:
        monkeypatch.setenv("all_proxy", proxy.url("https"))
        journey(place, far.flags, tmp_path)
    assert proxy.moved > 2 * len(BIG)


@pytest.mark.parametrize("login", [False, True], ids=["open", "login"])
@pytest.mark.parametrize("scheme", ["socks5h", "socks4a"])
def test_a_journey_through_a_socks_proxy(
    far: Far, place: str, scheme: str, login: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = ("me", secret()) if login else None
    with SOCKSProxy(who if scheme == "socks5h" else None, far.names) as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.url(scheme, login=who))
        journey(place, far.flags, tmp_path)
    assert set(proxy.asked) == {f"{scheme[:6].upper()} {far.host}"}
    assert proxy.moved > 2 * len(BIG)


@pytest.mark.parametrize("scheme", ["socks5", "socks4"])
def test_socks_without_h_looks_names_up_here(
    far: Far, place: str, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a test nobody knows the name: the name service is told."""
    real = socket.getaddrinfo

    def known(host: str, *words: object, **more: object) -> object:
        return real("127.0.0.1" if host == "registry.test" else host, *words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", known)
    monkeypatch.setattr(socket, "gethostbyname", lambda host: "127.0.0.1")
    with SOCKSProxy() as proxy:
        monkeypatch.setenv("all_proxy", proxy.url(scheme))
        journey(place, far.flags, tmp_path)
    assert set(proxy.asked) == {f"{scheme.upper()} 127.0.0.1:{far.port}"}


# --- which one


def refusal(place: str, *flags: str) -> dict[str, object]:
    """The error of asking for tags."""
    return call("--json", *flags, "tags", place, expect=None).error


@pytest.fixture
def both() -> Iterator[tuple[HTTPProxy, HTTPProxy]]:
    with HTTPProxy() as one, HTTPProxy() as other:
        yield one, other


@pytest.mark.parametrize(
    ("flags", "chosen"), [(["--plain-http"], "http_proxy"), ([], "https_proxy")], ids=["http", "https"]
)
@pytest.mark.parametrize("upper", [False, True])
def test_the_scheme_of_the_target_chooses(
    both: tuple[Proxy, Proxy], flags: list[str], chosen: str, upper: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, other = both
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        proxy = wanted if name == chosen else other
        monkeypatch.setenv(name.upper() if upper else name, proxy.url("http"))
    refusal("registry.test:5000/m", *flags)
    assert wanted.asked
    assert not other.asked


def test_lower_case_wins(both: tuple[Proxy, Proxy], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", both[0].url("http"))
    monkeypatch.setenv("HTTPS_PROXY", both[1].url("http"))
    refusal("registry.test/m")
    assert both[0].asked
    assert not both[1].asked


@pytest.fixture
def nameless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows hosts below `.invalid` (RFC 6761 §6.4), and no name service is asked."""
    real = socket.getaddrinfo

    def known(host: str, *words: object, **more: object) -> object:
        if host.endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", known)


@pytest.mark.usefixtures("nameless")
def test_a_request_of_somebody_else_chooses_no_proxy(
    both: tuple[Proxy, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """httpoxy: where a web server runs us, HTTP_PROXY is what the request's header `Proxy` says."""
    monkeypatch.setenv("REQUEST_METHOD", "GET")
    monkeypatch.setenv("HTTP_PROXY", both[0].url("http"))
    refusal("registry.invalid/m", "--plain-http")
    assert not both[0].asked
    monkeypatch.setenv("http_proxy", both[1].url("http"))
    refusal("registry.invalid/m", "--plain-http")
    assert both[1].asked


@pytest.mark.usefixtures("nameless")
@pytest.mark.parametrize("rule", ["*", "registry.invalid", ".invalid", "other, registry.invalid:80", "other invalid"])
def test_no_proxy(rule: str, both: tuple[Proxy, Proxy], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", both[0].url("http"))
    refusal("registry.invalid/m", "--plain-http")
    asked = len(both[0].asked)
    assert asked
    monkeypatch.setenv("no_proxy", rule)
    assert "cannot find the host" in str(refusal("registry.invalid/m", "--plain-http")["message"])
    assert len(both[0].asked) == asked


def test_loopback_is_never_asked_for(
    plain_server: ProcessRegistry, both: tuple[Proxy, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("all_proxy", both[0].url("http"))
    assert call("--json", "tags", f"{plain_server.host}/absent").json["tags"] == []
    assert not both[0].asked


# --- what goes wrong


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_a_proxy_that_is_down(far: Far, place: str, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with HTTPProxy() as gone:
        url = gone.url(scheme, login=("me", secret()))
    monkeypatch.setenv("all_proxy", url)
    error = refusal(place, *far.flags)
    assert error["exit_code"] == 8
    assert f"through the proxy {scheme}://***@localhost:{gone.port}" in str(error["message"])
    assert "no_proxy" in str(error["hint"])


@pytest.mark.parametrize("kind", ["http", "socks5h"])
@pytest.mark.parametrize("given", [False, True], ids=["none", "wrong"])
def test_a_proxy_that_wants_a_login(
    far: Far, place: str, kind: str, given: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = (HTTPProxy if kind == "http" else SOCKSProxy)(("me", secret()), far.names)
    with made as proxy:
        monkeypatch.setenv("all_proxy", proxy.url(kind, login=("me", secret()) if given else None))
        error = refusal(place, *far.flags)
    assert error["exit_code"] == 7
    assert f"the proxy {kind}://" in str(error["message"])
    assert ("refused the login" if given else "wants a login") in str(error["message"])
    assert proxy.refused == 1


def test_a_proxy_that_cannot_get_there(far: Far, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with HTTPProxy() as proxy, HTTPProxy() as closed:
        closed.close()
        proxy.names[far.host] = closed.port
        monkeypatch.setenv("all_proxy", proxy.url("http"))
        error = refusal(place, *far.flags)
    assert error["exit_code"] == 8
    assert "502" in str(error["message"])


def test_without_the_extra_socks_is_named(tmp_path: Path) -> None:
    hide = "import sys; sys.modules['socks'] = None"
    told = {"all_proxy": "socks5h://localhost:1"}
    found = spawn("--json", "tags", "registry.test/m", expect=2, environment=told, before=hide)
    assert "modelops-bundle[socks]" in found.error["hint"]


class Silent(HTTPProxy):
    """Takes requests, and never answers."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        super().__init__()

    def handle(self, client: socket.socket) -> None:
        client.recv(1)
        self.reached.set()
        while client.recv(65536):
            pass


@pytest.mark.parametrize("url", ["http://registry.test/v2/", "https://registry.test/v2/"])
def test_who_waits_for_a_proxy_can_be_woken(url: str) -> None:
    raised: list[Exception] = []
    run = Run()
    with Silent() as proxy:
        options = NetOptions(http_proxy=proxy.url("http"), https_proxy=proxy.url("http"), stall_timeout=60)
        with Client(options, run=run) as ours:

            def work() -> None:
                try:
                    ours.fetch(Request("GET", url, "root"))
                except Interrupted as error:
                    raised.append(error)

            thread = threading.Thread(target=work)
            thread.start()
            assert proxy.reached.wait(30)
            run.cancel()
            while thread.is_alive():
                ours.abort()
                thread.join(0.05)
    assert len(raised) == 1
