"""Hostile artifacts (facts: reliability §3.1, §3.2; DESIGN §5 "Paths"): the documented error, and nothing written.

Each is consistent in every digest but the one thing that is wrong, and goes the way of a pull: parse the manifest, read
the index, plan, land. Everything beside the tree is hashed before and after.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelops_bundle.disk.tree import Tree
from modelops_bundle.errors import BundleError, Corrupt, UnsafePath, Unsupported
from modelops_bundle.events import Run
from modelops_bundle.model import canonical, media
from modelops_bundle.model.artifact import INDEX_PATH, MAX_INDEX, build, read
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.manifest import Manifest
from modelops_bundle.model.snapshot import Entry, Snapshot
from modelops_bundle.plan.pull import plan_pull
from modelops_bundle.stores.memory import MemoryStore
from modelops_bundle.transfer import land
from modelops_bundle.transfer.staging import Staging
from modelops_bundle.transfer.verify import read_small
from tests.support.strategies import hostile_paths, json_values
from tests.support.things import file

CONTENT = b"content"
FILE = file(CONTENT)


@dataclass
class Forged:
    """A manifest as bytes, and the store that serves its blobs."""

    manifest: bytes
    store: MemoryStore


def _rows(entries: list[tuple[str, Entry]]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for path, entry in entries:
        if entry.kind == "file":
            row = {"kind": "file", "size": entry.size, "sha256": entry.digest.hex, "mode": "0644", "role": "code"}
            rows.append({**row, "path": path, "at": [0]})
        elif entry.kind == "link":
            rows.append({"kind": "link", "path": path, "target": entry.target})
        else:
            rows.append({"kind": "dir", "path": path})
    return rows


def _content(entries: list[tuple[str, Entry]]) -> str:
    try:
        return str(Snapshot(entries).content)
    except UnicodeEncodeError:
        return str(Digest.of(b"whatever"))


def ours(
    entries: list[tuple[str, Entry]],
    *,
    rows: list[Any] | None = None,
    index: bytes | None = None,
    inline: bool = True,
    annotations: dict[str, str] | None = None,
    layer: dict[str, Any] | None = None,
) -> Forged:
    """An artifact of ours that says whatever it is told to."""
    store = MemoryStore()
    what = Descriptor.of(media.layer_type("code"), CONTENT, {media.FILEPATH: "x", media.TITLE: "x"})
    store.put(what, [CONTENT])
    if index is None:
        value = {"schemaVersion": 1, "blobs": [str(what.digest)], "files": _rows(entries) if rows is None else rows}
        # As a hostile writer spells it: lone surrogates as escapes.
        index = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    told = Descriptor.of(media.layer_type("doc"), index, {media.FILEPATH: INDEX_PATH}, inline=inline)
    store.put(told, [index])
    manifest = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": Descriptor.of(media.MODEL_CONFIG, b"{}").to_json(),
        "layers": [told.to_json(), {**what.to_json(), **(layer or {})}],
        "annotations": {
            media.VERSION: "0",
            media.STORAGE: "plain",
            media.INDEX: str(told.digest),
            media.CONTENT: _content(entries),
            **(annotations or {}),
        },
    }
    return Forged(json.dumps(manifest).encode(), store)


def titled(*paths: str, **layer: Any) -> Forged:
    """An artifact as ORAS makes it, with these titles."""
    store = MemoryStore()
    what = Descriptor.of("application/octet-stream", CONTENT)
    store.put(what, [CONTENT])
    layers = [{**what.to_json(), "annotations": {media.TITLE: path}, **layer} for path in paths]
    config = Descriptor.of(media.OCI_EMPTY, b"{}").to_json()
    value = {"schemaVersion": 2, "mediaType": media.OCI_MANIFEST, "config": config, "layers": layers}
    return Forged(json.dumps(value).encode(), store)


class Sandbox:
    """A tree with something of the user's in it, and the world around it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.root = base / "home" / "tree"
        self.root.mkdir(parents=True)
        (self.root / "mine").write_text("mine")
        (base / "outside").write_text("outside")
        (base / "home" / ".bashrc").write_text("rc")

    def state(self) -> dict[str, str]:
        found = {}
        for directory, directories, names in os.walk(self.base):
            for name in [*directories, *names]:
                path = os.path.join(directory, name)
                if os.path.islink(path):
                    found[path] = os.readlink(path)
                elif os.path.isfile(path):
                    found[path] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
                else:
                    found[path] = "directory"
        return found

    def pull(self, forged: Forged) -> None:
        """What a pull does, in its order."""
        manifest = Manifest.from_bytes(forged.manifest)
        contents = read(manifest, lambda what: read_small(forged.store, what, MAX_INDEX))
        there = contents.snapshot
        plan = plan_pull(
            "reg.io/m:t",
            manifest.digest,
            Snapshot(),
            Snapshot(),
            there,
            tracked=(),
            untracked={},
            obstacles={},
            places=contents.places,
        )
        plan.check()
        staging = Staging(self.base / "parts")
        for place in plan.places.values():
            if not staging.has(place.blob):
                staging.fetch(place.blob, forged.store, Run(), lambda _: None)
        with Tree(self.root) as tree:
            assert land.apply(tree, staging, plan.steps, lambda _: {}, Run()) == ()
        staging.clear()
        (self.base / "parts").rmdir()


@pytest.fixture
def box(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


def refused(box: Sandbox, forged: Forged, *kinds: type[BundleError]) -> BundleError:
    before = box.state()
    with pytest.raises(kinds) as caught:
        box.pull(forged)
    assert box.state() == before
    assert caught.value.exit_code in {kind.exit_code for kind in kinds}
    assert caught.value.message.isprintable() or "\n" not in caught.value.message
    return caught.value


def test_an_honest_artifact_lands(box: Sandbox) -> None:
    box.pull(ours([("x", FILE), ("l", Entry.link("x")), ("d", Entry.directory())]))
    assert (box.root / "x").read_bytes() == CONTENT
    assert os.readlink(box.root / "l") == "x"
    box.pull(titled("dir/y"))
    assert (box.root / "dir/y").read_bytes() == CONTENT
    assert (box.root / "mine").read_text() == "mine"


# --- paths -----------------------------------------------------------------------------------------------------------

UNSAFE = [
    *("..", "../x", "a/../../x", "a/..", "./x", "a//x", "a/", "/etc/passwd", "//x", "/"),
    *("..\\x", "a\\b", "C:x", "C:\\x", "C:/x", "\\\\host\\share\\x", "a:b", "a:$DATA"),
    *("a\0b", "a\nb", "a\rb", "a\tb", "\x1b[31mred", "\x1b]0;title\x07", "a\x7f", "a\x9b1m"),
    *("a\u202egpj.exe", "a\u2066b", "\u200fa", "\ufeffa", "a\u2028b"),
    *("CON", "con.txt", "nul", "aux.tar.gz", "COM1", "lpt9.x", "com\u00b9", "dir/PRN", "CONIN$"),
    *("name.", "name ", "name. ", "dir./x", "dir /x", "...", "a/. /b"),
    *("cafe\u0301", "\u212b", "\u1100\u1161", "dir/e\u0301/x"),
    *(".git/hooks/post-checkout", ".GIT/config", ".Git", "sub/.git/config", "git~1", "GIT~1/hooks/x", "git~2/x"),
    *(".g\u200cit/config", ".git\u200d/x", ".git./x", ".git /x", ".gi\ufefft/x", ".\uff47\uff49\uff54/x"),
    *(".modelops-bundle/config.toml", ".MODELOPS-BUNDLE/x", "modelo~1/config.toml", ".modelops-bundle"),
    *(".bundle/index.json", ".bundle/packs/x", ".Bundle/x", "bundle~1/x", "sub/.bundle/x"),
    *(".~bundle-0123456789abcdef", "a/.~bundle-x", "x" * 300, "é" * 200, "/".join(["x" * 200] * 30)),
    *('a"b', "a<b", "a|b", "a?b", "a*b", "\ud800", "\udcff", "a\udc80b"),
]


@pytest.mark.parametrize("path", UNSAFE, ids=ascii)
@pytest.mark.parametrize("entry", [FILE, Entry.link("x"), Entry.directory()], ids=["file", "link", "directory"])
def test_an_unsafe_path_in_the_index(box: Sandbox, path: str, entry: Entry) -> None:
    kinds = (Corrupt,) if any("\ud800" <= c <= "\udfff" for c in path) else (UnsafePath,)
    refused(box, ours([("ok", FILE), (path, entry)]), *kinds)


@pytest.mark.parametrize("path", [p for p in UNSAFE if p != "./x"], ids=ascii)
def test_an_unsafe_title(box: Sandbox, path: str) -> None:
    kinds = (Corrupt,) if any("\ud800" <= c <= "\udfff" for c in path) else (UnsafePath,)
    refused(box, titled("ok", path), *kinds)


@pytest.mark.parametrize(
    "paths",
    [
        ["README", "readme"],
        ["\u00e9", "\u00c9"],
        ["stra\u00dfe", "STRASSE"],
        ["\ufb01le", "file"],
        ["a", "a/b"],
        ["A", "a/b"],
        ["A/x", "a/y"],
        ["x", "x"],
    ],
)
@pytest.mark.parametrize("make", ["index", "titles"])
@pytest.mark.parametrize("turned", [False, True])
def test_paths_that_cannot_stand_together(box: Sandbox, paths: list[str], make: str, turned: bool) -> None:
    order = paths[::-1] if turned else paths
    forged = titled(*order) if make == "titles" else ours([(path, FILE) for path in order])
    refused(box, forged, UnsafePath)


@given(path=hostile_paths)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_whatever_is_called_whatever_lands_inside_or_not_at_all(tmp_path: Path, path: str) -> None:
    base = tmp_path / hashlib.sha256(ascii(path).encode()).hexdigest()
    if base.exists():
        return
    box = Sandbox(base)
    before = box.state()
    try:
        box.pull(ours([(path, FILE)]))
    except (UnsafePath, Corrupt):
        assert box.state() == before
    else:
        new = box.state().keys() - before.keys()
        assert str(box.root / path) in new
        assert all(name.startswith(f"{box.root}/") for name in new)


# --- links -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "links",
    [
        {"l": "../outside"},
        {"l": "/etc/passwd"},
        {"l": ".."},
        {"d/l": "../../x"},
        {"l": "a/../../x"},
        {"l": "..\\x"},
        {"l": "C:/x"},
        {"l": ""},
        {"l": "a\nb"},
        {"l": ".git/config"},
        {"l": "sub/.GIT/hooks"},
        {"l": ".modelops-bundle/config.toml"},
        {"a/b/c": "../..", "l": "a/b/c/../x"},
        {"d/up": "..", "l": "d/up/../x"},
        {"a/l": "m/..", "a/m": "..", "z": "a/l/../x"},
        {"one": "d", "d/two": "..", "three": "one/two/../../x"},
    ],
    ids=str,
)
def test_a_link_that_leaves_the_tree(box: Sandbox, links: dict[str, str]) -> None:
    refused(box, ours([(path, Entry.link(target)) for path, target in links.items()]), UnsafePath)


def test_a_file_behind_a_link_of_the_same_artifact(box: Sandbox) -> None:
    refused(box, ours([("l", Entry.link("d")), ("l/x", FILE)]), UnsafePath)
    refused(box, ours([("l", Entry.link(".")), ("L/x", FILE)]), UnsafePath)


# --- index and manifest disagree -------------------------------------------------------------------------------------

ROW = _rows([("x", FILE)])[0]


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": Digest.of(b"other").hex},
        {"sha256": "../../etc/passwd"},
        {"size": 6},
        {"size": 8},
        {"size": -1},
        {"size": 7.0},
        {"size": True},
        {"at": [1]},
        {"at": [-1]},
        {"at": []},
        {"mode": "4755"},
        {"path": 3},
        {"path": None},
    ],
    ids=str,
)
def test_a_row_that_disagrees_with_its_layer(box: Sandbox, change: dict[str, Any]) -> None:
    refused(box, ours([("x", FILE)], rows=[{**ROW, **change}]), Corrupt)


def test_a_blob_that_is_no_layer(box: Sandbox) -> None:
    index = canonical.dumps({"schemaVersion": 1, "blobs": [str(Digest.of(b"else"))], "files": [ROW]})
    refused(box, ours([("x", FILE)], index=index), Corrupt)


@pytest.mark.parametrize("size", [6, 8, -1, 1 << 70, "7", None, 7.5])
def test_a_layer_with_a_wrong_size(box: Sandbox, size: Any) -> None:
    refused(box, ours([("x", FILE)], layer={"size": size}), Corrupt)
    refused(box, titled("x", size=-1), Corrupt)


@pytest.mark.parametrize(
    "digest", ["sha256:../../../etc/passwd", "md5:x", "", None, "sha512:" + "0" * 128, "sha256:" + "A" * 64]
)
def test_a_layer_with_a_digest_that_is_none(box: Sandbox, digest: Any) -> None:
    refused(box, titled("x", digest=digest), Corrupt)


def test_another_content_digest(box: Sandbox) -> None:
    refused(box, ours([("x", FILE)], annotations={media.CONTENT: str(Digest.of(b"else"))}), Corrupt)


@pytest.mark.parametrize("index", [str(Digest.of(b"else")), "x", ""])
def test_an_index_that_is_not_there(box: Sandbox, index: str) -> None:
    refused(box, ours([("x", FILE)], annotations={media.INDEX: index}), Corrupt)


@pytest.mark.parametrize("version", ["2", "99", "", "-1", "1.0", "x" * 1000])
def test_another_format(box: Sandbox, version: str) -> None:
    refused(box, ours([("x", FILE)], annotations={media.VERSION: version}), Unsupported)


@pytest.mark.parametrize("kind", ["device", "hardlink", "fifo", "", None, 3])
def test_another_kind_of_entry(box: Sandbox, kind: Any) -> None:
    refused(box, ours([("x", FILE)], rows=[{**ROW, "kind": kind}]), Unsupported)


def test_bytes_that_are_not_the_layers(box: Sandbox) -> None:
    forged = ours([("x", FILE)])
    forged.store._blobs[FILE.digest] = b"CONTENT"
    before = box.state()
    with pytest.raises(Corrupt):
        box.pull(forged)
    after = {path: what for path, what in box.state().items() if path != str(box.base / "parts")}
    assert after == before


# --- documents that are attacks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize(
    "index",
    [
        b'{"blobs":[],"blobs":[],"files":[]}',
        b'{"blobs":[],"files":[{"kind":"dir","path":"a","path":"../b"}]}',
        b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
        b"[" * 200_000,
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"blobs":[],"files":[',
        b'{"blobs":NaN,"files":[]}',
        b'{"blobs":{},"files":[]}',
        b'{"blobs":[],"files":{}}',
        b"<html>not found</html>",
    ],
    ids=lambda index: ascii(index[:40]),
)
def test_an_index_that_is_an_attack(box: Sandbox, index: bytes, inline: bool) -> None:
    refused(box, ours([("x", FILE)], index=index, inline=inline), Corrupt)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda text: text[:-1] + ',"layers":[]}', Corrupt),
        (lambda text: text[:-1] + ',"annotations":{"a":"1","a":"2"}}', Corrupt),
        (lambda text: text[:-1] + f',"a":{"[" * 200_000}{"]" * 200_000}}}', Corrupt),
        (lambda text: text[:-1] + f',"a":"{"x" * (5 << 20)}"}}', Corrupt),
        (lambda text: text[:-1], Corrupt),
        (lambda text: "", Corrupt),
        (lambda text: text.replace(media.OCI_MANIFEST, media.OCI_INDEX, 1), Unsupported),
        (lambda text: text.replace(media.OCI_MANIFEST, "application/x", 1), Unsupported),
        (lambda text: text[:-1] + ',"manifests":[]}', Corrupt),
        (lambda text: text.replace('"schemaVersion": 2', '"schemaVersion": 1'), Corrupt),
    ],
    ids=[
        "layers twice",
        "annotation twice",
        "deep",
        "5 MiB",
        "cut",
        "empty",
        "index",
        "other type",
        "both",
        "schema 1",
    ],
)
def test_a_manifest_that_is_an_attack(box: Sandbox, change: Callable[[str], str], kind: type[BundleError]) -> None:
    forged = ours([("x", FILE)])
    bad = change(forged.manifest.decode())
    assert bad != forged.manifest.decode()
    refused(box, Forged(bad.encode(), forged.store), kind)


GOOD = build(Snapshot({"x": FILE, "l": Entry.link("x"), "d": Entry.directory()}))


@given(st.data())
def test_any_damaged_byte_of_the_manifest_is_refused_or_harmless(data: st.DataObject) -> None:
    bad = bytearray(GOOD.manifest.to_bytes())
    bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read(Manifest.from_bytes(bytes(bad)), lambda _: GOOD.index)
    except BundleError:
        return
    assert set(found.snapshot) <= {"x", "l", "d", INDEX_PATH} or all(len(path) < 99 for path in found.snapshot)


@given(st.dictionaries(st.sampled_from(["blobs", "files", "schemaVersion"]), json_values))
def test_any_json_for_an_index_is_an_error_of_ours(value: dict[str, Any]) -> None:
    forged = ours([], index=canonical.dumps(value))
    try:
        read(Manifest.from_bytes(forged.manifest), lambda _: b"")
    except BundleError:
        return
    assert value["files"] == []


@given(
    st.lists(st.dictionaries(st.sampled_from(sorted(ROW)), json_values | st.sampled_from([*ROW.values()])), max_size=3)
)
def test_any_rows_are_read_or_an_error_of_ours(rows: list[dict[str, Any]]) -> None:
    forged = ours([], rows=[{**ROW, **row} for row in rows])
    try:
        read(Manifest.from_bytes(forged.manifest), lambda _: b"")
    except BundleError:
        return
    assert rows == []
