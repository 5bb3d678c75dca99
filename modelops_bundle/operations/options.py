"""How to reach remotes: what the caller knows and the bundle's settings do not."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """How to reach remotes. Secrets stay in here and are never written anywhere."""

    plain_http: bool = False
    ca_file: Path | None = None
    offline: bool = False
    cache: Path | None = None
    """The folder of blobs that working trees share."""
    timeout: float = 30.0
    """Seconds without a byte after which a transfer counts as stalled; there is no limit for the whole."""
    docker_config: Path | None = None
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    proxy: str | None = field(default=None, repr=False)
    no_proxy: tuple[str, ...] = ()
