"""What this clone last saw of each reference, and what it pushed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelops_bundle.errors import BundleError, Corrupt
from modelops_bundle.events import observe_checkpoints
from modelops_bundle.model import canonical, media
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.snapshot import Entry
from modelops_bundle.workspace import seen as module
from modelops_bundle.workspace.seen import Pushed, Seen, Sighting
from tests.support.things import file

REF = "reg.io/team/model:latest"
D1, D2, D3 = (Digest.of(bytes([n])) for n in range(3))
A, B, C = file("a"), file("b"), file("c")


@pytest.fixture
def seen(tmp_path: Path) -> Seen:
    return Seen(tmp_path / "seen")


def test_nothing_was_seen_at_first(seen: Seen) -> None:
    assert seen.get(REF) is None
    assert seen.pushed(REF) is None
    assert list(seen.all()) == list(seen.references()) == []


@pytest.mark.parametrize("index", [None, b"", b"{}"])
def test_a_sighting_is_kept_verbatim(seen: Seen, index: bytes | None) -> None:
    sighting = Sighting(REF, b' {"manifest": 1}\n', index)
    seen.put(sighting)
    assert seen.get(REF) == sighting
    assert sighting.digest == Digest.of(sighting.manifest)
    assert list(seen.all()) == [sighting]


def test_the_newest_sighting_counts_and_takes_its_index_along(seen: Seen) -> None:
    seen.put(Sighting(REF, b"1", b"index"))
    seen.put(Sighting(REF, b"2", None))
    assert seen.get(REF) == Sighting(REF, b"2", None)


def test_references_do_not_mix(seen: Seen) -> None:
    seen.put(Sighting(REF, b"1", None))
    seen.put(Sighting(f"{REF}2", b"2", None))
    seen.put_pushed(REF, Pushed(D1, {}))
    assert seen.get("reg.io/team/model:other") is None
    assert {s.reference: s.manifest for s in seen.all()} == {REF: b"1", f"{REF}2": b"2"}
    assert sorted(seen.references()) == [REF, f"{REF}2"]
    assert seen.pushed(f"{REF}2") is None


def test_a_kill_while_a_sighting_is_recorded_never_makes_a_lease_of_it(seen: Seen) -> None:
    """Until its manifest is written the old lease stands: a push may be refused once too often, never once too few."""
    stops = 0
    for number in range(20):
        seen.put(Sighting(REF, b"old", b"old index"))
        count = 0

        def stop_here(_: str, number: int = number) -> None:
            nonlocal count
            count += 1
            if count > number:
                raise KeyboardInterrupt

        stop = observe_checkpoints(stop_here)
        try:
            seen.put(Sighting(REF, b"new", b"new index"))
        except KeyboardInterrupt:
            stops += 1
        else:
            break
        finally:
            stop()
        found = seen.get(REF)
        assert found is not None
        assert found.manifest in (b"old", b"new")
        assert found.manifest == b"old" or found.index == b"new index"
    assert stops == 8


def test_pushes_add_up_and_every_earlier_value_stays(seen: Seen) -> None:
    seen.put_pushed(REF, Pushed(D1, {"p": ((A,), B), "new": ((None,), A)}))
    seen.put_pushed(REF, Pushed(D2, {"p": ((B,), C), "q": ((A,), None)}))
    assert seen.pushed(REF) == Pushed(D2, {"p": ((A, B), C), "new": ((None,), A), "q": ((A,), None)})


def test_a_value_from_before_is_kept_once(seen: Seen) -> None:
    seen.put_pushed(REF, Pushed(D1, {"p": ((A,), B)}))
    seen.put_pushed(REF, Pushed(D2, {"p": ((B,), A)}))
    seen.put_pushed(REF, Pushed(D3, {"p": ((A,), B)}))
    assert seen.pushed(REF) == Pushed(D3, {"p": ((A, B), B)})


def test_links_and_directories_survive_the_record(seen: Seen) -> None:
    changes: dict[str, tuple[tuple[Entry | None, ...], Entry | None]] = {
        "l": ((Entry.link("x"),), Entry.directory()),
        "x": ((file("", executable=True),), None),
    }
    seen.put_pushed(REF, Pushed(D1, changes))
    assert seen.pushed(REF) == Pushed(D1, changes)


def test_a_pull_forgets_what_was_pushed(seen: Seen) -> None:
    seen.put_pushed(REF, Pushed(D1, {"p": ((A,), B)}))
    seen.forget_pushed(REF)
    seen.forget_pushed(REF)
    assert seen.pushed(REF) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        canonical.dumps({"digest": str(D1)}),
        canonical.dumps({"digest": "x", "changes": {}}),
        canonical.dumps({"digest": str(D1), "changes": []}),
        canonical.dumps({"digest": str(D1), "changes": {"p": None}}),
        canonical.dumps({"digest": str(D1), "changes": {"p": [None]}}),
        canonical.dumps({"digest": str(D1), "changes": {"p": [[None], 3]}}),
        canonical.dumps({"digest": str(D1), "changes": {"p": [["x"], None]}}),
        canonical.dumps({"digest": str(D1), "changes": {"p": [None, None]}}),
        canonical.dumps({"digest": str(D1), "changes": {"p": [7, None]}}),
    ],
)
def test_a_damaged_record_wedges_nobody(seen: Seen, data: bytes, tmp_path: Path) -> None:
    seen.put_pushed(REF, Pushed(D1, {}))
    (path,) = tmp_path.glob("seen/*/pushed")
    path.write_bytes(data)
    assert seen.pushed(REF) is None
    seen.put_pushed(REF, Pushed(D2, {"p": ((A,), B)}))
    assert seen.pushed(REF) == Pushed(D2, {"p": ((A,), B)})


def test_stray_files_among_the_sightings_are_passed_over(seen: Seen, tmp_path: Path) -> None:
    seen.put(Sighting(REF, b"1", None))
    (tmp_path / "seen" / "stray").touch()
    (tmp_path / "seen" / "empty").mkdir()
    (tmp_path / "seen" / "huge").mkdir()
    (tmp_path / "seen" / "huge" / "reference").write_bytes(b"reg.io/huge:t")
    for name, text in (("odd", b"\xff"), ("none", b"not a reference")):
        (tmp_path / "seen" / name).mkdir()
        (tmp_path / "seen" / name / "reference").write_bytes(text)
        (tmp_path / "seen" / name / "manifest").write_bytes(b"{}")
    (tmp_path / "seen" / "huge" / "manifest").write_bytes(b"x" * (media.MAX_MANIFEST + 1))
    assert [sighting.reference for sighting in seen.all()] == [REF]
    assert set(seen.references()) == {REF, "reg.io/huge:t"}


def test_a_sighting_that_is_a_link_is_not_followed(seen: Seen, tmp_path: Path) -> None:
    seen.put(Sighting(REF, b"1", None))
    (path,) = tmp_path.glob("seen/*/manifest")
    path.unlink()
    os.symlink("/etc/passwd", path)
    with pytest.raises(BundleError):
        seen.get(REF)


def test_the_bytes_of_a_sighting_are_read_when_they_are_asked_for(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    seen.put(Sighting(REF, b"1", b"index"))
    read: list[str] = []
    real = module.read_file
    monkeypatch.setattr(module, "read_file", lambda path: (read.append(path.name), real(path))[1])
    found = seen.get(REF)
    assert found is not None
    assert found.digest == Digest.of(b"1")
    assert read == ["digest"]
    assert (found.manifest, found.index) == (b"1", b"index")
    assert [sighting.digest for sighting in seen.all()] == [Digest.of(b"1")]


@pytest.mark.parametrize("note", [None, b"", b"sha256:", b"sha256:" + b"0" * 64 + b" 1 2 3 4"])
def test_a_note_that_is_not_about_the_manifest_is_none(seen: Seen, tmp_path: Path, note: bytes | None) -> None:
    seen.put(Sighting(REF, b"1", None))
    (path,) = tmp_path.glob("seen/*/digest")
    path.unlink()
    if note is not None:
        path.write_bytes(note)
    assert seen.get(REF) == Sighting(REF, b"1", None)


def test_a_manifest_somebody_changed_is_told_by_its_bytes(seen: Seen, tmp_path: Path) -> None:
    seen.put(Sighting(REF, b"1", None))
    (path,) = tmp_path.glob("seen/*/manifest")
    path.write_bytes(b"22")
    found = seen.get(REF)
    assert found is not None
    assert found.digest == Digest.of(b"22")


def test_a_manifest_replaced_after_its_digest_was_taken_is_refused(seen: Seen) -> None:
    seen.put(Sighting(REF, b"1", None))
    found = seen.get(REF)
    seen.put(Sighting(REF, b"2", None))
    assert found is not None
    with pytest.raises(Corrupt, match="another version"):
        _ = found.manifest


def test_what_is_forgotten_was_never_seen(seen: Seen) -> None:
    seen.put(Sighting(REF, b"1", b"index"))
    seen.put_pushed(REF, Pushed(Digest.of(b"1"), {}))
    seen.forget(REF)
    assert seen.get(REF) is None
    assert seen.pushed(REF) is None
    assert list(seen.all()) == list(seen.references()) == []
    seen.forget(REF)
    seen.put(Sighting(REF, b"2", None))
    assert seen.get(REF) == Sighting(REF, b"2", None)


def test_damage_is_found_and_what_a_kill_leaves_is_none(seen: Seen, tmp_path: Path) -> None:
    assert seen.damaged() == []
    for name in ("good", "killed", "forgotten", "words", "garbage", "moved"):
        seen.put(Sighting(f"reg.io/team/{name}:v1", b'{"a": 1}', None))
    kept = {(path / "reference").read_text(): path for path in (tmp_path / "seen").iterdir()}
    folders = {reference[12:-3]: path for reference, path in kept.items()}
    (folders["killed"] / "manifest").unlink()
    seen.forget("reg.io/team/forgotten:v1")
    assert seen.damaged() == []
    (folders["words"] / "reference").write_bytes(b"x")
    (folders["garbage"] / "manifest").write_bytes(b"x")
    (folders["moved"] / "reference").write_bytes(b"reg.io/team/elsewhere:v1")
    assert set(seen.damaged()) == {folders[name] for name in ("words", "garbage", "moved")}


def test_a_file_in_the_place_of_all_sightings_is_damage(seen: Seen, tmp_path: Path) -> None:
    (tmp_path / "seen").write_bytes(b"x")
    assert seen.damaged() == [tmp_path / "seen"]
