"""Things to put into stores: blobs, manifests, what refers to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from modelops_bundle.model import canonical, media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.ports import Store

BLOB = "application/octet-stream"
THREADS = 8
_CONFIG = b"{}"


def describe(data: bytes) -> Descriptor:
    """The descriptor of a blob."""
    return Descriptor.of(BLOB, data)


def put(store: Store, data: bytes) -> Descriptor:
    """Store a blob."""
    what = describe(data)
    store.put(what, [data])
    return what


def read(store: Store, what: Descriptor, start: int = 0, stop: int | None = None) -> bytes:
    """Bytes of what the store holds."""
    with store.open(what, start, stop) as chunks:
        return b"".join(chunks)


def make_manifest(store: Store, content: bytes) -> tuple[Descriptor, bytes]:
    """A manifest of one layer whose blobs are stored; it itself is not."""
    layer, config = put(store, content), Descriptor.of(media.OCI_EMPTY, _CONFIG)
    store.put(config, [_CONFIG])
    data = canonical.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media.OCI_MANIFEST,
            "config": config.to_json(),
            "layers": [layer.to_json()],
        }
    )
    return Descriptor.of(media.OCI_MANIFEST, data), data


def make_referrer(store: Store, subject: Descriptor, kind: str, note: str = "") -> tuple[Descriptor, bytes]:
    """A manifest of type `kind` that refers to `subject`; its blobs are stored, it itself is not."""
    empty = Descriptor.of(media.OCI_EMPTY, _CONFIG)
    store.put(empty, [_CONFIG])
    data = canonical.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media.OCI_MANIFEST,
            "artifactType": kind,
            "config": empty.to_json(),
            "layers": [empty.to_json()],
            "subject": subject.to_json(),
            "annotations": {"note": note},
        }
    )
    return Descriptor.of(media.OCI_MANIFEST, data), data


class Pieces:
    """A re-iterable of pieces; it counts how often it was started."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data = data
        self._size = size
        self.started = 0

    def __iter__(self) -> Iterator[bytes]:
        self.started += 1
        for at in range(0, len(self._data), self._size):
            yield self._data[at : at + self._size]


def together(actions: Iterable[Callable[[], None]]) -> list[BaseException | None]:
    """Do all actions at once; what each raised."""
    with ThreadPoolExecutor(THREADS) as pool:
        return [future.exception() for future in [pool.submit(action) for action in actions]]
