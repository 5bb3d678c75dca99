"""`bundle cache`: what is in it, and making it smaller."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from modelops_bundle.model.digest import Digest
from modelops_bundle.stores.cache import Cache
from tests.support.bundle import Bundle, Result, call

SHARED = os.urandom(200_000)


def folder() -> Path:
    return Path(os.environ["XDG_CACHE_HOME"]) / "modelops-bundle"


def blobs() -> set[str]:
    return {path.name for path in (folder() / "blobs/sha256").iterdir()}


def cache(*words: str, expect: int = 0) -> Result:
    return call("--json", "cache", *words, expect=expect)


@pytest.fixture
def digests(tmp_path: Path) -> list[str]:
    """Three versions in the cache, used in this order, that share a file."""
    remote = f"layout:{tmp_path / 'remote'}"
    author = Bundle.create(tmp_path / "author", remote, {"shared.bin": SHARED})
    found = []
    for number in range(3):
        digest = author.commit({"own.bin": os.urandom(100_000)}, "--tag", f"v{number}")
        call("ensure", f"{remote}:v{number}", "--dest", str(tmp_path / f"dest{number}"))
        used(digest, 1000 + number)
        found.append(digest)
    return found


def used(digest: str, at: int) -> None:
    """Let a version have been used last at a time."""
    path = folder() / "uses" / digest.removeprefix("sha256:")
    path.write_text(json.dumps({**json.loads(path.read_text()), "at": at}))


def test_an_empty_cache(tmp_path: Path) -> None:
    assert cache("info").json["versions"] == []
    assert cache("prune", "--max-size", "0").json["freed_bytes"] == 0
    assert cache("clear", "--yes").json["freed_bytes"] == 0
    assert "in 0 blobs" in call("cache", "info").out
    assert not (folder() / "blobs").exists()


def test_versions_with_their_sizes_and_uses(digests: list[str], tmp_path: Path) -> None:
    found = cache("info").json
    assert [each["digest"] for each in found["versions"]] == digests[::-1]
    assert found["versions"][0]["references"] == [f"layout:{tmp_path / 'remote'}:v2"]
    assert (found["oldest_use"], found["newest_use"], found["others"]) == (1000, 1002, 0)
    assert 500_000 < found["size"] < 530_000
    assert all(300_000 < each["size"] < 310_000 for each in found["versions"])
    assert all(100_000 < each["alone"] < 110_000 for each in found["versions"])
    assert "REFERENCES" in call("cache", "info").out


def test_the_least_recently_used_goes_first(digests: list[str], tmp_path: Path) -> None:
    before, size = blobs(), cache("info").json["size"]
    shown = cache("prune", "--max-size", "450000", "--dry-run").json
    assert blobs() == before
    done = cache("prune", "--max-size", "450000").json
    assert [each["digest"] for each in done["removed"]] == [each["digest"] for each in shown["removed"]] == digests[:1]
    assert done["freed_bytes"] == shown["freed_bytes"] == size - cache("info").json["size"]
    # What the others need stays: they take no request.
    for number in (1, 2):
        place = f"layout:{tmp_path / 'remote'}@{digests[number]}"
        again = call("--json", "ensure", place, "--dest", str(tmp_path / f"new{number}")).json
        assert (again["fetched_blobs"], again["changed"]) == (0, True)
    assert Digest.of(SHARED).hex in blobs()


def test_what_was_not_used_for_long_goes(digests: list[str]) -> None:
    for number, digest in enumerate(digests):
        used(digest, 4_000_000_000 if number == 1 else 1000)
    done = cache("prune", "--older-than", "30d").json
    assert {each["digest"] for each in done["removed"]} == {digests[0], digests[2]}
    assert [each["digest"] for each in cache("info").json["versions"]] == [digests[1]]


def test_what_somebody_uses_stays(digests: list[str]) -> None:
    held = Digest.parse(digests[0])
    before = blobs()
    with Cache(folder()).hold(held, shared=True):  # type: ignore[union-attr]
        done = cache("clear", "--yes").json
        assert done["busy"] > 0
        assert Cache(folder()).needs(held) <= {Digest("sha256", name) for name in blobs()} | {held}
        assert blobs() < before
        assert [each["digest"] for each in cache("info").json["versions"]] == digests[:1]
    cache("clear", "--yes")
    assert blobs() == set()


def test_what_somebody_is_bringing_stays(digests: list[str], tmp_path: Path) -> None:
    """Its version is not listed yet: the manifest says what it needs."""
    wanted = Digest.parse(digests[2])
    part = folder() / "parts" / f"{Digest.of(SHARED).hex}.part"
    part.write_bytes(b"beginning")
    stray = folder() / "parts" / f"{'0' * 64}.part"
    stray.write_bytes(b"of nobody")
    with Cache(folder()).hold(wanted):  # type: ignore[union-attr]
        Cache(folder()).layout.delete(next(each for each in Cache(folder()).versions() if each.digest == wanted))
        (folder() / "blobs/sha256" / wanted.hex).write_bytes(_manifest(tmp_path, wanted))
        cache("prune", "--max-size", "0")
        assert part.exists() and not stray.exists()
    cache("prune", "--max-size", "0")
    assert not part.exists()
    assert blobs() == set()


def _manifest(tmp_path: Path, digest: Digest) -> bytes:
    return (tmp_path / "remote/blobs/sha256" / digest.hex).read_bytes()


def test_blobs_of_pulls_are_counted_and_go(digests: list[str]) -> None:
    name = Digest.of(b"by a pull").hex
    (folder() / "blobs/sha256" / name).write_bytes(b"by a pull")
    os.utime(folder() / "blobs/sha256" / name, (1, 1))
    assert cache("info").json["others"] == 9
    cache("prune", "--max-size", str(cache("info").json["size"] - 1))
    assert name not in blobs()
    assert len(cache("info").json["versions"]) == 3


def test_clearing_asks(digests: list[str]) -> None:
    before = blobs()
    assert cache("clear", expect=4).error["code"] == "needs-confirmation"
    assert blobs() == before
    assert len(cache("clear", "--yes").json["removed"]) == 3
    assert blobs() == set()
    assert not list((folder() / "uses").iterdir())


@pytest.mark.parametrize(
    "words", [[], ["--max-size", "much"], ["--older-than", "long"], ["--older-than", "-1d"], ["--max-size", "-1"]]
)
def test_words_that_make_no_sense(words: list[str]) -> None:
    cache("prune", *words, expect=2)
