"""A bundle on disk: where it is, what it tracks, what it was last synced with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelops_bundle.disk import locks
from modelops_bundle.errors import AlreadyABundle, Corrupt, Locked, NoMatch, NotABundle, Unsupported
from modelops_bundle.events import observe_checkpoints
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.snapshot import Entry, Snapshot
from modelops_bundle.workspace import layout, project
from modelops_bundle.workspace.base import At, at_from_bytes, at_to_bytes
from modelops_bundle.workspace.project import Project
from tests.support.things import file, snapshot

D = Digest.of(b"x")


@pytest.fixture
def made(tmp_path: Path) -> Project:
    root = tmp_path / "bundle"
    root.mkdir()
    return Project.create(root, "reg.io/team/model", "v1")


# --- where it is -----------------------------------------------------------------------------------------------------


def test_a_bundle_is_found_from_below(made: Project) -> None:
    (made.root / "a/b").mkdir(parents=True)
    assert Project.find(made.root / "a/b").root == made.root
    assert Project.find(made.root).root == made.root


def test_no_bundle_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(NotABundle, match=str(tmp_path)) as caught:
        Project.find(tmp_path)
    assert "bundle init" in (caught.value.hint or "")


def test_a_folder_without_version_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / layout.FOLDER).mkdir()
    with pytest.raises(NotABundle):
        Project.find(tmp_path)


def test_git_never_sees_the_folder(made: Project) -> None:
    assert (made.folder / ".gitignore").read_text() == "*\n"


def test_the_remote_is_written_down(made: Project) -> None:
    origin = made.config.remotes()["origin"]
    assert (str(origin.reference), origin.tag) == ("reg.io/team/model", "v1")


@pytest.mark.parametrize("url", ['layout:/a "b"', "layout:C:\\x", "layout:/é"])
def test_any_url_survives_the_file(tmp_path: Path, url: str) -> None:
    assert Project.create(tmp_path, url, None).config.get("remotes.origin.url") == url


@pytest.mark.parametrize("below", ["", "a/b"])
def test_no_bundle_inside_a_bundle(made: Project, below: str) -> None:
    with pytest.raises(AlreadyABundle):
        Project.create(made.root / below, "reg.io/m", None)


def test_a_killed_init_leaves_no_bundle_and_can_be_run_again(tmp_path: Path) -> None:
    stopped = 0
    for number in range(20):
        root = tmp_path / str(number)
        root.mkdir()
        count = 0

        def stop_here(_: str, number: int = number) -> None:
            nonlocal count
            count += 1
            if count > number:
                raise KeyboardInterrupt

        stop = observe_checkpoints(stop_here)
        try:
            Project.create(root, "reg.io/m", None)
        except KeyboardInterrupt:
            stopped += 1
        else:
            break
        finally:
            stop()
        if not (root / layout.FOLDER / layout.VERSION).exists():
            Project.create(root, "reg.io/m", None)
        assert Project.find(root).config.get("remotes.origin.url") == "reg.io/m"
    assert stopped >= 6


def test_a_newer_version_is_refused(made: Project) -> None:
    (made.folder / layout.VERSION).write_text(f"{layout.CURRENT_VERSION + 1}\n")
    with pytest.raises(Unsupported, match="newer than this tool"):
        Project.find(made.root)


@pytest.mark.parametrize("text", ["", "x", "-1", "1.0", "\u0661x", "\xff"])
def test_a_version_that_is_no_number_is_corrupt(made: Project, text: str) -> None:
    (made.folder / layout.VERSION).write_text(text)
    with pytest.raises(Corrupt):
        Project.find(made.root)


# --- tracked ---------------------------------------------------------------------------------------------------------


def test_nothing_is_tracked_at_first(made: Project) -> None:
    assert made.tracked() == set()


def test_tracked_paths_are_sorted_lines(made: Project) -> None:
    made.write_tracked(["b", "a/x", "é", "a.b", "b"])
    assert (made.folder / layout.TRACKED).read_text() == "a.b\na/x\nb\né\n"
    assert made.tracked() == {"b", "a/x", "é", "a.b"}


def test_names_that_are_not_utf8_survive(made: Project) -> None:
    made.write_tracked(["\udcff"])
    assert made.tracked() == {"\udcff"}


def test_blank_lines_of_an_editor_are_no_paths(made: Project) -> None:
    (made.folder / layout.TRACKED).write_text("\na\n\nb")
    assert made.tracked() == {"a", "b"}


# --- the merge base --------------------------------------------------------------------------------------------------

TREE = snapshot(a="1", x=file("", executable=True, role="weight"), l=Entry.link("a"), d=Entry.directory())


def test_the_merge_base_is_empty_at_first(made: Project) -> None:
    assert made.at() == At(None, None, Snapshot())


@pytest.mark.parametrize("at", [At("reg.io/m:t", D, TREE), At("reg.io/m:t", None, TREE), At(None, None, Snapshot())])
def test_the_merge_base_round_trip(made: Project, at: At) -> None:
    made.write_at(at)
    assert made.at() == at
    assert at_from_bytes(at_to_bytes(at)) == at


@pytest.mark.parametrize("cut", [0, 1, 5, -1])
def test_a_damaged_merge_base_is_corrupt_and_not_empty(made: Project, cut: int) -> None:
    (made.folder / layout.AT).write_bytes(at_to_bytes(At("r", D, TREE))[:cut])
    with pytest.raises(Corrupt):
        made.at()


@pytest.mark.parametrize("data", [b"{}", b'{"digest":"x","entries":{},"reference":null}', b'{"entries":[]}'])
def test_a_merge_base_with_other_fields_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        at_from_bytes(data)


# --- the rest --------------------------------------------------------------------------------------------------------


def test_one_writer_at_a_time(made: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks.time, "sleep", lambda _: pytest.fail("slept"))
    with made.locked(), pytest.raises(Locked, match=str(made.root)), Project(made.root).locked(wait=0):
        pytest.fail("two writers")


def test_history_is_kept_in_order(made: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project.time, "gmtime", lambda: (2026, 1, 2, 3, 4, 5, 0, 0, 0))
    made.log("pull", "r", D)
    made.log("push", "r", None, lost=["é"])
    assert made.history() == [
        {"time": "2026-01-02T03:04:05Z", "verb": "pull", "reference": "r", "digest": str(D)},
        {"time": "2026-01-02T03:04:05Z", "verb": "push", "reference": "r", "digest": None, "lost": ["é"]},
    ]


def test_no_history_is_empty(made: Project) -> None:
    assert made.history() == []


def test_paths_below_the_root_are_relative_to_it(made: Project) -> None:
    assert made.relative(made.root / "a/b") == "a/b"
    assert made.relative(made.root) == ""
    with pytest.raises(NoMatch, match="outside of the bundle"):
        made.relative(made.root.parent / "x")


def test_an_edited_setting_is_read_at_once(made: Project) -> None:
    assert made.config.default_tag == "latest"
    made.edit_config({"default_tag": "v9"})
    assert made.config.default_tag == "v9"


def test_settings_around_the_file(made: Project) -> None:
    made.surround({"default_tag": "user", "offline": True}, {"default_tag": "now"})
    assert (made.config.default_tag, made.config.get("offline")) == ("now", True)
    assert made.own_config().default_tag == "latest"
    made.edit_config({"default_remote": "x"})
    assert (made.config.default_tag, made.config.default_remote) == ("now", "x")


def test_sweeping_removes_what_was_half_written(made: Project) -> None:
    for folder in ("", "seen/abc", "journal", "chunks", "other"):
        (made.folder / folder).mkdir(parents=True, exist_ok=True)
        (made.folder / folder / ".~bundle-1").touch()
    made.sweep()
    assert [p.parent.name for p in made.folder.rglob(".~bundle-1")] == ["other"]
    left = [".gitignore", "chunks", "config.toml", "journal", "other", "seen", "version"]
    assert sorted(os.listdir(made.folder)) == left
