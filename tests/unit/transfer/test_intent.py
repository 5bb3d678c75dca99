"""The decision to change a tree, on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelops_bundle.errors import Corrupt, UnsafePath
from modelops_bundle.events import observe_checkpoints
from modelops_bundle.model import canonical
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.snapshot import Entry
from modelops_bundle.plan.pull import Step
from modelops_bundle.transfer.intent import Intent, forget_intent, read_intent, write_intent
from tests.support.things import file

A, B = file("content a"), file("content b")
STEPS = (
    Step("deleted", A, None),
    Step("made", None, A),
    Step("made/é", None, Entry("file", B.digest, B.size, True, "weight")),
    Step("now a directory", A, Entry.directory()),
    Step("now a link", None, Entry.link("made")),
    Step("replaced", A, B),
)
PACKED = {A.digest: (B.digest, 512), B.digest: (B.digest, 0)}
BLOBS = {"manifest": b"{}\n\n", "empty": b"", "base": bytes(range(256))}
DIGEST = str(Digest.of(b""))


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    intent = Intent(STEPS, {"reference": "r", "nested": {"a": [1, None]}}, PACKED, BLOBS)
    path = tmp_path / "journal/landing.json"
    write_intent(path, intent)
    assert read_intent(path) == intent
    forget_intent(path)
    forget_intent(path)
    assert read_intent(path) is None


@pytest.mark.parametrize("count", range(1, len(STEPS) + 1))
def test_roles_survive_which_equality_does_not_see(tmp_path: Path, count: int) -> None:
    write_intent(tmp_path / "j", Intent(STEPS[:count], {}))
    found = read_intent(tmp_path / "j")
    assert found is not None
    assert [repr(step) for step in found.steps] == [repr(step) for step in STEPS[:count]]


def value(**changes: Any) -> bytes:
    whole = {"version": 2, "files": [], "steps": [], "commit": {}, "packed": {}, "blobs": []}
    return canonical.dumps({**whole, **changes}) + b"\n"


def test_the_least_there_can_be(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(value())
    assert read_intent(tmp_path / "j") == Intent((), {})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        value(version=1),
        value(files={}),
        value(files=[["a"]]),
        value(files=[["a", "x", 1, False, "code"]]),
        value(files=[["a", A.digest.hex, -1, False, "code"]]),
        value(files=[["a", A.digest.hex, 1, False, 5]]),
        value(steps={}),
        value(steps=[{"path": "a", "before": 1, "after": None}]),
        value(commit=[]),
        value(packed=[]),
        value(packed={"x": [[A.digest.hex, 1]]}),
        value(packed={DIGEST: 1}),
        value(packed={DIGEST: [["x", 1]]}),
        value(packed={DIGEST: [[A.digest.hex, -1]]}),
        value(packed={DIGEST: [[A.digest.hex, "1"]]}),
        value(packed={DIGEST: [[A.digest.hex, True]]}),
        value(packed={DIGEST: [[A.digest.hex, 1 << 80]]}),
        value(blobs={}),
        value(blobs=[["a", 1]]),
        value(blobs=[["a", -1]]),
        value(blobs=[["a", True]]) + b"x",
    ],
)
def test_damage_is_told_and_is_not_absence(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "j").write_bytes(data)
    with pytest.raises(Corrupt):
        read_intent(tmp_path / "j")


@pytest.mark.parametrize("cut", [1, 10, 300])
def test_one_cut_short_is_damaged(tmp_path: Path, cut: int) -> None:
    write_intent(tmp_path / "j", Intent(STEPS, {}, PACKED, BLOBS))
    data = (tmp_path / "j").read_bytes()
    (tmp_path / "j").write_bytes(data[:-cut])
    with pytest.raises(Corrupt):
        read_intent(tmp_path / "j")


@pytest.mark.parametrize(
    "data",
    [
        value(steps=[{"path": "../x", "before": None, "after": None}]),
        value(files=[["../x", A.digest.hex, 1, False, "code"]]),
        value(files=[[".modelops-bundle/config.toml", A.digest.hex, 1, False, "code"]]),
    ],
)
def test_it_cannot_lead_out_of_the_tree(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "j").write_bytes(data)
    with pytest.raises(UnsafePath):
        read_intent(tmp_path / "j")


class Stopped(BaseException):
    """The process ends here."""


def test_a_stop_while_it_is_written_leaves_none_or_all_of_it(tmp_path: Path) -> None:
    intent = Intent(STEPS, {}, PACKED, BLOBS)
    for number in range(10):
        left = number

        def stop(_name: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Stopped

        end = observe_checkpoints(stop)
        try:
            write_intent(tmp_path / str(number), intent)
        except Stopped:
            assert read_intent(tmp_path / str(number)) in (None, intent)
        else:
            assert number == 2
            return
        finally:
            end()
    raise AssertionError("it never ended")
