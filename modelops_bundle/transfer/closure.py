"""Everything that a version needs: its manifests, and the blobs they name, found from its root (image-spec 1.1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from modelops_bundle.errors import Corrupt, NotFound, Unsupported
from modelops_bundle.events import Run
from modelops_bundle.model import canonical, media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Referrers, Store
from modelops_bundle.transfer.verify import mismatch

MOST = 10_000
"""Manifests of one version: an index can name as many as it likes."""
MOST_BYTES = 256 << 20
"""Bytes of all of them together, which are held in memory."""
DEEPEST = 16
"""Indexes within indexes, and referrers of referrers."""
_INDEXES = (media.OCI_INDEX, media.DOCKER_LIST)


@dataclass(frozen=True, slots=True)
class Node:
    """One manifest, its verified bytes, and what it names.

    :param subject: what it refers to, when it was found as a referrer.
    """

    what: Descriptor
    data: bytes
    manifests: tuple[Descriptor, ...]
    blobs: tuple[Descriptor, ...]
    subject: Digest | None = None


def closure(store: Store, roots: Sequence[Descriptor], run: Run, *, referrers: bool = False) -> list[Node]:
    """The manifests that `roots` need, each after those that it names, and referrers after what they refer to.

    :param referrers: with what refers to them, and to that, where the store knows it.
    :raises NotFound: one is not there. :raises Corrupt: one is not what its digest says, or no manifest.
    :raises Unsupported: there are too many of them.
    """
    return list(_Walk(store, run, referrers).nodes(roots))


def blobs_of(nodes: Iterable[Node]) -> list[Descriptor]:
    """The blobs that they name, each digest once; the same content under several names has the first of them."""
    found: dict[Digest, Descriptor] = {}
    for node in nodes:
        for what in node.blobs:
            known = found.setdefault(what.digest, what)
            if known.size != what.size:
                raise Corrupt(f"{what.digest} is said to have {known.size} and {what.size} bytes")
    return list(found.values())


class _Walk:
    def __init__(self, store: Store, run: Run, referrers: bool) -> None:
        self._store = store
        self._run = run
        self._lister = store if referrers and isinstance(store, Referrers) else None
        self._seen: set[Digest] = set()
        self._held = 0

    def nodes(self, roots: Sequence[Descriptor], depth: int = 0, subject: Digest | None = None) -> Iterator[Node]:
        if depth > DEEPEST:
            raise Unsupported(f"manifests lie more than {DEEPEST} deep")
        for root in roots:
            if root.digest in self._seen:
                continue
            self._seen.add(root.digest)
            if len(self._seen) > MOST:
                raise Unsupported(f"there are more than {MOST} manifests")
            self._run.check()
            node = replace(_read(self._store, root), subject=subject)
            self._held += len(node.data)
            if self._held > MOST_BYTES:
                raise Unsupported(
                    f"the manifests have more than {MOST_BYTES} bytes", hint="take some of the tags at a time"
                )
            yield from self.nodes(node.manifests, depth + 1)
            yield node
            if self._lister is not None:
                found = sorted(self._lister.referrers(root.digest), key=lambda what: str(what.digest))
                yield from self.nodes(found, depth + 1, root.digest)


def _read(store: Store, what: Descriptor) -> Node:
    found = store.resolve(str(what.digest), data=True)
    if found is None or found.data is None:
        raise NotFound(f"the manifest {what.digest} is not there", digest=str(what.digest))
    if Digest.of(found.data) != what.digest:
        raise mismatch(what, "it is another manifest")
    value = canonical.loads(found.data, f"the manifest {what.digest}", limit=media.MAX_MANIFEST)
    plain = Descriptor(found.media_type, what.digest, len(found.data))
    if found.media_type in _INDEXES:
        return Node(plain, found.data, tuple(_named(value.get("manifests"), what)), ())
    layers = _named(value.get("layers"), what)
    config = _named([value.get("config")], what)
    return Node(plain, found.data, (), (*config, *layers))


def _named(value: object, what: Descriptor) -> list[Descriptor]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise Corrupt(f"the manifest {what.digest} does not say what it holds", digest=str(what.digest))
    # Content with addresses of its own (image-spec descriptor.md, "urls") is kept elsewhere.
    return [Descriptor.from_json(each) for each in value if not each.get("urls")]
