"""Pulls that move only the chunks that are not on this machine (issue 6)."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from modelops_bundle.testing.actions import Action, Corrupt, Cut, IgnoreRange, Status
from modelops_bundle.testing.protocol import Call, Response
from modelops_bundle.testing.registry import Registry as Fake
from tests.support import chunked
from tests.support.blob_front import BlobFront
from tests.support.bundle import FOLDER, Bundle, call
from tests.support.chunked import cut

KIB = 1024
OLD = cut(Random(1).randbytes(400 * KIB), 4 * KIB)
NEW = [Random(n).randbytes(len(chunk)) if n in (5, 6, 90) else chunk for n, chunk in enumerate(OLD)]
ADDED = 12 * KIB
V1 = chunked.plain({"config.json": b"{}\n", "model.bin": OLD})
V2 = chunked.plain({"config.json": b"{}\n", "model.bin": NEW})
DELTA = chunked.delta({"config.json": b"{}\n", "model.bin": NEW}, V1, codec="none", borrow=True)
CLOSE = [bytes([chunk[0] ^ 1]) + chunk[1:] if n in (5, 6, 90) else chunk for n, chunk in enumerate(OLD)]
XOR = chunked.delta(
    {"config.json": b"{}\n", "model.bin": CLOSE},
    V1,
    codec="xor+bp2+zstd",
    xor={new: old for new, old in zip(CLOSE, OLD, strict=True) if new != old},
)
assert len(XOR.chunks.packs[-1].chunks.bases) == 3
BOTH = pytest.mark.parametrize("version", [V2, DELTA], ids=["plain", "delta"])


def told(place: str, tmp_path: Path) -> Bundle:
    """A clone of the old version."""
    chunked.publish(f"{place}:v1", V1)
    return Bundle.clone(f"{place}:v1", tmp_path / "clone")


def blobs_asked(fake: Fake) -> list[str]:
    """What was asked of which blob, from the last look on."""
    asked = [each for each in fake.requests if "/blobs/sha256:" in each.path and each.method == "GET"]
    fake.requests.clear()
    return [each.headers.get("range", "all") for each in asked]


@pytest.fixture
def place(fake: Fake) -> str:
    return f"{fake.host}/team/model"


# --- what travels ----------------------------------------------------------------------------------------------------


@BOTH
def test_only_what_changed_travels(place: str, fake: Fake, tmp_path: Path, version: chunked.Version) -> None:
    clone = told(place, tmp_path)
    chunked.publish(f"{place}:v2", version)
    blobs_asked(fake)
    done = clone.json("pull", f"{place}:v2")
    assert (done["fetched_blobs"], done["fetched_bytes"], done["reused_bytes"]) == (1, ADDED, 400 * KIB - ADDED)
    # The two that are neighbours in one request; in a pack, all three. The index before, from which this one takes chunk
    # lists, is here.
    parts = ["bytes=20480-28671", "bytes=368640-372735"]
    assert sorted(blobs_asked(fake)) == (["all"] if version is DELTA else parts)
    assert clone.path("model.bin").read_bytes() == b"".join(NEW)
    assert clone.changes() == {}


@pytest.mark.registry
@BOTH
def test_so_it_does_from_a_real_registry(repo: str, tmp_path: Path, version: chunked.Version) -> None:
    clone = told(repo, tmp_path)
    chunked.publish(f"{repo}:v2", version)
    asked = clone.requests("pull", f"{repo}:v2")
    blobs = [each for each in asked if "/blobs/" in each.url]
    assert [each.status for each in blobs] == ([200] if version is DELTA else [206, 206])
    assert clone.path("model.bin").read_bytes() == b"".join(NEW)


def test_people_are_told_what_was_reused(place: str, tmp_path: Path) -> None:
    clone = told(place, tmp_path)
    chunked.publish(f"{place}:v2", V2)
    assert "12.0 KiB fetched, 388 KiB reused" in clone.run("pull", f"{place}:v2").out


def test_a_plan_says_what_moves_either_way(place: str, fake: Fake, tmp_path: Path) -> None:
    clone = told(place, tmp_path)
    chunked.publish(f"{place}:v2", V2)
    blobs_asked(fake)
    plan = clone.json("pull", f"{place}:v2", "--dry-run")
    assert (plan["whole_bytes"], plan["fetch_bytes"]) == (400 * KIB, ADDED)
    assert "About 12.0 KiB to fetch of 400 KiB" in clone.run("pull", f"{place}:v2", "--dry-run").out
    assert blobs_asked(fake) == []


def test_a_difference_travels_and_its_base_is_here(place: str, tmp_path: Path) -> None:
    clone = told(place, tmp_path)
    chunked.publish(f"{place}:v2", XOR)
    done = clone.json("pull", f"{place}:v2")
    assert done["fetched_bytes"] == XOR.chunks.packs[-1].blob.size
    assert clone.path("model.bin").read_bytes() == b"".join(CLOSE)


def test_a_file_that_moved_is_not_fetched(place: str, tmp_path: Path) -> None:
    clone = told(place, tmp_path)
    parts = chunked.plain({"config.json": b"{}\n", "a.bin": OLD[:50], "b.bin": OLD[50:]})
    chunked.publish(f"{place}:v2", parts)
    done = clone.json("pull", f"{place}:v2")
    assert (done["fetched_bytes"], done["reused_bytes"]) == (0, 400 * KIB)
    assert clone.path("a.bin").read_bytes() + clone.path("b.bin").read_bytes() == b"".join(OLD)


@BOTH
def test_one_content_at_several_paths_travels_once(place: str, tmp_path: Path, version: chunked.Version) -> None:
    clone = told(place, tmp_path)
    files = {"config.json": b"{}\n", "model.bin": NEW, "copy/model.bin": NEW}
    twice = chunked.plain(files) if version is V2 else chunked.delta(files, V1)
    chunked.publish(f"{place}:v2", twice)
    assert clone.json("pull", f"{place}:v2")["fetched_bytes"] == ADDED
    assert clone.path("copy/model.bin").read_bytes() == clone.path("model.bin").read_bytes() == b"".join(NEW)


def test_what_has_nothing_in_common_is_fetched_whole(place: str, fake: Fake, tmp_path: Path) -> None:
    clone = told(place, tmp_path)
    other = cut(Random(77).randbytes(400 * KIB), 4 * KIB)
    other[0] = OLD[0]
    chunked.publish(f"{place}:v2", chunked.plain({"model.bin": other}))
    blobs_asked(fake)
    assert clone.json("pull", f"{place}:v2")["fetched_bytes"] == 400 * KIB
    assert blobs_asked(fake) == ["all"]
    assert clone.path("model.bin").read_bytes() == b"".join(other)


def test_local_work_is_no_seed_that_is_believed(place: str, tmp_path: Path) -> None:
    clone = told(place, tmp_path)
    chunked.publish(f"{place}:v2", V2)
    mine = bytearray(b"".join(OLD))
    mine[200 * KIB] ^= 1
    clone.write({"model.bin": bytes(mine)})
    done = clone.json("pull", f"{place}:v2", "--overwrite", "--yes")
    assert done["fetched_bytes"] == ADDED + 4 * KIB
    assert clone.path("model.bin").read_bytes() == b"".join(NEW)


# --- every command that reads content --------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [DELTA, XOR], ids=["pack", "difference"])
def test_a_delta_version_is_read_by_every_command(place: str, tmp_path: Path, version: chunked.Version) -> None:
    wanted = b"".join(CLOSE if version is XOR else NEW)
    chunked.publish(f"{place}:v2", version)
    assert call("cat", f"{place}:v2:model.bin").data == wanted
    clone = Bundle.clone(f"{place}:v2", tmp_path / "fresh")
    assert clone.path("model.bin").read_bytes() == wanted
    assert clone.changes() == {}

    clone.path("model.bin").unlink()
    clone.run("restore", "model.bin")
    assert clone.path("model.bin").read_bytes() == wanted

    other = told(place, tmp_path)
    other.run("pull", f"{place}:v2", "--plan-out", str(tmp_path / "plan"))
    other.run("apply", str(tmp_path / "plan"))
    assert other.path("model.bin").read_bytes() == wanted

    call("ensure", f"{place}:v2", "--dest", str(tmp_path / "ensured"))
    assert (tmp_path / "ensured" / "model.bin").read_bytes() == wanted


# --- hosts that answer otherwise -------------------------------------------------------------------------------------


def to_blobs(method: str, path: str) -> bool:
    return method == "GET" and "/blobs/sha256:" in path


@pytest.mark.parametrize("version", [V2, DELTA, XOR], ids=["plain", "pack", "difference"])
@pytest.mark.parametrize("fresh", [False, True])
def test_a_host_that_sends_the_whole_is_asked_for_it(
    place: str, fake: Fake, tmp_path: Path, version: chunked.Version, fresh: bool
) -> None:
    clone = told(place, tmp_path)
    chunked.publish(f"{place}:v2", version)
    fake.fault(to_blobs, IgnoreRange(), times=None)
    if fresh:
        clone = Bundle.clone(f"{place}:v2", tmp_path / "fresh")
    else:
        clone.run("pull", f"{place}:v2")
    assert clone.path("model.bin").read_bytes() == b"".join(CLOSE if version is XOR else NEW)


@BOTH
def test_a_host_that_refuses_is_told_of_with_a_way_out(
    place: str, fake: Fake, tmp_path: Path, version: chunked.Version
) -> None:
    clone = told(place, tmp_path)
    chunked.publish(f"{place}:v2", version)
    fake.fault(to_blobs, Status(416), times=None)
    refused = clone.refused(9, "pull", f"{place}:v2")
    assert "push the version again" in refused["hint"]
    assert clone.path("model.bin").read_bytes() == b"".join(OLD)


def test_ranges_that_alone_are_refused_cost_bytes_and_no_more(place: str, fake: Fake, tmp_path: Path) -> None:
    clone = told(place, tmp_path)
    chunked.publish(f"{place}:v2", V2)

    class OnlyWhole(Action):
        def before(self, call: Call) -> Call | Response:
            return Response(416, {}, b"") if "range" in call.headers else call

    fake.fault(to_blobs, OnlyWhole(), times=None)
    assert clone.json("pull", f"{place}:v2")["fetched_bytes"] == 400 * KIB
    assert clone.path("model.bin").read_bytes() == b"".join(NEW)


@BOTH
def test_parts_of_blobs_that_are_elsewhere(place: str, fake: Fake, tmp_path: Path, version: chunked.Version) -> None:
    """Each request is redirected to an address of its own, some of which are good no more."""
    clone = told(place, tmp_path)
    chunked.publish(f"{place}:v2", version)
    with BlobFront(fake.host) as front:
        front.stillborn = 1
        done = clone.json("--plain-http", "pull", f"{front.host}/team/model:v2")
        assert done["fetched_bytes"] == ADDED
        assert front.redirected == (2 if version is DELTA else 3)
    assert clone.path("model.bin").read_bytes() == b"".join(NEW)


def test_a_cut_in_the_middle_is_gone_on_from(place: str, fake: Fake, tmp_path: Path) -> None:
    clone = told(place, tmp_path)
    chunked.publish(f"{place}:v2", V2)
    fake.fault(to_blobs, Cut(3000), times=2)
    done = clone.json("pull", f"{place}:v2")
    assert done["fetched_bytes"] == ADDED
    assert clone.path("model.bin").read_bytes() == b"".join(NEW)


@BOTH
def test_a_chunk_that_comes_damaged_once_is_asked_for_again(
    place: str, fake: Fake, tmp_path: Path, version: chunked.Version
) -> None:
    clone = told(place, tmp_path)
    chunked.publish(f"{place}:v2", version)
    fake.fault(to_blobs, Corrupt(100), times=1)
    clone.run("pull", f"{place}:v2")
    assert clone.path("model.bin").read_bytes() == b"".join(NEW)


@BOTH
def test_one_that_always_comes_damaged_changes_nothing(
    place: str, fake: Fake, tmp_path: Path, version: chunked.Version
) -> None:
    clone = told(place, tmp_path)
    chunked.publish(f"{place}:v2", version)
    fake.fault(to_blobs, Corrupt(100), times=None)
    assert clone.refused(9, "pull", f"{place}:v2")["code"] == "corrupt"
    assert clone.path("model.bin").read_bytes() == b"".join(OLD)
    assert clone.changes() == {}


def test_a_list_that_lies_about_a_plain_file_costs_bytes_and_no_more(place: str, fake: Fake, tmp_path: Path) -> None:
    """Every chunk is what its digest says, and together they are another file: the digest of the blob decides."""
    clone = told(place, tmp_path)
    chunked.publish(f"{place}:v2", chunked.lying(V2, "model.bin", [NEW[1], NEW[0], *NEW[2:]]))
    blobs_asked(fake)
    assert clone.json("pull", f"{place}:v2")["fetched_bytes"] >= 400 * KIB
    assert blobs_asked(fake)[-1] == "all"
    assert clone.path("model.bin").read_bytes() == b"".join(NEW)


def test_a_list_that_lies_about_a_delta_file_is_corrupt(place: str, tmp_path: Path) -> None:
    clone = told(place, tmp_path)
    chunked.publish(f"{place}:v2", chunked.lying(DELTA, "model.bin", NEW, swapped=True))
    assert clone.refused(9, "pull", f"{place}:v2")["code"] == "corrupt"
    assert clone.path("model.bin").read_bytes() == b"".join(OLD)
    assert clone.changes() == {}


# --- interrupted -----------------------------------------------------------------------------------------------------


@BOTH
def test_a_killed_pull_goes_on(place: str, tmp_path: Path, version: chunked.Version) -> None:
    clone = told(place, tmp_path)
    chunked.publish(f"{place}:v2", version)
    clone.killed_at("assembly verified", "pull", f"{place}:v2")
    assert clone.path("model.bin").read_bytes() == b"".join(OLD)
    done = clone.json("pull", f"{place}:v2")
    assert (done["fetched_bytes"], done["reused_bytes"]) == (0, 400 * KIB)
    assert clone.path("model.bin").read_bytes() == b"".join(NEW)
    assert list((clone.root / FOLDER / "parts").iterdir()) == []


def test_what_is_left_of_another_pull_goes_with_the_next(place: str, tmp_path: Path) -> None:
    clone = told(place, tmp_path)
    chunked.publish(f"{place}:v2", V2)
    clone.killed_at("assembly verified", "pull", f"{place}:v2")
    chunked.publish(f"{place}:v3", chunked.plain({"config.json": b"{}\n", "model.bin": OLD[::-1]}))
    clone.run("pull", f"{place}:v3")
    assert list((clone.root / FOLDER / "parts").iterdir()) == []
