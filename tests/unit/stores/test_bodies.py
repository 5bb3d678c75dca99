"""What is sent for a blob: the withheld piece, hashing on the way, parts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.errors import Corrupt, WorkspaceChanged
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Piece, SendFile, Span
from modelops_bundle.stores.bodies import Body, Checked, Hashed, body_of, opened, pieces_of, restartable
from modelops_bundle.testing.contents import InFile
from modelops_bundle.testing.store_contract import Pieces, describe

DATA = os.urandom(1_500_000)


def read(pieces: Iterable[Piece]) -> bytes:
    return b"".join(
        os.pread(piece.descriptor, len(piece), piece.start) if isinstance(piece, Span) else piece for piece in pieces
    )


def sent(data: bytes, chunks: list[bytes]) -> tuple[bytes, bool]:
    checked = Checked(describe(data), chunks)
    out = b""
    try:
        for chunk in checked:
            out += chunk
    except Corrupt:
        return out, False
    return out, True


@pytest.mark.parametrize(
    "chunks", [[b"abc"], [b"a", b"b", b"c"], [b"", b"ab", b"", b"c", b""], [b"a", b"bc"]], ids=lambda c: str(len(c))
)
def test_right_pieces_pass(chunks: list[bytes]) -> None:
    assert sent(b"abc", chunks) == (b"abc", True)


@pytest.mark.parametrize(
    "chunks",
    [[b"abd"], [b"a", b"b", b"d"], [b"abc", b"d"], [b"abcd"], [b"ab"], [], [b"a", b"b"], [b"a", b"b", b"c", b"d"]],
)
def test_wrong_pieces_are_never_complete(chunks: list[bytes]) -> None:
    out, complete = sent(b"abc", chunks)
    assert not complete
    assert len(out) < 3


def test_the_empty_blob_is_checked_too() -> None:
    assert sent(b"", []) == (b"", True)
    assert sent(b"", [b"x"]) == (b"", False)


@pytest.mark.parametrize("kind", ["file", "pieces"])
def test_hashing_on_the_way_changes_nothing(tmp_path: Path, kind: str) -> None:
    chunks = InFile(tmp_path / "f", DATA) if kind == "file" else Pieces(DATA, 1000)
    with opened(chunks) as content, Hashed(pieces_of(content)) as hashed:
        assert read(hashed) == DATA
        assert hashed.digest() == Digest.of(DATA)


def test_hashing_nothing_is_the_digest_of_nothing() -> None:
    with Hashed([]) as hashed:
        assert list(hashed) == []
        assert hashed.digest() == Digest.of(b"")


def test_a_failure_while_hashing_aside_is_told(tmp_path: Path) -> None:
    closed = os.open(tmp_path, os.O_RDONLY)
    os.close(closed)
    with Hashed([Span(closed, 0, 10)]) as hashed:
        assert len(list(hashed)) == 1
        with pytest.raises(OSError, match="Bad file descriptor"):
            hashed.digest()


@given(st.lists(st.binary(max_size=20)), st.lists(st.integers(0, 15)))
def test_parts_together_are_the_whole(pieces: list[bytes], lengths: list[int]) -> None:
    data = b"".join(pieces)
    body = Body(pieces, len(data))
    out = b""
    for length in lengths:
        part = b"".join(body.take(min(length, body.left)))  # type: ignore[arg-type]
        assert len(part) == min(length, len(data) - len(out))
        out += part
    out += b"".join(body.take(body.left))  # type: ignore[arg-type]
    assert (out, body.left) == (data, 0)


@given(st.integers(0, 30), st.lists(st.integers(1, 12), min_size=1))
def test_parts_of_files_are_cut_the_same_way(size: int, lengths: list[int]) -> None:
    data = bytes(range(size))
    body = Body([Span(-1, 0, size // 2), Span(-1, size // 2, size)], size)
    out: list[int] = []
    for length in [*lengths, size]:
        for piece in body.take(min(length, body.left)):
            assert isinstance(piece, Span)
            out += range(piece.start, piece.stop)
    assert bytes(out) == data


@pytest.mark.parametrize("size", [2, 4])
def test_a_body_of_another_size_is_corrupt(size: int) -> None:
    body = Body([b"a", b"", b"bc"], size)
    with pytest.raises(Corrupt):
        list(body.take(size))


def test_the_end_of_the_source_runs_with_the_last_part() -> None:
    ended = []

    def pieces() -> Iterator[bytes]:
        yield b"ab"
        ended.append(True)

    body = Body(pieces(), 2)
    assert list(body.take(1)) == [b"a"]
    assert not ended
    assert list(body.take(1)) == [b"b"]
    assert ended


@pytest.mark.parametrize("start", [0, 1, 700_000, 1_500_000])
@pytest.mark.parametrize("trust", [False, True])
def test_a_blob_can_be_sent_from_the_middle(tmp_path: Path, start: int, trust: bool) -> None:
    file = InFile(tmp_path / "f", DATA)
    with opened(file) as chunks:
        body = body_of(describe(DATA), chunks, start, trust=trust)
        assert read(body.take(body.left)) == DATA[start:]
    assert file.spanned == ([start] if trust else [])


def test_a_file_is_trusted_only_when_asked_to(tmp_path: Path) -> None:
    file = InFile(tmp_path / "f", DATA[:-1] + b"?" if DATA[-1:] != b"?" else DATA[:-1] + b"!")
    with opened(file) as chunks:
        assert isinstance(chunks, SendFile)
        body = body_of(describe(DATA), chunks, 0, trust=False)
        with pytest.raises(Corrupt):
            read(body.take(body.left))


def test_a_change_withholds_the_end_of_a_file(tmp_path: Path) -> None:
    got = hashlib.sha256()
    with opened(InFile(tmp_path / "f", DATA, changes=True)) as chunks:
        body = body_of(describe(DATA), chunks, 0, trust=True)
        with pytest.raises(WorkspaceChanged):
            for piece in body.take(body.left):
                got.update(read([piece]))
        assert body.left > 0


def test_what_can_be_had_again(tmp_path: Path) -> None:
    assert restartable([b"x"])
    assert restartable(InFile(tmp_path / "f", b"x"))
    assert not restartable(iter([b"x"]))


@pytest.mark.parametrize("kind", ["file", "pieces"])
def test_what_is_hashed_on_the_way_is_seen_in_order(tmp_path: Path, kind: str) -> None:
    chunks = InFile(tmp_path / "f", DATA) if kind == "file" else Pieces(DATA, 1000)
    seen = bytearray()
    with opened(chunks) as content, Hashed(pieces_of(content), seen.extend) as hashed:
        assert read(hashed) == DATA
        assert hashed.digest() == Digest.of(DATA)
    assert seen == DATA
