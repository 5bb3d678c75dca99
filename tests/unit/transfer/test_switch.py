"""Directories that exchange their names, and what is left of that."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from modelops_bundle.errors import DiskError, Unsupported, WouldOverwrite
from modelops_bundle.transfer import switch
from modelops_bundle.transfer.switch import Site


class Enough(Exception):
    """The test waited long enough."""


def never() -> None:
    raise Enough


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "dest")


def put(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_one_at_a_time(site: Site, tmp_path: Path) -> None:
    with site.locked(never):
        with pytest.raises(Enough), Site(tmp_path / "dest").locked(never):
            pytest.fail("held twice")
        with Site(tmp_path / "other").locked(never):
            pass
    with site.locked(never):
        pass
    assert names(tmp_path) == []


@pytest.mark.parametrize("there", ["absent", "empty", "full"])
def test_the_new_one_gets_the_name(there: str, site: Site, tmp_path: Path) -> None:
    if there != "absent":
        (tmp_path / "dest").mkdir(mode=0o701)
        (tmp_path / "dest").chmod(0o701)
    if there == "full":
        put(site.place, "old.txt", "old")
    put(site.begin(), "new.txt", "new")
    assert site.switch() is (there == "full")
    assert names(site.place) == [".modelops-bundle", "new.txt"]
    assert names(site.place / ".modelops-bundle") == []
    if there != "absent":
        assert site.place.stat().st_mode & 0o777 == 0o701
    assert site.old.exists() is (there == "full")


@pytest.mark.parametrize("can_exchange", [True, False])
def test_what_is_not_ours_goes_back(can_exchange: bool, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    if not can_exchange:
        monkeypatch.setattr(switch, "exchange", lambda *_: False)
    put(site.place, "theirs.txt", "theirs")
    put(site.place, "own/deep.txt", "theirs")
    put(site.begin(), "new.txt", "new")
    assert site.switch()
    assert site.retire() is None
    assert names(site.place) == [".modelops-bundle", "new.txt", "own", "theirs.txt"]
    assert names(site.place.parent) == ["dest"]


def test_what_cannot_go_back_is_kept_for_its_owner(site: Site) -> None:
    put(site.place, "new.txt", "theirs")
    put(site.begin(), "new.txt", "new")
    site.switch()
    saved = site.retire()
    assert saved is not None and (saved / "new.txt").read_text() == "theirs"
    assert (site.place / "new.txt").read_text() == "new"


def test_a_tree_that_was_never_switched_in_goes(site: Site) -> None:
    put(site.place, "old.txt", "old")
    put(site.begin(), "deep/new.txt", "new")
    assert site.recover() is None
    assert names(site.place.parent) == ["dest"]
    assert names(site.place) == ["old.txt"]


def test_a_tree_that_was_switched_out_is_never_just_removed(site: Site) -> None:
    put(site.place, "theirs.txt", "theirs")
    site.begin()
    # Killed right after the exchange: the old tree has the name of the new one.
    os.rename(site.place, site.place.with_name("aside"))
    os.rename(site.new, site.place)
    os.rename(site.place.with_name("aside"), site.new)
    assert site.recover() is None
    assert (site.place / "theirs.txt").read_text() == "theirs"
    assert names(site.place.parent) == ["dest"]


def test_a_name_that_nothing_had_is_given_back(site: Site) -> None:
    put(site.place, "old.txt", "old")
    put(site.begin(), "new.txt", "new")
    os.rename(site.place, site.old)
    site.recover()
    assert names(site.place) == ["old.txt"]
    assert names(site.place.parent) == ["dest"]


def test_something_that_comes_into_the_empty_directory(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.place.mkdir()
    site.begin()
    real = os.rename

    def rename(source: Path, target: Path) -> None:
        put(site.place, "theirs.txt", "just now")
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(WouldOverwrite, match="just now"):
        site.switch()
    assert names(site.place) == ["theirs.txt"]


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EACCES])
def test_a_directory_that_cannot_be_moved(number: int, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    put(site.place, "old.txt", "old")
    site.begin()

    def refuse(*_: object) -> bool:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(switch, "exchange", refuse)
    with pytest.raises(Unsupported if number == errno.EBUSY else DiskError):
        site.switch()
    assert names(site.place) == ["old.txt"]


def test_roots_and_mount_points_are_refused() -> None:
    for place in ("/", "/proc"):
        with pytest.raises(Unsupported, match="mount point"):
            Site(Path(place))


def test_a_name_with_no_room_around_it(tmp_path: Path) -> None:
    site = Site(tmp_path / ("n" * 250))
    with site.locked(never):
        put(site.begin(), "new.txt", "new")
        site.switch()
    assert names(tmp_path) == ["n" * 250]


def test_only_what_was_kept_is_dropped(site: Site) -> None:
    put(site.previous, "theirs.txt", "theirs")
    with pytest.raises(WouldOverwrite, match="no version"):
        site.drop_previous()
    assert (site.previous / "theirs.txt").exists()


def test_a_link_in_the_place_of_our_folder_is_not_followed(site: Site, tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", "building", "theirs")
    site.place.mkdir()
    (site.place / ".modelops-bundle").symlink_to(tmp_path / "elsewhere")
    site.recover()
    put(site.begin(), "new.txt", "new")
    site.switch()
    site.retire()
    assert (tmp_path / "elsewhere/building").read_text() == "theirs"


def test_what_may_not_be_removed_is_put_aside(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    put(site.place, "old.txt", "old")
    put(site.begin(), "new.txt", "new")
    site.switch()

    def refuse(*_: object) -> None:
        raise DiskError("no", errno=errno.EACCES)

    monkeypatch.setattr(Site, "_remove_recorded", refuse)
    saved = site.retire()
    assert saved is not None and not site.old.exists()


def test_a_parent_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError) as caught, Site(tmp_path / "file/dest").locked(never):
        pytest.fail("not locked")
    assert caught.value.hint is not None and "must be writable" in caught.value.hint
