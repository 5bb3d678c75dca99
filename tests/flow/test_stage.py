"""Bringing the content of a pull: what travels when some of it is here, and that lies about packs are found in time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from modelops_bundle.events import Run
from modelops_bundle.model import packs
from modelops_bundle.model.snapshot import Snapshot
from modelops_bundle.testing.actions import Body
from modelops_bundle.testing.registry import Registry as Fake
from modelops_bundle.transfer import pack
from tests.support.bundle import FOLDER, Bundle, Node, call, tree
from tests.support.oci import FILEPATH, RAW, TITLE, Forged, Repository, digest_of, dumps, forge, row
from tests.support.things import file

CONTENTS = {
    **{f"p/{number:02}": Random(number).randbytes(1_000 + number) for number in range(30)},
    "p/large": Random(1).randbytes(1_500_000),
    "p/empty": b"",
}
LISTED = tuple(Snapshot({path: file(data) for path, data in CONTENTS.items()}).items())
PACK = b"".join(pack.blob(LISTED, lambda path: [CONTENTS[path]]))
OFFSETS = packs.offsets(LISTED)
assert pack.seal(LISTED, lambda path: [CONTENTS[path]], Run()).digest.hex == hashlib.sha256(PACK).hexdigest()

Rows = list[dict[str, object]]


def packed(rows: Rows | None = None, data: bytes = PACK, *, size: int | None = None, title: str = ".") -> Forged:
    """An artifact with one pack; a row's place is in it."""
    plain = forge([{**row("readme.md", b"changed\n"), "at": [0]}, *(rows or honest())])
    manifest = json.loads(plain.manifest)
    index = json.loads(plain.blobs[1])
    index["blobs"] = [digest_of(b"changed\n"), digest_of(data)]
    raw = dumps(index)
    first = {**manifest["layers"][0], "digest": digest_of(raw), "size": len(raw)}
    del first["data"]
    name = f".bundle/packs/{digest_of(data)[7:]}.tar.gz"
    last = {
        "mediaType": RAW,
        "digest": digest_of(data),
        "size": len(data) if size is None else size,
        "annotations": {TITLE: title, FILEPATH: name, "io.deis.oras.content.unpack": "true"},
    }
    manifest["layers"] = [first, manifest["layers"][1], last]
    manifest["annotations"]["dev.modelops.bundle.index"] = digest_of(raw)
    return Forged(dumps(manifest), [plain.blobs[0], raw, b"changed\n", data])


def honest(paths: list[str] | None = None) -> Rows:
    return [place(path) for path in (paths if paths is not None else list(CONTENTS))]


def place(member: str, **changes: object) -> dict[str, object]:
    """The row of a member, or one that lies."""
    plain = {key: value for key, value in row(member, CONTENTS[member]).items() if key != "data"}
    return {**plain, "at": [1, OFFSETS[member]], **changes}


@pytest.fixture
def victim(fake: Fake, tmp_path: Path) -> Bundle:
    made = Bundle.create(
        tmp_path / "user" / "model", f"{fake.host}/m", {"readme.md": "good\n", "dir/file.txt": "good\n"}
    )
    made.push()
    (made.root.parent / "precious.txt").write_text("precious\n")
    return made


def around(victim: Bundle) -> dict[str, Node]:
    """Everything in the user's directory but the digest cache, and downloads to go on with."""
    mine = (f"model/{FOLDER}/index", f"model/{FOLDER}/parts")
    return {name: node for name, node in tree(victim.root.parent).items() if not name.startswith(mine)}


def test_the_honest_one_is_taken(fake: Fake, victim: Bundle, tmp_path: Path) -> None:
    Repository(f"{fake.host}/m").publish("latest", packed())
    victim.run("pull")
    assert {name: node.content for name, node in victim.tree().items() if name.startswith("p/")} == CONTENTS
    call("clone", f"{fake.host}/m", str(tmp_path / "c"))
    assert tree(tmp_path / "c") == victim.tree()
    victim.run("verify", ":latest")


def swapped(left: str, right: str) -> Rows:
    rows = [place(path) for path in CONTENTS if path not in (left, right)]
    return [*rows, place(left, at=[1, OFFSETS[right]]), place(right, at=[1, OFFSETS[left]])]


def changed(path: str, **changes: object) -> Rows:
    return [place(other, **(changes if other == path else {})) for other in CONTENTS]


ONLY = ["p/03"]
SPOILED = PACK[:-2_000] + bytes(1_000) + PACK[-1_000:]
LIES: dict[str, Callable[[], Forged]] = {
    "two that are swapped": lambda: packed(swapped("p/03", "p/04")),
    "a large one that is swapped": lambda: packed(swapped("p/03", "p/large")),
    "an offset of another": lambda: packed(changed("p/03", at=[1, OFFSETS["p/04"]])),
    "an offset inside another": lambda: packed(changed("p/03", at=[1, OFFSETS["p/large"] + 5])),
    "the header": lambda: packed(changed("p/03", at=[1, 0])),
    "an offset of one alone": lambda: packed([place("p/03", at=[1, OFFSETS["p/04"]])]),
    "behind the end": lambda: packed(changed("p/03", at=[1, len(PACK) - 500])),
    "far behind the end": lambda: packed([place("p/03", at=[1, 1 << 70])]),
    "negative": lambda: packed([place("p/03", at=[1, -1])]),
    "a number that is none": lambda: packed([place("p/03", at=[1, 1e3])]),
    "three numbers": lambda: packed([place("p/03", at=[1, OFFSETS["p/03"], 1])]),
    "a blob that is no pack": lambda: packed([place("p/03", at=[0, 1])]),
    "larger than the pack": lambda: packed([place("p/03", size=10**12)]),
    "a digest of something else": lambda: packed(changed("p/03", sha256="0" * 64)),
    "a whole pack as one file": lambda: packed([place("p/03", at=[1])]),
    "a pack of other bytes": lambda: packed(honest(), b"\0" * len(PACK)),
    "a pack that is cut short": lambda: packed(honest(), PACK[:-1_000_000]),
    "one of a pack that is cut short": lambda: packed(honest(["p/29"]), PACK[:10_000]),
    "a pack said to be larger": lambda: packed(honest(), size=len(PACK) + 1),
    "one of a pack said to be huge": lambda: packed([place("p/03", at=[1, 1 << 70])], size=1 << 71),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_lie_about_a_pack_is_corrupt_and_nothing_is_written(
    fake: Fake, victim: Bundle, lie: Callable[[], Forged]
) -> None:
    Repository(f"{fake.host}/m").publish("latest", lie())
    before = around(victim)
    target = victim.root.parent.parent / "cloned"
    for words in (("pull",), ("pull", "--overwrite", "--yes"), ("clone", f"{fake.host}/m", str(target))):
        assert victim.refused(9, *words)["code"] == "corrupt", words
    assert victim.refused(9, "verify", "--deep", f"{fake.host}/m:latest")["code"] == "corrupt"
    assert around(victim) == before
    assert not target.exists() or not tree(target)


UNSAFE = {
    "out of the tree": [place("p/03", path="../precious.txt")],
    "git": [place("p/03", path=".git/hooks/pre-commit")],
    "below a link": [place("p/03", path="l/x"), {"kind": "link", "path": "l", "target": "dir"}],
    "below a file": [place("p/03", path="readme.md/x")],
    "our folder": [place("p/03", path=".bundle/packs/x")],
    "twice": [place("p/03"), place("p/04", path="p/03")],
}


@pytest.mark.parametrize("rows", UNSAFE.values(), ids=UNSAFE.keys())
def test_a_path_nobody_may_have_is_refused_in_a_pack_too(fake: Fake, victim: Bundle, rows: Rows) -> None:
    Repository(f"{fake.host}/m").publish("latest", packed(rows))
    before = around(victim)
    assert victim.refused(9, "pull")["code"] == "unsafe-path"
    assert around(victim) == before


def test_two_paths_at_one_offset_are_copies(fake: Fake, victim: Bundle) -> None:
    Repository(f"{fake.host}/m").publish("latest", packed([place("p/03"), place("p/03", path="q")]))
    victim.run("pull")
    assert victim.path("q").read_bytes() == victim.path("p/03").read_bytes() == CONTENTS["p/03"]


def test_what_the_tar_says_of_itself_is_never_looked_at(fake: Fake, victim: Bundle) -> None:
    """Names, modes and links in a pack are for other tools; ours goes by the index and digests alone."""
    at = packs.position(OFFSETS["p/03"])
    evil = bytearray(bytes(b"\xff" * len(PACK)))
    size = len(CONTENTS["p/03"])
    evil[at : at + size] = PACK[at : at + size]
    Repository(f"{fake.host}/m").publish("latest", packed([place("p/03")], bytes(evil), title="../../evil"))
    before = set(around(victim))
    victim.run("pull")
    assert victim.path("p/03").read_bytes() == CONTENTS["p/03"]
    assert {name for name in set(around(victim)) - before if FOLDER not in name} == {"model/p/03"}


def test_other_bytes_than_the_pack_are_corrupt(fake: Fake, victim: Bundle) -> None:
    Repository(f"{fake.host}/m").publish("latest", packed(honest(ONLY)))
    before = around(victim)
    blobs = f"/blobs/{digest_of(PACK)}"
    fake.fault(lambda method, path: method == "GET" and path.endswith(blobs), Body(b"x" * len(PACK)), times=None)
    assert victim.refused(9, "pull")["code"] == "corrupt"
    assert around(victim) == before


def test_one_small_file_of_a_large_pack_is_fetched_alone(fake: Fake, victim: Bundle) -> None:
    Repository(f"{fake.host}/m").publish("latest", packed(honest(["p/03", "p/empty"])))
    pulled = victim.json("pull")
    assert pulled["fetched_bytes"] <= len(b"changed\n") + len(CONTENTS["p/03"]) + 5
    assert victim.path("p/03").read_bytes() == CONTENTS["p/03"]
    assert victim.path("p/empty").read_bytes() == b""


def test_an_interrupted_pull_goes_on_with_what_it_has(fake: Fake, victim: Bundle) -> None:
    Repository(f"{fake.host}/m").publish("latest", packed())
    victim.killed_at("part kept", "pull")
    # The other one was perhaps on its way.
    assert victim.json("pull")["fetched_bytes"] <= len(PACK)
    assert victim.path("p/large").read_bytes() == CONTENTS["p/large"]
