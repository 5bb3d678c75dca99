"""TLS: whom we trust, who we are, and what is said when that is not enough."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from modelops_bundle.errors import Unavailable
from modelops_bundle.net.client import Client
from modelops_bundle.net.exchange import Request
from modelops_bundle.net.options import HostOptions, NetOptions
from modelops_bundle.stores.registry import RegistryStore
from modelops_bundle.testing import actions
from modelops_bundle.testing.contents import InFile
from modelops_bundle.testing.registry import Registry
from modelops_bundle.testing.store_contract import Pieces, describe, put, read
from tests.support.bundle import FOLDER, Bundle, call
from tests.support.certificates import Authority, Identity, tls_settings
from tests.support.registry_process import ProcessRegistry, Unobtainable


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Identity:
    return authority.issue("localhost")


@pytest.fixture
def registry(server: Identity) -> Iterator[Registry]:
    with Registry(tls=server.context()) as registry:
        yield registry


def root(registry: Registry) -> Request:
    return Request("GET", f"{registry.url}/v2/", "root")


def test_an_unknown_authority_is_refused_at_once(registry: Registry) -> None:
    with Client(sleep=lambda _: pytest.fail("nothing to wait for")) as client:
        with pytest.raises(Unavailable, match="not trusted") as caught:
            client.fetch(root(registry))
    assert "--ca-file" in (caught.value.hint or "")
    assert registry.requests == []


def test_an_authority_that_was_named_is_trusted(registry: Registry, authority: Authority) -> None:
    with Client(NetOptions(ca_file=str(authority.file))) as client:
        assert client.fetch(root(registry)).status == 200
        wrong_name = registry.url.replace("localhost", "127.0.0.1")
        with pytest.raises(Unavailable, match="for another host"):
            client.fetch(Request("GET", f"{wrong_name}/v2/", "root"))


def test_a_directory_of_the_systems_authorities(
    registry: Registry,
    authority: Authority,
    peer: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = [peer("openssl"), "x509", "-noout", "-hash", "-in", str(authority.file)]
    name = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
    (tmp_path / f"{name}.0").write_bytes(authority.file.read_bytes())
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    with Client(NetOptions(hosts={registry.host: HostOptions(plain_http=False)})) as client:
        assert client.fetch(root(registry)).status == 200


def test_a_host_named_insecure_is_not_checked(registry: Registry) -> None:
    data = bytes(range(256)) * 12_000
    with Client(NetOptions(hosts={registry.host: HostOptions(insecure=True)})) as client:
        store = RegistryStore(client, registry.host, "team/model")
        store.put(describe(data), Pieces(data, 1024 * 1024))
        assert read(store, describe(data)) == data
        assert read(store, describe(data), 5, 500_000) == data[5:500_000]
        registry.fault(lambda method, _: method == "GET", actions.Cut(100_000))
        assert read(store, describe(data)) == data
        assert read(store, put(store, b"")) == b""


def test_a_file_goes_through_tls_too(registry: Registry, tmp_path: Path) -> None:
    data = bytes(range(256)) * 12_000
    with Client(NetOptions(hosts={registry.host: HostOptions(insecure=True)})) as client:
        store = RegistryStore(client, registry.host, "team/model")
        file = InFile(tmp_path / "f", data)
        assert store.upload("f", len(data), file) == describe(data).digest
        registry.fault(lambda method, _: method == "POST", actions.IgnoreMount())
        store.put(describe(data), file)
        assert file.spanned == [0, 0]
        assert read(store, describe(data)) == data


def test_tls_to_a_plain_server_is_named() -> None:
    with Registry() as plain, Client(NetOptions(hosts={plain.host: HostOptions(insecure=True)})) as client:
        with pytest.raises(Unavailable, match="does not speak TLS") as caught:
            RegistryStore(client, plain.host, "team/model").resolve("v1")
    assert "--plain-http" in (caught.value.hint or "")


def test_redirects_do_not_leave_tls(registry: Registry, authority: Authority) -> None:
    with Registry() as plain, Client(NetOptions(ca_file=str(authority.file))) as client:
        registry.fault(lambda *_: True, actions.Redirect(f"{plain.url}/v2/"))
        with pytest.raises(Unavailable, match="from TLS to plain HTTP"):
            client.fetch(root(registry))
        assert plain.requests == []


# --- what cannot be done about certificates


def asked(options: NetOptions, registry: Registry, *, once: bool = True) -> Unavailable:
    """The error of asking; nothing may be tried twice, unless that is said."""

    def sleep(_: float) -> None:
        assert not once, "nothing to wait for"

    with Client(options, sleep=sleep) as client:
        with pytest.raises(Unavailable) as caught:
            client.fetch(root(registry))
    return caught.value


def test_a_certificate_that_expired(authority: Authority) -> None:
    old = authority.issue("localhost", expires=datetime.now(UTC) - timedelta(days=1))
    with Registry(tls=old.context()) as registry:
        error = asked(NetOptions(ca_file=str(authority.file)), registry)
    assert "is not valid now: certificate verify failed: certificate has expired" in error.message


def test_a_certificate_for_another_host(authority: Authority) -> None:
    with Registry(tls=authority.issue("other.example").context()) as registry:
        error = asked(NetOptions(ca_file=str(authority.file)), registry)
    assert "is for another host" in error.message


def test_an_old_version_of_tls(server: Identity, authority: Authority) -> None:
    context = server.context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with Registry(tls=context) as registry:
        assert "an old version of TLS" in asked(NetOptions(ca_file=str(authority.file)), registry).message


def told(options: NetOptions, registry: Registry, words: str) -> Unavailable:
    """The error with these words.

    In TLS 1.3 the server's alert comes after the handshake; who is still sending may find the connection gone instead.
    """
    for _ in range(50):
        error = asked(options, registry, once=False)
        if words in error.message:
            return error
    raise AssertionError(error.message)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_client_certificates(authority: Authority, server: Identity, tmp_path: Path, version: ssl.TLSVersion) -> None:
    context = server.context(clients=authority)
    context.maximum_version = version
    stranger = Authority(tmp_path, "stranger").issue("me@example.com")
    me = authority.issue("me@example.com")
    with Registry(tls=context) as registry:

        def options(cert: Path | None = None, key: Path | None = None) -> NetOptions:
            own = HostOptions(client_cert=str(cert) if cert else None, client_key=str(key) if key else None)
            return NetOptions(ca_file=str(authority.file), hosts={registry.host: own})

        error = told(options(), registry, "client certificate")
        assert "--client-cert" in (error.hint or "")
        told(options(stranger.both), registry, "refused the client certificate")
        for right in (options(me.both), options(me.cert, me.key)):
            with Client(right) as client:
                assert client.fetch(root(registry)).status == 200


class Curious(ssl.SSLSocket):
    """Notes who comes."""

    seen: set[str]

    def recv_into(self, *args: Any) -> int:
        count = super().recv_into(*args)
        self.seen.add("somebody" if self.getpeercert() else "nobody")
        return count


def curious(server: Identity, clients: Authority, seen: set[str]) -> ssl.SSLContext:
    """Asks for a certificate, and needs none."""
    context = server.context(clients=clients)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.sslsocket_class = type("CuriousSocket", (Curious,), {"seen": seen})
    return context


def test_the_client_certificate_goes_to_nobody_else(authority: Authority, server: Identity) -> None:
    here: set[str] = set()
    there: set[str] = set()
    me = authority.issue("me@example.com")
    with (
        Registry(tls=curious(server, authority, there)) as elsewhere,
        Registry(tls=curious(server, authority, here)) as registry,
    ):
        options = NetOptions(ca_file=str(authority.file), hosts={registry.host: HostOptions(client_cert=str(me.both))})
        with Client(options) as client:
            registry.fault(lambda *_: True, actions.Redirect(f"{elsewhere.url}/v2/"))
            assert client.fetch(root(registry)).status == 200
            # The realm of a login is another host, too.
            registry.heal()
            registry.require_auth("user", "x", anonymous_pull=True)
            registry.realm = f"{elsewhere.url}/v2/"
            with pytest.raises(Unavailable, match="no usable token"):
                RegistryStore(client, registry.host, "m").resolve("v1")
    assert len(elsewhere.requests) == 2
    assert (here, there) == ({"somebody"}, {"nobody"})


def test_tls_asked_in_plain_http_is_named(registry: Registry) -> None:
    """The in-process registry only hangs up; see below for a real one."""
    plain = NetOptions(hosts={registry.host: HostOptions(plain_http=True)})
    with Client(plain, sleep=lambda _: None) as client, pytest.raises(Unavailable):
        RegistryStore(client, registry.host, "m").resolve("v1")
    assert registry.requests == []


# --- real servers, by the command line

BIG = os.urandom(3_500_000)
FILES = {"model.bin": BIG, "config.json": "{}\n"}


@pytest.fixture(scope="module")
def real(server: Identity, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessRegistry]:
    yield from started(tmp_path_factory.mktemp("registry"), server, None)


@pytest.fixture(scope="module")
def mutual(
    server: Identity, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProcessRegistry]:
    """Wants client certificates."""
    yield from started(tmp_path_factory.mktemp("registry"), server, authority)


def started(where: Path, server: Identity, clients: Authority | None) -> Iterator[ProcessRegistry]:
    try:
        found = ProcessRegistry(where / "data", tls_settings(server, clients))
    except Unobtainable as error:
        pytest.skip(str(error))
    yield found
    found.stop()


@pytest.mark.registry
@pytest.mark.parametrize("way", ["flag", "SSL_CERT_FILE", "remote", "hosts", "user's hosts", "insecure"])
def test_push_and_pull_over_tls(
    way: str,
    real: ProcessRegistry,
    authority: Authority,
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = f"{real.host}/tls/{way.replace(' ', '').replace(chr(39), '').lower()}"
    flags = {"flag": ["--ca-file", str(authority.file)], "insecure": ["--insecure"]}.get(way, [])
    made = Bundle.create(tmp_path / "a", place, FILES)
    if way == "SSL_CERT_FILE":
        made.run("config", "set", "remotes.origin.plain_http", "false")
        made.refused(8, "push")
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        flags = ["--config", f"hosts.{real.host}.plain_http=false"]
    elif way == "remote":
        made.run("config", "set", "remotes.origin.ca_file", str(authority.file))
        flags = ["--config", f"hosts.{real.host}.ca_file={authority.file}"]
    elif way == "hosts":
        made.run("config", "set", f'hosts."{real.host}".ca_file', str(authority.file))
        flags = ["--config", f"hosts.{real.host}.ca_file={authority.file}"]
    elif way == "user's hosts":
        (home / ".config/modelops-bundle").mkdir(parents=True)
        (home / ".config/modelops-bundle/ca.pem").write_bytes(authority.file.read_bytes())
        settings = f'[hosts."{real.host}"]\nca_file = "ca.pem"\n'
        (home / ".config/modelops-bundle/config.toml").write_text(settings)
    made.run(*(flags if way in ("flag", "insecure") else []), "push")
    call(*flags, "clone", place, str(tmp_path / "b"))
    assert (tmp_path / "b/model.bin").read_bytes() == BIG
    assert call(*flags, "--json", "tags", place).json["tags"]


@pytest.mark.registry
def test_flags_are_remembered_with_the_remote(real: ProcessRegistry, authority: Authority, tmp_path: Path) -> None:
    place = f"{real.host}/tls/remembered"
    (tmp_path / "a").mkdir()
    (tmp_path / "a/ca.pem").write_bytes(authority.file.read_bytes())
    made = Bundle(tmp_path / "a")
    assert "ca_file = ca.pem" in made.run("--ca-file", "ca.pem", "init", place).out
    made.write(FILES)
    made.run("add", ".")
    made.push()
    assert 'ca_file = "ca.pem"' in (made.root / FOLDER / "config.toml").read_text()
    clone = Bundle(tmp_path / "b")
    told = call("--insecure", "clone", place, str(clone.root)).out
    assert "Remembered for origin: insecure" in told
    clone.commit({"more.txt": "more\n"})
    made.run("pull")
    assert made.read("more.txt") == "more\n"


@pytest.mark.registry
def test_nobody_is_trusted_and_plain_http_is_named(real: ProcessRegistry, tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "a", f"{real.host}/tls/untrusted", FILES)
    error = made.refused(8, "push")
    assert "speaks TLS, and was asked in plain HTTP" in error["message"]
    assert "--ca-file" in error["hint"]
    made.run("config", "set", "remotes.origin.plain_http", "false")
    error = made.refused(8, "push")
    assert "is not trusted" in error["message"]
    assert "speaks TLS" in made.refused(8, "--plain-http", "push")["message"]


@pytest.mark.registry
def test_push_and_pull_with_a_client_certificate(
    mutual: ProcessRegistry, authority: Authority, tmp_path: Path, peer: Callable[[str], str]
) -> None:
    place = f"{mutual.host}/tls/mutual"
    me, stranger = authority.issue("me@example.com"), Authority(tmp_path, "stranger").issue("me@example.com")
    trust = ["--ca-file", str(authority.file)]
    mine = ["--client-cert", str(me.cert), "--client-key", str(me.key)]
    made = Bundle.create(tmp_path / "a", place, FILES)
    error = made.refused(8, *trust, "push")
    assert "wants a client certificate" in error["message"]
    assert "--client-cert" in error["hint"]
    error = made.refused(8, *trust, "--client-cert", str(stranger.both), "push")
    assert "refused the client certificate" in error["message"]
    error = made.refused(2, *trust, "--client-cert", str(me.cert), "--client-key", str(stranger.key), "push")
    assert str(stranger.key) in error["message"]
    made.run("remote", "set", "origin", place, *trust, *mine)
    made.push()
    call(*trust, "--client-cert", str(me.both), "clone", place, str(tmp_path / "b"))
    assert (tmp_path / "b/model.bin").read_bytes() == BIG
    # A peer in the same set-up reads the same.
    words = [
        "--plain-http=false",
        "--ca-file",
        str(authority.file),
        "--cert-file",
        str(me.cert),
        "--key-file",
        str(me.key),
    ]
    subprocess.run([peer("oras"), "pull", *words, f"{place}:latest", "-o", str(tmp_path / "c")], check=True)
    assert (tmp_path / "c/model.bin").read_bytes() == BIG
