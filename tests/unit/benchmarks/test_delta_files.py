"""The files of the benchmark are what our own parsers, and Python's, take them for."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from benchmarks.delta import edits
from benchmarks.delta.edits import TINY
from benchmarks.delta.scenarios import ALL
from benchmarks.delta.weights import LAYER_KINDS
from modelops_bundle.formats import gguf, safetensors
from modelops_bundle.formats.tensors import Header


def header(path: Path, parser: object) -> Header:
    data = path.read_bytes()
    found = parser.read_header(lambda offset, count: data[offset : offset + count], len(data))  # type: ignore[attr-defined]
    assert isinstance(found, Header)
    return found


def tensors(path: Path, parser: object) -> dict[str, bytes]:
    data = path.read_bytes()
    return {tensor.name: data[tensor.start : tensor.stop] for tensor in header(path, parser).tensors}


def write(folder: Path, name: str) -> tuple[Path, Path]:
    """Both versions of a scenario."""
    before, after = folder / "before", folder / "after"
    scenario = ALL[name]
    for place, make in ((before, scenario.base), (after, scenario.change)):
        place.mkdir()
        if make:
            make(place, TINY)
    return before, after


@pytest.mark.parametrize("name", ALL)
def test_every_scenario_changes_something_and_is_the_same_for_everybody(name: str, tmp_path: Path) -> None:
    def digests() -> dict[str, str]:
        return {
            str(path.relative_to(tmp_path)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(tmp_path.rglob("*"))
            if path.is_file()
        }

    before, after = write(tmp_path, name)
    first = digests()
    assert {path.read_bytes() for path in before.iterdir()} != {path.read_bytes() for path in after.iterdir()}
    for folder in (before, after):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    write(tmp_path, name)
    assert digests() == first


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("last-layer", {f"model.layers.1.{kind}.weight" for kind in LAYER_KINDS}),
        ("lora-qv", {f"model.layers.{layer}.self_attn.{kind}_proj.weight" for layer in (0, 1) for kind in "qv"}),
        ("header-edit", set()),
        ("reorder", set()),
        ("one-of-64", {"expert.37.weight"}),
    ],
)
def test_edits_change_the_tensors_they_name(name: str, changed: set[str], tmp_path: Path) -> None:
    before, after = (tensors(place / edits.MODEL, safetensors) for place in write(tmp_path, name))
    assert before.keys() == after.keys()
    assert {tensor for tensor in before if before[tensor] != after[tensor]} == changed


def test_a_grown_vocabulary_keeps_the_rows_it_has(tmp_path: Path) -> None:
    before, after = (tensors(place / edits.MODEL, safetensors) for place in write(tmp_path, "vocabulary"))
    grown = {name for name in before if len(before[name]) != len(after[name])}
    assert grown == {"lm_head.weight", "model.embed_tokens.weight"}
    assert all(after[name].startswith(before[name]) for name in before)


def test_the_shards_hold_the_tensors_of_the_whole(tmp_path: Path) -> None:
    before, after = write(tmp_path, "re-shard")
    parts = [tensors(after / f"model-0000{number}-of-00002.safetensors", safetensors) for number in (1, 2)]
    assert parts[0] | parts[1] == tensors(before / edits.MODEL, safetensors)
    assert not parts[0].keys() & parts[1].keys()


def test_a_longer_template_moves_the_tensors_and_leaves_them_as_they_are(tmp_path: Path) -> None:
    before, after = write(tmp_path, "gguf-template")
    assert tensors(before / edits.GGUF, gguf) == tensors(after / edits.GGUF, gguf)
    places = [min(tensor.start for tensor in header(place / edits.GGUF, gguf).tensors) for place in (before, after)]
    assert places[0] < places[1]


def test_a_checkpoint_is_laid_out_as_torch_does(tmp_path: Path) -> None:
    before, after = (place / edits.CHECKPOINT for place in write(tmp_path, "checkpoint"))
    members: list[dict[str, bytes]] = []
    for path in (before, after):
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            assert archive.testzip() is None
            assert archive.namelist()[0] == "checkpoint/data.pkl"
            for info in archive.infolist():
                assert info.compress_type == zipfile.ZIP_STORED
                file.seek(info.header_offset + 26)
                name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
                assert (info.header_offset + 30 + name + extra) % 64 == 0
            members.append({name: archive.read(name) for name in archive.namelist() if "/data/" in name})
    same = [name for name in members[0] if members[0][name] == members[1][name]]
    # The embedding, the norm, and the lower layer are frozen.
    assert len(same) == 2 + 9


def test_rows_are_inserted_and_appended(tmp_path: Path) -> None:
    for name, where in (("csv-append", slice(TINY.rows + 1, None)), ("csv-insert", slice(1001, 1101))):
        folder = tmp_path / name
        folder.mkdir()
        before, after = ((place / edits.CSV).read_text().splitlines() for place in write(folder, name))
        assert len(before) == TINY.rows + 1
        new = after[where]
        del after[where]
        assert after == before
        assert len(new) == (10_000 if name == "csv-append" else 100)
        assert not set(new) & set(before)
