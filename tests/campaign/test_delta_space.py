"""A real disk that is full while a file is put together of chunks: nothing changes, and with room the pull completes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.support import chunked
from tests.support.worlds import file, litter, look
from tests.support.zygote import Trap, Zygote

pytestmark = pytest.mark.registry

MIB, CHUNK = 1 << 20, 64 << 10
OLD = chunked.cut(Random(1).randbytes(5 * MIB), CHUNK)
NEW = [Random(n).randbytes(len(chunk)) if n % 9 == 0 else chunk for n, chunk in enumerate(OLD)]
FIRST = chunked.plain({"config.json": b"{}\n", "model.bin": OLD})
SECONDS = {
    "plain": chunked.plain({"config.json": b"{}\n", "model.bin": NEW}),
    "delta": chunked.delta({"config.json": b"{}\n", "model.bin": NEW}, FIRST),
}


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    with Zygote(tmp_path_factory.mktemp("zygote")) as running:
        yield running


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 8 MiB: the old file and a part of the new one."""
    where = tmp_path / "small"
    where.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=8M", "tmpfs", str(where)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.strip()}")
    yield where
    subprocess.run(["umount", str(where)], check=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="no mount here")
@pytest.mark.parametrize("noticed", ["before", "when it is reserved", "when it is written"])
@pytest.mark.parametrize("storage", SECONDS)
def test_a_file_that_does_not_fit(
    repo: str, zygote: Zygote, tmp_path: Path, small_disk: Path, noticed: str, storage: str
) -> None:
    chunked.publish(f"{repo}:v1", FIRST)
    chunked.publish(f"{repo}:v2", SECONDS[storage])
    # All in processes of their own: a file system that somebody looks into is not unmounted.
    root, words = small_disk / "work", ["pull", f"{repo}:v2"]
    zygote.ok(["clone", f"{repo}:v1", str(root)], cwd=tmp_path)
    before = look(root)
    prepare = {"before": "", "when it is reserved": "plenty_of_space", "when it is written": "no_reservation"}[noticed]
    outcome = zygote.run(words, cwd=root, prepare=f"{__name__}:{prepare}" if prepare else "", trap=Trap())
    assert outcome.code == 11, outcome
    assert ("the pull needs" in outcome.err) == (noticed == "before"), outcome
    assert ("chunk written" in outcome.moments) == (noticed == "when it is written"), outcome
    assert look(root) == before
    zygote.ok(["status", "--offline"], cwd=root)
    subprocess.run(["mount", "-o", "remount,size=64M", str(small_disk)], check=True)
    zygote.ok(words, ["status"], cwd=root)
    assert look(root) == {"config.json": file(b"{}\n"), "model.bin": file(b"".join(NEW))}
    assert litter(root) == []


# --- to be called in a process of ours first


def plenty_of_space() -> None:
    """Let every disk say that it has room: somebody else fills it right after."""
    from modelops_bundle.operations import stage

    stage.free_bytes = lambda _path: 1 << 60  # type: ignore[attr-defined]


def no_reservation() -> None:
    """Room, and a file system that reserves none."""
    import os

    from modelops_bundle.transfer import assemble, staging

    plenty_of_space()
    assemble.reserve = staging.reserve = os.ftruncate  # type: ignore[attr-defined]
