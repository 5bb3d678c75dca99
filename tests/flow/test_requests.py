"""How many requests the main job makes, as the client reports them and as the registry counts them (DESIGN §9)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import Asked, Bundle, call
from tests.support.oci import Repository
from tests.support.registry_process import Registry

N = 20


def files(count: int = N) -> dict[str, str]:
    return {f"dir{n % 3}/file{n}.bin": f"content {n}\n" for n in range(count)}


@pytest.fixture(params=["registry", "in-process"])
def place(request: pytest.FixtureRequest) -> str:
    if request.param == "registry":
        return str(request.getfixturevalue("repo"))
    return f"{request.getfixturevalue('fake').host}/m"


@pytest.fixture
def made(place: str, tmp_path: Path) -> Bundle:
    made = Bundle.create(tmp_path / "a", place, files())
    made.push()
    return made


def test_a_first_push_of_n_new_files_takes_at_most_3n_and_10(place: str, tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "a", place, files())
    assert N < len(made.requests("push")) <= 3 * N + 10


def test_a_clean_status_takes_one(made: Bundle) -> None:
    asked = made.requests("status")
    assert len(asked) == 1
    assert asked[0].method == "HEAD"


def test_a_push_after_a_change_of_one_byte_takes_at_most_11(made: Bundle) -> None:
    made.write({"dir0/file0.bin": "Content 0\n"})
    assert 0 < len(made.requests("push")) <= 11


def test_a_clone_of_n_files_takes_at_most_n_and_4(made: Bundle, place: str, tmp_path: Path) -> None:
    result = call("--progress", "json", "clone", place, str(tmp_path / "c"))
    assert N <= len(result.requests) <= N + 4
    assert Bundle(tmp_path / "c").tree() == made.tree()


def test_tags_take_one_for_each_and_one(made: Bundle) -> None:
    for number in range(7):
        made.run("push", "--tag", f"v{number}")
    assert len(made.json("tags")["tags"]) == 8
    assert len(made.requests("tags")) <= 9


def test_pushing_and_pulling_nothing_takes_one_or_two(made: Bundle, place: str, tmp_path: Path) -> None:
    assert 1 <= len(made.requests("push")) <= 2
    assert 1 <= len(made.requests("pull")) <= 2
    clone = Bundle.clone(place, tmp_path / "c")
    assert 1 <= len(clone.requests("push")) <= 2
    assert 1 <= len(clone.requests("pull")) <= 2


def test_a_pull_of_one_changed_file_takes_at_most_4(made: Bundle, place: str, tmp_path: Path) -> None:
    clone = Bundle.clone(place, tmp_path / "c")
    made.commit({"dir0/file0.bin": "new\n"})
    asked = clone.requests("pull")
    assert len(asked) <= 4
    assert len([one for one in asked if "/blobs/" in one.url]) == 1


def test_a_status_behind_the_remote_takes_two(made: Bundle, place: str, tmp_path: Path) -> None:
    clone = Bundle.clone(place, tmp_path / "c")
    made.commit({"dir0/file0.bin": "new\n"})
    assert len(clone.requests("status")) <= 2


def test_looking_takes_one(made: Bundle, place: str) -> None:
    for words in (("inspect",), ("ls", f"{place}:latest"), ("inspect", "--files", ":latest")):
        assert len(made.requests(*words)) == 1, words


def test_a_new_tag_for_what_is_there_sends_no_blob(made: Bundle) -> None:
    asked = made.requests("push", "--tag", "v2")
    assert not [one for one in asked if one.method == "PUT" and "/blobs/" in one.url]


def _count(asked: list[Asked]) -> Counter[str]:
    return Counter(one.method for one in asked)


def test_the_registry_counts_the_same(fake: Fake, tmp_path: Path) -> None:
    """Everything the in-process registry was asked is reported, and nothing else."""
    made = Bundle.create(tmp_path / "a", f"{fake.host}/m", files())
    journey: list[Callable[[], list[Asked]]] = [
        lambda: made.requests("push"),
        lambda: made.requests("status"),
        lambda: made.requests("push"),
        lambda: made.requests("tags"),
        lambda: call("--progress", "json", "clone", f"{fake.host}/m", str(tmp_path / "c")).requests,
    ]
    for step in journey:
        fake.requests.clear()
        reported = step()
        assert Counter(one.method for one in fake.requests) == _count(reported)
        assert Counter(one.status for one in fake.requests) == Counter(one.status for one in reported)


def _logged(registry: Registry) -> list[str]:
    """The access log's lines of requests (combined log format), whoever keeps it."""
    if registry.log_path is not None:
        text = registry.log_path.read_text(errors="replace")
    else:
        out, err = registry._container.get_logs()  # type: ignore[attr-defined]
        text = (out + err).decode(errors="replace")
    return [line for line in text.splitlines() if '" ' in line and " HTTP/1." in line]


def test_a_real_registrys_log_counts_the_same(registry: Registry, repo: str, tmp_path: Path) -> None:
    name = Repository(repo).name

    def mine() -> int:
        return len([line for line in _logged(registry) if f"/v2/{name}/" in line])

    made = Bundle.create(tmp_path / "a", repo, files())
    reported = made.requests("push")
    assert mine() == len(reported)
    reported += made.requests("status")
    reported += call("--progress", "json", "clone", repo, str(tmp_path / "c")).requests
    assert mine() == len(reported)


def test_dash_v_shows_every_request(made: Bundle) -> None:
    shown = [line for line in made.run("-v", "status").err.splitlines() if line.startswith("HEAD http")]
    assert len(shown) == 1
    assert " 200 " in shown[0]
