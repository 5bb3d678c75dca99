"""Connections that did not come into being, or broke: urllib3's exceptions in our words."""

from __future__ import annotations

import socket
import ssl

from urllib3 import exceptions as failures

from modelops_bundle.errors import BundleError, Corrupt, Unavailable
from modelops_bundle.net import proxy, tls
from modelops_bundle.net.options import CONNECT_TIMEOUT, HostOptions, NetOptions, Origin
from modelops_bundle.net.redact import redact, safe
from modelops_bundle.net.retry import Cause, Transient


def translate(error: Exception, origin: Origin, options: NetOptions) -> Transient | BundleError:
    """What `error`, raised while talking to `origin`, means."""
    host = origin.netloc
    cause = _innermost(error)
    reason = safe(redact(_words(cause)), 200)
    through = options.proxy_for(origin)
    if isinstance(error, failures.LocationValueError):
        return Corrupt(f"not a usable URL at {host}: {reason}")
    if isinstance(error, failures.ProxyError):
        return _to_proxy(error, cause, reason, host, through or "")
    if isinstance(error, failures.SSLError) or isinstance(cause, ssl.SSLError):
        return tls.problem(reason, host, options.at(origin)) or _end_of_tls(reason, host)
    if through is not None and isinstance(error, failures.NewConnectionError):
        return proxy.problem(reason, host, through)
    return _connecting(error, cause, reason, origin) or _established(error, reason, host, options)


def _end_of_tls(reason: str, host: str) -> Transient:
    found = _broken(f"TLS with {host} failed: {reason}", host)
    if "EOF" in reason:
        # In TLS 1.3 a server refuses a client after the handshake; who still sends may see no more than the end.
        found.error.hint = "check the network; perhaps the server wants another client certificate (--client-cert)"
    return found


def _to_proxy(
    error: failures.ProxyError, cause: BaseException, reason: str, host: str, through: str
) -> Transient | BundleError:
    if isinstance(cause, ssl.SSLError):
        name = f"the proxy {proxy.shown(through)}"
        found = tls.problem(reason, name, HostOptions())
        return found or _broken(f"TLS with {name} failed: {reason}", host, "proxy")
    if isinstance(error.original_error, failures.NameResolutionError):
        reason = "its host cannot be found"
    return proxy.problem(reason, host, through)


def _connecting(error: Exception, cause: BaseException, reason: str, origin: Origin) -> Transient | BundleError | None:
    """Where there is no connection yet."""
    host = origin.netloc
    if isinstance(error, failures.NameResolutionError):
        if isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_AGAIN:
            return _broken(f"cannot look up the host {origin.host}: {reason}", host, "lookup")
        hint = "check the spelling of the host, and the network"
        return Unavailable(f"cannot find the host {origin.host}", hint=hint, host=host, unreachable=True)
    if isinstance(error, failures.NewConnectionError):
        return _broken(f"cannot connect to {host}: {reason}", host, "refused")
    if isinstance(error, failures.ConnectTimeoutError):
        return _broken(f"no connection to {host} within {CONNECT_TIMEOUT:.0f} s", host, "refused")
    return None


def _established(error: Exception, reason: str, host: str, options: NetOptions) -> Transient:
    if isinstance(error, (failures.TimeoutError, TimeoutError)) or "timed out" in reason:
        return _broken(f"{host} sent nothing for {options.stall_timeout:.0f} s", host, "stall")
    return _broken(f"{host} broke the connection: {reason}", host)


def _broken(message: str, host: str, cause: Cause = "answer") -> Transient:
    hint = "check the network, then run the same command again"
    return Transient(Unavailable(message, hint=hint, host=host, unreachable=True), cause=cause)


def _innermost(error: BaseException) -> BaseException:
    """The deepest cause: urllib3 wraps it in classes of its own."""
    seen = error
    for _ in range(5):
        inner = next((part for part in reversed(seen.args) if isinstance(part, BaseException)), None)
        inner = inner or getattr(seen, "reason", None) or seen.__cause__
        if not isinstance(inner, BaseException):
            break
        seen = inner
    return seen


def _words(cause: BaseException) -> str:
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause) or type(cause).__name__
