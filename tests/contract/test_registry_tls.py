"""TLS: whom we trust, and what is said when we do not."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

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


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost, its own authority, and its key, in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not on PATH")
    where = tmp_path_factory.mktemp("tls")
    subject = "-subj /CN=localhost -addext subjectAltName=DNS:localhost -addext keyUsage=digitalSignature,keyCertSign"
    words = f"req -x509 -newkey rsa:2048 -nodes -days 2 {subject} -keyout key.pem -out cert.pem".split()
    subprocess.run([openssl, *words], cwd=where, check=True, capture_output=True)
    return where


@pytest.fixture
def registry(certificate: Path) -> Iterator[Registry]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    with Registry(tls=context) as registry:
        yield registry


def root(registry: Registry) -> Request:
    return Request("GET", f"{registry.url}/v2/", "root")


def test_an_unknown_authority_is_refused_at_once(registry: Registry) -> None:
    with Client(sleep=lambda _: pytest.fail("nothing to wait for")) as client:
        with pytest.raises(Unavailable, match="not trusted") as caught:
            client.fetch(root(registry))
    assert "--ca-file" in (caught.value.hint or "")
    assert registry.requests == []


def test_an_authority_that_was_named_is_trusted(registry: Registry, certificate: Path) -> None:
    with Client(NetOptions(ca_file=str(certificate / "cert.pem"))) as client:
        assert client.fetch(root(registry)).status == 200
        wrong_name = registry.url.replace("localhost", "127.0.0.1")
        with pytest.raises(Unavailable, match="for another host"):
            client.fetch(Request("GET", f"{wrong_name}/v2/", "root"))


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


def test_redirects_do_not_leave_tls(registry: Registry, certificate: Path) -> None:
    with Registry() as plain, Client(NetOptions(ca_file=str(certificate / "cert.pem"))) as client:
        registry.fault(lambda *_: True, actions.Redirect(f"{plain.url}/v2/"))
        with pytest.raises(Unavailable, match="from TLS to plain HTTP"):
            client.fetch(root(registry))
        assert plain.requests == []
