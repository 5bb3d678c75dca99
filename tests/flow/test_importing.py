"""import: archives of ours and of others, into trees, registries and layouts."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import ROOT, Bundle, call
from tests.support.clones import BASE, pair_on
from tests.support.oci import digest_of


@pytest.fixture
def archive(alone: Bundle, tmp_path: Path) -> Path:
    """An archive with the tags v1 and v2."""
    alone.write(dict(BASE.items()))
    alone.run("add", ".")
    alone.push("--tag", "v1")
    alone.commit({"config.json": "second\n"}, "--tag", "v2")
    alone.run("export", ":v1", ":v2", "-o", str(tmp_path / "x.tar"))
    return tmp_path / "x.tar"


def test_into_a_new_directory(archive: Path, tmp_path: Path) -> None:
    done = call("--json", "import", f"{archive}:v1", str(tmp_path / "new")).json
    new = Bundle(tmp_path / "new")
    assert done["root"] == str(new.root)
    assert new.read("config.json") == BASE["config.json"]
    assert new.changes() == {}
    # Its own store is its remote: what was imported can be pushed there, and anywhere.
    assert new.push() == done["digest"]
    call("import", f"{archive}:v1", str(tmp_path / "new"))


def test_into_the_tree_here(archive: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    call("import", f"{archive}:v1", str(new))
    here = Bundle(new)
    here.write({"README.md": "mine\n"})
    here.run("import", f"{archive}:v2")
    assert here.read("config.json") == "second\n"
    assert here.read("README.md") == "mine\n"
    here.write({"config.json": "mine\n"})
    assert here.refused(4, "import", f"{archive}:v1")["code"] == "conflict"
    assert here.read("config.json") == "mine\n"


def test_a_tag_has_to_be_named_when_there_are_several(archive: Path, tmp_path: Path) -> None:
    error = call("--json", "import", str(archive), str(tmp_path / "new"), expect=2).error
    assert "v1, v2" in error["message"]
    call("import", f"{archive}:none", str(tmp_path / "new"), expect=6)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("kind", ["registry", "layout"])
def test_into_a_store_with_everything(archive: Path, fake: Fake, tmp_path: Path, kind: str) -> None:
    place = f"{fake.host}/m" if kind == "registry" else f"layout:{tmp_path / 'to'}"
    done = call("--json", "import", str(archive), place).json
    assert set(done["tags"]) == {"v1", "v2"}
    for tag, digest in done["tags"].items():
        assert call("--json", "inspect", f"{place}:{tag}").json["digest"] == digest
    again = call("--json", "import", str(archive), place).json
    assert (again["sent_blobs"], again["moved"]) == (0, [])


def test_one_tag_into_a_store(archive: Path, fake: Fake) -> None:
    assert set(call("--json", "import", f"{archive}:v1", f"{fake.host}/m").json["tags"]) == {"v1"}
    assert set(call("--json", "import", f"{archive}:v2", f"{fake.host}/m:new").json["tags"]) == {"new"}


def test_a_tag_that_stands_for_something_else_stays(archive: Path, fake: Fake, tmp_path: Path) -> None:
    other = Bundle.create(tmp_path / "other", f"{fake.host}/m", {"x": "x"})
    digest = other.push("--tag", "v1")
    call("import", str(archive), f"{fake.host}/m", expect=5)
    assert call("--json", "inspect", f"{fake.host}/m:v1").json["digest"] == digest
    call("import", str(archive), f"{fake.host}/m", "--force")


def test_from_a_pipe(archive: Path, fake: Fake, tmp_path: Path) -> None:
    for number, name in enumerate(["x.tar.gz", "x.tar.zst"]):
        call("cp", f"{archive}:v1", f"layout:{tmp_path / 'l'}")
        call("export", f"layout:{tmp_path / 'l'}:v1", "-o", str(tmp_path / name))
        data = (tmp_path / name).read_bytes()
        call("import", "-", f"{fake.host}/m{number}", stdin=data)
        assert call("--json", "tags", f"{fake.host}/m{number}").json["tags"][0]["tag"] == "v1"
        call("import", "-", str(tmp_path / f"new{number}"), stdin=data)
        new = Bundle(tmp_path / f"new{number}")
        assert new.read("config.json") == BASE["config.json"]
        assert new.changes() == {}
        new.push()
    call("import", "-", str(tmp_path / "bad"), stdin=b"", expect=9)
    assert not (tmp_path / "bad").exists()


def test_dry_run_changes_nothing(archive: Path, fake: Fake, tmp_path: Path) -> None:
    done = call("--json", "import", f"{archive}:v1", str(tmp_path / "new"), "--dry-run").json
    assert done["dry_run"] is True
    assert not (tmp_path / "new").exists()
    assert call("--json", "import", str(archive), f"{fake.host}/m", "--dry-run").json["dry_run"] is True
    assert fake.asked("PUT") == []
    call("import", f"{archive}:v1", str(tmp_path / "new"))
    here = Bundle(tmp_path / "new")
    plan = here.json("import", f"{archive}:v2", "--dry-run")
    assert [step["path"] for step in plan["steps"]] == ["config.json"]
    assert here.read("config.json") == BASE["config.json"]


def test_what_does_not_fit(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    call("import", f"{archive}:v1", str(tmp_path / "full"), expect=4)
    call("import", str(tmp_path / "none.tar"), str(tmp_path / "new"), expect=6)
    call("import", f"{archive}:v1", str(tmp_path / "new"), "--force", expect=2)
    call("-C", str(tmp_path), "import", f"{archive}:v1", expect=4)
    call("import", "localhost:1/m:v1", str(tmp_path / "new"), expect=6)
    assert not (tmp_path / "new").exists()


def test_an_archive_is_read_where_references_are(archive: Path, tmp_path: Path) -> None:
    assert set(call("--json", "ls", f"{archive}:v2").json["files"]) == {*BASE, "a.txt"}
    assert call("cat", f"{archive}:v2:config.json").out == "second\n"
    assert {tag["tag"] for tag in call("--json", "tags", str(archive)).json["tags"]} == {"v1", "v2"}
    call("verify", str(archive), "--deep")
    call("clone", f"{archive}:v1", str(tmp_path / "clone"), expect=10)


def test_a_killed_import_goes_on(archive: Path, tmp_path: Path) -> None:
    call("import", f"{archive}:v1", str(tmp_path / "new"))
    here = Bundle(tmp_path / "new")
    here.killed_at("intent written", "import", f"{archive}:v2")
    here.run("import", f"{archive}:v2")
    assert here.read("config.json") == "second\n"
    assert here.changes() == {}


# --- what others write


@pytest.mark.peers
def test_what_oras_and_skopeo_wrote(repo: str, tmp_path: Path, peer: Callable[[str], str]) -> None:
    pair = pair_on(repo, tmp_path)
    digest = pair.a.json("inspect")["digest"]

    def run(*words: str) -> None:
        subprocess.run(words, check=True, capture_output=True)

    run(peer("oras"), "backup", "--plain-http", "-o", str(tmp_path / "oras.tar"), f"{pair.remote}:latest")
    source = f"docker://{pair.remote}:latest"
    run(peer("skopeo"), "copy", "--src-tls-verify=false", source, f"oci-archive:{tmp_path / 'skopeo.tar'}:latest")
    for name in ("oras", "skopeo"):
        done = call("--json", "import", str(tmp_path / f"{name}.tar"), str(tmp_path / name)).json
        assert done["digest"] == digest
        assert Bundle(tmp_path / name).tree() == pair.a.tree()


# --- damaged and hostile ones: refused, with nothing in the directory and nothing beside it

Members = dict[str, bytes | None]


def members_of(path: Path) -> Members:
    with tarfile.open(path) as opened:
        return {
            member.name: opened.extractfile(member).read() if member.isfile() else None  # type: ignore[union-attr]
            for member in opened.getmembers()
        }


def packed(members: Members, *more: tuple[tarfile.TarInfo, bytes], style: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=style) as opened:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            if data is None:
                info.type = tarfile.DIRTYPE
            else:
                info.size = len(data)
            opened.addfile(info, io.BytesIO(data or b""))
        for info, data in more:
            if info.isreg():
                info.size = len(data)
            opened.addfile(info, io.BytesIO(data))
    return out.getvalue()


def extra(name: str, kind: bytes = tarfile.REGTYPE, linkname: str = "", data: bytes = b"x", **fields: object) -> object:
    def make(members: Members) -> bytes:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, linkname
        for key, value in fields.items():
            setattr(info, key, value)
        return packed(members, (info, data))

    return make


def changed(name: str, change: Callable[[bytes], bytes]) -> object:
    def make(members: Members) -> bytes:
        key = next(key for key in members if key == name or key.endswith(name))
        data = members[key]
        assert data is not None
        return packed({**members, key: change(data)})

    return make


def without(name: str) -> object:
    return lambda members: packed({key: data for key, data in members.items() if key != name})


def indexed(change: Callable[[dict[str, object]], object]) -> object:
    """The archive with another index."""

    def edit(data: bytes) -> bytes:
        value = json.loads(data)
        result = change(value)
        return json.dumps(value if result is None else result).encode()

    return changed("index.json", edit)


def raw(change: Callable[[bytes], bytes]) -> object:
    return lambda members: change(packed(members))


def entry(index: dict[str, object]) -> dict[str, object]:
    found: dict[str, object] = index["manifests"][0]  # type: ignore[index]
    return found


A = f"blobs/sha256/{digest_of(BASE['weights/a.bin'].encode())[7:]}"

HOSTILE: dict[str, tuple[object, int]] = {
    # names and kinds
    "path out": (extra("../evil"), 9),
    "path out below blobs": (extra("blobs/sha256/../../../evil"), 9),
    "absolute path": (extra("/tmp/evil"), 9),
    "drive": (extra("C:\\evil"), 9),
    "backslashes": (extra("..\\evil"), 9),
    "a git hook": (extra(".git/hooks/post-checkout"), 9),
    "our own folder": (extra(".modelops-bundle/config.toml"), 9),
    "terminal escapes": (extra("blobs/\x1b[31mred"), 9),
    "a new line": (extra("blobs/a\nb"), 9),
    "bidi": (extra("blobs/\u202egnp"), 9),
    "reserved name": (extra("CON"), 9),
    "upper case digest": (extra(A.upper().replace("BLOBS/SHA256", "blobs/sha256")), 9),
    "short digest": (extra("blobs/sha256/abc"), 9),
    "other algorithm": (extra(f"blobs/md5/{'0' * 32}"), 9),
    "case collision": (extra("INDEX.JSON"), 9),
    "symlink": (extra("blobs/sha256/x", tarfile.SYMTYPE, "/etc/passwd"), 9),
    "symlink as blob": (extra(f"blobs/sha256/{'1' * 64}", tarfile.SYMTYPE, "/etc/passwd"), 9),
    "hard link": (extra(f"blobs/sha256/{'1' * 64}", tarfile.LNKTYPE, A), 9),
    "hard link out": (extra(f"blobs/sha256/{'1' * 64}", tarfile.LNKTYPE, "../../../etc/passwd"), 9),
    "device": (extra(f"blobs/sha256/{'1' * 64}", tarfile.CHRTYPE), 9),
    "FIFO": (extra(f"blobs/sha256/{'1' * 64}", tarfile.FIFOTYPE), 9),
    "directory for a blob": (extra(f"blobs/sha256/{'1' * 64}", tarfile.DIRTYPE), 9),
    "pax path": (extra("blobs", tarfile.REGTYPE, pax_headers={"path": "../evil"}), 9),
    "pax link": (extra("blobs/sha256/x", pax_headers={"linkpath": "/etc/passwd"}), 9),
    "pax size": (extra(f"blobs/sha256/{'1' * 64}", pax_headers={"size": "99999999"}), 9),
    "huge pax records": (extra(f"blobs/sha256/{'1' * 64}", pax_headers={"comment": "x" * (2 << 20)}), 9),
    # the archive as a whole
    "a member twice": (extra("index.json", data=b"{}"), 9),
    "a blob twice": (extra(A, data=b"zzzz\n"), 9),
    "cut in a header": (raw(lambda data: data[:700]), 9),
    "cut in the last blob": (raw(lambda data: data[: len(data.rstrip(b"\0")) - 5]), 9),
    "no end": (raw(lambda data: data.rstrip(b"\0") + bytes(-len(data.rstrip(b"\0")) % 512)), 9),
    "another archive behind": (raw(lambda data: data + data), 9),
    "garbage": (raw(lambda _: b"garbage" * 1000), 9),
    "empty": (raw(lambda _: b""), 9),
    "zeros": (raw(lambda _: bytes(10240)), 10),
    "a zip": (raw(lambda _: b"PK\x03\x04" + bytes(2000)), 9),
    "no layout": (without("oci-layout"), 10),
    "no index": (without("index.json"), 10),
    "another version": (changed("oci-layout", lambda _: b'{"imageLayoutVersion":"2.0.0"}'), 10),
    # the index
    "index is no JSON": (changed("index.json", lambda data: data[:-1]), 9),
    "index is deep": (changed("index.json", lambda _: b"[" * 100_000), 9),
    "index with a key twice": (changed("index.json", lambda data: data[:-1] + b',"manifests":[]}'), 9),
    "index without a list": (indexed(lambda index: index.update(manifests={})), 9),
    "index of numbers": (indexed(lambda index: index.update(manifests=[1, 2])), 9),
    "index with a wrong digest": (indexed(lambda index: entry(index).update(digest="sha256:x")), 9),
    "index with a traversal for a digest": (indexed(lambda index: entry(index).update(digest="sha256:../../x")), 9),
    "index with a wrong size": (indexed(lambda index: entry(index).update(size=1)), 9),
    "index with a negative size": (indexed(lambda index: entry(index).update(size=-1)), 9),
    "index that names what is not there": (indexed(lambda index: entry(index).update(digest=f"sha256:{'2' * 64}")), 6),
    # blobs
    "a damaged file": (changed(A, lambda data: b"X" + data[1:]), 9),
    "a short file": (changed(A, lambda data: data[:-1]), 9),
    "a long file": (changed(A, lambda data: data + b"x"), 9),
    "a missing file": (without(A), 6),
}


def manifest_changes() -> dict[str, tuple[object, int]]:
    """The manifest of v1 replaced: its digest is wrong then."""

    def lying(members: Members) -> bytes:
        index = json.loads(members["index.json"] or b"")
        [name] = [
            e["digest"] for e in index["manifests"] if e["annotations"]["org.opencontainers.image.ref.name"] == "v1"
        ]
        key = f"blobs/sha256/{name[7:]}"
        return packed({**members, key: (members[key] or b"").replace(b"README.md", b"readme.md")})

    return {"a lying manifest": (lying, 9)}


CASES = {**HOSTILE, **manifest_changes()}


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize("case", CASES)
def test_hostile_archives_are_refused_whole(archive: Path, tmp_path: Path, case: str) -> None:
    make, code = CASES[case]
    bad = tmp_path / "bad.tar"
    bad.write_bytes(make(members_of(archive)))  # type: ignore[operator]
    into = tmp_path / "sandbox" / "in"
    into.parent.mkdir()
    result = call("--json", "import", f"{bad}:v1", str(into), expect=None)
    assert result.code == code, result
    assert "\x1b" not in result.text
    landed = [path.name for path in into.iterdir() if path.name != ".modelops-bundle"] if into.exists() else []
    assert landed == []
    assert {path.name for path in into.parent.iterdir()} <= {"in"}
    call("verify", str(bad), "--deep", expect=None if code == 6 else code if code != 6 else 5)


def test_bombs_end_where_the_room_ends(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gzip

    from modelops_bundle.stores import unpacked

    bomb = tmp_path / "bomb.tar.gz"
    members = members_of(archive)
    bomb.write_bytes(gzip.compress(packed({**members, f"blobs/sha256/{'3' * 64}": bytes(30_000_000)})))
    monkeypatch.setattr(unpacked, "free_bytes", lambda _: unpacked._RESERVE + 1_000_000)
    call("import", f"{bomb}:v1", str(tmp_path / "new"), expect=11)
    assert not (tmp_path / "new").exists()


def test_a_million_entries_are_too_many(tmp_path: Path) -> None:
    """Streamed: neither the list nor the memory grows with them."""
    bad = tmp_path / "many.tar"
    head = bytearray(packed({f"blobs/sha256/{'0' * 64}": b""})[:512])
    with bad.open("wb") as out:
        for number in range(200_002):
            head[0:77] = f"blobs/sha256/{number:064x}".encode()
            head[148:156] = b" " * 8
            head[148:156] = b"%06o\0 " % sum(head)
            out.write(head)
        out.write(bytes(1024))
    code = (
        "import sys\n"
        "from modelops_bundle.ui.cli.main import main\n"
        f"code = main(['import', {str(bad)!r}, {str(tmp_path / 'new')!r}])\n"
        # Not getrusage: its peak is that of the parent, where the child shared its memory until exec.
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 9, done.stderr
    assert "200000 members" in done.stderr
    assert int(done.stdout.split()[-1]) < 200 * 1024
    shutil.rmtree(tmp_path / "new", ignore_errors=True)


def test_versions_without_a_tag_come_along(alone: Bundle, fake: Fake, tmp_path: Path) -> None:
    alone.commit({"config.json": "first\n"}, "--tag", "v1")
    alone.commit({"config.json": "second\n"}, "--tag", "v2")
    second = alone.json("inspect", ":v2")["digest"]
    alone.run("export", ":v1", f"@{second}", "-o", str(tmp_path / "x.tar"))
    call("import", str(tmp_path / "x.tar"), f"{fake.host}/m")
    assert call("cat", f"{fake.host}/m@{second}:config.json").data == b"second\n"
    assert [tag["tag"] for tag in call("--json", "tags", f"{fake.host}/m").json["tags"]] == ["v1"]


def test_one_tag_for_two_versions_has_to_be_settled(archive: Path, fake: Fake, tmp_path: Path) -> None:
    members = members_of(archive)
    index = json.loads(members["index.json"] or b"")
    for number, each in enumerate(index["manifests"]):
        each["annotations"]["org.opencontainers.image.ref.name"] = f"registry.example/team/{number}:v1"
    members["index.json"] = json.dumps(index).encode()
    (tmp_path / "two.tar").write_bytes(packed(members))
    error = call("--json", "import", str(tmp_path / "two.tar"), f"{fake.host}/m", expect=2).error
    assert "v1 for 2 versions" in error["message"]
    call("import", str(tmp_path / "two.tar"), str(tmp_path / "new"), expect=2)
    assert fake.repositories.get("m") is None


def test_what_unpacks_to_more_than_anything_honest_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelops_bundle.formats.coding.FREE", 1000)
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(bytes(10_000_000)))
    assert (
        call("--json", "import", str(tmp_path / "x.tar.gz"), str(tmp_path / "n"), expect=9).error["code"] == "corrupt"
    )
    assert not (tmp_path / "n").exists()
