"""An archive as bytes: the same for the same content, readable by everybody, wrong never to its end."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.errors import Corrupt, Interrupted
from modelops_bundle.events import Event, Finished, Run
from modelops_bundle.model import media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.ports import Chunks
from modelops_bundle.transfer.archive import Listing, archive

MANIFEST = b'{"schemaVersion":2}'
WHAT = Descriptor.of(media.OCI_MANIFEST, MANIFEST)


def blob(data: bytes) -> Descriptor:
    return Descriptor.of("application/octet-stream", data)


class Contents:
    def __init__(self, *data: bytes) -> None:
        self.held = {Descriptor.of("x", each).digest: each for each in data}

    @contextmanager
    def open(self, what: Descriptor) -> Iterator[Chunks]:
        data = self.held[what.digest]
        yield iter([data[at : at + 100] for at in range(0, len(data), 100)])


def written(listing: Listing, *data: bytes, run: Run | None = None) -> bytes:
    return b"".join(archive(listing, Contents(*data).open, run or Run()))


def test_it_is_a_layout_that_every_parser_reads() -> None:
    data = [MANIFEST, b"content" * 200, b""]
    listing = Listing(((WHAT, "v1"), (WHAT, "v2"), (WHAT, None)), (*tuple(blob(each) for each in data[1:]), WHAT))
    found = written(listing, *data)
    assert len(found) == listing.size
    with tarfile.open(fileobj=io.BytesIO(found)) as opened:
        members = {member.name: member for member in opened.getmembers()}
        index = json.load(opened.extractfile("index.json"))  # type: ignore[arg-type]
        assert json.load(opened.extractfile("oci-layout")) == {"imageLayoutVersion": "1.0.0"}  # type: ignore[arg-type]
        for each in data:
            name = f"blobs/sha256/{blob(each).digest.hex}"
            assert opened.extractfile(name).read() == each  # type: ignore[union-attr]
    assert {(m.uid, m.gid, m.mtime, m.uname, m.gname) for m in members.values()} == {(0, 0, 0, "", "")}
    assert [entry.get("annotations", {}).get(media.REF_NAME) for entry in index["manifests"]] == [None, "v1", "v2"]


@given(st.permutations([b"a", b"bb" * 300, b"", b"ccc" * 5000, MANIFEST]), st.permutations(["v1", "v2", None]))
def test_the_order_in_which_things_are_named_does_not_matter(data: list[bytes], tags: list[str | None]) -> None:
    blobs = tuple(WHAT if each == MANIFEST else blob(each) for each in data)
    listing = Listing(tuple((WHAT, tag) for tag in tags), blobs)
    reference = Listing(
        tuple((WHAT, tag) for tag in ("v1", "v2", None)), tuple(sorted(blobs, key=lambda b: str(b.digest)))
    )
    assert written(listing, *data) == written(reference, *data)


@pytest.mark.parametrize("damage", [lambda d: d[:-1], lambda d: d + b"x", lambda d: b"X" + d[1:]])
def test_a_store_that_lies_ends_it_before_its_end(damage: object) -> None:
    data = b"content" * 200
    contents = Contents(data)
    contents.held[blob(data).digest] = damage(data)  # type: ignore[operator]
    listing = Listing((), (blob(data),))
    found = io.BytesIO()
    with pytest.raises(Corrupt):
        for chunk in archive(listing, contents.open, Run()):
            found.write(chunk)
    assert found.tell() < listing.size - 1024


def test_it_can_be_stopped() -> None:
    run = Run()
    run.cancel()
    with pytest.raises(Interrupted):
        written(Listing((), (blob(b"x"),)), b"x", run=run)


def test_progress_is_told() -> None:
    events: list[Event] = []
    written(Listing((), (blob(b"x"), blob(b"y"))), b"x", b"y", run=Run(emit=events.append))
    assert sum(isinstance(event, Finished) for event in events) == 2


def test_files_larger_than_a_header_can_say() -> None:
    huge = Descriptor("x", WHAT.digest, 9 << 30)
    assert Listing((), (huge,)).size > 9 << 30
