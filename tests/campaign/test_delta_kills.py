"""SIGKILL at random chunks of delta pulls: the next run brings what was not in place, and nothing else (issue 6)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from modelops_bundle.testing.registry import Registry as Fake
from tests.support import chunked
from tests.support.bundle import FOLDER, Bundle
from tests.support.campaign import rounds

SEED = int(os.environ.get("CAMPAIGN_SEED", "20251121"))
SIZE = 256 * 1024
"""Bytes of a chunk: with two between those that changed, each is a request of its own."""
OLD = chunked.cut(Random(SEED).randbytes(60 * SIZE), SIZE)
NEW = [Random(SEED + n).randbytes(SIZE) if n % 3 == 0 else chunk for n, chunk in enumerate(OLD)]
CHANGED = [n for n in range(60) if n % 3 == 0]
V1 = chunked.plain({"model.bin": OLD})
VERSIONS = {
    "plain": chunked.plain({"model.bin": NEW}),
    "delta": chunked.delta({"model.bin": NEW}, V1, per_pack=6),
}
STRIKE = """
import os, signal, threading
from modelops_bundle import events
left, lock = [{after}], threading.Lock()
def strike(name):
    if name == "chunk written":
        with lock:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
events.observe_checkpoints(strike)
"""


@pytest.fixture
def place() -> Iterator[str]:
    with Fake() as fake:
        made = f"{fake.host}/team/model"
        chunked.publish(f"{made}:old", V1)
        for name, version in VERSIONS.items():
            chunked.publish(f"{made}:{name}", version)
        yield made


def in_place(root: Path) -> int:
    """How many of the changed chunks a killed pull left in place."""
    [part] = (root / FOLDER / "parts").glob("*.assembly")
    data = part.read_bytes()
    assert len(data) == 60 * SIZE
    return sum(1 for n in CHANGED if data[n * SIZE : (n + 1) * SIZE] == NEW[n])


def test_a_killed_pull_brings_nothing_twice(place: str, tmp_path: Path) -> None:
    base = Bundle.clone(f"{place}:old", tmp_path / "base")
    random = Random(SEED)
    for number in range(rounds(100)):
        name = random.choice(list(VERSIONS))
        clone = Bundle(tmp_path / "clone")
        shutil.rmtree(clone.root, ignore_errors=True)
        shutil.copytree(base.root, clone.root)
        left = len(CHANGED)
        for _ in range(random.choice([1, 1, 2])):
            # 20 are fetched and 40 copied the first time, those that are left the second.
            after = random.randrange(left if left < len(CHANGED) else 60)
            clone.spawn("pull", f"{place}:{name}", expect=-9, before=STRIKE.format(after=after))
            assert clone.path("model.bin").read_bytes() == b"".join(OLD), (number, name)
            left = len(CHANGED) - in_place(clone.root)
            if not left:
                break
        done = clone.json("pull", f"{place}:{name}")
        assert done["fetched_bytes"] == left * SIZE, (number, name)
        assert clone.path("model.bin").read_bytes() == b"".join(NEW), (number, name)
