"""Making an HTTP client from options: the only place that puts `net` together."""

from __future__ import annotations

from modelops_bundle import __version__
from modelops_bundle.events import Run
from modelops_bundle.net.client import Client
from modelops_bundle.net.credentials import Chain, Credentials, CredentialSource, DockerConfig, Given
from modelops_bundle.net.options import NetOptions
from modelops_bundle.operations.options import Options
from modelops_bundle.workspace.config import Remote


def make_client(options: Options, remote: Remote | None, host: str, run: Run, *, trusted: bool = True) -> Client:
    """A client for the registry at `host`, with that remote's own settings where the options are silent.

    :param trusted: the user name and password that were given without a host are meant for this one.
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
    sources: list[CredentialSource] = []
    if trusted and options.username is not None and options.password is not None:
        sources.append(Given(host, Credentials(options.username, options.password)))
    if options.docker_config is not None:
        sources.append(DockerConfig(options.docker_config, run.notice))
    return Client(net, credentials=Chain(sources), run=run)
