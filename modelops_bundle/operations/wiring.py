"""Making an HTTP client from options: the only place that puts `net` together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from modelops_bundle import __version__
from modelops_bundle.events import Run
from modelops_bundle.net.client import Client
from modelops_bundle.net.credentials import Chain, Credentials, CredentialSource, DockerConfig, Given
from modelops_bundle.net.options import HostOptions, NetOptions
from modelops_bundle.net.retry import Policy
from modelops_bundle.operations.options import Options
from modelops_bundle.workspace.config import Config, Remote


def make_client(
    options: Options,
    remote: Remote | None,
    host: str,
    run: Run,
    *,
    trusted: bool = True,
    config: Config | None = None,
    root: Path | None = None,
) -> Client:
    """A client for the registry at `host`, with that remote's own settings where the options are silent.

    :param trusted: the user name and password that were given without a host are meant for this one.
    :param config: what is set about hosts and waiting. :param root: what paths in `remote` and `config` are relative to.
    """
    sources: list[CredentialSource] = []
    if trusted and options.username is not None and options.password is not None:
        sources.append(Given(host, Credentials(options.username, options.password)))
    if options.docker_config is not None:
        sources.append(DockerConfig(options.docker_config, run.notice))
    config = config or Config({})
    net = net_options(options, remote, host, config.hosts(), root or Path())
    patience = config.get("limits.retry_wait")
    policy = None if patience is None else Policy(patience=float(patience))
    return Client(net, credentials=Chain(sources), run=run, policy=policy)


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
