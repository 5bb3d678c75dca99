"""Where files are cut: at tensors and members, else by content; and files that are not cut at all."""

from __future__ import annotations

import io
import itertools
import json
import random
import struct
import zipfile
from array import array
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.formats import cuts
from modelops_bundle.formats.chunker import Chunker
from modelops_bundle.formats.cuts import FASTCDC, SHORT, STEP, TAIL, Plan, by_content, chunker_for
from modelops_bundle.model.chunkmap import MAX_CHUNK

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
WIDTH = {"F32": 4, "BF16": 2, "U8": 1}


def safetensors(tensors: list[tuple[str, str, int]], pad: int = 0, *, backwards: bool = False) -> bytes:
    """Names, types and bytes of tensors, as a file. `backwards`: the header has the last one first."""
    header: dict[str, Any] = {}
    at = 0
    for name, dtype, size in tensors:
        header[name] = {"dtype": dtype, "shape": [size // WIDTH[dtype]], "data_offsets": [at, at + size]}
        at += size
    if backwards:
        header = dict(reversed(header.items()))
    text = json.dumps(header).encode() + b" " * pad
    return len(text).to_bytes(8, "little") + text + bytes(at)


def gguf(tensors: list[tuple[int, int, int]], size: int, key: int | bytes = 0) -> bytes:
    """Types, offsets and numbers of tensors, as a file with `size` bytes of data and a key, which may be zeros."""

    def text(value: bytes) -> bytes:
        return struct.pack("<Q", len(value)) + value

    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 1) + text(b"k") + struct.pack("<I", 8) + text(bytes(key))
    for index, (kind, offset, count) in enumerate(tensors):
        head += text(b"%d" % index) + struct.pack("<IQIQ", 1, count, kind, offset)
    return head + bytes(-len(head) % 32) + bytes(size)


def archive(members: list[tuple[str, int]], method: int = zipfile.ZIP_STORED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as made:
        for name, size in members:
            made.writestr(name, random.Random(size).randbytes(size))
    return target.getvalue()


def reader(data: bytes) -> Callable[[int, int], bytes]:
    def read(at: int, count: int) -> bytes:
        assert 0 <= at < 1 << 63, "what pread(2) takes"
        return data[at : at + count]

    return read


def planned(data: bytes, path: str = "a") -> Plan:
    plan = chunker_for(path, len(data), reader(data), smallest=0)
    assert plan is not None
    return plan


def sizes(data: bytes, path: str = "a") -> list[int]:
    found = planned(data, path).sizes
    assert found is not None
    assert sum(found) == len(data)
    assert all(0 < size <= MAX_CHUNK for size in found)
    return list(found)


# --------------------------------------------------------------------------------------------------------- safetensors


def test_tensors_are_cut_from_their_beginning() -> None:
    data = safetensors(
        [("a", "F32", 2 * MIB + TAIL), ("b", "BF16", 2 * MIB + TAIL - 2), ("c", "U8", 10), ("d", "BF16", MIB)]
    )
    head = len(data) - 5 * MIB - 2 * TAIL - 8
    assert sizes(data, "x.safetensors") == [head, MIB, MIB, TAIL, MIB, MIB + TAIL - 2, 10, MIB]
    assert planned(data).chunker == "safetensors/1m"


def test_the_name_of_a_model_file_does_not_matter() -> None:
    """Caches name files by their digest."""
    data = safetensors([("a", "F32", 3 * MIB)])
    assert planned(data, "4f2a") == planned(data, "model.safetensors") == planned(data, "x/y.GGUF")


def test_a_changed_header_leaves_the_chunks_of_tensors() -> None:
    tensors = [("a", "F32", 3 * MIB), ("b", "BF16", 5)][:1]
    assert sizes(safetensors(tensors))[1:] == sizes(safetensors(tensors, pad=999))[1:]


@pytest.mark.parametrize("backwards", [False, True])
def test_tensors_without_numbers(backwards: bool) -> None:
    tensors = [("a", "F32", 0), ("b", "F32", 2 * MIB), ("c", "F32", 0), ("d", "F32", 8), ("e", "F32", 0)]
    data = safetensors(tensors, backwards=backwards)
    assert sizes(data)[1:] == [MIB, MIB, 8]
    assert planned(data).runs == ((len(data) - 2 * MIB - 8, len(data), "F32"),)
    empty = safetensors([("a", "F32", 0)])
    assert sizes(empty) == [len(empty)]


def test_types_of_chunks() -> None:
    data = safetensors([("a", "F32", 8), ("b", "F32", 8), ("c", "BF16", 4), ("d", "U8", 1)])
    plan, first = planned(data), len(data) - 21
    assert plan.runs == ((first, first + 16, "F32"), (first + 16, first + 20, "BF16"), (first + 20, first + 21, "U8"))
    wanted = [None] * first + ["F32"] * 16 + ["BF16"] * 4 + ["U8", None, None]
    assert [plan.dtype_at(at) for at in range(len(data) + 2)] == wanted
    assert by_content(5).dtype_at(0) is None


# ------------------------------------------------------------------------------------------------------------- headers


def headed(make: str, size: int) -> bytes:
    """A file with a header of `size` bytes, and one tensor of one byte."""
    if make == "gguf":
        return gguf([(24, 0, 1)], 1, key=size - len(gguf([(24, 0, 1)], 0)))
    return safetensors([("a", "U8", 1)], pad=size - len(safetensors([("a", "U8", 0)])))


@pytest.mark.parametrize("make", ["gguf", "safetensors"])
def test_a_short_header_is_one_chunk_and_a_longer_one_is_not(make: str) -> None:
    longest = FASTCDC["fastcdc2020/16k"][2]
    assert sizes(headed(make, SHORT)) == [SHORT, 1]
    for size in (SHORT + 32, 1_000_000):
        *header, tensor = sizes(headed(make, size))
        assert (sum(header), tensor) == (size, 1)
        assert len(header) > 1
        assert max(header) <= longest
        assert planned(headed(make, size)).chunker == f"{make}/1m"


def vocabulary(count: int) -> bytes:
    return b"".join(f'"{random.Random(word).randrange(1 << 40):x}":{word},'.encode() for word in range(count))


def chunks(data: bytes) -> set[bytes]:
    return {blake3(data[start:stop]).digest() for start, stop in pairwise(itertools.accumulate(sizes(data), initial=0))}


@pytest.mark.parametrize("make", ["gguf", "safetensors"])
def test_an_insertion_into_a_long_header_leaves_most_of_its_chunks(make: str) -> None:
    def made(words: bytes) -> bytes:
        if make == "gguf":
            return gguf([(24, 0, 3 * MIB)], 3 * MIB, key=words)
        header = json.dumps(
            {"__metadata__": {"v": words.decode()}, "a": {"dtype": "U8", "shape": [5], "data_offsets": [0, 5]}}
        )
        return len(header).to_bytes(8, "little") + header.encode() + bytes(5)

    words = vocabulary(40_000)
    before, after = made(words), made(words[:700] + b"a template" * 9 + words[700:])
    new = chunks(after) - chunks(before)
    assert len(words) > 600_000
    assert len(chunks(before)) > 30
    # Where it is, and what says how long the header is.
    assert len(new) <= 3


def test_a_header_is_cut_as_a_file_of_it_would_be() -> None:
    """Whoever has to cut it elsewhere needs nothing but its bytes and the name of a chunker."""
    data = gguf([(24, 0, 1)], 1, key=vocabulary(20_000))
    head = data[:-1]
    chunker = Chunker(Plan("fastcdc2020/16k", parameters=FASTCDC["fastcdc2020/16k"]), len(head))
    chunker.feed(head)
    assert [*chunker.finish().sizes, 1] == sizes(data)


def test_a_header_without_tensors() -> None:
    data = safetensors([], pad=200_000)
    assert len(sizes(data)) > 3
    unaligned = gguf([], 0, key=200_001)[: 200_001 + 24 + 9 + 12]
    assert len(unaligned) % 32
    assert len(sizes(unaligned)) > 3


def test_an_alignment_that_makes_a_header_endless() -> None:
    def text(value: bytes) -> bytes:
        return struct.pack("<Q", len(value)) + value

    data = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text(b"general.alignment") + struct.pack("<II", 4, 1 << 31)
    read: list[int] = []

    def part(at: int, count: int) -> bytes:
        read.append(count)
        return data[at : at + count].ljust(min(count, MIB), b"\0")

    assert chunker_for("a", 1 << 40, part, smallest=0) == by_content(1 << 40)
    assert max(read) <= MIB


# ---------------------------------------------------------------------------------------------------------------- GGUF


def test_gguf_with_holes() -> None:
    data = gguf([(0, 0, 3), (1, 64, 700_000), (12, 1_400_064 + 32, 256)], 1_400_064 + 32 + 144 + 20)
    head = len(data) - 1_400_064 - 32 - 144 - 20
    # The first tensor, what aligns the second, that one, a hole of 32 bytes, the third, what is behind it.
    assert sizes(data) == [head, 12, 52, MIB, 1_400_000 - MIB, 64 + 32 - 64, 144, 20]
    plan = planned(data)
    assert plan.chunker == "gguf/1m"
    assert [plan.dtype_at(head + at) for at in (0, 12, 64, 1_400_096)] == ["F32", None, "F16", "Q4_K"]


def test_a_hole_longer_than_a_chunk() -> None:
    data = gguf([(24, 17 * MIB, 5)], 17 * MIB + 5)
    assert sizes(data)[-1] == 5
    assert len(sizes(data)) == 18


def test_headers_that_take_too_much_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "_LONGEST_JSON", 400 << 10)
    monkeypatch.setattr(cuts, "_LONGEST_GGUF", 400 << 10)
    for data in (gguf([(24, 0, 5)], 5, key=500 << 10), safetensors([("a", "U8", 5)], pad=500 << 10)):
        read: list[int] = []

        def part(at: int, count: int, data: bytes = data, read: list[int] = read) -> bytes:
            read.append(count)
            return data[at : at + count]

        assert chunker_for("a", len(data), part, smallest=0) == by_content(len(data))
        assert sum(read) < 400 << 10


# ----------------------------------------------------------------------------------------------------------------- ZIP


def test_members_are_cut_from_where_their_bytes_begin() -> None:
    data = archive(
        [("m/data.pkl", 500), ("m/data/0", 2 * MIB + 5), ("m/data/1", 7), ("m/data/2", TAIL), ("m/data/3", TAIL - 1)]
    )
    start = zipfile.ZipFile(io.BytesIO(data)).start_dir
    assert sizes(data, "model.pt") == [
        30 + 10 + 500,
        30 + 8,
        MIB,
        MIB + 5,
        30 + 8 + 7,
        30 + 8,
        TAIL,
        30 + 8 + TAIL - 1,
        len(data) - start,
    ]
    assert planned(data).chunker == "zip/1m"


def test_another_name_of_the_archive_leaves_the_chunks_of_large_members() -> None:
    before, after = (archive([(f"{name}/data/0", 3 * MIB), (f"{name}/version", 2)]) for name in ("a", "checkpoint-2"))
    assert (
        [size for size in sizes(before) if size > 1000] == [size for size in sizes(after) if size > 1000] == [MIB] * 3
    )


def test_data_descriptors_and_zip64() -> None:
    class Unseekable(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError

    target = Unseekable()
    with zipfile.ZipFile(target, "w") as made:
        for name in ("a", "b"):
            with made.open(name, "w", force_zip64=True) as member:
                member.write(bytes(MIB))
    data = target.getvalue()
    # Behind the bytes of a member its descriptor, and then the next header: one chunk.
    assert sizes(data) == [
        30 + 1 + 20,
        MIB,
        24 + 30 + 1 + 20,
        MIB,
        24,
        len(data) - zipfile.ZipFile(io.BytesIO(data)).start_dir,
    ]


def test_compressed_members() -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as made:
        made.writestr("a", random.Random(1).randbytes(3 * MIB), zipfile.ZIP_DEFLATED)
    data = target.getvalue()
    assert chunker_for("a.zip", len(data), reader(data), smallest=0) is None
    with zipfile.ZipFile(target, "a") as made:
        made.writestr("b", random.Random(1).randbytes(4 * MIB))
    assert MIB in sizes(target.getvalue(), "a.zip")


# ------------------------------------------------------------------------------------------------------ everything else


@pytest.mark.parametrize(
    ("size", "name"),
    [
        (1, "fastcdc2020/16k"),
        (GIB, "fastcdc2020/16k"),
        (GIB + 1, "fastcdc2020/64k"),
        (8 * GIB, "fastcdc2020/64k"),
        (8 * GIB + 1, "fastcdc2020/256k"),
        (64 * GIB, "fastcdc2020/256k"),
        (64 * GIB + 1, "fastcdc2020/1m"),
        (1 << 50, "fastcdc2020/1m"),
    ],
)
def test_what_has_no_format_is_cut_by_content(size: int, name: str) -> None:
    assert chunker_for("a.csv", size, lambda at, count: b"1,2\n" * 8, smallest=0) == Plan(
        name, parameters=FASTCDC[name]
    )


def test_parameters() -> None:
    for name, (least, average, most) in FASTCDC.items():
        assert name.endswith((f"/{average // KIB}k", f"/{average // MIB}m"))
        assert (least, most) == (average // 4, average * 4)


@pytest.mark.parametrize(
    "path", ["a.gz", "a/b.TAR.GZ", "a.zst", "a.mp4", "a.JPEG", "a.png", "a.7z", "a.tgz", "secret.age"]
)
def test_suffixes_of_compressed_media(path: str) -> None:
    def read(at: int, count: int) -> bytes:
        raise AssertionError

    assert chunker_for(path, 1 << 30, read) is None


@pytest.mark.parametrize(
    "head",
    [
        b"\x1f\x8b\x08",
        b"\x28\xb5\x2f\xfd",
        b"BZh9",
        b"\xfd7zXZ\0",
        b"\0\0\0\x18ftypmp42",
        b"\xff\xd8\xff\xe0",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\0\0\0\0WEBP",
    ],
)
def test_beginnings_of_compressed_media(head: bytes) -> None:
    assert chunker_for("a.bin", 1 << 30, lambda at, count: head + bytes(20)) is None


def test_small_files_are_not_read() -> None:
    def read(at: int, count: int) -> bytes:
        raise AssertionError

    assert chunker_for("a", (64 << 20) - 1, read) is None
    assert chunker_for("a", 0, read, smallest=0) is None
    assert chunker_for("a", 64 << 20, lambda at, count: bytes(32)) is not None


BROKEN: dict[str, bytes] = {
    "safetensors, cut off": safetensors([("a", "F32", 4000)])[:-1],
    "safetensors, no JSON": (10).to_bytes(8, "little") + b"{" + bytes(50),
    "safetensors, deep": (200_001).to_bytes(8, "little") + b'{"a":' + b"[" * 200_000,
    "gguf, cut off": gguf([(0, 0, 1000)], 4000)[:-1],
    "gguf, only its magic": b"GGUF" + bytes(5),
    "gguf of tomorrow": b"GGUF" + struct.pack("<I", 9) + bytes(100),
    "gguf with a type of tomorrow": gguf([(99, 0, 1)], 4),
    "gguf, tensors over each other": gguf([(0, 0, 100), (0, 32, 100)], 4000),
    "zip, cut off": archive([("a", 4000)])[:-1],
    "zip, only its magic": b"PK\x03\x04" + bytes(50),
    "zip, a member over another": archive([("a", TAIL), ("b", TAIL)]).replace(
        b"\x01\x00\0\0\0a", b"\xff\xff\0\0\0a", 1
    ),
    "zip, no header where it should be": b"PK\x03\x04"
    + archive([("a", 4000), ("b", TAIL)])[4:].replace(b"PK\x03\x04", b"0000"),
    "a pickle": b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
    "one byte": b"{",
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("path", ["a.safetensors", "a.gguf", "a.pt", "a"])
def test_headers_that_cannot_be_read(case: str, path: str) -> None:
    assert planned(BROKEN[case], path) == by_content(len(BROKEN[case]))


def test_a_local_header_that_reaches_over_its_member() -> None:
    data = bytearray(archive([("a", TAIL), ("b", TAIL)]))
    assert len(sizes(bytes(data))) == 5
    struct.pack_into("<H", data, 28, 60_000)
    assert planned(bytes(data)) == by_content(len(data))


def test_more_chunks_than_a_file_has(monkeypatch: pytest.MonkeyPatch) -> None:
    data = safetensors([(str(number), "U8", 1) for number in range(20)])
    assert len(sizes(data)) == 21
    monkeypatch.setattr(cuts, "MOST", 20)
    assert planned(data) == by_content(len(data))
    huge = gguf([(24, 0, 100)], 100)
    monkeypatch.setattr(cuts, "MOST", 1 << 10)
    assert chunker_for("a", 1 << 62, reader(huge), smallest=0) == by_content(1 << 62)


def test_errors_of_reading_are_not_swallowed() -> None:
    def read(at: int, count: int) -> bytes:
        raise OSError

    with pytest.raises(OSError):
        chunker_for("a", 1 << 30, read)


# ---------------------------------------------------------------------------------------------------------- properties

LENGTHS = st.sampled_from(
    [0, 1, 2, 4, 31, 32, 33, TAIL - 4, TAIL, STEP - 4, STEP, STEP + TAIL - 4, STEP + TAIL, 2 * STEP]
)


def checked(data: bytes) -> None:
    found = sizes(data)
    starts = list(itertools.accumulate(found, initial=0))
    assert starts == sorted(set(starts))
    assert starts[-1] == len(data)
    fed = []
    for piece in (len(data), 700_001):
        chunker = Chunker(planned(data), len(data))
        for at in range(0, len(data), piece):
            chunker.feed(data[at : at + piece])
        fed.append(chunker.finish())
    assert fed[0] == fed[1]
    assert fed[0].sizes == array("I", found)


@given(
    st.lists(st.tuples(st.sampled_from(sorted(WIDTH)), LENGTHS.map(lambda size: size & ~3)), max_size=6),
    st.integers(0, 40),
)
def test_every_safetensors_file_is_covered(tensors: list[tuple[str, int]], pad: int) -> None:
    checked(safetensors([(str(at), *tensor) for at, tensor in enumerate(tensors)], pad))


@given(st.lists(st.tuples(LENGTHS, st.integers(0, 3)), max_size=6), st.integers(0, 100))
def test_every_gguf_file_is_covered(tensors: list[tuple[int, int]], rest: int) -> None:
    at, placed = 0, []
    for size, hole in tensors:
        at += hole * 32
        placed.append((24, at, size))
        at += size + -size % 32
    checked(gguf(placed, at + rest))


@given(st.lists(LENGTHS, min_size=1, max_size=5))
def test_every_zip_file_is_covered(members: list[int]) -> None:
    checked(archive([(str(at), size) for at, size in enumerate(members)]))


@given(
    st.binary(max_size=100),
    st.sampled_from([b"", b"PK\x03\x04", b"GGUF\3\0\0\0", b"\x40\0\0\0\0\0\0\0{"]),
    st.integers(1, 1 << 63),
)
def test_garbage_is_cut_by_content(data: bytes, magic: bytes, size: int) -> None:
    """Of any length that a file system may claim."""
    data = magic + data
    plan = chunker_for("a", size, reader(data), smallest=0)
    assert plan is None or plan == by_content(size)


@given(
    st.sampled_from([safetensors([("a", "F32", 600)]), gguf([(0, 0, 99)], 600), archive([("a", TAIL), ("b", 9)])]),
    st.data(),
)
def test_damage_is_never_an_error(data: bytes, draw: st.DataObject) -> None:
    near = draw.draw(st.sampled_from([0, max(0, len(data) - 200)]))
    at = near + draw.draw(st.integers(0, min(199, len(data) - 1)))
    changed = data[:at] + draw.draw(st.binary(min_size=1, max_size=9)) + data[at + 9 :]
    plan = chunker_for("a", len(changed), reader(changed), smallest=0)
    assert plan is None or plan.sizes is None or sum(plan.sizes) == len(changed)
