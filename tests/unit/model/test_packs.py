"""Packs: what goes into them, how they are cut, and their bytes."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping
from random import Random

import pytest

from modelops_bundle.model import packs
from modelops_bundle.model.artifact import build
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.packs import MANY, SMALL, Member
from modelops_bundle.model.snapshot import Entry, Snapshot
from tests.support.things import file

MIB = 1024 * 1024


def sized(name: str, size: int, *, role: str = "code", executable: bool = False) -> Entry:
    """The entry of a file that nobody will read."""
    return Entry("file", Digest.of(f"{name} {size}".encode()), size, executable, role)


def packed(packing: tuple[tuple[Member, ...], ...]) -> list[str]:
    return sorted(path for members in packing for path, _ in members)


def opened(tar: bytes) -> tarfile.TarFile:
    return tarfile.TarFile(fileobj=io.BytesIO(tar))


def written(members: Mapping[str, bytes | Entry]) -> tuple[tuple[Member, ...], bytes]:
    """Members and their tar; bytes stand for files."""
    entries = {path: file(what) if isinstance(what, bytes) else what for path, what in members.items()}
    contents = {path: what for path, what in members.items() if isinstance(what, bytes)}
    listed = tuple(Snapshot(entries).items())
    tar = b"".join(piece if isinstance(piece, bytes) else contents[piece] for piece in packs.pieces(listed))
    return listed, tar


# --- what is packed --------------------------------------------------------------------------------------------------


def test_auto_packs_what_layers_cannot_carry_and_nothing_else() -> None:
    tree = Snapshot(
        {
            "bin/serve": file("#!", executable=True),
            "latest": Entry.link("src/a.py"),
            "logs": Entry.directory(),
            "src/a.py": file("a"),
            "weights.bin": file("w", role="weight"),
        }
    )
    assert packed(packs.cut(tree, "auto")) == ["bin/serve", "latest", "logs"]
    assert packed(packs.cut(tree, "always")) == ["bin/serve", "latest", "logs", "src/a.py"]
    assert packs.cut(tree, "never") == ()


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "readme",
        "LICENSE",
        "LICENCE.txt",
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "tokenizer.model",
        "special_tokens_map.json",
        "vocab.txt",
        "merges.txt",
        "model_index.json",
        "Modelfile",
    ],
)
def test_what_readers_look_for_at_the_root_stays_where_they_find_it(name: str) -> None:
    assert packs.cut(Snapshot({name: file("x"), "z": file("z")}), "always") == ((("z", file("z")),),)
    assert packed(packs.cut(Snapshot({f"deep/{name}": file("x")}), "always")) == [f"deep/{name}"]


def test_names_that_only_begin_alike_are_packed() -> None:
    tree = Snapshot({name: file("x") for name in ("configure.py", "readmes.md", "licenses", "vocabulary")})
    assert packed(packs.cut(tree, "always")) == sorted(tree)


def test_weights_stay_whole_even_when_they_are_small_and_executable() -> None:
    tree = Snapshot({"a/w": file("w", role="weight", executable=True)})
    assert packs.cut(tree, "always") == ()


def test_small_files_are_packed_from_the_hundred_and_twenty_ninth_on() -> None:
    few = {f"f/{number}": sized(str(number), 10) for number in range(MANY)}
    assert packs.cut(Snapshot(few), "auto") == ()
    large = {"f/large": sized("large", SMALL)}
    assert packs.cut(Snapshot({**few, **large}), "auto") == ()
    more = {**few, **large, "f/one-more": sized("m", SMALL - 1)}
    assert packed(packs.cut(Snapshot(more), "auto")) == sorted(set(more) - {"f/large"})


def test_what_may_not_be_packed_does_not_count() -> None:
    tree = {f"f/{number}": sized(str(number), 10, role="weight") for number in range(2 * MANY)}
    assert packs.cut(Snapshot({**tree, "x": sized("x", 1)}), "auto") == ()


def test_larger_files_are_packed_when_the_manifest_would_be_too_long() -> None:
    tree = Snapshot({f"data/{number:05}": sized(str(number), SMALL + number) for number in range(14_000)})
    packing = packs.cut(tree, "auto")
    assert packed(packing) == sorted(tree)
    made = [packs.Pack(members, Digest.of(str(n).encode()), 1) for n, members in enumerate(packing)]
    assert len(build(tree, packed=made).manifest.to_bytes()) < packs.MOST_LAYER_BYTES


def test_twelve_thousand_large_files_still_fit() -> None:
    tree = Snapshot({f"data/{number:05}": sized(str(number), SMALL) for number in range(12_000)})
    assert packs.cut(tree, "auto") == ()
    assert len(build(tree).manifest.to_bytes()) < 4 * MIB


def test_twenty_thousand_small_files_make_at_most_a_hundred_packs() -> None:
    tree = Snapshot({f"d{number % 50}/{number:05}": sized(str(number), 4096) for number in range(20_000)})
    packing = packs.cut(tree, "auto")
    assert packed(packing) == sorted(tree)
    assert 32 <= len(packing) <= 130


def test_the_layer_limit_of_a_registry_is_kept() -> None:
    tree = Snapshot({f"data/{number}": sized(str(number), 10 * SMALL + number) for number in range(300)})
    assert packs.cut(tree, "auto") == ()
    packing = packs.cut(tree, "auto", layers=256)
    assert len(tree) - len(packed(packing)) + len(packing) <= 256


def test_a_limit_nobody_can_keep_ends_all_the_same() -> None:
    tree = Snapshot({f"w/{number}": sized(str(number), 9 * MIB, role="weight") for number in range(300)})
    assert packs.cut(tree, "auto", layers=1) == ()


# --- how it is cut ---------------------------------------------------------------------------------------------------


def random_tree(random: Random, count: int = 2000, most: int = 60_000) -> dict[str, Entry]:
    return {
        f"d{random.randrange(40)}/{random.getrandbits(40):x}": sized(str(random.random()), random.randrange(most))
        for _ in range(count)
    }


def sizes(packing: tuple[tuple[Member, ...], ...]) -> list[int]:
    return [packs.tar_size(members) for members in packing]


def test_every_chosen_path_is_in_one_pack_and_packs_are_of_a_size() -> None:
    tree = random_tree(Random(1))
    packing = packs.cut(Snapshot(tree), "always")
    assert packed(packing) == sorted(tree)
    total = sum(entry.size for entry in tree.values())
    target = MIB
    while target * 64 < total:
        target *= 2
    assert all(size <= 2.2 * target for size in sizes(packing))
    assert all(size >= target / 2 for size in sizes(packing)[:-1])
    assert 0.6 * target < sum(sizes(packing)) / len(packing) < 1.4 * target


@pytest.mark.parametrize("total", [50 * MIB, 500 * MIB, 50 * 1024 * MIB])
def test_there_are_never_many_more_packs_than_sixty_four(total: int) -> None:
    random = Random(total)
    tree = {f"{random.getrandbits(60):x}": sized(str(n), random.randrange(2 * total // 3000)) for n in range(3000)}
    members = list(Snapshot(tree).items())
    assert len(packs._cut(members, packs._target(sum(packs._room(entry) for _, entry in members)))) <= 130


def changed_bytes(before: tuple[tuple[Member, ...], ...], after: tuple[tuple[Member, ...], ...]) -> list[int]:
    """The sizes of the packs that have to be sent anew."""
    known = {packs.listing(members) for members in before}
    return [packs.tar_size(members) for members in after if packs.listing(members) not in known]


def edited(tree: dict[str, Entry], random: Random, kind: str) -> dict[str, Entry]:
    path = random.choice(sorted(tree))
    entry = tree[path]
    if kind == "edit":
        return {**tree, path: sized(f"{random.random()}", entry.size)}
    if kind == "grow":
        return {**tree, path: sized(f"{random.random()}", entry.size + 500)}
    if kind == "add":
        return {**tree, f"{path.rpartition('/')[0]}/{random.getrandbits(40):x}": sized(str(random.random()), 5_000)}
    return {other: entry for other, entry in tree.items() if other != path}


@pytest.mark.parametrize(("kind", "share"), [("edit", 1.0), ("grow", 0.95), ("add", 0.9), ("delete", 0.9)])
def test_a_change_of_one_file_sends_one_pack(kind: str, share: float) -> None:
    random = Random(20_251_120)
    tree = random_tree(random)
    before = packs.cut(Snapshot(tree), "always")
    sent = [changed_bytes(before, packs.cut(Snapshot(edited(tree, random, kind)), "always")) for _ in range(100)]
    assert sum(len(one) == 1 for one in sent) >= share * len(sent)
    assert max(len(one) for one in sent) <= 4
    assert max(sum(one) for one in sent) <= 8 * MIB


def test_packs_of_a_fixed_number_of_files_would_not_do() -> None:
    """The measurement sees a cut that is not decided by the paths."""
    tree = random_tree(Random(5))

    def fixed(entries: dict[str, Entry]) -> tuple[tuple[Member, ...], ...]:
        members = tuple(Snapshot(entries).items())
        return tuple(members[at : at + 40] for at in range(0, len(members), 40))

    first = min(tree)
    assert len(changed_bytes(fixed(tree), fixed({path: e for path, e in tree.items() if path != first}))) == 50


def test_the_cut_does_not_depend_on_the_order_of_the_entries() -> None:
    tree = list(random_tree(Random(2), 500).items())
    shuffled = tree.copy()
    Random(3).shuffle(shuffled)
    assert packs.cut(Snapshot(dict(tree)), "always") == packs.cut(Snapshot(dict(shuffled)), "always")


def test_links_are_in_a_last_pack_of_their_own() -> None:
    tree = {**random_tree(Random(4), 300), "a-link": Entry.link("z"), "d1/link": Entry.link("x")}
    packing = packs.cut(Snapshot(tree), "always")
    assert [path for path, _ in packing[-1]] == ["a-link", "d1/link"]
    assert all(entry.kind != "link" for members in packing[:-1] for _, entry in members)


def order(links: Mapping[str, str]) -> list[str]:
    packing = packs.cut(Snapshot({path: Entry.link(target) for path, target in links.items()}), "auto")
    assert len(packing) == 1
    return [path for path, _ in packing[0]]


def test_links_stand_before_those_they_lead_through() -> None:
    assert order({"a": "dir/f", "dir": "real", "z": "a"}) == ["z", "a", "dir"]
    assert order({"a/in": "../b/c/f", "b/c": "../d", "d": "e"}) == ["a/in", "b/c", "d"]
    assert order({"c": "x", "b": "c", "a": "b"}) == ["a", "b", "c"]
    assert order({"b": "./c//d", "c": "x"}) == ["b", "c"]


def test_links_in_a_ring_stand_somewhere() -> None:
    assert sorted(order({"a": "b", "b": "a", "c": "a/x", "self": "self", "to": "self/x"})) == [
        "a",
        "b",
        "c",
        "self",
        "to",
    ]


def test_ten_thousand_links_are_ordered_by_one_look_at_each() -> None:
    links = {f"l{number:05}": f"l{number + 1:05}/x" for number in range(10_000)}
    assert order(links) == sorted(links)


# --- the tar ---------------------------------------------------------------------------------------------------------

LONG = "x" * 120 + "/" + "y" * 130


MEMBERS: dict[str, bytes | Entry] = {
    "a": b"a",
    "empty": b"",
    "d/e/f": b"f" * 512,
    "d/e/g": b"g" * 513,
    "d/only": Entry.directory(),
    "é/日本": b"names",
    "é/leer": Entry.directory(),
    LONG: b"long",
    "n" * 99: b"99",
    "n" * 100: b"100",
    "n" * 101: b"101",
    "big": b"\xff" * 200_000,
    "near": b"." * 511,
    "link": Entry.link("d/e/f"),
    "d/up": Entry.link("../" + "t" * 150),
    "ü": Entry.link("日本"),
}


def test_tarfile_reads_what_was_written() -> None:
    _, tar = written(MEMBERS)
    archive = opened(tar)
    found = {member.name: member for member in archive.getmembers()}
    for path, what in MEMBERS.items():
        member = found.pop(path)
        assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", 0)
        if isinstance(what, bytes):
            assert member.isreg()
            content = archive.extractfile(member)
            assert content is not None
            assert content.read() == what
        elif what.kind == "link":
            assert (member.issym(), member.linkname, member.mode) == (True, what.target, 0o777)
        else:
            assert (member.isdir(), member.mode) == (True, 0o755)
    # Nothing else but the directories above, each once.
    assert sorted(found) == ["d", "d/e", "x" * 120, "é"]
    assert all(member.isdir() for member in found.values())


def test_every_directory_stands_before_what_is_in_it() -> None:
    _, tar = written(MEMBERS)
    seen = {""}
    for member in opened(tar):
        assert member.name.rpartition("/")[0] in seen
        seen.add(member.name)


def test_executables_have_the_bit() -> None:
    tree = Snapshot({"r": file("", executable=True), "s": file("")})
    tar = b"".join(piece for piece in packs.pieces(tuple(tree.items())) if isinstance(piece, bytes))
    assert [member.mode for member in opened(tar)] == [0o755, 0o644]


@pytest.mark.parametrize("size", [8**11 - 1, 8**11, 5 * 1024**4])
def test_files_over_eight_gibibytes_have_their_size_in_a_record(size: int) -> None:
    head = packs.header("big", Entry("file", Digest.of(b""), size))
    member = tarfile.TarInfo.frombuf(head[-512:], "utf-8", "strict")
    assert member.size == min(size, 8**11 - 1)
    first = opened(head).next()
    assert first is not None
    assert (first.name, first.size) == ("big", size)
    assert (len(head) > 512) == (size >= 8**11)
    tree = (("big", Entry("file", Digest.of(b""), size)),)
    assert packs.tar_size(tree) == len(head) + size + -size % 512 + 1024


def test_the_trailer_is_two_blocks_and_nothing_after_them() -> None:
    listed, tar = written({"a": b"x"})
    assert len(tar) == 512 + 512 + 1024 == packs.tar_size(listed)
    assert tar[-1024:] == bytes(1024)


def test_a_pack_of_nothing_but_directories() -> None:
    listed, tar = written({"a/b": Entry.directory(), "c": Entry.directory()})
    assert opened(tar).getnames() == ["a", "a/b", "c"]
    assert len(tar) == packs.tar_size(listed)
    assert packs.offsets(listed) == {}


def test_offsets_are_where_the_bytes_are() -> None:
    listed, tar = written(MEMBERS)
    offsets = packs.offsets(listed)
    assert offsets.keys() == {path for path, what in MEMBERS.items() if isinstance(what, bytes)}
    for path, at in offsets.items():
        content = MEMBERS[path]
        assert isinstance(content, bytes)
        assert tar[at : at + len(content)] == content


# --- the gzip --------------------------------------------------------------------------------------------------------

BLOCK = 65535


@pytest.mark.parametrize(
    "size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 16 * BLOCK, 16 * BLOCK + 1, 17 * BLOCK - 1, 40 * BLOCK]
)
def test_gunzip_gives_back_what_was_framed(size: int) -> None:
    data = Random(size).randbytes(size)
    for step in (size or 1, 7_777):
        pieces = [data[at : at + step] for at in range(0, size, step)]
        made = b"".join(packs.framed(pieces, size))
        assert gzip.decompress(made) == data
        assert len(made) == packs.gzip_size(size)
        assert made[:10] == bytes.fromhex("1f8b08000000000000ff")
        for offset in {0, size // 2, size - 1} & set(range(size)):
            assert made[packs.position(offset)] == data[offset]


@pytest.mark.parametrize("said", [0, 99, 101, 10**6])
def test_another_size_than_said_is_a_mistake(said: int) -> None:
    with pytest.raises(ValueError, match=f"100 bytes of tar instead of {said}"):
        list(packs.framed([bytes(100)], said))


def test_titles_are_spellings_of_the_root_and_differ() -> None:
    assert [packs.title(number) for number in range(3)] == [".", "./.", "././."]
    assert len({packs.title(number) for number in range(200)}) == 200


def test_a_listing_says_everything_that_the_bytes_depend_on() -> None:
    base = (("a", file("x")), ("l", Entry.link("a")))
    others = [
        (("b", file("x")), base[1]),
        (("a", file("y")), base[1]),
        (("a", file("x", executable=True)), base[1]),
        (base[0], ("l", Entry.link("b"))),
        (base[0], ("l", Entry.directory())),
        (base[1], base[0]),
        base[:1],
    ]
    assert len({packs.listing(members) for members in [base, *others]}) == 1 + len(others)
    assert packs.listing((("a", file("x", role="doc")), base[1])) == packs.listing(base)
