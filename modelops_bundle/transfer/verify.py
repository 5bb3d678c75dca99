"""The only place that decides whether bytes are what they were said to be."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from modelops_bundle.errors import Corrupt
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Reader


def verified(what: Descriptor, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Pass `chunks` on, ending in an error unless they are exactly `what`.

    The consumer must not believe anything before the iterator has ended.

    :raises Corrupt: too many bytes (at once), too few, or another digest.
    """
    hasher = hashlib.sha256()
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > what.size:
            raise mismatch(what, f"there are more than {what.size} bytes")
        hasher.update(chunk)
        yield chunk
    if size != what.size:
        raise mismatch(what, f"there are {size} bytes of {what.size}")
    if hasher.hexdigest() != what.digest.hex:
        raise mismatch(what, f"the bytes have sha256:{hasher.hexdigest()}")


def mismatch(what: Descriptor, why: str) -> Corrupt:
    """The error for bytes that are not `what`."""
    return Corrupt(
        f"content does not match {what.digest}: {why}",
        hint="nothing was replaced; the stored copy or the way to it is damaged",
        digest=str(what.digest),
    )


def read_small(store: Reader, what: Descriptor, limit: int) -> bytes:
    """The verified bytes of a small blob, inline data included.

    :param limit: most bytes accepted.
    :raises Corrupt: larger, or other bytes than `what` says. :raises NotFound: it is not there.
    """
    if what.size > limit:
        raise Corrupt(f"{what.digest} has {what.size} bytes, more than the {limit} accepted here")
    if what.data is not None and Digest.of(what.data) == what.digest:
        return what.data
    with store.open(what) as chunks:
        return b"".join(verified(what, chunks))
