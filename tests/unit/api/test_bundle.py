"""The Python API on an OCI layout directory: the same operations the command line calls."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import modelops_bundle as mb
from modelops_bundle.errors import NotABundle, NotFound, TagMoved, UsageError
from modelops_bundle.events import Event, Run
from modelops_bundle.operations.ensure import Choices as EnsureChoices
from modelops_bundle.operations.options import Options
from modelops_bundle.plan.pull import Choices
from tests.support.large import make_small, weights


@pytest.fixture
def hub(tmp_path: Path) -> str:
    return f"layout:{tmp_path / 'hub'}:v1"


def _made(root: Path, hub: str, **files: str) -> mb.Bundle:
    root.mkdir()
    for name, content in files.items():
        (root / name).write_text(content)
    bundle = mb.Bundle.init(root, hub)
    bundle.add(".")
    return bundle


def test_a_push_is_what_a_clone_gets(tmp_path: Path, hub: str) -> None:
    pushed = _made(tmp_path / "a", hub, one="1", two="2").push()
    clone = mb.Bundle.clone(hub, tmp_path / "b")
    assert {path.name: path.read_text() for path in clone.root.iterdir() if path.is_file()} == {"one": "1", "two": "2"}
    assert clone.status().remote == pushed.digest
    assert clone.status().clean


def test_status_and_diff_see_the_disk_as_it_is_now(tmp_path: Path, hub: str) -> None:
    bundle = _made(tmp_path / "a", hub, one="1")
    bundle.push()
    assert bundle.status().clean
    (bundle.root / "one").write_text("changed")
    (bundle.root / "new").write_text("n")
    assert [change.path for change in bundle.status().changes] == ["one"]
    assert bundle.status().untracked == ("new",)
    assert [change.path for change in bundle.diff().changes] == ["one"]


def test_plans_are_shown_then_applied(tmp_path: Path, hub: str) -> None:
    bundle = _made(tmp_path / "a", hub, one="1")
    plan = bundle.plan_push()
    assert [path for path, _, _ in plan.changes()] == ["one"]
    assert not (tmp_path / "hub").exists()
    assert bundle.apply(plan).digest == plan.artifact.digest


def test_changed_chunks_travel_alone(tmp_path: Path, hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)
    bundle = _made(tmp_path / "a", hub)
    first = weights(1, 30_000)
    (bundle.root / "model.bin").write_bytes(first)
    bundle.add("model.bin")
    bundle.push()
    (bundle.root / "model.bin").write_bytes(first + weights(2, 1000))
    plan = bundle.plan_push(delta=True)
    assert plan.ways["delta"] < plan.ways["plain"]
    pushed = bundle.push(tags=["v2"], delta=True)
    assert pushed.reused_bytes > 50_000
    copy = mb.Bundle.clone(hub.replace(":v1", ":v2"), tmp_path / "b")
    assert (copy.root / "model.bin").read_bytes() == first + weights(2, 1000)


def test_a_stale_clone_cannot_push(tmp_path: Path, hub: str) -> None:
    first = _made(tmp_path / "a", hub, one="1")
    first.push()
    second = mb.Bundle.clone(hub, tmp_path / "b")
    (first.root / "one").write_text("newer")
    first.push()
    (second.root / "one").write_text("mine")
    with pytest.raises(TagMoved) as refused:
        second.push()
    assert refused.value.facts["losses"] == [{"path": "one", "action": "modified"}]


def test_a_conflict_is_settled_with_theirs(tmp_path: Path, hub: str) -> None:
    first = _made(tmp_path / "a", hub, one="1")
    first.push()
    second = mb.Bundle.clone(hub, tmp_path / "b")
    (first.root / "one").write_text("newer")
    first.push()
    (second.root / "one").write_text("mine")
    plan = second.plan_pull(choices=Choices(theirs=["one"]))
    assert plan.discards == ("one",)
    second.apply(plan)
    assert (second.root / "one").read_text() == "newer"


def test_removed_paths_leave_with_the_next_push(tmp_path: Path, hub: str) -> None:
    bundle = _made(tmp_path / "a", hub, one="1", two="2")
    bundle.push()
    assert bundle.remove("two") == ("two",)
    assert (bundle.root / "two").exists()
    bundle.push()
    assert not (mb.Bundle.clone(hub, tmp_path / "b").root / "two").exists()


def test_events_go_to_the_sink_of_the_run(tmp_path: Path, hub: str) -> None:
    met: list[Event] = []
    _made(tmp_path / "a", hub, one="1").push()
    mb.Bundle.clone(hub, tmp_path / "b", Run(emit=met.append))
    assert {type(event).__name__ for event in met} >= {"Started", "ItemStarted", "Advanced", "Finished"}


def test_a_store_can_be_opened_directly(tmp_path: Path, hub: str) -> None:
    digest = _made(tmp_path / "a", hub, one="1").push().digest
    found = mb.open_store(hub).resolve("v1")
    assert found is not None
    assert found.digest == digest


def test_a_directory_holds_one_version(tmp_path: Path, hub: str) -> None:
    bundle = _made(tmp_path / "a", hub, one="1")
    first = bundle.push().digest
    (bundle.root / "one").write_text("2")
    second = bundle.push().digest
    dest, options = tmp_path / "dest", Options(cache=tmp_path / "cache")
    place = hub.removesuffix(":v1")
    assert mb.ensure(f"{place}@{first}", dest, options=options).changed
    assert (dest / "one").read_text() == "1"
    assert mb.ensure(hub, dest, options=options).digest == second
    assert not mb.ensure(hub, dest, options=options).changed
    assert mb.ensure(None, dest, options=options).digest == first
    assert (dest / "one").read_text() == "1"
    with pytest.raises(NotFound):
        mb.ensure(f"{place}:absent", dest)
    with pytest.raises(UsageError):
        mb.ensure(hub, dest, EnsureChoices(link=True))


def test_no_bundle_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotABundle):
        mb.Bundle.open(tmp_path)


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys, modelops_bundle; print([m for m in sys.modules if m.startswith('modelops_bundle.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_that_do_not_exist_are_attribute_errors() -> None:
    with pytest.raises(AttributeError):
        mb.nothing  # noqa: B018


def test_calls_hold_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    bundle = mb.Bundle.init(tmp_path)
    bundle.add(".")
    bundle.push()
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    for _ in range(5):
        bundle.status()
        bundle.push()
        bundle.pull()
    after = len(list(Path("/proc/self/fd").iterdir())) if before else 0
    assert after <= before
