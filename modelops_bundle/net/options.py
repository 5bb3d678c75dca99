"""Where requests may go and how: options of the client, and the origins that credentials are bound to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from modelops_bundle.errors import ConfigError, Corrupt
from modelops_bundle.net.redact import has_controls, redact_url

CONNECT_TIMEOUT = 10.0
"""Seconds to wait for a connection."""

_DEFAULT_PORTS = {"http": 80, "https": 443}

# The name people write is not the name that serves the API.
_DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
DOCKER_HUB_API = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port (RFC 6454): what a credential is bound to and what a redirect may leave."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Self:
        """The origin of an absolute URL, which may come from a server.

        :raises Corrupt: not http or https, no host, userinfo, a bad port, or control characters.
        """
        if has_controls(url) or " " in url:
            raise Corrupt("a URL contains control characters or blanks")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise Corrupt(f"not a URL: {redact_url(url)}") from error
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc or "\\" in url:
            raise Corrupt(f"not an http or https URL: {redact_url(url)}")
        return cls(parts.scheme, parts.hostname, port if port is not None else _DEFAULT_PORTS[parts.scheme])

    @property
    def netloc(self) -> str:
        """`HOST[:PORT]` as a reference spells it; default ports are left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}"


@dataclass(frozen=True, slots=True)
class NetOptions:
    """How a client talks. Hosts are spelled `HOST[:PORT]` and match exactly.

    :param ca_file: PEM file of authorities to trust besides the system's.
    :param plain_http_hosts: hosts spoken to without TLS, besides loopback.
    :param insecure_hosts: hosts whose certificate is not checked.
    :param stall_timeout: seconds without a byte after which an answer counts as stalled; there is no total timeout.
    :param proxy: URL of an HTTP proxy, for all hosts outside `no_proxy` and loopback.
    :param no_proxy: hosts, `.suffixes`, CIDR networks, or `*`.
    """

    ca_file: str | None = None
    plain_http_hosts: tuple[str, ...] = ()
    insecure_hosts: tuple[str, ...] = ()
    user_agent: str = "modelops-bundle"
    stall_timeout: float = 30.0
    proxy: str | None = None
    no_proxy: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if has_controls(self.user_agent):
            raise ConfigError("the user agent contains control characters")

    def is_plain(self, netloc: str) -> bool:
        """Whether `netloc` is spoken to without TLS: loopback by parsed address or the exact name, or listed."""
        if netloc in self.insecure_hosts:
            return False
        return netloc in self.plain_http_hosts or is_loopback(_hostname(netloc))

    def registry(self, host: str) -> Origin:
        """The origin that serves the registry a reference calls `host`."""
        if host in _DOCKER_HUB:
            host = DOCKER_HUB_API
        return Origin.of(f"{'http' if self.is_plain(host) else 'https'}://{host}/")

    def proxy_for(self, origin: Origin) -> str | None:
        """The proxy to reach `origin` through, None for a direct connection."""
        if self.proxy is None or is_loopback(origin.host):
            return None
        bypassed = any(_bypasses(rule.strip(), origin) for rule in self.no_proxy)
        return None if bypassed else self.proxy


def is_docker_hub(host: str) -> bool:
    """Whether `host` is one of the names of Docker Hub."""
    return host in _DOCKER_HUB


def is_loopback(host: str) -> bool:
    """Whether `host` is exactly `localhost` or parses as a loopback address (never by prefix: `localhost.evil.com`)."""
    return host == "localhost" or _address_is(host, "is_loopback")


def is_metadata(host: str) -> bool:
    """Whether `host` is a literal that reaches this machine or its cloud's metadata service (169.254.169.254)."""
    return host == "localhost" or _address_is(host, "is_loopback") or _address_is(host, "is_link_local")


def is_local(host: str) -> bool:
    """Whether `host` is a literal that only means something on this machine or network."""
    return host == "localhost" or any(
        _address_is(host, kind) for kind in ("is_loopback", "is_private", "is_link_local")
    )


def _address_is(host: str, kind: str) -> bool:
    import ipaddress  # rarely needed, slow to import

    try:
        return bool(getattr(ipaddress.ip_address(host), kind))
    except ValueError:
        return False


def _hostname(netloc: str) -> str:
    return urlsplit(f"//{netloc}").hostname or ""


def _bypasses(rule: str, origin: Origin) -> bool:
    if rule in ("*", origin.host, origin.netloc):
        return True
    if "/" in rule:
        import ipaddress

        try:
            return ipaddress.ip_address(origin.host) in ipaddress.ip_network(rule, strict=False)
        except ValueError:
            return False
    suffix = rule.removeprefix("*").removeprefix(".")
    return bool(suffix) and origin.host.endswith(f".{suffix}")
