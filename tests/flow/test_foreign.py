"""What other tools push is cloned as their own extractors would write it, or refused whole."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from modelops_bundle.testing.registry import Registry as Fake
from modelops_bundle.transfer.ensured import FOLDER
from tests.support import foreign as made
from tests.support.bundle import Bundle, Node, call, tree
from tests.support.foreign import directory, file, header, joined, link, member, pax, tar, tgz
from tests.support.oci import FILEPATH, INDEX, TITLE, Forged, Repository, titled

A, B = Node("file", b"a\n"), Node("file", b"b\n")
RUN = Node("file", b"#!/bin/sh\n", True)
DATA = bytes(range(256)) * 20_000

ORAS = made.oras(
    (
        "dir",
        tgz(
            directory("dir"),
            file("dir/a", b"a\n"),
            directory("dir/empty"),
            file("dir/run", RUN.content, mode=0o4755),
            link("dir/deep-link", "../raw.bin"),
        ),
    ),
    (".", tgz(directory("."), file("./b", b"b\n"))),
    files={"raw.bin": DATA},
)
ORAS_TREE = {
    "b": B,
    "dir/a": A,
    "dir/deep-link": Node("link", b"../raw.bin"),
    "dir/empty": Node("dir"),
    "dir/run": RUN,
    "raw.bin": Node("file", DATA),
}
TWO = tar(file("d/a", b"a\n"))
LONG = f"{'n' * 120}/{'m' * 130}"
METADATA = json.dumps({"name": "run.sh", "mode": 493, "uid": 0, "gid": 0, "size": 10, "typeflag": 48})

KIT = {"manifestVersion": "1.0", "model": {"path": "model.gguf", "parts": [{"path": "lora/part.bin"}]}}
KIT |= {"datasets": [{"path": "data"}], "code": [{"path": "src/run.py"}], "docs": [{"path": "README.md"}]}
KIT_LAYERS = (
    ("model", tgz(file("model.gguf", b"a\n"))),
    ("modelpart", tgz(file("part.bin", b"b\n"))),
    ("dataset", tgz(directory("data"), file("data/rows.csv", b"a\n"))),
    ("code", tgz(file("run.py", b"a\n", mode=0o755))),
    ("docs", tgz(file("README.md", b"b\n"))),
)
KIT_TREE = {
    "Kitfile": Node("file", json.dumps(KIT).encode()),
    "README.md": B,
    "data/rows.csv": A,
    "lora/part.bin": B,
    "model.gguf": A,
    "src/run.py": Node("file", b"a\n", True),
}


def _new_kit() -> tuple[Forged, dict[str, Node]]:
    layers = [("code", tgz(directory("src"), file("src/a.py", b"a\n"))), ("docs", tgz(file("b.md", b"b\n")))]
    kit = {
        "code": [{"path": "src", "digest": made.digest_of(layers[0][1])}],
        "docs": [{"path": "b.md", "digest": made.digest_of(layers[1][1])}],
    }
    return made.modelkit(kit, *layers), {"Kitfile": Node("file", json.dumps(kit).encode()), "b.md": B, "src/a.py": A}


READ: dict[str, tuple[Forged, dict[str, Node]]] = {
    "oras-directories": (ORAS, ORAS_TREE),
    "oras-gzip-of-several-members": (
        made.oras(("d", gzip.compress(TWO[:700], mtime=0) + gzip.compress(TWO[700:], mtime=0))),
        {"d/a": A},
    ),
    "oras-long-names-of-gnu": (made.oras((".", tgz(file(LONG, b"a\n"), style=tarfile.GNU_FORMAT))), {LONG: A}),
    "oras-long-names-of-pax": (
        made.oras((".", tgz(file(LONG, b"a\n"), link("l", "n/" * 80 + "x")))),
        {LONG: A, "l": Node("link", ("n/" * 80 + "x").encode())},
    ),
    "oras-title-config": (
        made.manifest(
            [("application/octet-stream", b"a\n", {TITLE: "./a"}), ("application/octet-stream", b"skip", {})]
        ),
        {"a": A},
    ),
    "modelpack-raw": (
        made.modelpack(("weight.v1.raw", "w/a.bin", b"a\n"), ("doc.v1.raw", "b.md", b"b\n")),
        {"b.md": B, "w/a.bin": A},
    ),
    "modelpack-older-annotation": (
        made.modelpack(("weight.v1.raw", "a", b"a\n"), key="org.cnai.model.filepath"),
        {"a": A},
    ),
    "modelpack-executable": (
        made.modelpack(("code.v1.raw", "run.sh", RUN.content), **{"org.cncf.model.file.metadata+json": METADATA}),
        {"run.sh": RUN},
    ),
    "modelpack-tar": (
        made.modelpack(("weight.v1.tar", "w/a.bin", tar(directory("w"), file("w/a.bin", b"a\n")))),
        {"w/a.bin": A},
    ),
    "modelpack-tar-gzip": (
        made.modelpack(("dataset.v1.tar+gzip", "d", tgz(file("d/a", b"a\n"), file("d/b", b"b\n")))),
        {"d/a": A, "d/b": B},
    ),
    "modelpack-tar-zstd": (made.modelpack(("code.v1.tar+zstd", "d", made.zst(tar(file("d/a", b"a\n"))))), {"d/a": A}),
    "modelkit-old": (made.modelkit(KIT, *KIT_LAYERS), KIT_TREE),
    "modelkit-new": _new_kit(),
    "ollama": (
        made.ollama(
            ("model", b"a\n"), ("template", b"b\n"), ("params", b"b\n"), ("license", b"a\n"), ("license", b"b\n")
        ),
        {
            "model.gguf": A,
            "template": B,
            "params.json": B,
            "license-00001-of-00002": A,
            "license-00002-of-00002": B,
        },
    ),
    "docker-model": (
        made.docker_model(("gguf.v3", b"a\n", None), ("license", b"b\n", None), ("chat.template.jinja", b"a\n", None)),
        {"model.gguf": A, "LICENSE": B, "template.jinja": A},
    ),
    "docker-model-shards": (
        made.docker_model(
            ("safetensors", b"a\n", None),
            ("safetensors", b"b\n", None),
            ("vllm.config.tar", tar(file("config.json", b"a\n")), None),
        ),
        {"model-00001-of-00002.safetensors": A, "model-00002-of-00002.safetensors": B, "config.json": A},
    ),
    "docker-model-paths": (
        made.docker_model(
            ("safetensors", b"a\n", "enc/model.safetensors"), ("model.file", b"b\n", "tok.json"), version="v0.2"
        ),
        {"enc/model.safetensors": A, "tok.json": B},
    ),
    "helm-chart": (
        made.chart(tgz(file("c/Chart.yaml", b"a\n"), file("c/t/b", b"b\n"))),
        {"c/Chart.yaml": A, "c/t/b": B},
    ),
    "original-first": (titled([("readme.md", b"a\n"), ("src/b", b"b\n")]), {"readme.md": A, "src/b": B}),
    "original-second": (made.original({"readme.md": b"a\n", "src/b": b"b\n"}), {"readme.md": A, "src/b": B}),
}


@pytest.fixture
def place(fake: Fake) -> str:
    """A repository on the in-process registry."""
    return f"{fake.host}/m"


@pytest.mark.parametrize(("forged", "expected"), READ.values(), ids=READ.keys())
def test_a_clone_holds_what_the_tool_would_extract(
    fake: Fake, place: str, tmp_path: Path, forged: Forged, expected: dict[str, Node]
) -> None:
    Repository(place).publish("v1", forged)
    clone = Bundle.clone(f"{place}:v1", tmp_path / "c")
    assert clone.tree() == expected
    assert clone.changes() == {}
    assert clone.listed(f"{place}:v1") == set(expected)
    # Known now: one HEAD, and no byte of an archive.
    assert [(asked.method, asked.status) for asked in clone.requests("pull")] == [("HEAD", 200)]
    assert call("verify", "--deep", f"{place}:v1").code == 0


@pytest.mark.parametrize("words", [(), ("--no-cache",)], ids=["cache", "no-cache"])
@pytest.mark.parametrize(("forged", "expected"), READ.values(), ids=READ.keys())
def test_a_directory_holds_what_the_tool_would_extract(
    fake: Fake, place: str, tmp_path: Path, forged: Forged, expected: dict[str, Node], words: tuple[str, ...]
) -> None:
    Repository(place).publish("v1", forged)
    dest = tmp_path / "dest"
    assert call("--json", "ensure", f"{place}:v1", "--dest", str(dest), *words).json["changed"]
    assert {path: node for path, node in tree(dest).items() if not path.startswith(FOLDER)} == expected
    assert not call("--json", "ensure", f"{place}:v1", "--dest", str(dest), *words).json["changed"]


def test_what_was_read_once_is_not_received_twice(fake: Fake, place: str, tmp_path: Path) -> None:
    Repository(place).publish("v1", ORAS)
    result = call("--progress", "json", "clone", f"{place}:v1", str(tmp_path / "c"))
    blobs = [asked.url for asked in result.requests if "/blobs/" in asked.url]
    assert len(blobs) == len(set(blobs)) == 3


def test_a_pull_receives_what_it_reads_once(fake: Fake, place: str, tmp_path: Path) -> None:
    clone = Bundle.create(tmp_path / "c", place, {"mine.txt": "mine\n"})
    Repository(place).publish("latest", ORAS)
    blobs = [asked.url for asked in clone.requests("pull") if "/blobs/" in asked.url]
    assert len(blobs) == len(set(blobs)) == 3
    assert clone.tree() == {**ORAS_TREE, "mine.txt": Node("file", b"mine\n")}


def test_a_version_that_is_looked_at_is_read_once(fake: Fake, place: str, tmp_path: Path) -> None:
    Repository(place).publish("v1", made.oras(("dir", tgz(file("dir/a", b"a\n")))))
    clone = Bundle.clone(f"{place}:v1", tmp_path / "c")
    Repository(place).publish("v1", ORAS)
    for words in (("status",), ("ls", f"{place}:v1"), ("diff", f"{place}:v1")):
        brought = [asked for asked in clone.requests(*words) if "/blobs/" in asked.url]
        assert len(brought) == (2 if words == ("status",) else 0)
    clone.run("pull")
    assert clone.tree() == ORAS_TREE


def test_a_version_that_was_tagged_and_never_looked_into(fake: Fake, place: str, tmp_path: Path) -> None:
    clone = Bundle.create(tmp_path / "c", place, {"mine.txt": "mine\n"})
    parts = titled([("a", b"a\n")]), made.oras(("dir", tgz(file("dir/a", b"a\n"))))
    published(place, *shards(*parts))
    Repository(place).publish("archives", ORAS)
    clone.run("tag", ":archives", "copied")
    clone.run("tag", ":v1", "shards")
    clone.run("tag", ":child0", "plain")
    assert clone.listed(":copied") == set(ORAS_TREE)
    assert clone.listed(":shards") == {"a", "dir/a"}
    assert clone.listed(":plain") == {"a"}
    clone.run("pull", ":shards")
    assert clone.tree() == {"a": A, "dir/a": A, "mine.txt": Node("file", b"mine\n")}
    assert [asked.method for asked in clone.requests("pull")] == ["HEAD"]
    clone.run("push", ":next")


def test_it_becomes_ours_when_it_is_pushed(fake: Fake, place: str, tmp_path: Path) -> None:
    Repository(place).publish("v1", ORAS)
    clone = Bundle.clone(f"{place}:v1", tmp_path / "c")
    clone.run("push", f"{place}-ours:v1")
    assert call("--json", "diff", f"{place}:v1", f"{place}-ours:v1").json["changes"] == []
    assert Bundle.clone(f"{place}-ours:v1", tmp_path / "d").tree() == ORAS_TREE
    # And over the version it came from, which this clone has seen.
    clone.commit({"new.txt": "new\n"})
    assert call("--json", "inspect", f"{place}:v1").json["kind"] == "bundle"


def test_a_pull_of_another_version_changes_what_differs(fake: Fake, place: str, tmp_path: Path) -> None:
    Repository(place).publish("v1", ORAS)
    clone = Bundle.clone(f"{place}:v1", tmp_path / "c")
    Repository(place).publish("v1", made.oras(("dir", tgz(file("dir/a", b"changed\n"), file("dir/more", b"b\n")))))
    clone.run("pull")
    assert clone.tree() == {"dir/a": Node("file", b"changed\n"), "dir/more": B}
    clone.write({"dir/more": "spoilt"})
    clone.run("restore", "--yes", "dir/more")
    assert clone.read("dir/more") == "b\n"


def test_local_work_stands_in_the_way_as_ever(fake: Fake, place: str, tmp_path: Path) -> None:
    Repository(place).publish("v1", ORAS)
    clone = Bundle.clone(f"{place}:v1", tmp_path / "c")
    clone.write({"dir/a": "mine\n"})
    Repository(place).publish("v1", made.oras(("dir", tgz(file("dir/a", b"theirs\n")))))
    assert clone.refused(4, "pull")["code"] == "conflict"
    assert clone.read("dir/a") == "mine\n"


def test_one_file_of_an_archive(fake: Fake, place: str) -> None:
    Repository(place).publish("v1", ORAS)
    assert call("cat", f"{place}:v1:dir/a").data == b"a\n"
    assert call("cat", f"{place}:v1:raw.bin").data == DATA


def test_a_saved_plan_lands_what_is_in_archives(fake: Fake, place: str, tmp_path: Path) -> None:
    clone = Bundle.create(tmp_path / "c", place, {"mine.txt": "mine\n"})
    Repository(place).publish("latest", ORAS)
    clone.run("pull", "--plan-out", "../plan.json")
    clone.run("apply", "../plan.json")
    assert clone.tree() == {**ORAS_TREE, "mine.txt": Node("file", b"mine\n")}


@pytest.mark.parametrize("step", ["intent written", "part kept", "tree synced"])
def test_a_killed_clone_goes_on(fake: Fake, place: str, tmp_path: Path, step: str) -> None:
    Repository(place).publish("v1", ORAS)
    killed = Bundle(tmp_path)
    killed.killed_at(step, "clone", f"{place}:v1", "c")
    call("clone", f"{place}:v1", str(tmp_path / "c"))
    assert Bundle(tmp_path / "c").tree() == ORAS_TREE


# --- indexes


def shards(*parts: Forged) -> list[tuple[Forged, str | None]]:
    return [(part, None) for part in parts]


def published(place: str, *children: tuple[Forged, str | None]) -> None:
    for number, (child, _) in enumerate(children):
        Repository(place).publish(f"child{number}", child)
    Repository(place).publish("v1", made.index(*children))


def test_an_index_of_shards_is_one_tree(fake: Fake, place: str, tmp_path: Path) -> None:
    parts = titled([("a", b"a\n"), ("same", b"b\n")]), titled([("d/b", b"b\n"), ("same", b"b\n")])
    published(place, *shards(*parts, made.oras(("x", tgz(file("x/a", b"a\n"))))))
    clone = Bundle.clone(f"{place}:v1", tmp_path / "c")
    assert clone.tree() == {"a": A, "d/b": B, "same": B, "x/a": A}
    assert clone.changes() == {}
    assert [asked.method for asked in clone.requests("pull")] == ["HEAD"]
    clone.commit({"a": "new\n"})
    assert call("--json", "inspect", f"{place}:v1").json["kind"] == "bundle"


def test_an_index_of_platforms_is_the_one_that_is_asked_for(fake: Fake, place: str, tmp_path: Path) -> None:
    published(place, (titled([("a", b"a\n")]), "linux/amd64"), (titled([("b", b"b\n")]), "plan9/mips"))
    call("--platform", "linux/amd64", "clone", f"{place}:v1", str(tmp_path / "c"))
    clone = Bundle(tmp_path / "c")
    assert clone.tree() == {"a": A}
    clone.run("--platform", "plan9/mips", "pull")
    assert clone.tree() == {"b": B}
    # It stays the one that was chosen, also when the tag moves.
    assert clone.changes() == {}
    published(place, (titled([("a", b"new\n")]), "linux/amd64"), (titled([("b", b"new\n")]), "plan9/mips"))
    clone.run("pull")
    assert clone.tree() == {"b": Node("file", b"new\n")}
    error = json.loads(call("--json", "--platform", "linux/riscv64", "ls", f"{place}:v1", expect=10).out)["error"]
    assert error["facts"]["platforms"] == ["linux/amd64", "plan9/mips"]


def test_attestations_are_no_part_of_a_version(fake: Fake, place: str, tmp_path: Path) -> None:
    child = titled([("a", b"a\n")])
    Repository(place).publish("child", child)
    document = json.loads(made.index((child, "linux/amd64")).manifest)
    note = {**document["manifests"][0], "annotations": {"vnd.docker.reference.type": "attestation-manifest"}}
    document["manifests"].append({**note, "platform": {"os": "unknown", "architecture": "unknown"}})
    Repository(place).publish("v1", Forged(made.dumps(document), [], INDEX))
    call("--platform", "linux/amd64", "clone", f"{place}:v1", str(tmp_path / "c"))
    assert Bundle(tmp_path / "c").tree() == {"a": A}


# --- what is refused

EVIL = file("evil", b"evil\n")


def one(*members: tuple[tarfile.TarInfo, bytes]) -> Forged:
    return made.oras((".", tgz(file("fine", b"fine\n"), *members)))


def raw(data: bytes, *, compressed: bool = True) -> Forged:
    return made.oras((".", gzip.compress(data, mtime=0) if compressed else data))


def cut(forged: Callable[[], bytes], size: int) -> Forged:
    return made.oras((".", forged()[:size]))


HOSTILE: dict[str, tuple[Forged, int]] = {
    # names in archives
    "parent": (one(file("../evil")), 9),
    "parent-deep": (one(file("a/../../evil")), 9),
    "absolute": (one(file("/tmp/evil")), 9),
    "dots-inside": (one(file("a/./b")), 9),
    "two-slashes": (one(file("a//b")), 9),
    "backslash": (one(file("..\\evil")), 9),
    "drive": (one(file("C:evil")), 9),
    "git": (one(file(".git/hooks/pre-commit")), 9),
    "git-in-capitals": (one(file("sub/.GIT/config")), 9),
    "our-folder": (one(file(".modelops-bundle/config.toml")), 9),
    "our-reserved": (one(file(".bundle/index.json")), 9),
    "temporary": (one(file(".~bundle-0123456789abcdef")), 9),
    "device-name": (one(file("aux.txt")), 9),
    "newline": (one(file("a\nb")), 9),
    "escape": (one(file("a\x1b[31mb")), 9),
    "bidi": (one(file("a\u202eb")), 9),
    "not-normal": (one(file("e\u0301")), 9),
    "no-text": (one(file("a\udcffb")), 9),
    "name-too-long": (one(file("n" * 300)), 9),
    "path-too-long": (one(file("/".join(["n" * 200] * 30))), 9),
    "twice": (one(EVIL, EVIL), 9),
    "case": (one(file("A"), file("a")), 9),
    "file-and-directory": (one(file("a"), file("a/b")), 9),
    "file-named-as-root": (one(file(".")), 9),
    "outside-of-its-title": (made.oras(("dir", tgz(file("evil")))), 9),
    "beside-its-title": (made.oras(("dir", tgz(file("dirt/evil")))), 9),
    "title-outside": (made.oras(("../dir", tgz(file("../dir/evil")))), 9),
    "title-absolute": (made.oras(("/tmp/dir", tgz(file("/tmp/dir/evil")))), 9),
    # links and kinds
    "link-absolute": (one(link("l", "/etc/passwd")), 9),
    "link-outside": (one(link("l", "../../etc/passwd")), 9),
    "link-through-a-link": (one(link("d/e/up", ".."), link("x", "d/e/up/../..")), 9),
    "link-chain-outside": (one(link("d/a", ".."), link("d/b", "a/..")), 9),
    "write-through-a-link": (one(link("l", "sub"), file("l/evil")), 9),
    "link-and-file": (one(link("l", "fine"), file("l")), 9),
    "link-into-git": (one(link("l", ".git/config")), 9),
    "hard-link": (one(member("h", tarfile.LNKTYPE, linkname="fine")), 9),
    "hard-link-outside": (one(member("h", tarfile.LNKTYPE, linkname="/etc/passwd")), 9),
    "character-device": (one(member("d", tarfile.CHRTYPE)), 9),
    "block-device": (one(member("d", tarfile.BLKTYPE)), 9),
    "fifo": (one(member("f", tarfile.FIFOTYPE)), 9),
    "sparse-file-of-gnu": (one(member("s", b"S")), 9),
    "unknown-kind": (one(member("s", b"Z")), 9),
    "link-with-content": (raw(joined([header(b"l", b"00000000005", b"2", b"x"), b"hello".ljust(512, b"\0")])), 9),
    "directory-with-content": (raw(joined([header(b"d/", b"00000000005", b"5"), b"hello".ljust(512, b"\0")])), 9),
    # headers that parsers read in several ways
    "pax-sparse": (raw(joined([pax(("GNU.sparse.major", "1")), header(b"a")])), 9),
    "pax-path-twice": (raw(joined([pax(("path", "a"), ("path", "b")), header(b"c")])), 9),
    "pax-path-outside": (raw(joined([pax(("path", "../evil")), header(b"fine")])), 9),
    "pax-global-path": (raw(joined([pax(("path", "x"), kind=b"g"), header(b"a")])), 9),
    "pax-charset": (raw(joined([pax(("hdrcharset", "BINARY")), header(b"a")])), 9),
    "pax-damaged": (
        raw(joined([header(b"pax", b"00000000010", b"x"), b"99 path=".ljust(512, b"\0"), header(b"a")])),
        9,
    ),
    "pax-size-is-none": (raw(joined([pax(("size", "-1")), header(b"a")])), 9),
    "pax-and-gnu-name": (
        raw(
            joined(
                [
                    header(b"././@LongLink", b"00000000002", b"L"),
                    b"x\0".ljust(512, b"\0"),
                    pax(("path", "y")),
                    header(b"a"),
                ]
            )
        ),
        9,
    ),
    "pax-huge": (raw(joined([header(b"pax", b"00077777777", b"x")])), 9),
    "gnu-name-huge": (raw(joined([header(b"././@LongLink", b"00077777777", b"L")])), 9),
    "size-negative": (raw(joined([header(b"a", b"\xff" * 12)])), 9),
    "size-beyond-the-archive": (raw(joined([header(b"a", b"77777777777")])), 9),
    "size-no-number": (raw(joined([header(b"a", b"zzz")])), 9),
    "checksum": (raw(header(b"a").replace(b"0000644", b"0000755") + bytes(1024)), 9),
    "not-a-tar": (raw(b"evil" * 1000), 9),
    "no-ustar": (raw(joined([header(b"a", magic=b"\0" * 8)])), 9),
    "empty": (raw(b""), 9),
    "no-end": (raw(tar(EVIL)[:1024]), 9),
    "second-archive-behind-the-first": (raw(tar(file("fine")) + tar(EVIL)), 9),
    "cut-in-a-file": (raw(tar(file("a", b"x" * 2000))[:1500]), 9),
    # compression
    "gzip-cut": (cut(lambda: tgz(EVIL), -9), 9),
    "gzip-crc": (made.oras((".", tgz(EVIL)[:-8] + bytes(8))), 9),
    "gzip-with-a-tail": (made.oras((".", tgz(EVIL) + b"tail")), 9),
    "zstd-cut": (made.modelpack(("code.v1.tar+zstd", "d", made.zst(tar(file("d/a", DATA)))[:-20])), 9),
    "bomb": (raw(joined([header(b"a", b"%011o" % (1 << 28)), bytes(1 << 28)])), 9),
    "bomb-of-members": (raw(joined([header(b"d/", kind=b"5")] * 200_001)), 9),
    # manifests and configs
    "titles-twice": (titled([("a", b"a\n"), ("a", b"b\n")]), 9),
    "file-and-archive-at-one-path": (made.oras((".", tgz(EVIL)), files={"evil": b"x"}), 9),
    "modelpack-path-outside": (made.modelpack(("weight.v1.raw", "../evil", b"x")), 9),
    "modelpack-tar-outside-of-its-path": (made.modelpack(("weight.v1.tar", "w", tar(EVIL))), 9),
    "modelpack-unknown-form": (made.modelpack(("weight.v1.tar+lz4", "w", b"x")), 10),
    "modelpack-without-path": (made.manifest([(f"{made.MODEL}weight.v1.raw", b"x", {})]), 10),
    "modelpack-metadata-no-json": (
        made.modelpack(("code.v1.raw", "a", b"x"), **{"org.cncf.model.file.metadata+json": "{"}),
        9,
    ),
    "kit-path-outside": (made.modelkit({"model": {"path": "../evil"}}, ("model", tgz(EVIL))), 9),
    "kit-archive-outside": (made.modelkit({"model": {"path": "a/b"}}, ("model", tgz(file("../evil")))), 9),
    "kit-more-layers-than-entries": (made.modelkit({"code": []}, ("code", tgz(EVIL))), 9),
    "kit-other-digest": (
        made.modelkit({"code": [{"path": ".", "digest": "sha256:" + "0" * 64}]}, ("code", tgz(EVIL))),
        9,
    ),
    "kit-config-no-json": (
        made.manifest([], ("application/vnd.kitops.modelkit.config.v1+json", b"not json")),
        9,
    ),
    "kit-parent": (made.modelkit({"model": {"path": "registry.example.com/a/b:c"}}), 10),
    "kit-unknown-layer": (made.modelkit({}, ("secret", tgz(EVIL))), 10),
    "ollama-tensors": (made.ollama(("tensor", b"x")), 10),
    "docker-model-file-without-path": (made.docker_model(("model.file", b"x", None)), 10),
    "docker-model-path-outside": (made.docker_model(("model.file", b"x", "../evil")), 9),
    "original-key-and-path": (made.original({"a": b"x"}, path=".git/hooks/pre-commit"), 9),
    "original-elsewhere": (made.original({"a": b"x"}, storage="blob"), 10),
    "original-other-size": (made.original({"a": b"x"}, size=7), 9),
    "container-image": (made.container(tgz(file("etc/passwd"))), 10),
    "nothing-known": (made.manifest([("application/vnd.acme", b"x", {})]), 10),
    "no-layers": (made.manifest([]), 10),
    "index-of-nothing": (made.index(), 10),
    "index-of-an-index": (made.index((made.index(), None)), 10),
    "index-and-manifest": (made.index(layers=[]), 9),
}


@pytest.mark.parametrize(("forged", "code"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_artifacts_are_refused_whole(fake: Fake, place: str, tmp_path: Path, forged: Forged, code: int) -> None:
    home = tmp_path / "user"
    (home / "model" / ".git" / "hooks").mkdir(parents=True)
    (home / "precious.txt").write_text("precious\n")
    victim = Bundle.create(home / "model", place, {"readme.md": "good\n"})
    victim.push()
    if forged.media_type == INDEX:
        Repository(place).publish("inner", made.index())
    Repository(place).publish("latest", forged)
    before = tree(home)
    assert victim.refused(code, "pull")["exit_code"] == code
    victim.refused(code, "pull", "--overwrite", "--yes")
    victim.refused(code, "status")
    call("clone", f"{place}:latest", str(home / "cloned"), expect=code)
    call(
        "ensure", f"{place}:latest", "--dest", str(home / "ensured"), expect=10 if forged.media_type == INDEX else code
    )
    after = tree(home)
    # The digest cache may learn.
    index = "model/.modelops-bundle/index"
    assert {n: v for n, v in after.items() if n != index} == {n: v for n, v in before.items() if n != index}


def test_shards_that_disagree_are_refused(fake: Fake, place: str, tmp_path: Path) -> None:
    published(place, *shards(titled([("a", b"a\n")]), titled([("a", b"b\n")])))
    call("clone", f"{place}:v1", str(tmp_path / "c"), expect=9)
    assert not (tmp_path / "c").exists()


def test_a_child_that_is_not_there_is_not_found(fake: Fake, place: str, tmp_path: Path) -> None:
    child = titled([("a", b"a\n")])
    published(place, (child, None))
    del fake.repositories["m"].manifests[made.digest_of(child.manifest)]
    call("clone", f"{place}:v1", str(tmp_path / "c"), expect=6)
    assert not (tmp_path / "c").exists()


def test_a_layer_that_lies_about_its_digest_is_refused(fake: Fake, place: str, tmp_path: Path) -> None:
    Repository(place).publish("v1", ORAS)
    layer = json.loads(ORAS.manifest)["layers"][0]["digest"]
    held = fake.repositories["m"].blobs
    held[layer] = tgz(file("dir/evil"))
    call("clone", f"{place}:v1", str(tmp_path / "c"), expect=9)
    assert not (tmp_path / "c").exists()


def test_an_inventory_that_is_damaged_is_not_believed(fake: Fake, place: str, tmp_path: Path) -> None:
    Repository(place).publish("v1", ORAS)
    clone = Bundle.clone(f"{place}:v1", tmp_path / "c")
    (kept,) = (clone.root / ".modelops-bundle" / "seen").glob("*/index")
    kept.write_bytes(kept.read_bytes().replace(b"dir/a", b"dir/x"))
    assert clone.refused(9, "diff", f"{place}:v1")["code"] == "corrupt"


def test_filepath_is_a_name_as_good_as_a_title(fake: Fake, place: str, tmp_path: Path) -> None:
    Repository(place).publish("v1", made.manifest([("application/octet-stream", b"a\n", {FILEPATH: "a"})]))
    assert Bundle.clone(f"{place}:v1", tmp_path / "c").tree() == {"a": A}
