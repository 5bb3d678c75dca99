"""Making an HTTP client from options: the only place that puts `net` together."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from modelops_bundle import __version__
from modelops_bundle.events import Run
from modelops_bundle.net.client import Client
from modelops_bundle.net.credentials import Chain, Credentials, CredentialSource, Given
from modelops_bundle.net.logins import Logins
from modelops_bundle.net.options import NetOptions
from modelops_bundle.operations.options import Options
from modelops_bundle.workspace.config import Remote

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
) -> Client:
    """A client for the registry at `host`, with that remote's own settings where the options are silent.

    :param trusted: the user name and password that were given without a host are meant for this one.
    :param credentials: who we are, whatever the options say.
    """
    plain = options.plain_http or (remote is not None and remote.plain_http)
    ca_file = str(options.ca_file) if options.ca_file else remote.ca_file if remote is not None else None
    net = NetOptions(
        ca_file=ca_file,
        plain_http_hosts=(host,) if plain else (),
        user_agent=f"modelops-bundle/{__version__}",
        stall_timeout=options.timeout,
        proxy=options.proxy,
        no_proxy=options.no_proxy,
    )
    if credentials is None:
        credentials = Chain(sources(options, net.registry(host).netloc, run, trusted=trusted))
    return Client(net, credentials=credentials, run=run)


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
