"""Pointers in a working tree: what another tool left there for a file in delta storage must not become its content."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from modelops_bundle.disk.tree import Tree
from modelops_bundle.errors import BundleError, IsPointer
from modelops_bundle.model import pointer
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.paths import MAX_PATH, display
from modelops_bundle.model.snapshot import Entry

_LEAST = len(pointer.pointer("a", 0, Digest.of(b"")))
_MOST = _LEAST + MAX_PATH + 20
"""Bytes of a pointer to a file with the longest path: few files have a size between the two, so few are read."""


def may_be(size: int) -> bool:
    """Whether a file of so many bytes is worth a look."""
    return _LEAST <= size <= _MOST


def pointers(tree: Tree, sized: Iterable[tuple[str, int]]) -> Iterator[str]:
    """Those of the files `sized` (paths with their sizes in bytes) that are pointers; one that cannot be read is none."""
    with tree.keeping():
        for path, size in sized:
            if may_be(size):
                try:
                    data, _ = tree.read_small(path, len(pointer.START))
                except BundleError:
                    # Whoever needs its content says what is wrong with it.
                    continue
                if pointer.is_pointer(data):
                    yield path


def refuse(tree: Tree, sized: Iterable[tuple[str, int]]) -> None:
    """:raises IsPointer: one of the files is a pointer."""
    found = list(pointers(tree, sized))
    if found:
        shown = ", ".join(display(path) for path in found[:10]) + (" …" if len(found) > 10 else "")
        raise IsPointer(
            f"not the file, but a pointer to one in delta storage that another tool pulled: {shown}",
            hint="bundle materialize . puts the files together; bundle pull --overwrite brings them from the remote",
            paths=found,
        )


def refuse_new(tree: Tree, here: Mapping[str, Entry], base: Mapping[str, Entry]) -> None:
    """Look at the files that a version of the tree has and `base` has not.

    :raises IsPointer: one of them is a pointer.
    """
    sized = ((path, entry) for path, entry in here.items() if entry.kind == "file" and may_be(entry.size))
    refuse(tree, ((path, entry.size) for path, entry in sized if base.get(path) != entry))


def stands_for(tree: Tree, path: str, entry: Entry) -> bool:
    """Whether at `path` there is a pointer to exactly this file."""
    data, _ = tree.read_small(path, pointer.MOST)
    return pointer.read(data) == (path, entry.size, entry.digest)
