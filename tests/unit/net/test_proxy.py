"""URLs of proxies, and what their refusals mean."""

from __future__ import annotations

import base64
import sys

import pytest

from modelops_bundle.errors import ConfigError, Unauthorized, Unavailable
from modelops_bundle.net.options import HostOptions
from modelops_bundle.net.proxy import is_socks, problem, shown, through_http, through_socks, wants_login
from modelops_bundle.net.retry import Transient
from tests.support.canary import secret


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks4", "socks4a", "SOCKS5"])
def test_schemes_of_socks(scheme: str) -> None:
    assert is_socks(f"{scheme}://proxy:1080")
    assert not is_socks(f"http://{scheme}:1080")


def test_a_url_without_a_scheme_is_http() -> None:
    manager = through_http("proxy.example:3128", {}, HostOptions())
    assert manager.proxy is not None
    assert (manager.proxy.scheme, manager.proxy.host, manager.proxy.port) == ("http", "proxy.example", 3128)


def test_a_login_is_decoded_and_never_shown() -> None:
    hidden = secret()
    url = f"http://me%40here:{hidden}%2F@proxy.example:3128"
    manager = through_http(url, {}, HostOptions())
    login = base64.b64encode(f"me@here:{hidden}/".encode()).decode()
    assert manager.proxy_headers == {"proxy-authorization": f"Basic {login}"}  # type: ignore[attr-defined]
    for text in (shown(url), shown(url.removeprefix("http://")), wants_login(url).message):
        assert hidden not in text
        assert "proxy.example:3128" in text


@pytest.mark.parametrize(
    "text", ["http://me:{}/b@proxy:1", "me:{}/b@proxy:1", "http://me:{}?a@b#@proxy:1", "m:{}://@proxy:1"]
)
def test_a_login_that_should_have_been_escaped_is_not_shown_either(text: str) -> None:
    hidden = secret()
    assert shown(text.format(hidden)).endswith("***@proxy:1")
    assert hidden not in shown(text.format(hidden))


@pytest.mark.parametrize("url", ["not a url", "ftp://proxy:21", "http://", "http://pro xy:1"])
def test_urls_of_no_proxy(url: str) -> None:
    with pytest.raises(ConfigError, match="not the URL of a proxy"):
        through_http(url, {}, HostOptions())


@pytest.mark.parametrize("url", ["socks5://", "socks5h://pro xy:1"])
def test_urls_of_no_socks_proxy(url: str) -> None:
    with pytest.raises(ConfigError, match="not the URL of a proxy"):
        through_socks(url, {})


def test_socks_has_a_port_of_its_own_and_looks_up_names_where_it_says() -> None:
    near = through_socks("socks5://me:pw@proxy.example", {})[0].connection_pool_kw["_socks_options"]
    far = through_socks("socks5h://proxy.example:9", {})[0].connection_pool_kw["_socks_options"]
    assert (near["proxy_port"], near["rdns"], near["username"], near["password"]) == (1080, False, "me", "pw")
    assert (far["proxy_port"], far["rdns"], far["username"]) == (9, True, None)


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "socks", None)
    monkeypatch.delitem(sys.modules, "urllib3.contrib.socks", raising=False)
    monkeypatch.delattr("urllib3.contrib.socks", raising=False)
    with pytest.raises(ConfigError) as caught:
        through_socks(f"socks5h://me:{secret()}@proxy.example:1080", {})
    assert "modelops-bundle[socks]" in (caught.value.hint or "")
    assert "socks5h://***@proxy.example:1080 is a SOCKS proxy" in caught.value.message


@pytest.mark.parametrize(
    "reason",
    [
        "Tunnel connection failed: 407 Proxy Authentication Required",
        "SOCKS5 authentication failed",
        "All offered SOCKS5 authentication methods were rejected",
    ],
)
def test_a_login_that_is_wanted_or_refused(reason: str) -> None:
    found = problem(reason, "registry.example", "http://proxy:3128")
    assert isinstance(found, Unauthorized)
    assert "wants a login" in found.message
    assert "refused the login" in wants_login("http://a:b@proxy:3128").message


@pytest.mark.parametrize(
    "reason", ["Tunnel connection failed: 403 Forbidden", "0x02: Connection not allowed by ruleset"]
)
def test_a_host_that_is_not_allowed(reason: str) -> None:
    found = problem(reason, "registry.example", "http://proxy:3128")
    assert isinstance(found, Unavailable)
    assert "refuses to connect to registry.example" in found.message
    assert "no_proxy" in (found.hint or "")


@pytest.mark.parametrize(
    "reason", ["Connection refused", "Tunnel connection failed: 502 Bad Gateway", "0x04: Host unreachable"]
)
def test_what_may_work_next_time(reason: str) -> None:
    found = problem(reason, "registry.example", "http://proxy:3128")
    assert isinstance(found, Transient)
    assert found.cause == "proxy"
    assert found.error.facts == {"host": "registry.example", "proxy": "http://proxy:3128", "unreachable": True}
