"""Packs of any tree: what tarfile and gzip read back, where the index says the bytes are, and stable cuts."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.events import Run
from modelops_bundle.model import packs
from modelops_bundle.model.artifact import build, read
from modelops_bundle.model.manifest import Manifest
from modelops_bundle.model.packs import Pack
from modelops_bundle.model.snapshot import Entry, Snapshot
from modelops_bundle.transfer import pack
from tests.support.strategies import snapshots
from tests.support.things import file

BLOCK = 65535
sizes = st.integers(0, 2_000) | st.sampled_from([511, 512, 513, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3, 200_000])


@st.composite
def filled(draw: st.DrawFn) -> tuple[Snapshot, dict[str, bytes]]:
    """A tree and the contents of its files, some of them larger than a block."""
    tree = draw(snapshots())
    contents = {
        path: Random(draw(st.integers(0, 2**32))).randbytes(draw(sizes))
        for path, entry in tree.items()
        if entry.kind == "file"
    }
    files = {path: file(data, executable=tree[path].executable, role="code") for path, data in contents.items()}
    return Snapshot({**tree, **files}), contents


def pieces_of(data: bytes, random: Random) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        step = random.choice([1, 3, 4, 5, 6, 1_000, BLOCK, BLOCK + 5, 10**6])
        yield data[at : at + step]
        at += step


def sealed(tree: Snapshot, contents: dict[str, bytes], random: Random) -> list[tuple[Pack, bytes]]:
    def chunked(path: str) -> Iterator[bytes]:
        return pieces_of(contents[path], random)

    made = []
    for members in packs.cut(tree, "always"):
        one = pack.seal(members, chunked, Run())
        made.append((one, b"".join(pack.blob(members, chunked))))
    return made


@given(filled(), st.randoms(use_true_random=False))
def test_what_others_unpack_is_the_tree(case: tuple[Snapshot, dict[str, bytes]], random: Random) -> None:
    tree, contents = case
    found: dict[str, Entry] = {}
    directories: set[str] = set()
    for one, data in sealed(tree, contents, random):
        assert len(data) == one.size
        with tarfile.TarFile(fileobj=io.BytesIO(gzip.decompress(data))) as archive:
            for member in archive:
                parent = member.name.rpartition("/")[0]
                assert not parent or parent in archive.getnames()
                if member.isdir():
                    directories.add(member.name)
                elif member.issym():
                    found[member.name] = Entry.link(member.linkname)
                else:
                    content = archive.extractfile(member)
                    assert content is not None
                    found[member.name] = file(content.read(), executable=bool(member.mode & 0o100))
    chosen = {path: entry for members in packs.cut(tree, "always") for path, entry in members}
    assert found == {path: entry for path, entry in chosen.items() if entry.kind != "dir"}
    assert {path for path, entry in chosen.items() if entry.kind == "dir"} <= directories
    assert all(path not in chosen for path, entry in tree.items() if entry.role == "weight")


@given(filled(), st.randoms(use_true_random=False))
def test_every_place_of_the_index_holds_the_file(case: tuple[Snapshot, dict[str, bytes]], random: Random) -> None:
    tree, contents = case
    made = sealed(tree, contents, random)
    blobs = {one.digest: data for one, data in made}
    artifact = build(tree, packed=[one for one, _ in made])
    generated = dict(artifact.generated())
    back = read(Manifest.from_bytes(artifact.manifest.to_bytes()), lambda what: generated[what])
    assert back.snapshot == tree
    for path, place in back.places.items():
        size = len(contents[path])
        if place.offset is None:
            assert place.blob.digest == tree[path].digest
        elif size:
            start, stop = packs.position(place.offset), packs.position(place.offset + size - 1) + 1
            raw = blobs[place.blob.digest][start:stop]
            chunks = packs.unframed(pieces_of(raw, random), place.offset, place.offset + size)
            assert b"".join(chunks) == contents[path]


@given(filled(), st.randoms(use_true_random=False))
def test_packs_depend_on_the_tree_alone(case: tuple[Snapshot, dict[str, bytes]], random: Random) -> None:
    tree, contents = case
    rows = list(tree.items())
    random.shuffle(rows)
    again = sealed(Snapshot(dict(rows)), contents, random)
    assert [one.digest for one, _ in again] == [one.digest for one, _ in sealed(tree, contents, Random(0))]


paths_of_links = st.sampled_from(["a", "b", "c", "d/a", "d/b", "e/f/g"])


@given(st.dictionaries(paths_of_links, st.sampled_from(["a", "b/x", "c", "../a", "d/a", "d", "../b", "e/f/g/h", "b"])))
def test_no_link_stands_after_one_it_leads_through_unless_they_form_a_ring(links: dict[str, str]) -> None:
    entries = {path: Entry.link(target) for path, target in links.items()}
    order = packs._users_first(entries)
    assert sorted(order) == sorted(links)
    used = {path: set(packs._passed(path, target)) & links.keys() for path, target in links.items()}
    for path in order:
        for other in used[path]:
            if order.index(other) < order.index(path):
                assert path in _reach(other, used), (path, other)


def _reach(start: str, used: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    todo = [start]
    while todo:
        for other in used[todo.pop()] - found:
            found.add(other)
            todo.append(other)
    return found
