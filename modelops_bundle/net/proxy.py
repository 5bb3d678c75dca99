"""Proxies: HTTP (absolute form and CONNECT, RFC 9110 §9.3.6), the same over TLS, and SOCKS (RFC 1928, RFC 1929)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import urllib3
from urllib3 import exceptions as failures
from urllib3.util import make_headers, parse_url

from modelops_bundle.errors import BundleError, ConfigError, Unauthorized, Unavailable
from modelops_bundle.net.options import HostOptions
from modelops_bundle.net.redact import HIDDEN, redact, redact_url, safe
from modelops_bundle.net.retry import Transient
from modelops_bundle.net.tls import make_context

if TYPE_CHECKING:
    from urllib3.connection import HTTPConnection, HTTPSConnection

_SOCKS = ("socks5", "socks5h", "socks4", "socks4a")


def is_socks(proxy: str) -> bool:
    """Whether the URL `proxy` is that of a SOCKS proxy."""
    return proxy.partition("://")[0].lower() in _SOCKS


def shown(proxy: str) -> str:
    """The URL of a proxy without its login, also where that has a `/` or `@` that should have been escaped."""
    scheme, separator, rest = proxy.partition("://")
    if not (separator and scheme.isalnum()):
        scheme, separator, rest = "", "", proxy
    _, at, host = rest.rpartition("@")
    if not at:
        return redact_url(proxy) if separator else redact(proxy)
    return f"{scheme}{separator}{HIDDEN}@{safe(host, 300)}"


def through_http(proxy: str, settings: dict[str, Any], trust: HostOptions) -> urllib3.PoolManager:
    """Connections through an HTTP proxy; a URL without a scheme is taken for http, as curl does.

    :param settings: what every pool gets.
    :param trust: the authorities of a proxy that is reached by TLS.
    :raises ConfigError: not a URL of a proxy.
    """
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = parse_url(proxy)
        if not parts.host:
            raise failures.LocationValueError("no host")
        user, password = parts.auth_decoded
        if parts.scheme == "https":
            settings["proxy_ssl_context"] = make_context(trust)
        login = make_headers(proxy_basic_auth=f"{user}:{password or ''}") if user is not None else None
        return urllib3.ProxyManager(proxy, proxy_headers=login, **settings)
    except failures.HTTPError as error:
        raise ConfigError(
            f"not the URL of a proxy: {shown(proxy)}", hint="write http://, https:// or socks5h://, HOST and PORT"
        ) from error


def through_socks(
    proxy: str, settings: dict[str, Any]
) -> tuple[urllib3.PoolManager, type[HTTPConnection], type[HTTPSConnection]]:
    """Connections through a SOCKS proxy, and the classes they are of.

    :param settings: what every pool gets.
    :raises ConfigError: not a URL of a proxy, or the extra is not installed.
    """
    import warnings

    try:
        with warnings.catch_warnings():
            # It says the same as the error that follows.
            warnings.simplefilter("ignore", failures.DependencyWarning)
            from urllib3.contrib import socks
    except ImportError as error:
        raise ConfigError(
            f"{shown(proxy)} is a SOCKS proxy, and support for these is not installed",
            hint="pip install 'modelops-bundle[socks]'",
        ) from error
    try:
        parts = parse_url(proxy)
        if not parts.host:
            raise failures.LocationValueError("no host")
        proxy = parts.url if parts.port else parts._replace(port=1080).url  # which pysocks does not know
        manager = socks.SOCKSProxyManager(proxy, **settings)
    except (failures.HTTPError, ValueError) as error:
        raise ConfigError(f"not the URL of a proxy: {shown(proxy)}", hint="write socks5h://HOST:PORT") from error
    return manager, socks.SOCKSConnection, socks.SOCKSHTTPSConnection


def problem(reason: str, host: str, proxy: str) -> Transient | BundleError:
    """What it means that no connection to `host` came into being through `proxy`.

    :param reason: in the words of the proxy or of the operating system.
    """
    # The words before these are urllib3's own.
    reason = reason.rpartition("new connection: ")[2]
    text = reason.lower()
    if "connection failed: 407" in text or "authentication" in text or "unacceptable" in text:
        return wants_login(proxy)
    facts = {"host": host, "proxy": shown(proxy)}
    if "tunnel connection failed: 4" in text or "ruleset" in text:
        hint = "the proxy does not allow this host; no_proxy lists what is reached directly"
        return Unavailable(f"the proxy {shown(proxy)} refuses to connect to {host}: {reason}", hint=hint, **facts)
    hint = "check http_proxy, https_proxy and all_proxy, or list the host in no_proxy"
    return Transient(
        Unavailable(
            f"cannot reach {host} through the proxy {shown(proxy)}: {reason}", hint=hint, unreachable=True, **facts
        ),
        cause="proxy",
    )


def wants_login(proxy: str) -> Unauthorized:
    """The error of a proxy that answered 407 (RFC 9110 §15.5.8), or refused the login of its URL."""
    has_login = "@" in proxy
    return Unauthorized(
        f"the proxy {shown(proxy)} " + ("refused the login in its URL" if has_login else "wants a login"),
        hint="write it into the proxy's variable: https_proxy=http://USER:PASSWORD@HOST:PORT",
        proxy=shown(proxy),
    )
