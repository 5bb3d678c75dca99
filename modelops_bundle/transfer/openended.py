"""Sending content whose digest is not known yet: it is hashed on its way, and read once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager

from modelops_bundle.errors import Corrupt
from modelops_bundle.events import Finished, ItemStarted, Run
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Chunks, Store, Upload
from modelops_bundle.transfer.copy import Content

Source = Callable[[], AbstractContextManager[Chunks]]
"""Opens the content from its start, each time it is called: for a file `lambda: tree.open_path(path, 0, size)`."""


def send_open(name: str, size: int, media_type: str, source: Source, destination: Store, run: Run) -> Descriptor:
    """Bring the content that `source` opens to `destination` and say what it is.

    Where a store must know the digest first, the content is hashed, then sent.

    :param name: unique within the run: what events call it.
    :param size: bytes.
    :raises Corrupt: there are not `size` bytes. :raises WorkspaceChanged: the file changed meanwhile.
    """
    run.emit(ItemStarted(name, name, size))
    content = Content(name, source, run)
    digest = destination.upload(name, size, content) if isinstance(destination, Upload) else None
    if digest is None:
        digest = _hash(name, size, source, run)
        destination.put(Descriptor(media_type, digest, size), content)
    run.emit(Finished(name, "copied" if content.sent else "exists"))
    return Descriptor(media_type, digest, size)


def _hash(name: str, size: int, source: Source, run: Run) -> Digest:
    hasher, done = hashlib.sha256(), 0
    with source() as chunks:
        for chunk in chunks:
            run.check()
            hasher.update(chunk)
            done += len(chunk)
    if done != size:
        raise Corrupt(f"{name} has {done} bytes instead of {size}")
    return Digest("sha256", hasher.hexdigest())
