"""Files of which no chunk list is known: those that `--seed` names, the one that is replaced, and Hugging Face's cache."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from modelops_bundle.errors import Interrupted
from modelops_bundle.events import Notice, Run
from modelops_bundle.formats import cuts
from modelops_bundle.formats.chunker import Chunker
from modelops_bundle.model.digest import Digest
from modelops_bundle.operations import neighbours, seeding
from modelops_bundle.testing.registry import Registry as Fake
from modelops_bundle.transfer.assemble import Wanted
from modelops_bundle.transfer.seeds import Seeds
from modelops_bundle.workspace.chunks import ChunkCache
from tests.support import chunked
from tests.support.bundle import Bundle, call

CDC = "fastcdc2020/64k"
OLD = Random(2).randbytes(3 << 20)
NEW = OLD[: 1 << 20] + b"inserted" + OLD[1 << 20 :]


def chunks_of(data: bytes, chunker: str = CDC) -> list[bytes]:
    """The chunks of a file whose content decides."""
    made = Chunker(cuts.Plan(chunker, parameters=cuts.FASTCDC[chunker]), len(data))
    made.feed(data)
    found, at = [], 0
    for size in made.finish().sizes:
        found.append(data[at : at + size])
        at += size
    return found


VERSION = chunked.plain({"model.bin": chunks_of(NEW)}, chunker=CDC)
FEW = 1 << 19
"""What an insertion costs, at most: the chunks around it."""


@pytest.fixture
def place(fake: Fake) -> str:
    made = f"{fake.host}/team/model:latest"
    chunked.publish(made, VERSION)
    return made


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files are worth reading others for."""
    monkeypatch.setattr(seeding, "FURTHER", 1)


def keep_in_hub(hub: Path, data: bytes, repository: str = "models--org--name") -> Path:
    """A large file as huggingface_hub keeps it."""
    path = hub / repository / "blobs" / hashlib.sha256(data).hexdigest()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# --- --seed ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["file", "directory", "links"])
def test_a_named_file_is_a_seed(place: str, tmp_path: Path, kind: str) -> None:
    kept = tmp_path / "other" / "deep" / "old.bin"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(OLD)
    links = tmp_path / "links"
    links.mkdir()
    (links / "old.bin").symlink_to(kept)
    named = {"file": kept, "directory": tmp_path / "other", "links": links}[kind]
    done = call("--json", "clone", place, str(tmp_path / "clone"), "--seed", str(named)).json
    assert done["fetched_bytes"] < FEW
    assert done["fetched_bytes"] + done["reused_bytes"] >= len(NEW)
    assert (tmp_path / "clone" / "model.bin").read_bytes() == NEW


def test_a_pull_takes_seeds_as_well(place: str, tmp_path: Path) -> None:
    (tmp_path / "old.bin").write_bytes(OLD)
    (tmp_path / "nothing.bin").write_bytes(bytes(2 << 20))
    made = Bundle.create(tmp_path / "made", place.rpartition(":")[0])
    seeds = ("--seed", str(tmp_path / "nothing.bin"), "--seed", str(tmp_path / "old.bin"))
    assert made.json("pull", *seeds)["fetched_bytes"] < FEW
    assert made.path("model.bin").read_bytes() == NEW


def test_a_seed_that_is_not_there_is_a_mistake(place: str, tmp_path: Path) -> None:
    result = call("clone", place, str(tmp_path / "clone"), "--seed", str(tmp_path / "absent"), expect=2)
    assert "absent" in result.err
    assert not (tmp_path / "clone").exists()


def test_a_seed_that_cannot_be_read_only_costs_bytes(place: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "small").write_bytes(OLD[:1000])
    words = ("--seed", str(tmp_path / "pipe"), "--seed", str(tmp_path / "small"))
    assert call("--json", "clone", place, str(tmp_path / "clone"), *words).json["fetched_bytes"] == len(NEW)


def test_the_largest_files_come_first_and_each_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(2 << 20))
    (tmp_path / "b").write_bytes(bytes(3 << 20))
    (tmp_path / "c").symlink_to(tmp_path / "a")
    (tmp_path / "d").write_bytes(b"small")
    (tmp_path / "e").symlink_to(tmp_path / "nowhere")
    found = neighbours.named([tmp_path, tmp_path / "a", tmp_path / "gone"], Run())
    assert [each.size >> 20 for each in found] == [3, 2]


def test_somebody_who_asks_to_stop_is_heard_while_a_directory_is_walked(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    said: list[object] = []
    run = Run(said.append)
    run.cancel()
    with pytest.raises(Interrupted):
        neighbours.named([tmp_path], run)
    assert [each.code for each in said if isinstance(each, Notice)] == ["seed-walk"]


def test_what_is_mounted_in_a_directory_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("here", "mounted", "linked"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "large").write_bytes(bytes(2 << 20))
    (tmp_path / "here" / "link").symlink_to(tmp_path / "linked" / "large")
    away = {path.stat().st_ino for folder in ("mounted", "linked") for path in (tmp_path / folder).rglob("large")}
    away.add((tmp_path / "mounted").stat().st_ino)

    def patched(name: str) -> None:
        real = getattr(os, name)

        def elsewhere(*args: object, **more: object) -> os.stat_result:
            facts = real(*args, **more)
            moved = os.stat_result([*facts[:2], facts.st_dev + 1, *facts[3:]])
            return moved if facts.st_ino in away else facts

        monkeypatch.setattr(os, name, elsewhere)

    patched("stat")
    patched("lstat")
    found = neighbours.named([tmp_path], Run())
    monkeypatch.undo()
    assert [each.name for each in found] == [str(tmp_path / "here" / "large")]


def test_a_directory_is_walked_once(fake: Fake, tmp_path: Path) -> None:
    made = f"{fake.host}/team/two:latest"
    chunked.publish(made, chunked.plain({f"{n}.bin": chunks_of(NEW[n:]) for n in range(4)}, chunker=CDC))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "old.bin").write_bytes(OLD)
    done = call("clone", made, str(tmp_path / "clone"), "--seed", str(tmp_path / "other"))
    assert done.err.count("looking through") == 1


# --- the file that is replaced ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("eager")
def test_the_old_file_is_read_when_nobody_knows_its_chunks(place: str, tmp_path: Path) -> None:
    """As it was pushed by another tool, or before there were chunk maps."""
    bare = place.replace(":latest", ":bare")
    chunked.publish(bare, chunked.plain({"model.bin": OLD}))
    clone = Bundle.clone(bare, tmp_path / "clone")
    assert clone.json("pull", place)["fetched_bytes"] < FEW
    assert clone.path("model.bin").read_bytes() == NEW


def test_it_is_not_read_for_little(place: str, tmp_path: Path) -> None:
    bare = place.replace(":latest", ":bare")
    chunked.publish(bare, chunked.plain({"model.bin": OLD}))
    clone = Bundle.clone(bare, tmp_path / "clone")
    assert clone.json("pull", place)["fetched_bytes"] == len(NEW)


# --- Hugging Face's cache --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME", None])
def test_the_cache_of_hugging_face_is_a_seed(
    place: str, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    folders = {"HF_HUB_CACHE": tmp_path / "hub", "HF_HOME": tmp_path / "hf"}
    if variable is None:
        monkeypatch.delenv("XDG_CACHE_HOME")
        keep_in_hub(home / ".cache" / "huggingface" / "hub", OLD)
    else:
        monkeypatch.setenv(variable, str(folders[variable]))
        keep_in_hub(folders[variable] if variable == "HF_HUB_CACHE" else folders[variable] / "hub", OLD)
    done = call("--json", "clone", place, str(tmp_path / "clone")).json
    assert done["fetched_bytes"] < FEW
    assert (tmp_path / "clone" / "model.bin").read_bytes() == NEW


def test_a_file_it_holds_whole_is_not_fetched(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Random(3).randbytes(9 << 20)
    place = f"{fake.host}/team/large:latest"
    chunked.publish(place, chunked.plain({"model.bin": data}))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    kept = keep_in_hub(tmp_path / "hub", data)
    assert call("--json", "clone", place, str(tmp_path / "one")).json["fetched_bytes"] == 0
    # Its name is believed as little as anything else.
    kept.write_bytes(bytes(len(data)))
    assert call("--json", "clone", place, str(tmp_path / "two")).json["fetched_bytes"] == len(data)
    assert (tmp_path / "two" / "model.bin").read_bytes() == data


@pytest.mark.parametrize("cache", [False, True], ids=["hub", "cache"])
@pytest.mark.parametrize("kind", ["directory", "link", "pipe"])
def test_what_is_called_like_a_file_and_is_none_is_left_alone(
    fake: Fake, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, cache: bool, kind: str
) -> None:
    data = Random(3).randbytes(9 << 20)
    place = f"{fake.host}/team/large:latest"
    chunked.publish(place, chunked.plain({"model.bin": data}))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    if cache:
        call("ensure", place, "--dest", str(tmp_path / "served"))
        [kept] = home.rglob(f"blobs/sha256/{hashlib.sha256(data).hexdigest()}")
    else:
        kept = keep_in_hub(tmp_path / "hub", data)
    kept.unlink()
    if kind == "pipe":
        os.mkfifo(kept)
    elif kind == "directory":
        kept.mkdir()
    else:
        kept.symlink_to(tmp_path)
    assert call("--json", "clone", place, str(tmp_path / "one")).json["fetched_bytes"] == len(data)
    assert (tmp_path / "one" / "model.bin").read_bytes() == data


def test_the_nearest_in_size_are_looked_at(tmp_path: Path) -> None:
    sizes = [3 << 19, 7 << 19, 3 << 20, 5 << 20, 40 << 20]
    for number, size in enumerate(sizes):
        path = tmp_path / "models--a--b" / "blobs" / f"{number:064x}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.truncate(path, size)
    (tmp_path / "models--a--b" / "blobs" / ("1" * 64 + ".incomplete")).write_bytes(bytes(3 << 20))
    (tmp_path / "datasets--a--b" / "blobs").mkdir(parents=True)
    assert [each.name[-1] for each in neighbours.blobs(tmp_path, 3 << 20)] == ["2", "1", "0", "3"]
    assert neighbours.blobs(tmp_path / "absent", 3 << 20) == []


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("is_known", [True, False])
def test_of_unrelated_files_in_that_cache_only_a_little_is_read(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    keep_in_hub(tmp_path / "hub", Random(5).randbytes(len(OLD)))
    if is_known:
        keep_in_hub(tmp_path / "hub", OLD, "models--org--other")
    done = call("--json", "--progress", "json", "clone", place, str(tmp_path / "clone"))
    assert done.err.count('"seed-read"') == is_known
    assert (done.json["fetched_bytes"] < FEW) == is_known


def sought(data: list[bytes], there: int = 0, chunker: str = CDC) -> neighbours.Sought:
    """All of a file, without its first chunks."""
    recipe = chunked.plain({"model.bin": data}, chunker=chunker).recipe("model.bin")
    return neighbours.Sought(Wanted(recipe), range(there, len(data)))


def test_no_more_is_read_than_is_missing(tmp_path: Path) -> None:
    cache, chunks = ChunkCache(tmp_path / "lists"), chunks_of(OLD)
    all_of_it = [candidate(tmp_path / name, OLD) for name in "ab"]
    assert len(list(neighbours.listed(all_of_it, CDC, cache, Run(), sought=sought(chunks)))) == 1
    assert list(neighbours.listed(all_of_it, CDC, cache, Run(), sought=sought(chunks, len(chunks) // 2))) == []


def test_of_files_of_tensors_a_few_are_compared(tmp_path: Path) -> None:
    size = 1 << 20
    made = {f"t{n}": {"dtype": "U8", "shape": [size], "data_offsets": [n * size, (n + 1) * size]} for n in range(4)}
    header = json.dumps(made).encode()
    head = len(header).to_bytes(8, "little") + header
    tensors = [Random(n).randbytes(size) for n in range(8)]
    cache, kind = ChunkCache(tmp_path / "lists"), "safetensors/1m"
    wanted = [head, *tensors[:4]]

    def read(name: str, data: list[bytes]) -> int:
        whole = candidate(tmp_path / name, b"".join(data))
        return len(list(neighbours.listed([whole], kind, cache, Run(), sought=sought(wanted, chunker=kind))))

    longer = len(header + b"  ").to_bytes(8, "little") + header + b"  "
    assert read("same-header", [head, *tensors[4:]]) == 1
    assert read("same-tensors", [longer, *tensors[:4]]) == 1
    assert read("nothing", [longer, *tensors[4:]]) == 0


# --- reading ---------------------------------------------------------------------------------------------------------


def candidate(path: Path, data: bytes, digest: Digest | None = None) -> neighbours.Candidate:
    path.write_bytes(data)
    return neighbours.Candidate(str(path), len(data), lambda: os.open(path, os.O_RDONLY), digest)


def test_only_files_of_the_same_format_are_read(tmp_path: Path) -> None:
    header = b'{"a":{"dtype":"U8","shape":[2097152],"data_offsets":[0,2097152]}}'
    tensors = len(header).to_bytes(8, "little") + header + bytes(2 << 20)
    made = [
        candidate(tmp_path / "a.safetensors", tensors),
        candidate(tmp_path / "b.bin", OLD),
        candidate(tmp_path / "c.gz", OLD),
    ]
    cache = ChunkCache(tmp_path / "lists")
    assert [sum(each.sizes) for each in neighbours.listed(made, CDC, cache, Run())] == [len(OLD)]
    assert [sum(each.sizes) for each in neighbours.listed(made, "safetensors/1m", cache, Run())] == [len(tensors)]


def test_a_longer_file_is_cut_as_the_wanted_one(tmp_path: Path) -> None:
    wanted = "fastcdc2020/256k"
    [source] = neighbours.listed([candidate(tmp_path / "a", OLD)], wanted, ChunkCache(tmp_path / "lists"), Run())
    assert [len(chunk) for chunk in chunks_of(OLD, wanted)] == list(source.sizes)


def test_a_list_is_made_once(tmp_path: Path) -> None:
    cache, digest = ChunkCache(tmp_path / "lists"), Digest.of(OLD)
    first = candidate(tmp_path / "a", OLD, digest)
    [made] = neighbours.listed([first], CDC, cache, Run())
    (tmp_path / "a").write_bytes(b"")
    [kept] = neighbours.listed([first], CDC, cache, Run())
    assert (kept.sizes, kept.digests) == (made.sizes, made.digests)
    # What it says is looked at when it is used.
    with Seeds([kept]) as seeds:
        assert seeds.read(kept.digests[:32], kept.sizes[0]) is None


def test_no_more_are_read_than_were_asked_for(tmp_path: Path) -> None:
    asked: list[str] = []

    def all_of_them() -> Iterator[neighbours.Candidate]:
        for name in "abcd":
            asked.append(name)
            yield candidate(tmp_path / name, OLD[: 1 << 20])

    assert len(list(neighbours.listed(all_of_them(), CDC, ChunkCache(tmp_path / "lists"), Run(), 2))) == 2
    assert asked == ["a", "b"]


def test_a_file_that_shrinks_is_left_out(tmp_path: Path) -> None:
    made = candidate(tmp_path / "a", OLD)
    (tmp_path / "a").write_bytes(OLD[: 2 << 20])
    assert list(neighbours.listed([made], CDC, ChunkCache(tmp_path / "lists"), Run())) == []


def test_somebody_who_asks_to_stop_is_heard(tmp_path: Path) -> None:
    run = Run()
    run.cancel()
    with pytest.raises(Interrupted):
        list(neighbours.listed([candidate(tmp_path / "a", OLD)], CDC, ChunkCache(tmp_path / "lists"), run))
