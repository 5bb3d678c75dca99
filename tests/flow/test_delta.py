"""push --delta: only changed chunks of large files are sent, and every version stays whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from modelops_bundle.events import observe_checkpoints
from modelops_bundle.model import media
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.pointer import pointer
from modelops_bundle.plan import delta as rules
from modelops_bundle.stores import learned, registries
from modelops_bundle.testing.actions import Action
from modelops_bundle.testing.protocol import Call, Response
from modelops_bundle.testing.registry import Registry as Fake
from modelops_bundle.transfer import encode
from tests.support import large
from tests.support.bundle import FOLDER, KILL, Bundle, Content
from tests.support.large import archive, csv, noise, nudged, safetensors, small_packs, tensors, weights
from tests.support.oci import FILEPATH, PREFIX, Repository, digest_of, titled

MODEL, CONFIG = "model.safetensors", "config.json"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    large.make_small(monkeypatch)


@pytest.fixture
def work(remote: str, tmp_path: Path) -> Bundle:
    """A bundle with one large file, pushed plain as v1."""
    return begun(remote, tmp_path / "a", {MODEL: safetensors(tensors()), CONFIG: "{}\n"})


def begun(remote: str, root: Path, files: Mapping[str, Content]) -> Bundle:
    made = Bundle.create(root, remote, files)
    made.push("--tag", "v1")
    return made


class Version:
    """A version as its remote has it."""

    def __init__(self, remote: str, tag: str) -> None:
        place = remote.removeprefix("layout:")
        self.blob: Callable[[str], bytes] = _Layout(place).blob if place != remote else Repository(remote).blob
        found = _Layout(place).manifest(tag) if place != remote else Repository(remote).manifest(tag)
        assert found is not None, tag
        self.digest, data = found
        self.manifest: dict[str, Any] = json.loads(data)
        self.layers = {layer["annotations"][FILEPATH]: layer for layer in self.manifest["layers"]}
        self.index: dict[str, Any] = json.loads(self.read(".bundle/index.json"))
        self.files = {row["path"]: row for row in self.index["files"]}

    @property
    def storage(self) -> str:
        return str(self.manifest["annotations"][f"{PREFIX}storage"])

    @property
    def packs(self) -> list[str]:
        """The digests of the chunk packs, but for those that are files of this version."""
        return [layer["digest"] for path, layer in self.layers.items() if path.startswith(".bundle/packs/")]

    @property
    def earlier(self) -> list[str]:
        return [path for path in self.layers if path.startswith(".bundle/indexes/")]

    def read(self, path: str) -> bytes:
        return self.blob(self.layers[path]["digest"])

    def check(self) -> None:
        """What the index names is among the layers, and every layer is there."""
        digests = {layer["digest"] for layer in self.manifest["layers"]}
        assert set(self.index["blobs"]) <= digests
        for layer in self.manifest["layers"]:
            data = self.blob(layer["digest"])
            assert (digest_of(data), len(data)) == (layer["digest"], layer["size"])


class _Layout:
    def __init__(self, place: str) -> None:
        self._place = Path(place)

    def manifest(self, tag: str) -> tuple[str, bytes] | None:
        listed = json.loads((self._place / "index.json").read_text())["manifests"]
        for each in listed:
            if each.get("annotations", {}).get("org.opencontainers.image.ref.name") == tag:
                return each["digest"], self.blob(each["digest"])
        return None

    def blob(self, digest: str) -> bytes:
        return (self._place / "blobs" / digest.replace(":", "/")).read_bytes()


def holds(work: Bundle, tag: str, files: Mapping[str, bytes]) -> None:
    """The version has exactly these bytes."""
    for path, data in files.items():
        found = work.run("cat", f":{tag}:{path}").data
        assert hashlib.sha256(found).digest() == hashlib.sha256(data).digest(), f"{tag}:{path}"


def edited(work: Bundle, held: dict[str, bytes], name: str = "layer.3.weight", seed: int = 77) -> bytes:
    """Change one tensor; the whole file then."""
    held[name] = weights(seed, len(held[name]) // 2)
    data = safetensors(held)
    work.write({MODEL: data})
    return data


# --- what is sent ----------------------------------------------------------------------------------------------------


def test_an_edit_of_one_tensor_sends_that_tensor(work: Bundle, remote: str) -> None:
    held = tensors()
    data = edited(work, held)
    done = work.json("push", "--delta", "--tag", "v2")
    tensor = len(held["layer.3.weight"])
    assert tensor * 0.6 < done["sent_bytes"] < tensor
    assert done["reused_bytes"] == len(data) - tensor
    assert done["sent_blobs"] == 4  # the pack, the pointer, the index, the config
    assert done["tags"] == ["v2"]
    holds(work, "v2", {MODEL: data, CONFIG: b"{}\n"})
    version = Version(remote, "v2")
    version.check()
    assert version.storage == "delta"
    assert digest_of(safetensors(tensors())) in version.packs
    assert len(version.packs) == 2
    assert len(version.earlier) == 1
    assert version.read(MODEL) == pointer(MODEL, len(data), Digest.of(data))
    assert version.layers[MODEL]["mediaType"] == media.layer_type("doc")
    assert version.files[MODEL]["chunker"] == "safetensors/1m"
    assert "at" not in version.files[MODEL]


def test_the_second_time_there_is_nothing_to_do(work: Bundle, remote: str) -> None:
    edited(work, tensors())
    first = work.push("--delta", "--tag", "v2")
    for words in (("--delta",), ()):
        again = work.json("push", *words, "--tag", "v2")
        assert (again["changed"], again["digest"], again["sent_blobs"]) == (False, first, 0)
    assert "up to date" in work.run("push", "--delta", "--tag", "v2").out
    assert Version(remote, "v2").digest == first


def test_the_same_tree_under_more_tags_is_the_same_version(work: Bundle, remote: str) -> None:
    edited(work, tensors())
    first = work.push("--delta", "--tag", "v2", "--tag", "v2.0")
    done = work.json("push", "--delta", "--tag", "v2.0", "--tag", "v2.0.1", "--tag", "v2.0.2")
    assert (done["digest"], done["sent_bytes"]) == (first, 0)
    assert {Version(remote, tag).digest for tag in ("v2", "v2.0", "v2.0.1", "v2.0.2")} == {first}


@pytest.mark.parametrize("step", ["blobs sent", "tags moved", "lease recorded"])
def test_a_push_that_was_killed_is_gone_on_with(tmp_path: Path, step: str) -> None:
    remote = f"layout:{tmp_path / 'remote'}"
    work = begun(remote, tmp_path / "a", {MODEL: safetensors(tensors()), CONFIG: "{}\n"})
    data = edited(work, tensors())
    work.spawn("push", "--delta", "--tag", "v1", expect=-9, before=large.HERE + KILL.format(step=step))
    work.push("--delta", "--tag", "v1")
    holds(work, "v1", {MODEL: data})
    Version(remote, "v1").check()
    assert not work.json("push", "--delta", "--tag", "v1")["changed"]


def test_plain_writes_a_version_that_every_tool_reads(work: Bundle, remote: str) -> None:
    data = edited(work, tensors())
    delta = work.push("--delta", "--tag", "v2")
    done = work.json("push", "--plain", "--tag", "v2")
    assert done["changed"]
    assert done["digest"] != delta
    assert done["sent_bytes"] > len(data)
    version = Version(remote, "v2")
    assert version.storage == "plain"
    assert version.read(MODEL) == data
    assert set(version.layers) == {".bundle/index.json", MODEL, CONFIG}
    assert work.changes() == {}
    assert not work.json("push", "--plain", "--tag", "v2")["changed"]
    assert not work.json("push", "--tag", "v2")["changed"]


def test_the_plain_version_is_the_same_whoever_makes_it(work: Bundle, remote: str, tmp_path: Path) -> None:
    data = edited(work, tensors())
    work.push("--delta", "--tag", "v2")
    plain = work.push("--plain", "--tag", "v3")
    other = Bundle.create(tmp_path / "b", f"layout:{tmp_path / 'elsewhere'}", {MODEL: data, CONFIG: "{}\n"})
    assert other.push() == plain


def test_an_unchanged_tree_under_another_tag_sends_nothing(work: Bundle) -> None:
    first = work.push("--tag", "v1")
    done = work.json("push", "--delta", "--tag", "v1.1")
    assert (done["digest"], done["sent_bytes"]) == (first, 0)


def test_each_of_many_versions_can_be_read(work: Bundle, remote: str) -> None:
    held, written = tensors(), {"v1": safetensors(tensors())}
    for number in range(2, 13):
        name = f"layer.{number % 8}.weight"
        written[f"v{number}"] = edited(work, held, name, seed=number)
        done = work.json("push", "--delta", "--tag", f"v{number}")
        assert done["sent_bytes"] < 16_000, number
    for tag, data in written.items():
        holds(work, tag, {MODEL: data})
        assert len(Version(remote, tag).earlier) <= 8
    last = Version(remote, "v12")
    last.check()
    # All tensors have changed: of the first version too little is in use to name it.
    assert 7 <= len(last.earlier) <= 8
    borrowed = [pack for pack in last.index["chunks"]["packs"] if "list" in pack]
    literal = [pack for pack in last.index["chunks"]["packs"] if "raw" in pack]
    assert len(borrowed) >= 7
    assert len(literal) >= 1


# --- kinds of edits --------------------------------------------------------------------------------------------------


def header(held: dict[str, bytes]) -> dict[str, bytes]:
    return {MODEL: safetensors(held, note="written anew")}


def reordered(held: dict[str, bytes]) -> dict[str, bytes]:
    return {MODEL: safetensors(dict(reversed(held.items())))}


def sharded(held: dict[str, bytes]) -> dict[str, bytes]:
    names = sorted(held)
    return {
        "model-1.safetensors": safetensors({name: held[name] for name in names[:4]}),
        "model-2.safetensors": safetensors({name: held[name] for name in names[4:]}),
    }


def grown(held: dict[str, bytes]) -> dict[str, bytes]:
    # Its last chunk was shorter: cut as before, only what was added is new.
    return {MODEL: safetensors({**held, "layer.2.weight": held["layer.2.weight"] + weights(55, 100)})}


def renamed(held: dict[str, bytes]) -> dict[str, bytes]:
    return {"weights/renamed.safetensors": safetensors(held)}


@pytest.mark.parametrize(
    ("edit", "most"), [(header, 1500), (reordered, 1500), (sharded, 2500), (grown, 2200), (renamed, 0)]
)
def test_what_only_moved_is_not_sent(
    work: Bundle, remote: str, edit: Callable[[dict[str, bytes]], dict[str, bytes]], most: int
) -> None:
    files = edit(tensors())
    if MODEL not in files:
        work.write({MODEL: None})
    work.write(files)
    work.run("add", *files)
    plan = work.json("push", "--delta", "--tag", "v2", "--dry-run")
    assert plan["ways"].get("delta", 0) <= most
    done = work.json("push", "--delta", "--tag", "v2")
    assert done["sent_bytes"] <= most + 6000  # index, config, pointers
    holds(work, "v2", files)
    version = Version(remote, "v2")
    version.check()
    assert version.storage == ("plain" if edit is renamed else "delta")


@pytest.mark.parametrize(
    ("name", "before", "after", "most"),
    [
        ("rows.csv", csv(6000), csv(6000) + b"one,more,row\n", 4000),
        ("rows.csv", csv(6000), csv(3000) + b"in,the,middle\n" + csv(6000)[len(csv(3000)) :], 9000),
        (
            "checkpoint.pt",
            archive({"a/data.pkl": b"pickle", **{f"a/{n}": weights(n, 5000) for n in range(6)}}),
            archive({"b/data.pkl": b"pickle!", **{f"b/{n}": weights(9 if n == 2 else n, 5000) for n in range(6)}}),
            12_000,
        ),
    ],
    ids=["append", "insert", "zip"],
)
def test_other_files_send_what_changed(
    remote: str, tmp_path: Path, name: str, before: bytes, after: bytes, most: int
) -> None:
    work = begun(remote, tmp_path / "a", {name: before})
    work.write({name: after})
    plan = work.json("push", "--delta", "--tag", "v2", "--dry-run")
    assert plan["ways"]["delta"] <= most < plan["ways"]["plain"] == len(after)
    work.push("--delta", "--tag", "v2")
    holds(work, "v2", {name: after})
    holds(work, "v1", {name: before})
    Version(remote, "v2").check()


# --- which files -----------------------------------------------------------------------------------------------------


def test_only_the_file_that_changed_becomes_chunks(remote: str, tmp_path: Path) -> None:
    other = safetensors(tensors(5))
    work = begun(remote, tmp_path / "a", {MODEL: safetensors(tensors()), "other.safetensors": other})
    data = edited(work, tensors())
    work.push("--delta", "--tag", "v2")
    version = Version(remote, "v2")
    version.check()
    assert version.read("other.safetensors") == other
    assert "at" in version.files["other.safetensors"]
    assert "segments" in version.files[MODEL]
    holds(work, "v2", {MODEL: data, "other.safetensors": other})


def test_what_is_chunks_stays_chunks_while_another_file_changes(remote: str, tmp_path: Path) -> None:
    first = {MODEL: safetensors(tensors()), "other.safetensors": safetensors(tensors(5))}
    work = begun(remote, tmp_path / "a", first)
    one = edited(work, tensors())
    work.push("--delta", "--tag", "v2")
    changed = tensors(5)
    changed["layer.0.weight"] = weights(1234, 6000)
    two = safetensors(changed)
    work.write({"other.safetensors": two})
    done = work.json("push", "--delta", "--tag", "v3")
    assert done["sent_bytes"] < 14_000
    version = Version(remote, "v3")
    version.check()
    assert version.files[MODEL]["segments"]
    assert version.files["other.safetensors"]["segments"]
    holds(work, "v3", {MODEL: one, "other.safetensors": two})


def test_a_small_edit_leaves_the_chunks_where_they_are(work: Bundle, remote: str) -> None:
    data = edited(work, tensors())
    work.push("--delta", "--tag", "v2")
    before = Version(remote, "v2")
    work.write({CONFIG: '{"new": 1}\n'})
    done = work.json("push", "--delta", "--tag", "v3")
    assert done["sent_bytes"] < 4000
    after = Version(remote, "v3")
    assert sorted(after.packs) == sorted(before.packs)
    assert all("list" in pack for pack in after.index["chunks"]["packs"]), "no list is sent again"
    holds(work, "v3", {MODEL: data})


def test_what_nothing_shrinks_and_nobody_knows_stays_a_file(remote: str, tmp_path: Path) -> None:
    data = {"noise.bin": noise(1, 60_000), "weights.safetensors": safetensors(tensors())}
    work = Bundle.create(tmp_path / "a", remote, data)
    done = work.json("push", "--delta", "--tag", "v1")
    version = Version(remote, "v1")
    version.check()
    assert version.read("noise.bin") == data["noise.bin"]
    assert version.storage == "delta", "weights shrink"
    assert done["sent_bytes"] < 60_000 + 0.85 * len(data["weights.safetensors"])
    holds(work, "v1", data)


def test_only_noise_is_a_plain_version(remote: str, tmp_path: Path) -> None:
    work = Bundle.create(tmp_path / "a", remote, {"noise.bin": noise(1, 60_000)})
    delta = work.push("--delta", "--tag", "v1")
    assert Version(remote, "v1").storage == "plain"
    assert work.json("push", "--plain", "--tag", "v1")["digest"] == delta


def test_two_files_of_the_same_content_are_stored_once(remote: str, tmp_path: Path) -> None:
    work = begun(remote, tmp_path / "a", {MODEL: safetensors(tensors())})
    data = edited(work, tensors())
    work.write({"copy.safetensors": data})
    work.run("add", "copy.safetensors")
    assert work.json("push", "--delta", "--tag", "v2")["sent_bytes"] < 15_000
    version = Version(remote, "v2")
    version.check()
    assert version.files[MODEL]["segments"] == version.files["copy.safetensors"]["segments"]
    holds(work, "v2", {MODEL: data, "copy.safetensors": data})


# --- when ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("least", "share", "storage"), [(10_000, 0.3, "delta"), (10**9, 0.3, "plain"), (0, 0.95, "plain")]
)
def test_auto_wants_to_save_much(
    work: Bundle, remote: str, monkeypatch: pytest.MonkeyPatch, least: int, share: float, storage: str
) -> None:
    monkeypatch.setattr(rules, "WORTH_BYTES", least)
    monkeypatch.setattr(rules, "WORTH_SHARE", share)
    work.run("config", "set", "remotes.origin.delta", "auto")
    data = edited(work, tensors())
    plan = work.json("push", "--tag", "v2", "--dry-run")
    assert plan["ways"]["delta"] < plan["ways"]["plain"] == len(data)
    work.push("--tag", "v2")
    version = Version(remote, "v2")
    version.check()
    assert version.storage == storage
    holds(work, "v2", {MODEL: data})
    work.push("--plain", "--tag", "v3")
    assert Version(remote, "v3").storage == "plain"


def test_a_plain_version_stays_one_although_the_same_tree_is_chunks_elsewhere(
    work: Bundle, remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "WORTH_BYTES", 0)
    work.run("config", "set", "remotes.origin.delta", "auto")
    edited(work, tensors())
    work.push("--tag", "v2")
    plain = work.push("--plain", "--tag", "v3")
    assert (Version(remote, "v2").storage, Version(remote, "v3").storage) == ("delta", "plain")
    for words in ((), ("--delta",)):
        assert work.json("push", *words, "--tag", "v3")["digest"] == plain


def test_tags_that_every_tool_reads_get_no_chunks(work: Bundle, remote: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "WORTH_BYTES", 0)
    settings = work.root / FOLDER / "config.toml"
    settings.write_text(settings.read_text() + '\n[tags."v*"]\ninterop = "plain"\n')
    work.run("config", "set", "remotes.origin.delta", "auto")
    edited(work, tensors())
    error = work.refused(2, "push", "--delta", "--tag", "next", "--tag", "v2")
    assert "v2" in error["message"]
    assert work.refused(2, "push", "--xor-base", ":v1", "--tag", "v2")["message"] == error["message"]
    work.push("--tag", "v2")
    assert Version(remote, "v2").storage == "plain"
    work.write({CONFIG: "{ }\n"})
    edited(work, tensors(), seed=3)
    work.push("--tag", "next")
    assert Version(remote, "next").storage == "delta"


def kept(work: Bundle) -> dict[str, bytes]:
    """What is remembered, but for the chunk lists, which are a cache."""
    return {path: data for path, data in work.bookkeeping().items() if not path.startswith("chunks/")}


@pytest.mark.parametrize("words", [("--plain",), ("--layout", "image")])
def test_words_that_exclude_each_other(work: Bundle, words: tuple[str, ...]) -> None:
    assert "--delta" in work.refused(2, "push", "--delta", *words, "--tag", "v2")["message"]


def test_a_dry_run_shows_both_ways_and_writes_nothing(work: Bundle, remote: str) -> None:
    data = edited(work, tensors())
    before = kept(work)
    chunks, whole = (work.run("push", *words, "--tag", "v2", "-n") for words in (("--delta",), ()))
    assert "as chunks" in chunks.text
    assert "whole" in chunks.text
    assert "with --delta about" in whole.text
    plans = [work.json("push", *words, "--tag", "v2", "-n") for words in (("--delta",), ())]
    assert {plan["ways"]["plain"] for plan in plans} == {len(data)}
    exact, about = (plan["ways"]["delta"] for plan in plans)
    assert abs(exact - about) < 0.1 * exact
    assert kept(work) == before
    assert "v2" not in str(work.json("tags"))


# --- saved plans -----------------------------------------------------------------------------------------------------


def test_a_saved_plan_is_carried_out_by_another_process(work: Bundle, remote: str, tmp_path: Path) -> None:
    data = edited(work, tensors())
    plan = tmp_path / "plan.json"
    work.run("push", "--delta", "--tag", "v2", "--plan-out", str(plan))
    said = json.loads(plan.read_text())["manifest"]
    work.spawn("apply", str(plan), before=large.HERE)
    version = Version(remote, "v2")
    version.check()
    assert version.digest == said
    holds(work, "v2", {MODEL: data})


def test_a_saved_plan_is_refused_once_the_file_changed(work: Bundle, remote: str, tmp_path: Path) -> None:
    edited(work, tensors())
    plan = tmp_path / "plan.json"
    work.run("push", "--delta", "--tag", "v2", "--plan-out", str(plan))
    edited(work, tensors(), seed=5)
    assert work.refused(5, "apply", str(plan))["code"] == "workspace-changed"
    assert "v2" not in str(work.json("tags"))


# --- versions of other tools -----------------------------------------------------------------------------------------


@pytest.mark.registry
def test_a_file_that_another_tool_pushed_is_built_on(repo: str, tmp_path: Path) -> None:
    held = tensors(numbers=20_000)  # what is smaller is hashed at once, and no list left behind
    data = safetensors(held)
    Repository(repo).publish("v1", titled([(MODEL, data)]))
    work = Bundle(tmp_path / "a")
    work.root.mkdir()
    work.write({MODEL: data})
    work.run("init", "--adopt", f"{repo}:v1")
    work.run("add", ".")
    work.run("status")
    new = edited(work, held)
    done = work.json("push", "--delta", "--tag", "v2")
    assert done["sent_bytes"] < 45_000
    version = Version(repo, "v2")
    version.check()
    assert digest_of(data) in version.packs
    holds(work, "v2", {MODEL: new})


# --- limits ----------------------------------------------------------------------------------------------------------


def test_packs_are_made_into_fewer_where_there_are_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = f"layout:{tmp_path / 'remote'}"
    work = begun(remote, tmp_path / "a", {MODEL: safetensors(tensors()), CONFIG: "{}\n"})
    small_packs(monkeypatch, budget=5, least=100_000)
    held = tensors()
    most = 0
    for number in range(2, 10):
        data = edited(work, held, f"layer.{number % 7}.weight", seed=number)
        work.push("--delta", "--tag", f"v{number}")
        version = Version(remote, f"v{number}")
        version.check()
        most = max(most, len(version.packs))
        holds(work, f"v{number}", {MODEL: data})
    assert 3 < most <= 5


@pytest.mark.registry
@pytest.mark.parametrize("layers", [7, 12])
def test_a_registry_that_takes_few_layers_gets_few(
    repo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layers: int
) -> None:
    narrow = replace(registries.ORDINARY, layers=layers, layer=200_000)
    monkeypatch.setattr(learned.Learned, "profile", lambda *_: narrow)
    small_packs(monkeypatch, least=100_000)
    held = tensors()
    work = begun(repo, tmp_path / "a", {MODEL: safetensors(held), CONFIG: "{}\n"})
    for number in range(2, 9):
        data = edited(work, held, f"layer.{number % 7}.weight", seed=number)
        work.push("--delta", "--tag", f"v{number}")
        version = Version(repo, f"v{number}")
        version.check()
        assert len(version.manifest["layers"]) <= layers
        holds(work, f"v{number}", {MODEL: data})


@pytest.mark.registry
def test_more_layers_than_the_registry_takes_are_refused_before_anything_is_sent(
    repo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = begun(repo, tmp_path / "a", {MODEL: safetensors(tensors()), CONFIG: "{}\n"})
    edited(work, tensors())
    monkeypatch.setattr(learned.Learned, "profile", lambda *_: replace(registries.ORDINARY, layers=3))
    error = work.refused(10, "push", "--delta", "--tag", "v2")
    assert error["facts"]["limit"] == 3
    assert Repository(repo).tags() == ["v1"]


@pytest.mark.registry
def test_no_pack_is_larger_than_the_registry_takes(repo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = replace(registries.ORDINARY, layer=10_000)
    monkeypatch.setattr(learned.Learned, "profile", lambda *_: narrow)
    held = safetensors(tensors())
    work = Bundle.create(tmp_path / "a", repo, {MODEL: held})
    assert work.refused(10, "push", "--plain")["facts"]["limit"] == 10_000
    work.push("--delta")
    version = Version(repo, "latest")
    version.check()
    assert len(version.packs) > 6
    assert max(layer["size"] for layer in version.manifest["layers"]) <= 10_000
    holds(work, "latest", {MODEL: held})


# --- blobs that are gone ---------------------------------------------------------------------------------------------


def forget(remote: str, digest: str) -> None:
    """Remove a blob behind everybody's back."""
    if remote.startswith("layout:"):
        (Path(remote.removeprefix("layout:")) / "blobs" / digest.replace(":", "/")).unlink()
    else:
        repository = Repository(remote)
        repository._ask("DELETE", f"{repository._base}/blobs/{digest}")


@pytest.mark.parametrize("tag", ["v1", "v2"])
def test_a_base_that_is_gone_is_made_anew_of_the_tree(work: Bundle, remote: str, tag: str) -> None:
    data = edited(work, tensors())
    forget(remote, digest_of(safetensors(tensors())))
    result = work.run("--progress", "json", "push", "--delta", "--tag", tag)
    assert "lost" in result.notices
    version = Version(remote, tag)
    version.check()
    assert digest_of(safetensors(tensors())) not in version.packs
    holds(work, tag, {MODEL: data})


def test_a_pack_that_is_gone_is_made_anew_of_the_tree(work: Bundle, remote: str) -> None:
    held = tensors()
    edited(work, held)
    work.push("--delta", "--tag", "v2")
    fresh = set(Version(remote, "v2").packs) - {digest_of(safetensors(tensors()))}
    for digest in fresh:
        forget(remote, digest)
    data = edited(work, held, "layer.0.weight", seed=4)
    result = work.run("--progress", "json", "push", "--delta", "--tag", "v3")
    assert "lost" in result.notices
    version = Version(remote, "v3")
    version.check()
    assert digest_of(safetensors(tensors())) in version.packs, "what is not lost is not sent again"
    holds(work, "v3", {MODEL: data})


@pytest.mark.parametrize("named", [0, 1, 9], ids=["none", "one", "all"])
def test_registries_need_not_name_all_that_is_gone_at_once(fake: Fake, tmp_path: Path, named: int) -> None:
    @dataclass(frozen=True)
    class Terse(Action):
        def after(self, call: Call, response: Response) -> Response:
            assert isinstance(response.body, bytes)
            errors = json.loads(response.body)["errors"] if response.status == 400 else []
            if not errors:
                return response
            said = errors[:named] or [{"code": errors[0]["code"], "message": "unknown"}]
            return replace(response, body=json.dumps({"errors": said}).encode())

    held = tensors()
    work = begun(f"{fake.host}/m", tmp_path / "a", {MODEL: safetensors(held), CONFIG: "{}\n"})
    for seed, name in enumerate(("layer.1.weight", "layer.2.weight")):
        edited(work, held, name, seed)
        work.push("--delta", "--tag", "v1")
    version = Version(f"{fake.host}/m", "v1")
    assert len(version.packs) == 3
    for digest in version.packs:
        del fake.repositories["m"].blobs[digest]
    data = edited(work, held, "layer.3.weight")
    fake.fault(lambda method, path: method == "PUT" and "/manifests/" in path, Terse())
    result = work.run("--progress", "json", "push", "--delta", "--tag", "v1")
    assert "lost" in result.notices
    Version(f"{fake.host}/m", "v1").check()
    holds(work, "v1", {MODEL: data})


# --- differences -----------------------------------------------------------------------------------------------------


def stepped(work: Bundle, held: dict[str, bytes], seed: int, share: float = 0.02) -> bytes:
    """Change some numbers of every tensor; the whole file then."""
    for name, data in held.items():
        held[name] = nudged(data, seed, share)
    found = safetensors(held)
    work.write({MODEL: found})
    return found


def bases(version: Version) -> set[str]:
    """The blobs that differences are to."""
    found = set()
    packs = version.index["chunks"]["packs"]
    for pack in packs:
        for other, _ in pack.get("base", {}).values():
            found.add(version.index["blobs"][packs[other]["blob"]])
    return found


@pytest.mark.parametrize("kind", ["directory", "reference"])
def test_a_step_of_training_is_a_small_difference(work: Bundle, remote: str, tmp_path: Path, kind: str) -> None:
    held = tensors()
    first = safetensors(held)
    beside = tmp_path / "beside"
    beside.mkdir()
    (beside / MODEL).write_bytes(first)
    data = stepped(work, held, 1)
    base = str(beside) if kind == "directory" else ":v1"
    asked = work.requests("push", "--xor-base", base, "--tag", "v2")
    version = Version(remote, "v2")
    version.check()
    assert bases(version) == {digest_of(first)}
    assert sum(version.layers[f".bundle/packs/{d.partition(':')[2]}"]["size"] for d in version.packs) < 1.25 * len(data)
    holds(work, "v2", {MODEL: data})
    ranged = [each for each in asked if each.method == "GET" and "/blobs/" in each.url]
    assert bool(ranged) == (kind == "reference" and not remote.startswith("layout:"))


def test_differences_never_go_deeper_than_one(work: Bundle, remote: str) -> None:
    held = tensors()
    first = digest_of(safetensors(held))
    for tag, base in (("v2", ":v1"), ("v3", ":v2"), ("v4", ":v3")):
        data = stepped(work, held, int(tag[1:]))
        done = work.json("push", "--xor-base", base, "--tag", tag)
        assert done["sent_bytes"] < 0.4 * len(data)
        version = Version(remote, tag)
        version.check()
        assert bases(version) == {first}
        holds(work, tag, {MODEL: data})


def test_a_base_of_chunks_that_are_differences_and_others(work: Bundle, remote: str) -> None:
    held = {"new.weight": weights(42, 6000), **tensors()}
    stepped(work, held, 1)
    work.push("--xor-base", ":v1", "--tag", "v2")
    data = stepped(work, held, 2)
    work.push("--xor-base", ":v2", "--tag", "v3")
    version = Version(remote, "v3")
    version.check()
    assert len(bases(version)) == 2
    holds(work, "v3", {MODEL: data})


def test_a_difference_that_does_not_pay_is_none(work: Bundle, remote: str) -> None:
    data = safetensors(tensors(50))
    work.write({MODEL: data})
    work.push("--xor-base", ":v1", "--tag", "v2")
    version = Version(remote, "v2")
    version.check()
    assert bases(version) == set()
    holds(work, "v2", {MODEL: data})


def test_a_directory_that_is_not_the_version_costs_requests_only(work: Bundle, remote: str, tmp_path: Path) -> None:
    held = tensors()
    beside = tmp_path / "beside"
    beside.mkdir()
    (beside / MODEL).write_bytes(noise(3, len(safetensors(held))))
    data = stepped(work, held, 1)
    work.push("--xor-base", str(beside), "--tag", "v2")
    assert len(bases(Version(remote, "v2"))) == 1
    holds(work, "v2", {MODEL: data})


def test_a_base_that_this_clone_never_saw(work: Bundle, remote: str, tmp_path: Path) -> None:
    held = tensors()
    edited(work, {**held, "layer.0.weight": weights(8, 6000)})
    work.push("--plain", "--tag", "other")
    clone = Bundle.clone(f"{remote}:other", tmp_path / "clone")
    data = stepped(clone, held, 1)
    clone.push("--xor-base", f"{remote}:v1", "--tag", "v2")
    assert bases(Version(remote, "v2")) == {digest_of(safetensors(tensors()))}
    holds(clone, "v2", {MODEL: data})


def test_a_base_that_is_nowhere(work: Bundle, tmp_path: Path) -> None:
    stepped(work, tensors(), 1)
    assert work.refused(6, "push", "--xor-base", ":v0", "--tag", "v2")["code"] == "not-found"
    assert "no directory" in work.refused(2, "push", "--xor-base", str(tmp_path / "none"), "--tag", "v2")["message"]
    elsewhere = Bundle.create(tmp_path / "b", f"layout:{tmp_path / 'elsewhere'}", {MODEL: safetensors(tensors())})
    elsewhere.push("--tag", "v1")
    error = work.refused(2, "push", "--xor-base", f"layout:{tmp_path / 'elsewhere'}:v1", "--tag", "v2")
    assert "another repository" in error["message"]


# --- meanwhile -------------------------------------------------------------------------------------------------------


@pytest.fixture
def at_step() -> Any:
    undo: list[Callable[[], None]] = []

    def arrange(step: str, what: Callable[[], object]) -> None:
        waiting = [step]

        def observer(name: str) -> None:
            if name in waiting:
                waiting.remove(name)
                what()

        undo.append(observe_checkpoints(observer))

    yield arrange
    for each in undo:
        each()


def test_a_file_that_changes_while_it_is_pushed_stops_the_push(
    work: Bundle, remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited(work, tensors())
    real = encode._read

    def changing(*args: Any) -> bytes:
        found = real(*args)
        work.write({MODEL: noise(6, 90_000)})
        return found

    monkeypatch.setattr(encode, "_read", changing)
    assert work.refused(5, "push", "--delta", "--tag", "v2")["code"] == "workspace-changed"
    assert "v2" not in str(work.json("tags"))


def test_a_tag_that_moves_meanwhile_is_left_alone(work: Bundle, remote: str, tmp_path: Path, at_step: Any) -> None:
    theirs = Bundle.clone(f"{remote}:v1", tmp_path / "b")
    edited(work, tensors())
    pushed: list[str] = []
    at_step("blobs sent", lambda: pushed.append(theirs.commit({CONFIG: "theirs\n"}, "--tag", "v1")))
    work.refused(5, "push", "--delta", "--tag", "v1")
    assert Version(remote, "v1").digest == pushed[0]


def test_a_version_that_cannot_be_read_any_more_is_no_base(work: Bundle, remote: str, tmp_path: Path) -> None:
    held = tensors()
    edited(work, held)
    work.push("--delta", "--tag", "v2")
    beside = tmp_path / "beside"
    beside.mkdir()
    (beside / MODEL).write_bytes(safetensors(held))
    data = stepped(work, held, 1)
    damaged = [
        path for path in (work.root / FOLDER / "seen").rglob("*") if path.is_file() and b'"packs"' in path.read_bytes()
    ]
    assert damaged, "a version has its index beside its manifest"
    for path in damaged:
        path.write_bytes(path.read_bytes().replace(b'"packs"', b'"pucks"'))
    done = work.json("push", "--xor-base", str(beside), "--tag", "v3")
    assert done["sent_bytes"] < len(data)
    Version(remote, "v3").check()
    holds(work, "v3", {MODEL: data})


# --- what a review found ---------------------------------------------------------------------------------------------


def test_a_tag_that_becomes_readable_for_all_is_written_whole(work: Bundle, remote: str) -> None:
    data = edited(work, tensors())
    work.push("--delta", "--tag", "v2")
    assert work.json("push", "--tag", "v2")["changed"] is False
    settings = work.root / FOLDER / "config.toml"
    settings.write_text(settings.read_text() + '\n[tags."v2"]\ninterop = "plain"\n')
    assert work.json("push", "--tag", "v2")["changed"] is True
    assert Version(remote, "v2").storage == "plain"
    holds(work, "v2", {MODEL: data})


def test_no_tag_for_every_tool_gets_a_version_in_chunks(work: Bundle) -> None:
    edited(work, tensors())
    work.push("--delta", "--tag", "next")
    settings = work.root / FOLDER / "config.toml"
    settings.write_text(settings.read_text() + '\n[tags."v*"]\ninterop = "plain"\n')
    assert "flatten" in work.refused(2, "tag", ":next", "v9")["hint"]
    work.run("tag", ":v1", "v8")
    work.run("flatten", ":next", "--tag", "v9")


def test_what_is_shown_of_a_tree_that_is_stored_in_chunks_is_done(work: Bundle, remote: str, tmp_path: Path) -> None:
    edited(work, tensors())
    digest = work.push("--delta", "--tag", "v2")
    plan = tmp_path / "plan.json"
    work.run("push", "--tag", "v2", "--plan-out", str(plan))
    assert work.json("push", "--tag", "v2", "-n")["upload_bytes"] == 0
    work.run("apply", str(plan))
    assert Version(remote, "v2").digest == digest


def test_auto_leaves_a_first_version_readable(remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "WORTH_BYTES", 0)
    made = Bundle.create(tmp_path / "first", remote, {MODEL: safetensors(tensors())})
    made.run("config", "set", "remotes.origin.delta", "auto")
    made.push("--tag", "v1")
    assert Version(remote, "v1").storage == "plain"


def test_a_header_alone_keeps_no_old_file(work: Bundle, remote: str) -> None:
    new = {name: weights(number + 500, len(data) // 2) for number, (name, data) in enumerate(tensors().items())}
    work.write({MODEL: safetensors(new)})
    work.push("--delta", "--tag", "v2")
    assert digest_of(safetensors(tensors())) not in Version(remote, "v2").packs
    holds(work, "v2", {MODEL: safetensors(new)})


def test_a_name_that_says_compressed_has_no_chunks_whatever_its_content_had(remote: str, tmp_path: Path) -> None:
    work = begun(remote, tmp_path / "a", {"data.bin": noise(5, 60_000)})
    assert "chunker" in Version(remote, "v1").files["data.bin"]
    work.path("data.bin").rename(work.path("data.gz"))
    work.run("add", "data.gz")
    work.push("--tag", "v2")
    assert "chunker" not in Version(remote, "v2").files["data.gz"]


def test_a_base_of_this_repository_that_nobody_here_has_seen(work: Bundle, remote: str, tmp_path: Path) -> None:
    step = safetensors({name: nudged(data, number) for number, (name, data) in enumerate(tensors().items())})
    other = Bundle.create(tmp_path / "other", remote, {MODEL: step})
    done = other.json("push", "--delta", "--xor-base", f"{remote}:v1", "--tag", "v2")
    assert done["sent_bytes"] < len(safetensors(tensors())) // 2
    holds(other, "v2", {MODEL: step})


def test_a_base_that_helps_nothing_is_told(work: Bundle, tmp_path: Path) -> None:
    small = Bundle.create(tmp_path / "small", None, {"a.txt": "a\n"})
    assert "large enough" in small.run("push", "--xor-base", "./nowhere").text


def test_a_file_that_changes_after_it_was_cut_is_not_tagged(work: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    edited(work, tensors())

    def change(name: str) -> None:
        if name == "manifest sent":
            work.write({MODEL: safetensors(tensors(), note="changed")})

    undo = observe_checkpoints(change)
    try:
        work.refused(5, "push", "--delta", "--tag", "v2")
    finally:
        undo()
    assert "v2" not in str(work.json("tags"))
