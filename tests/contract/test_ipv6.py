"""A registry whose address is IPv6: references, requests, uploads, and proxies on the way."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.bundle import Bundle, call
from tests.support.certificates import Authority, tls_settings
from tests.support.proxies import HTTPProxy, SOCKSProxy
from tests.support.registry_process import ProcessRegistry, Unobtainable

BIG = os.urandom(3_100_000)


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


pytestmark = [
    pytest.mark.registry,
    pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6"),
]


@contextmanager
def started(directory: Path, settings: dict[str, object] | None = None) -> Iterator[ProcessRegistry]:
    try:
        found = ProcessRegistry(directory, settings, name="[::1]")
    except Unobtainable as error:
        pytest.skip(str(error))
    try:
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessRegistry]:
    with started(tmp_path_factory.mktemp("r") / "data") as found:
        yield found


def journey(place: str, tmp_path: Path, *flags: str) -> None:
    made = Bundle(tmp_path / "a")
    made.root.mkdir()
    made.run(*flags, "init", place)
    made.commit({"model.bin": BIG})
    made.push("--tag", "v1")
    call(*flags, "clone", place, str(tmp_path / "b"))
    assert (tmp_path / "b/model.bin").read_bytes() == BIG
    assert {tag["tag"] for tag in made.json("tags")["tags"]} == {"latest", "v1"}
    Bundle(tmp_path / "b").commit({"more.txt": "more\n"})
    made.run("pull", ":latest")
    assert made.read("more.txt") == "more\n"


def test_a_journey(server: ProcessRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Loopback is loopback in every spelling: no proxy is asked.
    with HTTPProxy() as proxy:
        monkeypatch.setenv("all_proxy", proxy.url("http"))
        journey(f"{server.host}/team/model", tmp_path)
        assert not proxy.asked


def test_a_journey_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with started(tmp_path / "data", tls_settings(authority.issue("::1"))) as server:
        journey(f"{server.host}/team/model", tmp_path, "--ca-file", str(authority.file))
        made = Bundle(tmp_path / "a")
        assert (made.json("remote", "list")["remotes"][0]["settings"]) == {"ca_file": str(authority.file)}


@pytest.mark.parametrize("kind", ["http", "socks5h"])
def test_an_address_through_a_proxy(
    kind: str, server: ProcessRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(server.host.rpartition(":")[2])
    proxy = (HTTPProxy if kind == "http" else SOCKSProxy)()
    # A network that nobody has (RFC 3849), which the proxy takes for this machine.
    proxy.reach = lambda host, _: socket.create_connection(("::1", port))  # type: ignore[method-assign]
    with proxy:
        monkeypatch.setenv("all_proxy", proxy.url(kind))
        place = f"[2001:db8::1]:{port}/team/{kind}"
        journey(place, tmp_path, "--plain-http")
    assert "2001:db8::1" in proxy.asked[0]
    assert proxy.moved > 2 * len(BIG)
