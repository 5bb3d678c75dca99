"""Whom we trust and who we are: which files can be used, and what the words of OpenSSL mean."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from modelops_bundle.errors import ConfigError
from modelops_bundle.net.options import HostOptions
from modelops_bundle.net.tls import make_context, problem
from tests.support.certificates import Authority, Identity


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def me(authority: Authority) -> Identity:
    return authority.issue("me@example.com")


def test_ca_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot use the CA file .*absent.pem: No such file"):
        make_context(HostOptions(ca_file=str(tmp_path / "absent.pem")))
    (tmp_path / "bad.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"CA file .*bad.pem: it holds no certificate"):
        make_context(HostOptions(ca_file=str(tmp_path / "bad.pem")))


def test_a_ca_file_is_added_to_the_systems(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(other.file))
    assert len(make_context(HostOptions()).get_ca_certs()) == 1
    assert len(make_context(HostOptions(ca_file=str(authority.file))).get_ca_certs()) == 2


def test_certificates_are_checked_unless_the_host_is_insecure() -> None:
    assert make_context(HostOptions()).verify_mode is ssl.CERT_REQUIRED
    assert make_context(HostOptions()).check_hostname
    assert make_context(HostOptions(insecure=True)).verify_mode is ssl.CERT_NONE


def test_a_client_certificate_in_one_file_or_two(me: Identity) -> None:
    make_context(HostOptions(client_cert=str(me.both)))
    make_context(HostOptions(client_cert=str(me.cert), client_key=str(me.key)))


def test_client_certificates_that_cannot_be_used(me: Identity, authority: Authority, tmp_path: Path) -> None:
    absent, other = tmp_path / "absent.pem", authority.issue("other@example.com")
    cases: list[tuple[Path, Path | None, str]] = [
        (absent, None, f"client certificate {absent}: No such file"),
        (me.cert, absent, f"client key {absent}: No such file"),
        (tmp_path, None, f"client certificate {tmp_path}: Is a directory"),
        (me.cert, None, f"{me.cert} holds no usable key"),
        (me.key, None, f"{me.key} holds no certificate"),
        (me.cert, authority.file, f"{authority.file} holds no usable key"),
        (me.cert, other.key, f"client key in {other.key} is not that of the certificate in {me.cert}"),
    ]
    for cert, key, words in cases:
        with pytest.raises(ConfigError) as caught:
            make_context(HostOptions(client_cert=str(cert), client_key=str(key) if key else None))
        assert words in caught.value.message


@pytest.mark.peers
def test_an_encrypted_key_is_an_error_and_no_question(me: Identity, peer: Callable[[str], str], tmp_path: Path) -> None:
    locked = tmp_path / "locked.pem"
    words = [peer("openssl"), "pkey", "-in", str(me.key), "-aes256", "-passout", "pass:open", "-out", str(locked)]
    subprocess.run(words, check=True, capture_output=True)
    with pytest.raises(ConfigError, match="is encrypted") as caught:
        make_context(HostOptions(client_cert=str(me.cert), client_key=str(locked)))
    assert str(locked) in caught.value.message
    assert "openssl pkey" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("reason", "message", "hint"),
    [
        ("certificate verify failed: self-signed certificate (_ssl.c:1006)", "is not trusted", "--ca-file"),
        ("certificate verify failed: unable to get local issuer certificate", "is not trusted", "--ca-file"),
        ("certificate verify failed: certificate has expired", "is not valid now", "clock"),
        ("certificate verify failed: certificate is not yet valid", "is not valid now", "clock"),
        ("certificate verify failed: Hostname mismatch, certificate is not valid for 'h'", "for another host", "names"),
        ("certificate verify failed: IP address mismatch, certificate is not valid", "for another host", "names"),
        (
            "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required",
            "wants a client",
            "--client-cert",
        ),
        ("[SSL: SSLV3_ALERT_BAD_CERTIFICATE] sslv3 alert bad certificate", "wants a client", "--client-cert"),
        ("ssl/tls alert handshake failure", "may want a client", "--client-cert"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "does not speak TLS", "--plain-http"),
        ("[SSL] record layer failure", "does not speak TLS", "--plain-http"),
        ("[SSL: UNSUPPORTED_PROTOCOL] unsupported protocol", "an old version of TLS", "TLS 1.2"),
        ("tlsv1 alert protocol version", "an old version of TLS", "TLS 1.2"),
    ],
)
def test_what_openssl_means(reason: str, message: str, hint: str) -> None:
    found = problem(reason, "h.example", HostOptions())
    assert found is not None
    assert message in found.message
    assert hint in (found.hint or "")
    assert "_ssl.c" not in found.message
    assert "SSL:" not in found.message


@pytest.mark.parametrize("alert", ["unknown ca", "certificate expired", "bad certificate", "certificate unknown"])
def test_a_client_certificate_that_is_refused(alert: str) -> None:
    found = problem(f"tlsv1 alert {alert}", "h.example", HostOptions(client_cert="me.pem"))
    assert found is not None
    assert "refused the client certificate" in found.message
    assert "me.pem" in (found.hint or "")


def test_what_may_be_an_accident() -> None:
    assert problem("EOF occurred in violation of protocol", "h.example", HostOptions()) is None
