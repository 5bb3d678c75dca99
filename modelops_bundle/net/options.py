"""Where requests may go and how: options of the client, and the origins that credentials are bound to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
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
        host = self.bracketed
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def bracketed(self) -> str:
        """The host as URLs spell it: IPv6 addresses in brackets (RFC 3986 §3.2.2)."""
        return f"[{self.host}]" if ":" in self.host else self.host

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}"


@dataclass(frozen=True, slots=True)
class HostOptions:
    """How one host is spoken to. None is nothing said: whoever stands below decides.

    :param plain_http: without TLS. False insists on TLS, on loopback too.
    :param insecure: its certificate is not checked.
    :param ca_file: PEM file of authorities to trust besides the system's.
    :param client_cert: PEM file of the certificate that tells the host who we are (RFC 8446 §4.4.2).
    :param client_key: PEM file of its key, None when it is in `client_cert`.
    """

    plain_http: bool | None = None
    insecure: bool | None = None
    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None

    def over(self, below: HostOptions) -> HostOptions:
        """These, and those of `below` where these say nothing. A certificate brings its key: the two are one choice."""
        kept = below if self.client_cert is None else replace(below, client_key=None)
        return replace(kept, **self.said())  # type: ignore[arg-type]

    def said(self) -> dict[str, bool | str]:
        """What is said, by name."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None}

    @property
    def means_tls(self) -> bool:
        """Whether it says something that only makes sense with TLS."""
        return bool(self.insecure) or self.ca_file is not None or self.client_cert is not None


NOTHING_SAID = HostOptions()


@dataclass(frozen=True, slots=True)
class NetOptions:
    """How a client talks. Hosts are spelled `HOST[:PORT]` and match exactly.

    :param ca_file: PEM file of authorities to trust besides the system's, for hosts that have none of their own.
    :param hosts: what is special about single hosts.
    :param stall_timeout: seconds without a byte after which an answer counts as stalled; there is no total timeout.
    :param http_proxy: URL of the proxy to `http` hosts outside `no_proxy` and loopback.
    :param https_proxy: likewise to `https` hosts.
    :param no_proxy: hosts and all below them, with a port or without, CIDR networks, or `*`.
    :raises ConfigError: a client key without its certificate, or an unusable user agent.
    """

    ca_file: str | None = None
    hosts: Mapping[str, HostOptions] = field(default_factory=lambda: MappingProxyType({}))
    user_agent: str = "modelops-bundle"
    stall_timeout: float = 30.0
    http_proxy: str | None = field(default=None, repr=False)
    https_proxy: str | None = field(default=None, repr=False)
    no_proxy: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if has_controls(self.user_agent):
            raise ConfigError("the user agent contains control characters")
        for host, options in self.hosts.items():
            if options.client_key is not None and options.client_cert is None:
                raise ConfigError(f"there is a client key for {host} and no certificate", hint="give --client-cert too")

    def host(self, netloc: str) -> HostOptions:
        """What is special about `netloc`."""
        if netloc == DOCKER_HUB_API:
            return next((self.hosts[name] for name in _DOCKER_HUB if name in self.hosts), NOTHING_SAID)
        return self.hosts.get(netloc, NOTHING_SAID)

    def at(self, origin: Origin) -> HostOptions:
        """What is special about `origin`, whose default port may be written or not."""
        found = self.host(origin.netloc)
        return found if found is not NOTHING_SAID else self.host(f"{origin.bracketed}:{origin.port}")

    def is_plain(self, netloc: str) -> bool:
        """Whether `netloc` is spoken to without TLS: as was said, else loopback, by parsed address or the exact name.

        Loopback of which something is said that needs TLS has TLS.
        """
        own = self.host(netloc)
        if own.plain_http is not None:
            return own.plain_http
        return is_loopback(_hostname(netloc)) and not own.means_tls

    def registry(self, host: str) -> Origin:
        """The origin that serves the registry a reference calls `host`."""
        if host in _DOCKER_HUB:
            host = DOCKER_HUB_API
        return Origin.of(f"{'http' if self.is_plain(host) else 'https'}://{host}/")

    def proxy_for(self, origin: Origin) -> str | None:
        """The proxy to reach `origin` through, None for a direct connection."""
        proxy = self.http_proxy if origin.scheme == "http" else self.https_proxy
        if proxy is None or is_loopback(origin.host):
            return None
        bypassed = any(_bypasses(rule.strip().lower(), origin) for rule in self.no_proxy)
        return None if bypassed else proxy


def is_docker_hub(host: str) -> bool:
    """Whether `host` is one of the names of Docker Hub."""
    return host in _DOCKER_HUB


def is_loopback(host: str) -> bool:
    """Whether `host` is exactly `localhost` or parses as a loopback address (never by prefix: `localhost.evil.com`)."""
    return host == "localhost" or _address_is(host, "is_loopback")


def is_metadata(host: str) -> bool:
    """Whether `host` is a literal that reaches this machine or its cloud's metadata service (169.254.169.254)."""
    return _means(host, "is_loopback", "is_unspecified", "is_link_local")


def is_local(host: str) -> bool:
    """Whether `host` is a literal that only means something on this machine or network."""
    return _means(host, "is_loopback", "is_unspecified", "is_link_local", "is_private")


def _address_is(host: str, kind: str) -> bool:
    import ipaddress  # rarely needed, slow to import

    try:
        return bool(getattr(ipaddress.ip_address(host), kind))
    except ValueError:
        return False


def _means(host: str, *kinds: str) -> bool:
    """Whether `host` is `localhost` or an address of one of `kinds`, in any spelling that resolvers take for one.

    Beside the usual ones those of inet_aton(3), as `0xa9fea9fe` and `127.1`, and IPv4 in IPv6 (RFC 4291 §2.5.5.2).
    """
    import ipaddress

    name = host.lower().removesuffix(".")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        packed = _aton(name)
        if packed is None:
            return name == "localhost"
        address = ipaddress.IPv4Address(packed)
    # Before Python 3.13 such an address has none of the properties of the one in it.
    address = getattr(address, "ipv4_mapped", None) or address
    return any(getattr(address, kind) for kind in kinds)


def _aton(host: str) -> bytes | None:
    import socket

    # It stops at a blank and takes what follows.
    if not re.fullmatch(r"[0-9a-fx.]+", host):
        return None
    try:
        return socket.inet_aton(host)
    except OSError:
        return None


def _hostname(netloc: str) -> str:
    return urlsplit(f"//{netloc}").hostname or ""


def _bypasses(rule: str, origin: Origin) -> bool:
    """Whether a `no_proxy` entry means `origin`. A name means all names below it too, with a leading dot or without (curl)."""
    if rule == "*":
        return True
    if "/" in rule or rule.count(":") > 1 or rule.startswith("["):
        return _is_in(rule, origin)
    name, _, port = rule.partition(":")
    if port and port != str(origin.port):
        return False
    name = name.removeprefix("*").removeprefix(".").removesuffix(".")
    host = origin.host.removesuffix(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _is_in(rule: str, origin: Origin) -> bool:
    """Whether `origin` is the IPv6 address, or in the network, of `rule`."""
    import ipaddress

    address, _, port = rule.rpartition("]:") if "]:" in rule else (rule, "", "")
    if port and port != str(origin.port):
        return False
    try:
        return ipaddress.ip_address(origin.host) in ipaddress.ip_network(address.strip("[]"), strict=False)
    except ValueError:
        return False
