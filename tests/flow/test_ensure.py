"""`bundle ensure`: a directory holds exactly one version, from the registry or the cache, switched in as a whole."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelops_bundle.model.digest import Digest
from modelops_bundle.operations import shelving
from modelops_bundle.transfer import ensured, switch
from modelops_bundle.transfer.ensured import FILE, FOLDER
from tests.support.bundle import ROOT, Bundle, Node, Result, call
from tests.support.bundle import tree as look
from tests.support.fault_proxy import Call, FaultProxy, Stall, Where
from tests.support.registry_process import Registry

BIG = os.urandom(3_000_000)
FIRST = {"a.txt": "one\n", "d/big.bin": BIG, "d/copy.bin": BIG, "gone/old.txt": "goes\n"}


@pytest.fixture
def versions(remote: str, tmp_path: Path) -> tuple[str, str]:
    """Two versions, v1 and v2, by their digests; with everything that a tree can have."""
    return publish(remote, tmp_path / "author")


def publish(remote: str, root: Path) -> tuple[str, str]:
    made = Bundle.create(root, remote, FIRST)
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "link").symlink_to("a.txt")
    (root / "empty").mkdir()
    made.run("add", ".")
    first = made.push("--tag", "v1")
    (root / "gone/old.txt").unlink()
    (root / "gone").rmdir()
    made.write({"a.txt": "two\n", "new/n.txt": "new\n"})
    made.run("add", ".")
    return first, made.push("--tag", "v2")


def ensure(*words: str, dest: Path, expect: int = 0) -> Result:
    return call("--json", "ensure", *words, "--dest", str(dest), expect=expect)


def requests(*words: str, dest: Path) -> int:
    return len(call("--progress", "json", "ensure", *words, "--dest", str(dest)).requests)


def blob(digest: str) -> Path:
    return Path(os.environ["XDG_CACHE_HOME"]) / "modelops-bundle/blobs/sha256" / digest.removeprefix("sha256:")


def big_blob() -> Path:
    folder = Path(os.environ["XDG_CACHE_HOME"]) / "modelops-bundle/blobs/sha256"
    [found] = [path for path in folder.iterdir() if path.stat().st_size == len(BIG)]
    return found


def beside(dest: Path) -> list[str]:
    return sorted(path.name for path in dest.parent.iterdir() if path.name.startswith((".~", ".dest")))


# --- versions


def test_a_directory_holds_one_version_after_the_other(versions: tuple[str, str], remote: str, tmp_path: Path) -> None:
    author, dest = Bundle(tmp_path / "author"), tmp_path / "dest"
    done = ensure(f"{remote}:v1", dest=dest).json
    assert (done["changed"], done["digest"], done["previous"]) == (True, versions[0], None)
    assert done["fetched_bytes"] >= len(BIG)
    assert look(dest)["d/big.bin"] == Node("file", BIG)
    assert look(dest)["gone/old.txt"].content == b"goes\n"
    done = ensure(f"{remote}:v2", dest=dest).json
    assert look(dest) == author.tree()
    assert done["fetched_bytes"] < 100_000
    assert done["cached_bytes"] >= len(BIG)
    assert (done["removed_paths"], done["previous"]) == (1, versions[0])
    assert sum(done["placed"].values()) == 5
    again = ensure(f"{remote}:v2", dest=dest).json
    assert (again["changed"], again["fetched_blobs"]) == (False, 0)
    assert beside(dest) == []


def test_readers_keep_what_they_have_open(versions: tuple[str, str], remote: str, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    ensure(f"{remote}:v1", dest=dest)
    with open(dest / "gone/old.txt", "rb") as file:
        ensure(f"{remote}:v2", dest=dest)
        assert file.read() == b"goes\n"


def test_a_link_to_the_directory_stays(versions: tuple[str, str], remote: str, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o750)
    (tmp_path / "dest").symlink_to("real")
    ensure(f"{remote}:v1", dest=tmp_path / "dest")
    assert (tmp_path / "dest").is_symlink()
    assert look(tmp_path / "real")["a.txt"].content == b"one\n"
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o750


def test_the_tree_is_no_bundle_and_nothing_of_ours_is_pushed(
    versions: tuple[str, str], remote: str, tmp_path: Path
) -> None:
    ensure(f"{remote}:v1", dest=tmp_path / "dest")
    call("-C", str(tmp_path / "dest"), "status", expect=4)
    outer = Bundle.create(tmp_path, None)
    outer.run("add", "dest")
    assert not [path for path in outer.tracked if FOLDER in path]


@pytest.mark.parametrize("words", [["--rollback", "REF"], [], ["REF", "--link", "--no-cache"]])
def test_words_that_make_no_sense(words: list[str], tmp_path: Path) -> None:
    named = ["localhost:1/x:v1" if word == "REF" else word for word in words]
    ensure(*named, dest=tmp_path / "dest", expect=2)
    assert not (tmp_path / "dest").exists()


def test_what_does_not_exist(versions: tuple[str, str], remote: str, tmp_path: Path) -> None:
    ensure(f"{remote}:absent", dest=tmp_path / "dest", expect=6)
    ensure(f"{remote}@sha256:{'0' * 64}", dest=tmp_path / "dest", expect=6)
    ensure("--rollback", dest=tmp_path / "dest", expect=6)
    assert not (tmp_path / "dest").exists()
    assert beside(tmp_path / "dest") == []


# --- requests and the network


@pytest.mark.registry
def test_a_digest_takes_no_request_and_a_tag_one(repo: str, tmp_path: Path) -> None:
    first, _ = publish(repo, tmp_path / "author")
    dest = tmp_path / "dest"
    ensure(f"{repo}@{first}", dest=dest)
    assert requests(f"{repo}@{first}", dest=dest) == 0
    assert requests(f"{repo}:v1", dest=dest) == 1
    # Another directory: everything is in the cache.
    assert requests(f"{repo}@{first}", dest=tmp_path / "other") == 0
    assert look(tmp_path / "other") == look(dest)


@pytest.mark.registry
def test_without_a_network(registry: Registry, tmp_path: Path) -> None:
    with FaultProxy(registry.host) as proxy:
        place = f"{proxy.host}/ensure/{tmp_path.name.lower().replace('_', '-')}"
        first, second = publish(place, tmp_path / "author")
        ensure(f"{place}:v1", dest=tmp_path / "dest")
        proxy.refuse()
        # By digest nobody is asked; a tag is what it was, when that is asked for.
        assert ensure(f"{place}@{first}", dest=tmp_path / "two").json["fetched_blobs"] == 0
        answer = call("--progress", "json", "--offline", "ensure", f"{place}:v1", "--dest", str(tmp_path / "three"))
        assert answer.notices["ensure-offline"].endswith("when last looked at")
        assert look(tmp_path / "three") == look(tmp_path / "dest")
        error = ensure(f"{place}:v1", dest=tmp_path / "four", expect=8).error
        assert error["hint"] == f"--offline takes what it stood for last: {first}"
        call("--offline", "ensure", f"{place}:v2", "--dest", str(tmp_path / "five"), expect=8)
        call("--offline", "ensure", f"{place}@{second}", "--dest", str(tmp_path / "five"), expect=8)
        assert not (tmp_path / "five").exists()


def test_without_the_cache_nothing_is_kept(versions: tuple[str, str], remote: str, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    done = ensure(f"{remote}:v1", "--no-cache", dest=dest).json
    assert done["placed"]["move"] >= 2
    assert look(dest)["d/copy.bin"].content == BIG
    cache = Path(os.environ["XDG_CACHE_HOME"]) / "modelops-bundle"
    assert not (cache / "blobs").exists()
    assert beside(dest) == []
    assert ensure(f"{remote}:v2", "--no-cache", dest=dest).json["changed"]
    assert look(dest) == Bundle(tmp_path / "author").tree()


def test_the_setting_stands_for_the_flag(versions: tuple[str, str], remote: str, tmp_path: Path) -> None:
    call("--config", "cache=false", "ensure", f"{remote}:v1", "--dest", str(tmp_path / "dest"))
    assert not (Path(os.environ["XDG_CACHE_HOME"]) / "modelops-bundle/blobs").exists()
    call("--config", "cache=false", "ensure", f"{remote}:v1", "--link", "--dest", str(tmp_path / "dest"), expect=2)
    call("--config", "cache=maybe", "ensure", f"{remote}:v1", "--dest", str(tmp_path / "dest"), expect=2)


# --- what is not ours


def test_a_directory_with_other_things_in_it_is_refused(versions: tuple[str, str], remote: str, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    dest.mkdir()
    (dest / "mine.txt").write_text("mine")
    before = look(dest)
    assert ensure(f"{remote}:v1", dest=dest, expect=4).error["facts"]["paths"] == ["mine.txt"]
    assert look(dest) == before
    ensure(f"{remote}:v1", "--mirror", dest=dest)
    assert look(dest)["mine.txt"].content == b"mine"
    ensure(f"{remote}:v2", dest=dest, expect=4)
    assert look(dest)["a.txt"].content == b"one\n"


def test_mirror_removes_what_we_wrote_and_nothing_else(versions: tuple[str, str], remote: str, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    ensure(f"{remote}:v1", dest=dest)
    (dest / ".git").mkdir()
    (dest / ".git/config").write_text("[core]")
    (dest / "gone/mine.txt").write_text("beside what goes")
    (dest / "own/deep").mkdir(parents=True)
    os.mkfifo(dest / "own/deep/fifo")
    (dest / "own/link").symlink_to("/nowhere")
    done = ensure(f"{remote}:v2", "--mirror", dest=dest).json
    assert (done["removed_paths"], done["saved"]) == (1, [])
    assert (dest / ".git/config").read_text() == "[core]"
    assert sorted(path.name for path in (dest / "gone").iterdir()) == ["mine.txt"]
    assert stat.S_ISFIFO((dest / "own/deep/fifo").lstat().st_mode)
    assert os.readlink(dest / "own/link") == "/nowhere"
    assert (dest / "a.txt").read_text() == "two\n"
    assert beside(dest) == []


def test_files_of_somebody_else_in_the_way(versions: tuple[str, str], remote: str, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    ensure(f"{remote}:v1", dest=dest)
    (dest / "new").write_text("where v2 has a directory")
    before = look(dest)
    error = ensure(f"{remote}:v2", "--mirror", "--force", dest=dest, expect=4).error
    assert error["facts"]["paths"] == ["new"]
    assert look(dest) == before


def test_edits_of_our_files_stay_unless_told(versions: tuple[str, str], remote: str, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    ensure(f"{remote}:v1", dest=dest)
    (dest / "a.txt").write_text("my edit")
    for reference in ("v1", "v2"):
        error = ensure(f"{remote}:{reference}", dest=dest, expect=4).error
        assert error["facts"]["paths"] == ["a.txt"]
    assert (dest / "a.txt").read_text() == "my edit"
    done = ensure(f"{remote}:v2", "--force", dest=dest).json
    assert (done["dropped_edits"], done["saved"]) == (["a.txt"], [])
    assert look(dest) == Bundle(tmp_path / "author").tree()
    assert beside(dest) == []


def test_what_is_gone_or_lost_its_mode_comes_back(versions: tuple[str, str], remote: str, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    ensure(f"{remote}:v2", dest=dest)
    before = look(dest)
    (dest / "a.txt").unlink()
    (dest / "run.sh").chmod(0o644)
    (dest / "empty").rmdir()
    assert ensure(f"{remote}:v2", dest=dest).json["changed"]
    assert look(dest) == before


def test_a_touched_file_is_read_and_found_right(
    versions: tuple[str, str], remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dest = tmp_path / "dest"
    looked: list[int] = []
    compare = ensured.compare
    monkeypatch.setattr(
        ensured, "compare", lambda *args, **more: (looked.append(time.time_ns()), compare(*args, **more))[1]
    )
    ensure(f"{remote}:v2", dest=dest)
    os.utime(dest / "d/big.bin")
    record = (dest / FOLDER / FILE).read_bytes()
    assert not ensure(f"{remote}:v2", dest=dest).json["changed"]
    assert (dest / FOLDER / FILE).read_bytes() != record
    # A write after the look must not pass for what was read.
    assert json.loads((dest / FOLDER / FILE).read_bytes())["taken"] <= looked[-1]


def test_verify_finds_bytes_that_went_bad_under_their_stamps(
    versions: tuple[str, str], remote: str, tmp_path: Path
) -> None:
    dest = tmp_path / "dest"
    ensure(f"{remote}:v2", dest=dest)
    path = dest / "d/big.bin"
    with open(path, "r+b") as file:
        file.write(b"X")
    # As a disk does it: the record knows the state that the file is in.
    facts, record = path.stat(), json.loads((dest / FOLDER / FILE).read_bytes())
    record["keys"]["d/big.bin"] = [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino, facts.st_dev]
    record["taken"] = facts.st_ctime_ns + 10**10
    (dest / FOLDER / FILE).write_text(json.dumps(record))
    assert not ensure(f"{remote}:v2", dest=dest).json["changed"]
    assert ensure(f"{remote}:v2", "--verify", dest=dest).json["changed"]
    assert path.read_bytes() == BIG


@pytest.mark.parametrize("spoilt", [b"{}", b"not json", b'{"version":1,"entries":{"../x":{"kind":"dir"}}}'])
def test_a_record_that_cannot_be_used_claims_nothing(
    spoilt: bytes, versions: tuple[str, str], remote: str, tmp_path: Path
) -> None:
    dest = tmp_path / "dest"
    ensure(f"{remote}:v1", dest=dest)
    (dest / FOLDER / FILE).write_bytes(spoilt)
    before = look(dest)
    ensure(f"{remote}:v2", dest=dest, expect=4)
    assert look(dest) == before


def test_a_bundle_is_not_replaced(versions: tuple[str, str], remote: str, tmp_path: Path) -> None:
    assert "is a bundle" in ensure(f"{remote}:v1", dest=tmp_path / "author", expect=4).error["message"]


def test_a_mount_point_is_refused(versions: tuple[str, str], remote: str) -> None:
    error = ensure(f"{remote}:v1", dest=Path("/proc"), expect=10).error
    assert error["hint"] == "name a directory in it: --dest /proc/model"


# --- back


def test_back_to_the_version_before_and_forth(versions: tuple[str, str], remote: str, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    ensure(f"{remote}:v1", dest=dest)
    before = look(dest)
    ensure("--rollback", dest=dest, expect=6)
    ensure(f"{remote}:v2", dest=dest)
    after = look(dest)
    assert ensure("--rollback", dest=dest).json["digest"] == versions[0]
    assert look(dest) == before
    ensure("--rollback", dest=dest)
    assert look(dest) == after


def test_the_tree_before_can_be_kept(versions: tuple[str, str], remote: str, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    ensure(f"{remote}:v1", dest=dest)
    before = look(dest)
    inode = (dest / "d/big.bin").stat().st_ino
    ensure(f"{remote}:v2", "--keep-previous", dest=dest)
    assert beside(dest) == [".dest.previous"]
    call("cache", "clear", "--yes")
    assert ensure("--rollback", "--keep-previous", dest=dest).json["placed"] == {"previous": 5}
    assert look(dest) == before
    assert (dest / "d/big.bin").stat().st_ino == inode
    # An edit of what was kept: it is not used, and not deleted.
    (tmp_path / ".dest.previous/a.txt").write_text("edited")
    done = ensure(f"{remote}:v2", "--keep-previous", dest=dest).json
    assert look(dest) == Bundle(tmp_path / "author").tree()
    [saved] = done["saved"]
    assert (Path(saved) / "a.txt").read_text() == "edited"


def test_something_else_under_the_name_of_the_previous_version(
    versions: tuple[str, str], remote: str, tmp_path: Path
) -> None:
    dest = tmp_path / "dest"
    ensure(f"{remote}:v1", dest=dest)
    before = look(dest)
    (tmp_path / ".dest.previous").mkdir()
    assert "no version" in ensure(f"{remote}:v2", "--keep-previous", dest=dest, expect=4).error["message"]
    assert look(dest) == before
    ensure(f"{remote}:v2", dest=dest)
    assert (tmp_path / ".dest.previous").is_dir()


# --- the cache


def test_a_flipped_bit_in_the_cache_is_found_and_fetched_again(
    versions: tuple[str, str], remote: str, tmp_path: Path
) -> None:
    ensure(f"{remote}:v2", dest=tmp_path / "one")
    path = big_blob()
    path.chmod(0o644)
    data = bytearray(BIG)
    data[1_000_000] ^= 1
    path.write_bytes(data)
    answer = call("--progress", "json", "ensure", f"{remote}:v2", "--dest", str(tmp_path / "two"))
    assert "cache-damaged" in answer.notices
    assert (tmp_path / "two/d/big.bin").read_bytes() == BIG
    assert big_blob().read_bytes() == BIG


def test_links_cannot_spoil_the_cache(versions: tuple[str, str], remote: str, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    done = ensure(f"{remote}:v2", "--link", dest=dest).json
    assert done["placed"]["link"] == 4
    assert (dest / "d/big.bin").stat().st_ino == big_blob().stat().st_ino
    assert {stat.S_IMODE((dest / name).stat().st_mode) for name in ("a.txt", "d/big.bin")} == {0o444}
    assert stat.S_IMODE((dest / "run.sh").stat().st_mode) == 0o555
    assert not ensure(f"{remote}:v2", "--link", dest=dest).json["changed"]
    # Root, or an owner who insists, can write all the same.
    (dest / "d/big.bin").chmod(0o644)
    with open(dest / "d/big.bin", "r+b") as file:
        file.write(b"spoilt")
    ensure(f"{remote}:v2", dest=tmp_path / "other")
    assert (tmp_path / "other/d/big.bin").read_bytes() == BIG
    assert ensure(f"{remote}:v2", "--link", dest=dest, expect=4).error["facts"]["paths"] == ["d/big.bin", "d/copy.bin"]
    ensure(f"{remote}:v2", "--link", "--force", dest=dest)
    assert (dest / "d/copy.bin").read_bytes() == BIG


def test_a_blob_that_is_gone_comes_again(versions: tuple[str, str], remote: str, tmp_path: Path) -> None:
    ensure(f"{remote}:v2", dest=tmp_path / "one")
    big_blob().unlink()
    assert ensure(f"{remote}:v2", dest=tmp_path / "two").json["fetched_bytes"] == len(BIG)
    assert look(tmp_path / "two") == look(tmp_path / "one")


def test_what_a_tree_cannot_hold_is_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    """Another tool's artifact with a path that leads out."""
    from modelops_bundle.model import media
    from modelops_bundle.model.descriptor import Descriptor
    from modelops_bundle.model.manifest import Manifest
    from modelops_bundle.model.ports import ANYTHING
    from modelops_bundle.stores.layout import LayoutStore

    store = LayoutStore(tmp_path / "evil", create=True)
    config = Descriptor.of(media.MODEL_CONFIG, b"{}")
    layer = Descriptor.of("text/plain", b"x", {media.TITLE: "../x"})
    store.put(config, [b"{}"])
    store.put(layer, [b"x"])
    data = Manifest(config, (layer,)).to_bytes()
    store.tag("v", Descriptor.of(media.OCI_MANIFEST, data), data, ANYTHING)
    ensure(f"layout:{tmp_path / 'evil'}:v", dest=tmp_path / "dest", expect=9)
    assert not (tmp_path / "dest").exists()
    assert not blob(str(layer.digest)).exists()


# --- many at once


def start(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "modelops_bundle", "--json", "--progress", "json", "ensure", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.fixture
def proxied(registry: Registry, tmp_path: Path) -> Iterator[tuple[FaultProxy, str, Bundle]]:
    """A proxy before the registry, the reference of a version behind it, and its author."""
    with FaultProxy(registry.host) as proxy:
        place = f"{proxy.host}/many/{os.urandom(8).hex()}"
        author = Bundle.create(tmp_path / "author", place, {"a.bin": BIG, "b.bin": BIG[::-1], "c.txt": "c"})
        digest = author.push("--tag", "v1")
        proxy.clear()
        yield proxy, f"{place}@{digest}", author


def fetched(proxy: FaultProxy) -> Counter[str]:
    return Counter(asked.target.rpartition("/")[2] for asked in proxy.counts.asked if asked.method == "GET")


@pytest.mark.registry
def test_twenty_processes_fetch_each_blob_once(proxied: tuple[FaultProxy, str, Bundle], tmp_path: Path) -> None:
    proxy, reference, author = proxied
    running = [start(reference, "--dest", str(tmp_path / f"dest{number}")) for number in range(20)]
    for number, process in enumerate(running):
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert look(tmp_path / f"dest{number}") == author.tree()
    assert set(fetched(proxy).values()) == {1}


@pytest.mark.registry
def test_when_the_one_that_downloads_dies_the_next_goes_on(
    proxied: tuple[FaultProxy, str, Bundle], tmp_path: Path
) -> None:
    proxy, reference, author = proxied
    stuck = proxy.fault(Where("GET", "blob"), Stall(), at=4_000_000, times=1)
    first = start(reference, "--dest", str(tmp_path / "first"), "--jobs", "1")
    assert stuck.struck.wait(120)
    others = [start(reference, "--dest", str(tmp_path / f"dest{number}"), "--jobs", "1") for number in range(3)]
    waiting = threading.Event()
    readers = [threading.Thread(target=_listen, args=(process, waiting), daemon=True) for process in others]
    for reader in readers:
        reader.start()
    assert waiting.wait(120), "nobody said that it waits"
    first.kill()
    first.communicate()
    for number, (process, reader) in enumerate(zip(others, readers, strict=True)):
        reader.join(120)
        process.communicate()
        assert process.returncode == 0
        assert look(tmp_path / f"dest{number}") == author.tree()
    # The blob that was whole was not fetched again, and of the other only what had not come.
    assert proxy.counts.down("blob") < 2 * len(BIG) + 2_100_000


def _listen(process: subprocess.Popen[bytes], waiting: threading.Event) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if b"ensure-waiting" in line:
            waiting.set()
    # To its end: `communicate` finds nothing more to read.


@pytest.mark.registry
def test_other_versions_do_not_wait(proxied: tuple[FaultProxy, str, Bundle], tmp_path: Path) -> None:
    proxy, reference, author = proxied
    author.commit({"a.bin": "small"}, "--tag", "v2")
    place = reference.partition("@")[0]
    inside: list[Result] = []
    first = proxy.fault(
        Where("GET", "blob"), Call(lambda: inside.append(ensure(f"{place}:v2", dest=tmp_path / "v2"))), at=1_000
    )
    ensure(reference, "--jobs", "1", dest=tmp_path / "v1")
    assert first.used == 1
    assert inside[0].json["changed"]
    assert (tmp_path / "v2/a.bin").read_text() == "small"
    assert (tmp_path / "v1/a.bin").read_bytes() == BIG


@pytest.mark.registry
def test_one_directory_for_many(proxied: tuple[FaultProxy, str, Bundle], tmp_path: Path) -> None:
    _, reference, author = proxied
    running = [start(reference, "--dest", str(tmp_path / "dest")) for _ in range(5)]
    done = []
    for process in running:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        done.append(json.loads(out)["changed"])
    assert sorted(done) == [False, False, False, False, True]
    assert look(tmp_path / "dest") == author.tree()
    assert beside(tmp_path / "dest") == []


# --- what a review found


def test_dropped_edits_and_strays_never_come_back(versions: tuple[str, str], remote: str, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    ensure(f"{remote}:v1", dest=dest)
    (dest / "gone/old.txt").write_text("edited\n")
    ensure(f"{remote}:v2", "--force", "--keep-previous", dest=dest)
    assert not (dest / "gone").exists()
    assert not ensure(f"{remote}:v2", dest=dest).json["changed"]
    (tmp_path / ".dest.previous/mine.txt").write_text("mine\n")
    saved = ensure(f"{remote}:v1", "--keep-previous", dest=dest).json["saved"]
    assert not (dest / "mine.txt").exists()
    assert [Path(place, "mine.txt").read_text() for place in saved] == ["mine\n"]
    assert not ensure(f"{remote}:v1", dest=dest).json["changed"]


def test_verify_reads_the_cache_as_well(
    versions: tuple[str, str], remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dest = tmp_path / "dest"
    ensure(f"{remote}:v1", dest=dest)
    evil = bytes(len(BIG))
    big_blob().chmod(0o644)
    big_blob().write_bytes(evil)
    (dest / "d/big.bin").write_bytes(evil)
    # As if the blob had rotted under stamps that were found good.
    monkeypatch.setattr(shelving.Index, "get", lambda _, path, *__, **___: Digest("sha256", path))
    ensure(f"{remote}:v1", "--verify", "--force", dest=dest)
    assert (dest / "d/big.bin").read_bytes() == BIG


@pytest.mark.parametrize("where", ["d", "data", "."])
def test_mounts_in_the_directory_stay(
    versions: tuple[str, str], remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    dest = tmp_path / "dest"
    ensure(f"{remote}:v1", dest=dest)
    before = look(dest)
    monkeypatch.setattr(switch, "mounts", lambda: frozenset({Path("/"), dest / where}))
    ensure(f"{remote}:v2", dest=dest, expect=10)
    assert look(dest) == before
    assert beside(dest) == []


def test_our_own_places_are_no_destination(versions: tuple[str, str], remote: str, tmp_path: Path) -> None:
    cache = Path(os.environ["XDG_CACHE_HOME"]) / "modelops-bundle"
    for place in (tmp_path / "author/.modelops-bundle", cache, cache / "blobs", cache.parent):
        ensure(f"{remote}:v1", "--mirror", dest=place, expect=2)


def test_no_clone_into_it(versions: tuple[str, str], remote: str, tmp_path: Path) -> None:
    ensure(f"{remote}:v1", dest=tmp_path / "dest")
    call("clone", f"{remote}:v2", str(tmp_path / "dest"), expect=4)
    assert not ensure(f"{remote}:v1", dest=tmp_path / "dest").json["changed"]


def test_another_tool_can_verify_it(versions: tuple[str, str], remote: str, tmp_path: Path) -> None:
    ensure(f"{remote}:v1", dest=tmp_path / "dest")
    call("verify", str(tmp_path / "dest"), "--against", f"{remote}:v1")


def test_a_long_name_in_another_script(versions: tuple[str, str], remote: str, tmp_path: Path) -> None:
    dest = tmp_path / ("ж" * 120)
    (dest / FOLDER).mkdir(parents=True)
    (dest / FOLDER / "mine.txt").write_text("mine\n")
    ensure(f"{remote}:v1", "--mirror", dest=dest)
    assert not ensure(f"{remote}:v1", "--mirror", dest=dest).json["changed"]
