"""What is remembered of registries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelops_bundle.stores.learned import KEPT, Learned
from modelops_bundle.stores.registries import DISTRIBUTION, ORDINARY, profile_of

HOST = "registry.example:5000"
SESSION = f"https://{HOST}/v2/m/blobs/uploads/x?_state=y"


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "registries.json"


def test_facts_last_and_belong_to_their_host(file: Path) -> None:
    learned = Learned(file)
    learned.note(HOST, "single_post", True)
    learned.note(HOST, "body", 1000)
    assert learned.get(HOST, "single_post") is True
    learned.save()
    again = Learned(file)
    assert again.all(HOST) == {"single_post": True, "body": 1000}
    assert again.get("registry.example", "single_post") is None


def test_facts_are_forgotten_after_a_week(file: Path) -> None:
    clock = Clock()
    learned = Learned(file, clock)
    learned.note(HOST, "streams", False)
    learned.save()
    clock.now += KEPT - 1
    assert Learned(file, clock).get(HOST, "streams") is False
    clock.now += 1
    late = Learned(file, clock)
    assert late.get(HOST, "streams") is None
    late.note("other", "parts", False)
    late.save()
    assert HOST not in file.read_text()


def test_facts_of_the_future_are_not_believed(file: Path) -> None:
    clock = Clock()
    Learned(file, clock).note(HOST, "streams", False)
    learned = Learned(file, clock)
    learned.note(HOST, "streams", False)
    learned.save()
    clock.now -= 10
    assert Learned(file, clock).get(HOST, "streams") is None


def test_two_writers_add_to_each_other(file: Path) -> None:
    one, two = Learned(file), Learned(file)
    one.note(HOST, "streams", False)
    two.note(HOST, "parts", False)
    two.note("other", "referrers", True)
    one.save()
    two.save()
    assert Learned(file).all(HOST) == {"streams": False, "parts": False}
    assert Learned(file).all("other") == {"referrers": True}


def test_what_is_known_already_is_not_written_again(file: Path) -> None:
    learned = Learned(file)
    learned.note(HOST, "streams", False)
    learned.save()
    before = file.stat().st_ino
    again = Learned(file)
    again.note(HOST, "streams", False)
    again.save()
    assert file.stat().st_ino == before


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"hosts": 3}',
        '{"hosts": {"registry.example:5000": 3}}',
        '{"hosts": {"registry.example:5000": {"streams": false, "parts": [1], "body": [[], 3], "oven": [true, 3]}}}',
        '{"hosts": {"registry.example:5000": {"streams": [false, "now"]}}}',
        "\x00" * 100,
    ],
)
def test_a_damaged_file_is_none(file: Path, content: str) -> None:
    file.parent.mkdir()
    file.write_text(content)
    learned = Learned(file)
    assert learned.all(HOST) == {}
    learned.note(HOST, "mounts", True)
    learned.save()
    assert set(json.loads(file.read_text())["hosts"]) == {HOST}


def test_a_file_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    learned = Learned(tmp_path / "file" / "registries.json")
    learned.note(HOST, "mounts", True)
    learned.save()
    assert learned.get(HOST, "mounts") is True


def test_without_a_file_facts_live_as_long_as_the_object() -> None:
    learned = Learned()
    learned.note(HOST, "mounts", False)
    learned.save()
    assert learned.get(HOST, "mounts") is False


def test_a_session_shows_what_a_host_runs_and_that_is_kept(file: Path) -> None:
    learned = Learned(file)
    assert learned.profile(HOST) is ORDINARY
    assert learned.profile(HOST, SESSION) is DISTRIBUTION
    learned.save()
    assert Learned(file).profile(HOST) is DISTRIBUTION


def test_a_name_says_more_than_a_note() -> None:
    learned = Learned()
    learned.note("ghcr.io", "kind", DISTRIBUTION.name)
    assert learned.profile("ghcr.io") is profile_of("ghcr.io")
    learned.note(HOST, "kind", "what nobody knows")
    assert learned.profile(HOST) is ORDINARY
