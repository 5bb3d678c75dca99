"""Making an HTTP client from options: the only place that puts `net` together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelops_bundle import __version__
from modelops_bundle.events import Run
from modelops_bundle.net.client import Client
from modelops_bundle.net.credentials import Chain, Credentials, CredentialSource, Given
from modelops_bundle.net.logins import Logins
from modelops_bundle.net.options import HostOptions, NetOptions
from modelops_bundle.net.retry import Policy
from modelops_bundle.operations.options import Options
from modelops_bundle.workspace.config import Config, Remote

if TYPE_CHECKING:
    from modelops_bundle.net.helpers import Helpers

_told: set[tuple[str, str]] = set()
"""Notices about logins that this process has given."""


def make_client(
    options: Options,
    remote: Remote | None,
    host: str,
    run: Run,
    *,
    trusted: bool = True,
    credentials: CredentialSource | None = None,
    config: Config | None = None,
    root: Path | None = None,
    attempts: int | None = None,
) -> Client:
    """A client for the registry at `host`, with that remote's own settings where the options are silent.

    :param trusted: the user name and password that were given without a host are meant for this one.
    :param credentials: who we are, whatever the options say.
    :param config: what is set about hosts and waiting. :param root: what paths in `remote` and `config` are relative to.
    :param attempts: how often a request is tried; None is as often as usual.
    """
    config = config or Config({})
    net = net_options(options, remote, host, config.hosts(), root or Path())
    if credentials is None:
        credentials = Chain(sources(options, net.registry(host).netloc, run, trusted=trusted))
    return Client(net, credentials=credentials, run=run, policy=_policy(config.get("limits.retry_wait"), attempts))


def _policy(patience: Any, attempts: int | None) -> Policy | None:
    """None is the usual one."""
    if patience is None and attempts is None:
        return None
    usual = Policy()
    return Policy(
        attempts=usual.attempts if attempts is None else attempts,
        patience=usual.patience if patience is None else float(patience),
    )


def net_options(
    options: Options, remote: Remote | None, host: str, hosts: Mapping[str, HostOptions], root: Path
) -> NetOptions:
    """How to talk to `host`: as the caller says, its variables, the remote, the host's own settings, those of all hosts.

    :param root: what paths in `remote` and `hosts` are relative to.
    """
    known = {name: _anchored(each, root) for name, each in hosts.items()}
    set_ = known.get(host, HostOptions())
    if remote is not None:
        set_ = _deciding(_anchored(remote.options, root), set_)
    # A variable's authorities are for many hosts: they make no registry on this machine one with TLS.
    own = _deciding(options.given, _deciding(replace(options.ambient, ca_file=None), set_))
    trust = options.given.ca_file or options.ambient.ca_file or own.ca_file or options.defaults.ca_file
    if own.plain_http is None and not own.means_tls:
        own = replace(own, plain_http=options.defaults.plain_http)
    own = replace(own, ca_file=trust if own.ca_file is not None else None)
    return NetOptions(
        ca_file=trust,
        hosts={**known, host: own},
        user_agent=f"modelops-bundle/{__version__}",
        stall_timeout=options.timeout,
        http_proxy=options.http_proxy,
        https_proxy=options.https_proxy,
        no_proxy=options.no_proxy,
    )


def _deciding(above: HostOptions, below: HostOptions) -> HostOptions:
    """`above` over `below`; what makes sense with TLS only decides for it."""
    return above.over(replace(below, plain_http=None) if above.means_tls else below)


def _anchored(said: HostOptions, root: Path) -> HostOptions:
    paths = {name: str(root / value) for name, value in said.said().items() if isinstance(value, str)}
    return replace(said, **paths)  # type: ignore[arg-type]


def sources(options: Options, host: str, run: Run, *, trusted: bool = True) -> list[CredentialSource]:
    """Who may know a login for `host`, in the order they are asked.

    :param host: as an origin spells it (`Origin.netloc`).
    :param trusted: as for `make_client`.
    """
    found = given(options, host) if trusted else []
    if options.auth_config:
        found.append(logins(("DOCKER_AUTH_CONFIG", options.auth_config), options, run))
    files = ([options.docker_config] if options.docker_config is not None else []) + list(options.auth_files)
    return found + [logins(file, options, run) for file in files]


def given(options: Options, host: str) -> list[CredentialSource]:
    """What was given without a host."""
    found: list[CredentialSource] = []
    if options.username and options.password:
        login = Credentials(options.username, options.password, source="BUNDLE_USERNAME")
        found.append(Given(host, login))
    if options.token:
        login = Credentials(options.username or "", "", options.token, source="BUNDLE_TOKEN")
        found.append(Given(host, login))
    return found


def logins(place: Path | tuple[str, str], options: Options, run: Run) -> Logins:
    """The logins of a file, or of a (name, text) that stands for one."""

    def notice(code: str, message: str) -> None:
        if (code, message) not in _told:
            _told.add((code, message))
            run.notice(code, message)

    helpers = helpers_in(options.helper_environment) if options.helper_environment else None
    return Logins(place, helpers, notice, run.check)


@lru_cache(maxsize=4)
def helpers_in(environment: tuple[tuple[str, str], ...]) -> Helpers:
    """The helpers of one environment: what they answered is known to the whole process."""
    from modelops_bundle.net.helpers import Helpers

    return Helpers(dict(environment))
