"""What urllib3's exceptions mean, whether another attempt may help, and how many."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest
from urllib3 import exceptions as failures
from urllib3.connection import HTTPConnection

from modelops_bundle.errors import BundleError, Corrupt, Unauthorized, Unavailable
from modelops_bundle.net.broken import translate
from modelops_bundle.net.options import HostOptions, NetOptions, Origin
from modelops_bundle.net.retry import Transient
from tests.support.canary import secret

HOST = Origin.of("https://registry.example/")
CONNECTION = HTTPConnection("registry.example")
POOL: Any = None


def through() -> NetOptions:
    return NetOptions(https_proxy=f"http://me:{secret()}@proxy.example:3128")


def unresolved(code: int, words: str) -> failures.NameResolutionError:
    inner = socket.gaierror(code, words)
    error = failures.NameResolutionError("registry.example", CONNECTION, inner)
    error.__cause__ = inner
    return error


@pytest.mark.parametrize(
    ("error", "cause", "words"),
    [
        (failures.NewConnectionError(CONNECTION, "refused"), "refused", "cannot connect"),
        (failures.ConnectTimeoutError(CONNECTION, "slow"), "refused", "no connection to registry.example within 10 s"),
        (unresolved(socket.EAI_AGAIN, "Temporary failure"), "lookup", "cannot look up the host registry.example"),
        (failures.ReadTimeoutError(POOL, "/", "Read timed out."), "stall", "sent nothing for 30 s"),
        (
            failures.ProtocolError("Connection aborted.", ConnectionResetError(104, "Connection reset")),
            "answer",
            "reset",
        ),
        (failures.ProtocolError("x", TimeoutError("timed out")), "stall", "sent nothing"),
        (failures.IncompleteRead(5, 3), "answer", "broke the connection"),
        (failures.HTTPError("odd"), "answer", "odd"),
        (failures.SSLError("EOF occurred in violation of protocol"), "answer", "TLS with registry.example failed"),
    ],
)
def test_what_may_work_next_time(error: Exception, cause: str, words: str) -> None:
    found = translate(error, HOST, NetOptions())
    assert isinstance(found, Transient)
    assert found.cause == cause
    assert words in found.error.message
    assert isinstance(found.error, Unavailable)
    assert found.error.facts["host"] == "registry.example"
    assert found.error.facts["unreachable"]


@pytest.mark.parametrize("code", [socket.EAI_NONAME, socket.EAI_FAIL])
def test_a_name_that_nobody_has_is_asked_for_once(code: int) -> None:
    found = translate(unresolved(code, "Name or service not known"), HOST, NetOptions())
    assert isinstance(found, Unavailable)
    assert found.message == "cannot find the host registry.example"
    assert found.facts["unreachable"]


@pytest.mark.parametrize(
    ("error", "kind", "hint"),
    [
        (failures.SSLError("certificate verify failed: unable to get local issuer"), Unavailable, "--ca-file"),
        (failures.SSLError("[SSL: WRONG_VERSION_NUMBER] wrong version number"), Unavailable, "--plain-http"),
        (failures.LocationParseError("https://[bad"), Corrupt, ""),
    ],
)
def test_what_will_not(error: Exception, kind: type[BundleError], hint: str) -> None:
    found = translate(error, HOST, NetOptions())
    assert isinstance(found, kind)
    assert hint in (found.hint or "")


def test_an_alert_at_the_first_read_is_about_our_certificate() -> None:
    alert = ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required (_ssl.c:2580)")
    for error in (failures.SSLError(alert), failures.ProtocolError("Connection aborted.", alert)):
        found = translate(error, HOST, NetOptions())
        assert isinstance(found, Unavailable)
        assert found.message.startswith("registry.example wants a client certificate")
        assert "--client-cert" in (found.hint or "")
    known = NetOptions(hosts={"registry.example": HostOptions(client_cert="me.pem")})
    assert "refused the client certificate" in str(translate(error, HOST, known))


# --- proxies


@pytest.mark.parametrize("error", [OSError(111, "Connection refused"), failures.NewConnectionError(CONNECTION, "down")])
def test_a_dead_proxy_is_named_without_its_login(error: Exception) -> None:
    found = translate(failures.ProxyError("Unable to connect to proxy", error), HOST, through())
    assert isinstance(found, Transient)
    assert found.cause == "proxy"
    assert "through the proxy http://***@proxy.example:3128" in found.error.message
    assert found.error.facts["unreachable"]


def test_a_proxy_that_nobody_finds() -> None:
    inner = failures.NameResolutionError("proxy.example", CONNECTION, socket.gaierror(-2, "Name or service not known"))
    found = translate(failures.ProxyError("Unable to connect to proxy", inner), HOST, through())
    assert isinstance(found, Transient)
    assert "its host cannot be found" in found.error.message


def test_a_proxy_that_wants_a_login() -> None:
    error = OSError("Tunnel connection failed: 407 Proxy Authentication Required")
    found = translate(failures.ProxyError("Unable to connect to proxy", error), HOST, through())
    assert isinstance(found, Unauthorized)
    assert "refused the login in its URL" in found.message


def test_a_proxy_that_forbids_the_host() -> None:
    error = OSError("Tunnel connection failed: 403 Forbidden")
    found = translate(failures.ProxyError("Unable to connect to proxy", error), HOST, through())
    assert isinstance(found, Unavailable)
    assert "refuses to connect to registry.example" in found.message


def test_the_certificate_of_a_proxy() -> None:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed")
    found = translate(failures.ProxyError("Unable to connect to proxy", error), HOST, through())
    assert isinstance(found, Unavailable)
    assert found.message.startswith("the certificate of the proxy http://***@proxy.example:3128 is not trusted")


def test_no_secret_of_a_url_gets_into_words() -> None:
    hidden = secret()
    error = failures.ProtocolError("x", OSError(f"https://u:{hidden}@h/?sig={hidden} broke\x1b[31m"))
    found = translate(error, HOST, NetOptions())
    assert isinstance(found, Transient)
    assert hidden not in found.error.message
    assert "\x1b" not in found.error.message
