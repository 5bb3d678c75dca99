"""How to reach remotes: what the caller knows and the bundle's settings do not."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from modelops_bundle.net.options import NOTHING_SAID, HostOptions


@dataclass(frozen=True, slots=True)
class Options:
    """How to reach remotes. Secrets stay in here and are never written anywhere.

    The first five are for the hosts that the caller names, and stand above every setting.

    :param ambient: what variables say of these hosts; below the five, above every setting.
    :param defaults: what settings say of every host; below all others.
    :param http_proxy: URL of the proxy to hosts without TLS. :param https_proxy: of that to all others.
    """

    plain_http: bool = False
    insecure: bool = False
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    ambient: HostOptions = NOTHING_SAID
    defaults: HostOptions = NOTHING_SAID
    offline: bool = False
    cache: Path | None = None
    """The folder of blobs that working trees share."""
    seeds: tuple[Path, ...] = ()
    """Files, and directories of files, that may have chunks of what is pulled."""
    hub: Path | None = None
    """The cache of Hugging Face's models, likewise."""
    platform: str | None = None
    """`OS/ARCHITECTURE[/VARIANT]`: what is read of image indexes, and what images are said to be for."""
    timeout: float = 30.0
    """Seconds without a byte after which a transfer counts as stalled; there is no limit for the whole."""
    docker_config: Path | None = None
    """The file of logins, in Docker's format: read, and where `login` writes."""
    auth_files: tuple[Path, ...] = ()
    """Files of logins to ask after that one."""
    auth_config: str | None = field(default=None, repr=False)
    """The content of a file of logins, to ask before them: `DOCKER_AUTH_CONFIG`."""
    helper_environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """The environment of credential helpers, in which `PATH` says where they are; empty: none is run."""
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    """An identity token, for registries that give tokens for it (OAuth2)."""
    http_proxy: str | None = field(default=None, repr=False)
    https_proxy: str | None = field(default=None, repr=False)
    no_proxy: tuple[str, ...] = ()

    @property
    def given(self) -> HostOptions:
        """What the caller says of the hosts it names."""
        paths = (str(path) if path is not None else None for path in (self.ca_file, self.client_cert, self.client_key))
        return HostOptions(self.plain_http or None, self.insecure or None, *paths)
