"""Whole files that are either the old ones or the new ones."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from modelops_bundle.disk import files
from modelops_bundle.disk.files import (
    free_bytes,
    read_file,
    remove_file,
    require_directory,
    staged,
    supports_links,
    sweep,
    temporary_name,
    version,
    write_all,
    write_file,
    write_new,
)
from modelops_bundle.errors import DiskError, DiskFull
from modelops_bundle.events import observe_checkpoints
from modelops_bundle.model.paths import TEMPORARY_PREFIX


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_file(tmp_path / "a/b/c", b"data")
    assert read_file(tmp_path / "a/b/c") == b"data"
    assert os.listdir(tmp_path / "a/b") == ["c"]


def test_absent_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert read_file(tmp_path / "no") is None
    assert read_file(tmp_path / "no/no") is None
    assert read_file(tmp_path / "file/below") is None


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"s")
    (tmp_path / "link").symlink_to("secret")
    with pytest.raises(DiskError):
        read_file(tmp_path / "link")


def test_writing_over_a_link_replaces_the_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"s")
    (tmp_path / "link").symlink_to(outside)
    write_file(tmp_path / "link", b"new")
    assert outside.read_bytes() == b"s"
    assert not (tmp_path / "link").is_symlink()


def test_a_file_that_is_hard_linked_elsewhere_is_left_alone_there(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"s")
    os.link(tmp_path / "other", tmp_path / "here")
    write_file(tmp_path / "here", b"new")
    assert (tmp_path / "other").read_bytes() == b"s"


def test_umask_decides_the_mode(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_file(tmp_path / "a", b"")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_failure_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    path = tmp_path / "a"
    write_file(path, b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    if call == "replace":
        monkeypatch.setattr(Path, "replace", fail)
    else:
        monkeypatch.setattr(files.os, call, fail)
    with pytest.raises(DiskError) as caught:
        write_file(path, b"new")
    monkeypatch.undo()
    assert isinstance(caught.value, DiskFull) is (number != errno.EIO)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_stop_at_any_checkpoint_leaves_the_old_or_the_new_file(tmp_path: Path) -> None:
    seen = []
    for number in range(10):
        path = tmp_path / str(number)
        write_file(path, b"old")
        count = 0

        def stop_here(name: str, number: int = number) -> None:
            nonlocal count
            count += 1
            if count == number + 1:
                raise KeyboardInterrupt(name)

        stop = observe_checkpoints(stop_here)
        try:
            write_file(path, b"new")
        except KeyboardInterrupt as error:
            seen.append(str(error))
        else:
            break
        finally:
            stop()
        assert path.read_bytes() in (b"old", b"new")
    assert seen == ["file synced", "file renamed"]


def test_the_bytes_are_synced_before_the_name_is_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(files.os, "fsync", _noting(done, "fsync", os.fsync))
    monkeypatch.setattr(Path, "replace", _noting(done, "rename", Path.replace))
    write_file(tmp_path / "a", b"x")
    assert done == ["fsync", "rename", "fsync"]


def _noting(done: list[str], name: str, call: Callable[..., object]) -> Callable[..., object]:
    def noted(*arguments: object) -> object:
        done.append(name)
        return call(*arguments)

    return noted


def test_pieces_are_one_file_after_commit_and_nothing_without(tmp_path: Path) -> None:
    with staged(tmp_path / "a") as out:
        out.write(b"one")
        out.write(b"two")
        assert not (tmp_path / "a").exists()
        out.commit()
    with staged(tmp_path / "b") as out:
        out.write(b"one")
    assert (tmp_path / "a").read_bytes() == b"onetwo"
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_may_be_its_owners_alone(tmp_path: Path) -> None:
    write_file(tmp_path / "public", b"data")
    write_file(tmp_path / "secret", b"data", mode=0o600)
    write_file(tmp_path / "public", b"data", mode=0o600)
    assert {path.name: path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {"public": 0, "secret": 0}


def test_a_file_may_get_its_name_at_the_end(tmp_path: Path) -> None:
    with staged(tmp_path / "unnamed") as out:
        out.write(b"data")
        out.commit(name="named")
    assert os.listdir(tmp_path) == ["named"]
    assert (tmp_path / "named").read_bytes() == b"data"


def test_a_write_that_takes_only_a_part_is_continued(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = os.write
    monkeypatch.setattr(files.os, "write", lambda fd, data: real(fd, bytes(data)[:3]))
    with open(tmp_path / "a", "wb") as out:
        write_all(out.fileno(), b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_removing_what_is_gone_is_fine(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    remove_file(tmp_path / "a")
    remove_file(tmp_path / "a")
    with pytest.raises(DiskError):
        remove_file(tmp_path)


def test_temporary_names_are_ours_and_differ() -> None:
    names = {temporary_name() for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith(TEMPORARY_PREFIX) for name in names)


def test_sweeping_removes_our_temporaries_and_nothing_else(tmp_path: Path) -> None:
    for name in (temporary_name(), "a", ".~bundl-x", "sub/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "sub" / temporary_name()).touch()
    (tmp_path / f"{TEMPORARY_PREFIX}dir").mkdir()
    sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([f"{TEMPORARY_PREFIX}dir", ".~bundl-x", "a", "sub"])
    assert len(os.listdir(tmp_path / "sub")) == 2
    sweep(tmp_path / "absent")


def test_sweeping_leaves_what_is_being_written(tmp_path: Path) -> None:
    with staged(tmp_path / "a") as out:
        out.write(b"half")
        sweep(tmp_path)
        assert len(os.listdir(tmp_path)) == 1
        out.write(b" done")
        out.commit()
    assert (tmp_path / "a").read_bytes() == b"half done"


def test_sweeping_removes_links_and_never_their_targets(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / temporary_name()).symlink_to("mine")
    sweep(tmp_path)
    assert os.listdir(tmp_path) == ["mine"]


def test_a_pipe_where_a_file_should_be_is_an_error_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p")
    with pytest.raises(DiskError, match="not a regular file"):
        read_file(tmp_path / "p")
    with pytest.raises(DiskError):
        read_file(tmp_path)


def test_every_replacement_is_another_version(tmp_path: Path) -> None:
    assert version(tmp_path / "a") is None
    assert version(tmp_path / "a/below") is None
    seen = set()
    for number in range(5):
        write_file(tmp_path / "a", b"same")
        assert version(tmp_path / "a") == version(tmp_path / "a")
        seen.add(version(tmp_path / "a"))
        os.link(tmp_path / "a", tmp_path / f"keep-{number}")  # the inode number is not given out again
    assert len(seen) == 5


@pytest.mark.parametrize(
    ("number", "found"), [(errno.EPERM, False), (errno.ENOTSUP, False), (errno.EACCES, None), (errno.ENOSPC, None)]
)
def test_whether_there_are_links_is_found_by_making_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, found: bool | None
) -> None:
    assert supports_links(tmp_path)
    assert os.listdir(tmp_path) == []

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "symlink_to", refuse)
    if found is None:
        with pytest.raises(DiskError):
            supports_links(tmp_path)
    else:
        assert supports_links(tmp_path) is found


def test_free_space_is_what_an_ordinary_user_has(tmp_path: Path) -> None:
    facts = os.statvfs(tmp_path)
    assert abs(free_bytes(tmp_path) - facts.f_bavail * facts.f_frsize) < 1 << 30
    with pytest.raises(DiskError):
        free_bytes(tmp_path / "absent")


def test_a_directory_is_required(tmp_path: Path) -> None:
    require_directory(tmp_path / "a/b")
    require_directory(tmp_path / "a/b")
    (tmp_path / "file").touch()
    with pytest.raises(DiskError):
        require_directory(tmp_path / "file")
    with pytest.raises(DiskError):
        require_directory(tmp_path / "file/below")


def test_a_new_file_is_made_with_its_mode_and_never_replaces(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert write_new(tmp_path / "new", b"data", mode=0o600)
    finally:
        os.umask(before)
    assert (tmp_path / "new").read_bytes() == b"data"
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
    assert not write_new(tmp_path / "new", b"other")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert not write_new(tmp_path / "link", b"other")
    assert (tmp_path / "new").read_bytes() == b"data"
    assert sorted(os.listdir(tmp_path)) == ["link", "new"]


def test_a_new_file_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull):
        write_new(tmp_path / "new", b"data")
    assert os.listdir(tmp_path) == []


def test_a_new_file_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refused)
    assert write_new(tmp_path / "new", b"data")
    with pytest.raises(DiskError):
        write_new(tmp_path / "new", b"other")
    assert (tmp_path / "new").read_bytes() == b"data"
    assert os.listdir(tmp_path) == ["new"]


def test_a_sweep_that_is_about_to_remove_a_new_file_gets_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    real, swept = files._locked, list[Path]()

    def sweeper_first(descriptor: int) -> bool | None:
        if swept:
            return real(descriptor)
        [found] = tmp_path.iterdir()
        swept.append(found)
        other = os.open(found, os.O_RDONLY)
        fcntl.flock(other, fcntl.LOCK_EX)
        try:
            return real(descriptor)
        finally:
            found.unlink()
            os.close(other)

    monkeypatch.setattr(files, "_locked", sweeper_first)
    files.write_file(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"
    assert swept
