"""The digests of packs made before, so that a push of an unchanged tree makes none. Disposable like the digest cache."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from modelops_bundle.disk.files import read_file, write_file
from modelops_bundle.errors import Corrupt, DiskError
from modelops_bundle.model import canonical, packs
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.packs import Member, Pack

_LIMIT = 1 << 24
_INNER = ".tar"


class PackCache:
    """Digests of packs by what they hold."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Digest] | None = None

    def get(self, members: tuple[Member, ...], *, inner: bool = False) -> Pack | None:
        """The pack of `members`, None when it was not made before.

        :param inner: with the digest of its tar.
        """
        if self._known is None:
            self._known = self._load()
        digest = self._known.get(packs.listing(members).hex)
        tar = self._known.get(packs.listing(members).hex + _INNER) if inner else None
        if digest is None or (inner and tar is None):
            return None
        return Pack(members, digest, packs.gzip_size(packs.tar_size(members)), tar)

    def save(self, made: Iterable[Pack]) -> None:
        """Remember `made`, and nothing else.

        :raises DiskError: it cannot be written.
        """
        listed = [(packs.listing(pack.members).hex, pack) for pack in made]
        known = {key: pack.digest for key, pack in listed}
        known |= {key + _INNER: pack.tar for key, pack in listed if pack.tar is not None}
        if known != self._known:
            body = canonical.dumps({key: str(digest) for key, digest in known.items()})
            write_file(self._path, Digest.of(body).hex.encode() + b"\n" + body)
            self._known = known

    def _load(self) -> dict[str, Digest]:
        try:
            seal, _, body = (read_file(self._path) or b"").partition(b"\n")
            if Digest.of(body).hex.encode() != seal:
                return {}
            listed = canonical.loads(body, "the pack cache", limit=_LIMIT)
            return {key: Digest.parse(digest) for key, digest in listed.items()}
        except (Corrupt, DiskError):
            return {}
