"""Filling a new tree from blobs."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelops_bundle.disk.tree import StatKey, Tree
from modelops_bundle.errors import Corrupt, DiskError, Interrupted, NotFound
from modelops_bundle.events import Limits, Run
from modelops_bundle.model.artifact import Contents, Place
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.snapshot import Entry, Snapshot
from modelops_bundle.transfer import populate as module
from modelops_bundle.transfer.populate import Source, copy_range, populate, shares_blocks
from modelops_bundle.transfer.staging import Staging

DATA = os.urandom(100_000)
WHAT = Descriptor.of("application/octet-stream", DATA)


def entry(executable: bool = False) -> Entry:
    return Entry("file", WHAT.digest, WHAT.size, executable)


CONTENTS = Contents(
    Snapshot(
        {
            "a.bin": entry(),
            "d/same.bin": entry(),
            "d/run": entry(executable=True),
            "link": Entry.link("a.bin"),
            "hollow": Entry.directory(),
        }
    ),
    {path: Place(WHAT) for path in ("a.bin", "d/same.bin", "d/run")},
    None,
)


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    path = tmp_path / "blobs" / WHAT.digest.hex
    path.parent.mkdir()
    path.write_bytes(DATA)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    (tmp_path / "tree").mkdir()
    with Tree(tmp_path / "tree") as tree:
        yield tree


def source(blob: Path, **more: bool) -> Source:
    return Source(Staging(blob.parent), {WHAT.digest: StatKey.of(blob.stat())}, **more)


def check(root: Path) -> None:
    assert sorted(path.name for path in root.rglob("*")) == ["a.bin", "d", "hollow", "link", "run", "same.bin"]
    assert all((root / path).read_bytes() == DATA for path in ("a.bin", "d/same.bin", "d/run", "link"))
    assert os.access(root / "d/run", os.X_OK) and (root / "d/run").stat().st_mode & 0o100
    assert not (root / "a.bin").stat().st_mode & 0o111


def test_files_are_copied_where_blocks_cannot_be_shared(
    blob: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "reflink", lambda _source, _out: False)
    assert populate(tree, CONTENTS, source(blob), Run()) == {"copy": 3}
    check(tree.root)
    assert blob.stat().st_nlink == 1


@pytest.mark.parametrize("kernel", [True, False])
def test_a_copy_in_pieces(kernel: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not kernel:
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    data = os.urandom(2_500_000)
    (tmp_path / "a").write_bytes(data)
    with open(tmp_path / "a", "rb") as source, open(tmp_path / "b", "wb") as out:
        at = 0
        while at < len(data):
            at += copy_range(source.fileno(), out.fileno(), at, min(700_000, len(data) - at))
        with pytest.raises(Corrupt, match="shrank"):
            copy_range(source.fileno(), out.fileno(), at, 1)
    assert (tmp_path / "b").read_bytes() == data


def test_it_stops_when_it_is_told_to(blob: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "reflink", lambda _source, _out: False)
    run = Run(limits=Limits(jobs=1))
    monkeypatch.setattr(module, "copy_range", lambda *_: (run.cancel(), 1)[1])
    with pytest.raises(Interrupted):
        populate(tree, CONTENTS, source(blob), run)


def test_blocks_are_shared_where_they_can_be(blob: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    def share(original: int, out: int) -> bool:
        os.write(out, os.pread(original, 1 << 20, 0))
        return True

    monkeypatch.setattr(module, "reflink", share)
    assert shares_blocks(CONTENTS, source(blob), tree.root)
    assert populate(tree, CONTENTS, source(blob), Run()) == {"reflink": 3}
    check(tree.root)


def test_links_are_read_only_and_never_executable(blob: Path, tree: Tree) -> None:
    ways = populate(tree, CONTENTS, source(blob, link=True), Run())
    assert ways["link"] == 2 and sum(ways.values()) == 3
    check(tree.root)
    assert blob.stat().st_nlink == 3
    assert blob.stat().st_mode & 0o777 == 0o444
    assert (tree.root / "d/run").stat().st_mode & 0o777 == 0o555
    assert (tree.root / "d/run").stat().st_ino != blob.stat().st_ino


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EMLINK, errno.EPERM])
def test_where_no_link_can_be_made_files_are_copies(
    number: int, blob: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    assert "link" not in populate(tree, CONTENTS, source(blob, link=True), Run())
    check(tree.root)
    assert (tree.root / "a.bin").stat().st_mode & 0o777 == 0o444


def test_what_nobody_else_wants_is_moved(blob: Path, tree: Tree) -> None:
    ways = populate(tree, CONTENTS, Source(Staging(blob.parent), move=True), Run())
    assert ways["move"] == 1 and sum(ways.values()) == 3
    check(tree.root)
    assert not blob.exists()


def test_a_blob_that_changed_since_it_was_verified(blob: Path, tree: Tree) -> None:
    known = source(blob)
    blob.write_bytes(DATA[::-1])
    with pytest.raises(Corrupt, match="changed while it was used"):
        populate(tree, CONTENTS, known, Run())


def test_a_blob_that_is_gone(blob: Path, tree: Tree) -> None:
    known = source(blob)
    blob.unlink()
    with pytest.raises(NotFound, match="removed from the cache"):
        populate(tree, CONTENTS, known, Run())


def test_a_tree_that_is_not_new(blob: Path, tree: Tree) -> None:
    (tree.root / "a.bin").write_bytes(b"theirs")
    with pytest.raises(DiskError):
        populate(tree, CONTENTS, source(blob), Run())
    assert (tree.root / "a.bin").read_bytes() == b"theirs"


@pytest.mark.parametrize("size", [1000, 3_000_000])
@pytest.mark.parametrize("lies", [False, True])
def test_files_out_of_packs(size: int, lies: bool, tmp_path: Path, tree: Tree) -> None:
    from modelops_bundle.model import artifact
    from modelops_bundle.model.manifest import Manifest
    from modelops_bundle.stores.layout import LayoutStore
    from modelops_bundle.transfer.verify import read_small
    from tests.support.bundle import Bundle

    data = os.urandom(size)
    author = Bundle.create(tmp_path / "author", f"layout:{tmp_path / 'remote'}", {"run": data, "d/small": "small"})
    (author.root / "run").chmod(0o755)
    author.push("--pack", "always", "--tag", "v")
    store = LayoutStore(tmp_path / "remote")
    found = store.resolve("v", data=True)
    assert found is not None and found.data is not None
    contents = artifact.read(Manifest.from_bytes(found.data), lambda what: read_small(store, what, 1 << 20))
    if lies:
        wrong = Entry("file", Digest.of(b"x"), size, True)
        contents = Contents(contents.snapshot.replaced({"run": wrong}), contents.places, contents.version)
    blobs = Source(Staging(tmp_path / "remote/blobs/sha256"), link=True)
    if lies:
        with pytest.raises(Corrupt):
            populate(tree, contents, blobs, Run())
        return
    assert populate(tree, contents, blobs, Run())["unpacked"] >= 1
    assert (tree.root / "run").read_bytes() == data
    assert (tree.root / "run").stat().st_mode & 0o777 == 0o555
    assert (tree.root / "d/small").read_bytes() == b"small"
    assert (tree.root / "d/small").stat().st_mode & 0o777 == 0o444
