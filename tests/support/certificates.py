"""Authorities and certificates for tests, made by trustme: as files, and as servers want them."""

from __future__ import annotations

import itertools
import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Identity:
    """A certificate and its key: together in `both`, apart in `cert` and `key`."""

    cert: Path
    key: Path
    both: Path

    def context(self, clients: Authority | None = None) -> ssl.SSLContext:
        """What a server of this identity speaks TLS with.

        :param clients: whose certificates it wants to see; None wants none.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.both)
        if clients is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(clients.file)
        return context


class Authority:
    """A certificate authority that nobody trusts; `file` is its certificate in PEM."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self._directory = directory / name
        self._directory.mkdir(parents=True)
        self._numbers = itertools.count()
        self._ca = trustme.CA()
        self.file = self._directory / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def issue(self, *names: str, expires: datetime | None = None) -> Identity:
        """A certificate for `names`: hosts, addresses, or the mail address of a client."""
        made = self._ca.issue_cert(*names, not_after=expires)
        number = next(self._numbers)
        found = Identity(*(self._directory / f"{number}-{part}.pem" for part in ("cert", "key", "both")))
        made.private_key_pem.write_to_path(str(found.key))
        made.private_key_and_cert_chain_pem.write_to_path(str(found.both))
        for part in made.cert_chain_pems:
            part.write_to_path(str(found.cert), append=True)
        return found


def tls_settings(server: Identity, clients: Authority | None = None) -> dict[str, object]:
    """The settings of a distribution registry with this identity (its documents, "http.tls")."""
    tls: dict[str, object] = {"certificate": str(server.cert), "key": str(server.key)}
    if clients is not None:
        tls["clientcas"] = [str(clients.file)]
    return {"http": {"tls": tls}}
