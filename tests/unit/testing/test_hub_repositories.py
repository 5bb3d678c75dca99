"""Files and commits as git and LFS see them."""

from __future__ import annotations

from modelops_bundle.testing.hub_repositories import HubFile, HubRepository, listing


def test_oids_are_those_of_git() -> None:
    # printf hello | git hash-object --stdin
    assert HubFile(b"hello", False).oid == "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"
    large = HubFile(b"hello", True)
    assert large.pointer.startswith(b"version https://git-lfs.github.com/spec/v1\noid sha256:2cf24dba")
    assert large.oid == HubFile(large.pointer, False).oid
    assert large.entry("a")["lfs"]["pointerSize"] == len(large.pointer)


def test_commits_and_branches() -> None:
    repository = HubRepository("models", "ns/name")
    first = repository.commit({"a.txt": b"1"})
    second = repository.commit({"a.txt": b"2", "b.bin": b""}, "refs/pr/1")
    assert (repository.find("main"), repository.find("refs/pr/1"), repository.find(first)) == (first, second, first)
    assert repository.find("nope") is None
    assert [file.lfs for file in repository.commits[second].values()] == [False, True]
    assert repository.commit({"a.txt": b"1"}, lfs=frozenset(["a.txt"])) != first


def test_listings() -> None:
    files = {path: HubFile(b"", False) for path in ("a", "d/e/f", "d/g")}
    assert [one["path"] for one in listing(files, "", True) or []] == ["a", "d", "d/e", "d/e/f", "d/g"]
    assert [one["path"] for one in listing(files, "", False) or []] == ["a", "d"]
    assert [one["path"] for one in listing(files, "d", False) or []] == ["d/e", "d/g"]
    assert listing(files, "nope", True) is None
    assert listing({}, "", True) == []
