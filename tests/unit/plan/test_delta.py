"""Which chunks a repository holds, how files that grew are cut, how large packs are, and the map in the end."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence

import pytest

from modelops_bundle.model.chunkmap import ChunkList, ChunkMap, ChunkPack, Listed, Recipe, check_bases
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.plan import delta
from modelops_bundle.plan.delta import Cut, Draft, Known, Large, Where, dropped, is_worth, pack_size, without


def chunk(text: str) -> bytes:
    """The digest of the chunk that consists of this text: as good as any for rules that read nothing."""
    return text.encode().ljust(32, b".")


def listed(*texts: str, bases: dict[int, tuple[int, int]] | None = None) -> ChunkList:
    codecs = bytes(4 if number in (bases or {}) else 0 for number in range(len(texts)))
    return ChunkList(
        array("I", map(len, texts)),
        b"".join(map(chunk, texts)),
        array("I", map(len, texts)) if bases else None,
        codecs if bases else None,
        bases or {},
    )


def pack(*texts: str, bases: dict[int, tuple[int, int]] | None = None, name: str = "") -> ChunkPack:
    blob = Descriptor("x/y", Digest.of((name or "|".join(texts)).encode()), sum(map(len, texts)))
    return ChunkPack(blob, listed(*texts, bases=bases))


def knowing(*packs: ChunkPack) -> Known:
    known = Known()
    for each in packs:
        known.add(each)
    return known


def cut(content: str, cuts: Sequence[str], known: Known) -> tuple[Large, list[tuple[int, int]]]:
    """Cut a file of `content`, whose own list has these chunks; and what was read of it."""
    assert "".join(cuts) == content
    read: list[tuple[int, int]] = []

    def hash_at(start: int, size: int) -> bytes:
        read.append((start, size))
        assert 0 <= start < start + size <= len(content)
        return chunk(content[start : start + size])

    return delta.cut("m", Digest.of(content.encode()), "c", listed(*cuts), known, hash_at), read


def shown(file: Large, content: str) -> list[str]:
    """The chunks of a file, those that are known in upper case; they must be the file."""
    assert [one.start for one in file.cuts] == [sum(c.size for c in file.cuts[:n]) for n in range(len(file.cuts))]
    texts = [content[one.start : one.start + one.size] for one in file.cuts]
    assert "".join(texts) == content
    assert [one.digest for one in file.cuts] == [chunk(text) for text in texts]
    return [text.upper() if one.where else text for text, one in zip(texts, file.cuts, strict=True)]


# --- what is known ---------------------------------------------------------------------------------------------------


def test_chunks_are_found_by_digest_and_size() -> None:
    known = knowing(pack("aa", "bb"), pack("cc", "aa"))
    assert known.find(chunk("bb"), 2) == Where(0, 1)
    assert known.find(chunk("aa"), 2) == Where(0, 0), "the first pack that has it"
    assert known.find(chunk("cc"), 2) == Where(1, 0)
    assert known.find(chunk("dd"), 2) is None
    assert known.find(chunk("aa"), 3) is None, "a list that lies"


def test_of_one_blob_the_first_list_counts() -> None:
    known = knowing(pack("aabb", name="one"), pack("aa", "bb", name="one"))
    assert len(known.packs) == 1
    assert known.find(chunk("aa"), 2) is None


def test_a_blob_that_stands_for_other_chunks_is_told() -> None:
    known = knowing(pack("aa", "bb", name="one"))
    assert not known.contradicts(pack("aa", "bb", name="one"))
    assert not known.contradicts(pack("cc", name="two"))
    assert known.contradicts(pack("aabb", name="one"))
    assert known.contradicts(pack("aa", "cc", name="one"))


def index(name: str) -> Descriptor:
    return Descriptor("x/y", Digest.of(name.encode()), 1)


def test_a_map_says_where_its_lists_are() -> None:
    one, two, three = pack("a"), pack("b"), pack("c")
    xor = pack("d", bases={0: (0, 0)})
    elsewhere = Listed(index("before"), 7)
    known = Known()
    known.add_map(ChunkMap((one, two, xor), borrowed={two.blob.digest: elsewhere}), index("i"))
    known.add_map(ChunkMap((three,)), None)
    assert known.listed == [Listed(index("i"), 0), elsewhere, None, None]
    assert known.number(xor.blob.digest) == 2
    assert known.number(index("i").digest) is None


def test_bases_are_numbered_as_all_packs_are() -> None:
    known = knowing(pack("z"))
    known.add_map(ChunkMap((pack("d", bases={0: (1, 0)}), pack("a"))), index("i"))
    assert known.packs[1].chunks.bases == {0: (2, 0)}
    check_bases(known.packs)
    again = knowing(pack("z"), pack("a"))
    again.add_map(ChunkMap((pack("d", bases={0: (1, 0)}), pack("a"))), index("i"))
    assert again.packs[2].chunks.bases == {0: (1, 0)}


def test_a_pack_is_not_known_without_what_its_differences_are_to() -> None:
    base, middle = pack("a"), pack("d", "m", bases={0: (0, 0)})
    top = pack("e", bases={0: (1, 1)})
    known = Known()
    known.add_map(ChunkMap((base, middle, top)), index("i"), lost={base.blob.digest})
    assert known.packs == []
    known.add_map(ChunkMap((base, middle, top)), index("i"), lost={middle.blob.digest})
    assert [each.blob for each in known.packs] == [base.blob]


def test_a_base_in_a_list_that_is_cut_otherwise_is_no_base() -> None:
    known = knowing(pack("aab", name="blob"))
    known.add_map(ChunkMap((pack("aa", "b", name="blob"), pack("d", bases={0: (0, 1)}))), index("i"))
    assert len(known.packs) == 1
    assert known.same(pack("aab", name="blob"), 0) == Where(0, 0)
    assert known.same(pack("aa", "b", name="blob"), 1) is None
    assert known.same(pack("x"), 0) is None


def test_packs_are_needed_with_those_that_their_differences_are_to() -> None:
    known = Known()
    chain = (pack("a"), pack("d", "m", bases={0: (0, 0)}), pack("e", bases={0: (1, 1)}), pack("z"))
    known.add_map(ChunkMap(chain), index("i"))
    assert known.needed([]) == set()
    assert known.needed([3]) == {3}
    assert known.needed([2]) == {0, 1, 2}


# --- cuts ------------------------------------------------------------------------------------------------------------


def test_what_is_known_is_not_fresh() -> None:
    file, read = cut("aabbcc", ["aa", "bb", "cc"], knowing(pack("bb")))
    assert shown(file, "aabbcc") == ["aa", "BB", "cc"]
    assert (file.size, file.fresh) == (6, 4)
    assert read == [], "no neighbour, nothing to look at"


def test_what_follows_a_known_chunk_is_cut_as_before() -> None:
    # Appended to: its last chunk was shorter.
    file, _ = cut("aabbc--", ["aa", "bb", "c--"], knowing(pack("aa", "bb", "c")))
    assert shown(file, "aabbc--") == ["AA", "BB", "C", "--"]


def test_what_comes_before_a_known_chunk_is_cut_as_before() -> None:
    # Put in front: a header that grew, before tensors that did not.
    file, _ = cut("--abbcc", ["--a", "bb", "cc"], knowing(pack("a", "bb", "cc")))
    assert shown(file, "--abbcc") == ["--", "A", "BB", "CC"]


def test_both_sides_of_what_is_new_are_cut_as_before() -> None:
    known = knowing(pack("aa", "bb", "cc", "dd"))
    file, _ = cut("aabb----ccdd", ["aa", "bb--", "--cc", "dd"], known)
    assert shown(file, "aabb----ccdd") == ["AA", "BB", "--", "--", "CC", "DD"]


def test_neighbours_stop_where_the_file_differs() -> None:
    known = knowing(pack("aa", "bb", "cc", "dd"))
    file, read = cut("aabb-cdd", ["aa", "bb-c", "dd"], known)
    assert shown(file, "aabb-cdd") == ["AA", "BB", "-c", "DD"]
    assert read == [(2, 2), (4, 2), (4, 2), (4, 2)]


def test_a_neighbour_that_is_longer_than_what_is_left_is_none() -> None:
    file, _ = cut("aab", ["aa", "b"], knowing(pack("aa", "bb")))
    assert shown(file, "aab") == ["AA", "b"]


def test_chunks_between_that_nobody_moved_keep_their_cuts() -> None:
    file, read = cut("aab--xx--cc", ["aa", "b--", "xx", "--cc"], knowing(pack("aa", "b"), pack("q", "cc")))
    assert shown(file, "aab--xx--cc") == ["AA", "B", "--", "xx", "--cc"]
    assert (5, 2) not in read, "xx is where its list has it"


def test_a_chunk_that_is_cut_again_may_be_known_somewhere_else() -> None:
    file, _ = cut("aabzz", ["aa", "bzz"], knowing(pack("aa", "b"), pack("zz")))
    assert shown(file, "aabzz") == ["AA", "B", "ZZ"]


def test_a_whole_file_of_known_chunks_is_not_read() -> None:
    file, read = cut("aabb", ["aa", "bb"], knowing(pack("bb"), pack("aa")))
    assert (file.fresh, read) == (0, [])
    assert [one.where for one in file.cuts] == [Where(1, 0), Where(0, 0)]


# --- packs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total", "has_base", "most", "size"),
    [
        (0, False, None, 64 << 20),
        (48 * 65 << 20, False, None, 65 << 20),
        (1 << 50, False, None, 1 << 30),
        (1 << 50, True, None, 256 << 20),
        (48 * 65 << 20, True, None, 65 << 20),
        (1 << 50, False, 100_000_000, 100_000_000),
        (0, True, 10, 10),
        (0, True, 1 << 40, 64 << 20),
    ],
)
def test_packs_grow_with_the_version(total: int, has_base: bool, most: int | None, size: int) -> None:
    assert pack_size(total, has_base=has_base, most=most) == size


def test_fifty_gibibytes_fit_the_budget() -> None:
    total = 50 << 30
    assert -(-total // pack_size(total, has_base=False)) <= delta.BUDGET


def large(*places: tuple[int, int] | int) -> Large:
    """A file of known chunks (pack, size) and of new ones (size)."""
    cuts, at = [], 0
    for place in places:
        size = place if isinstance(place, int) else place[1]
        where = None if isinstance(place, int) else Where(place[0], 0)
        cuts.append(Cut(at, size, b"", where))
        at += size
    return Large("m", at, Digest.of(b"m"), "c", cuts)


def many(count: int) -> Known:
    return knowing(*(pack(str(number)) for number in range(count)))


def test_nothing_is_given_up_within_the_budget() -> None:
    assert dropped([large((0, 5), (1, 5), (2, 5), 10)], many(3), 4, 10) == frozenset()
    assert dropped([], many(3), 0, 10) == frozenset()


def test_those_with_the_least_in_use_are_given_up_first() -> None:
    files = [large(*((number, number + 1) for number in range(8)), 5), large((0, 100))]
    gone = dropped(files, many(8), 8, 1000)
    assert gone == {1, 2, 3}
    left = without(files[0], gone)
    assert left.fresh == 5 + 2 + 3 + 4
    assert [one.where for one in left.cuts if one.where] == [Where(n, 0) for n in (0, 4, 5, 6, 7)]
    assert (left.path, left.size, left.digest, left.chunker) == ("m", files[0].size, files[0].digest, "c")


def test_what_takes_their_place_counts() -> None:
    # Each is as large as a new one: giving them up gains nothing, so all go.
    assert dropped([large(*((number, 10) for number in range(5)))], many(5), 4, 10) == {0, 1, 2, 3, 4}


def test_packs_that_differences_are_to_count() -> None:
    known = Known()
    known.add_map(ChunkMap((pack("a"), pack("d", bases={0: (0, 0)}), pack("x"))), index("i"))
    assert dropped([large((1, 1), (2, 9))], known, 3, 100) == frozenset()
    assert dropped([large((1, 1), (2, 9))], known, 2, 100) == {1, 2}
    assert dropped([large((2, 9), 1)], known, 3, 100, bases=[0]) == frozenset()
    assert dropped([large((2, 9), 1)], known, 2, 100, bases=[0]) == {2}


@pytest.mark.parametrize(
    ("whole", "sent", "worth"),
    [
        (100 << 20, 70 << 20, False),
        (100 << 20, 68 << 20, True),
        (107 << 20, 74 << 20, True),
        (1 << 40, int(0.69 * 2**40), True),
        (1 << 40, int(0.71 * 2**40), False),
        (64 << 20, 32 << 20, True),
        (64 << 20, (32 << 20) + 1, False),
        (0, 0, False),
    ],
)
def test_worth_is_a_share_and_an_amount(whole: int, sent: int, worth: bool) -> None:
    assert is_worth(whole, sent) is worth


# --- the map ---------------------------------------------------------------------------------------------------------


def drafted(
    known: Known,
    made: Sequence[ChunkPack],
    files: Sequence[Large],
    whole: dict[str, tuple[str, ChunkPack]] | None = None,
    earlier: Iterable[str] = (),
    most: int | None = None,
) -> ChunkMap:
    fresh = {each.chunks.digest(at): (number, at) for number, each in enumerate(made) for at in range(len(each.chunks))}
    held = {Digest.of(name.encode()): name.encode() for name in earlier}
    return Draft(known, fresh, made).map(files, whole or {}, held, most)


def file_of(known: Known, *texts: str, path: str = "m") -> Large:
    cuts, at = [], 0
    for text in texts:
        cuts.append(Cut(at, len(text), chunk(text), known.find(chunk(text), len(text))))
        at += len(text)
    return Large(path, at, Digest.of("".join(texts).encode()), "c", cuts)


def content(recipe: Recipe) -> bytes:
    """The chunks of a file, by digest."""
    return b"".join(piece.digest for piece in recipe.pieces())


def test_packs_are_numbered_as_files_name_them() -> None:
    known = knowing(pack("unused"), pack("bb"), pack("aa", "cc"))
    made = [pack("xx", "yy"), pack("zz")]
    found = drafted(known, made, [file_of(known, "aa", "zz", "bb", "cc", "xx", "yy")], {"w": ("k", pack("ww"))})
    assert [each.blob for each in found.packs] == [
        pack("aa", "cc").blob,
        pack("zz").blob,
        pack("bb").blob,
        pack("xx", "yy").blob,
        pack("ww").blob,
    ]
    assert found.files["m"].segments == ((0, 0, 1), (1, 0, 1), (2, 0, 1), (0, 1, 1), (3, 0, 2))
    assert content(found.files["m"]) == b"".join(map(chunk, ["aa", "zz", "bb", "cc", "xx", "yy"]))
    assert (found.files["w"].segments, found.files["w"].chunker) == (((4, 0, 1),), "k")
    assert found.earlier == {}


def test_a_new_pack_that_is_a_file_of_its_own_has_one_list() -> None:
    known = Known()
    made = pack("aa", "bb", name="blob")
    found = drafted(known, [made], [file_of(known, "aa", "bb")], {"w": ("k", pack("aabb", name="blob"))})
    assert found.packs == (made,)
    assert found.files["w"].segments == ((0, 0, 2),)


def test_bases_are_named_and_numbered() -> None:
    known = Known()
    known.add_map(ChunkMap((pack("unused"), pack("aa"), pack("dd", bases={0: (1, 0)}))), index("i"))
    fresh = pack("ee", bases={0: (1, 0)})
    found = drafted(known, [fresh], [file_of(known, "dd", "ee")])
    assert [each.blob for each in found.packs] == [each.blob for each in (pack("dd"), fresh, pack("aa"))]
    assert [each.chunks.bases for each in found.packs] == [{0: (2, 0)}, {0: (2, 0)}, {}]
    check_bases(found.packs)


def test_a_base_beside_differences_brings_what_those_are_to() -> None:
    # The list of a pack is whole: that of one chunk in it names the first version, though no file here needs that.
    known = Known()
    known.add_map(ChunkMap((pack("aa"), pack("dd", "mm", bases={0: (0, 0)}))), index("i"))
    fresh = pack("ee", bases={0: (1, 1)})
    found = drafted(known, [fresh], [file_of(known, "ee")])
    assert [each.blob for each in found.packs] == [fresh.blob, pack("dd", "mm").blob, pack("aa").blob]
    check_bases(found.packs)


def borrowable(count: int) -> tuple[Known, list[str]]:
    """So many versions, the n-th with n + 1 packs of a chunk each."""
    known = Known()
    names = [f"index {number}" for number in range(count)]
    for number, name in enumerate(names):
        packs = tuple(pack(f"{number}-{n}") for n in range(number + 1))
        known.add_map(ChunkMap(packs), index(name))
    return known, names


def test_lists_are_taken_from_the_indexes_that_have_most() -> None:
    known, names = borrowable(10)
    texts = [f"{number}-{n}" for number in range(10) for n in range(number + 1)]
    found = drafted(known, [pack("new")], [file_of(known, *texts, "new")], earlier=names)
    assert set(found.earlier) == {index(name).digest for name in names[2:]}
    assert all(found.earlier[index(name).digest] == name.encode() for name in names[2:])
    assert len(found.borrowed) == len(texts) - 3
    assert list(found.earlier) == sorted(found.earlier)
    for each in found.packs:
        listed = found.borrowed.get(each.blob.digest)
        assert (listed is None) == (each.chunks.digest(0) in map(chunk, ["0-0", "1-0", "1-1", "new"]))


@pytest.mark.parametrize(("most", "count"), [(None, 3), (100, 3), (9, 2), (7, 0), (0, 0)])
def test_earlier_indexes_take_layers_too(most: int | None, count: int) -> None:
    known, names = borrowable(3)
    texts = [f"{number}-{n}" for number in range(3) for n in range(number + 1)]
    found = drafted(known, [pack("new")], [file_of(known, *texts, "new")], earlier=names, most=most)
    assert len(found.packs) == 7
    assert len(found.earlier) == count


def test_lists_with_differences_and_of_indexes_nobody_has_are_repeated() -> None:
    known = Known()
    known.add_map(ChunkMap((pack("aa"), pack("dd", bases={0: (0, 0)}))), index("i"))
    known.add_map(ChunkMap((pack("bb"),)), index("gone"))
    found = drafted(known, [], [file_of(known, "aa", "dd", "bb")], earlier=["i"])
    assert set(found.borrowed) == {pack("aa").blob.digest}


def test_plain_versions_borrow_nothing() -> None:
    known = Known()
    known.add_map(ChunkMap((pack("ww"),)), index("i"))
    found = drafted(known, [], [], {"w": ("k", pack("ww"))}, earlier=["i"])
    assert (found.earlier, found.borrowed) == ({}, {})


def test_the_same_draft_is_the_same_map() -> None:
    def once() -> ChunkMap:
        known, names = borrowable(4)
        return drafted(known, [pack("new")], [file_of(known, "3-1", "new", "0-0")], earlier=names)

    make: Callable[[], ChunkMap] = once
    assert make() == make()


# --- what is given up ------------------------------------------------------------------------------------------------


def idle_of(live: int, size: int) -> frozenset[int]:
    """Which packs are given up when `live` bytes of one of `size` bytes are in use."""
    known = Known()
    chunks = ChunkList(array("I", [live, size - live]), bytes(32) + bytes([1]) * 32)
    known.add(ChunkPack(Descriptor("x/y", Digest.of(b"old"), size), chunks))
    cuts = [Cut(0, live, bytes(32), Where(0, 0)), Cut(live, 10, bytes([2]) * 32, None)]
    return delta.idle([Large("m", live + 10, Digest.of(b"new"), "c", cuts)], known)


def test_a_blob_of_which_hardly_anything_is_in_use_is_given_up() -> None:
    assert idle_of(1000, 10_000_000) == {0}
    assert idle_of(600_000, 10_000_000) == frozenset()
    assert idle_of(17 << 20, 4 << 30) == frozenset()


def test_an_index_lists_what_it_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "MOST_LISTED", 5)

    def chunks(count: int) -> ChunkList:
        return ChunkList(array("I", [1] * count), bytes(32 * count))

    lists = {"a.csv": ("fastcdc2020/16k", chunks(3)), "b.csv": ("fastcdc2020/16k", chunks(2))}
    weights = {"w.gguf": ("gguf/1m", chunks(3))}
    assert delta.affordable(lists) == lists
    assert list(delta.affordable({**lists, **weights})) == ["b.csv", "w.gguf"]
