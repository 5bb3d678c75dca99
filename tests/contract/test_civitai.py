"""CivitAI: which version and which file, its traps, and what its refusals mean. The rest: test_sources.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from modelops_bundle.errors import BundleError, NotFound, Unauthorized, UsageError
from modelops_bundle.model import paths
from modelops_bundle.sources.civitai import file_name
from tests.support.canary import secret
from tests.support.hubs import WEIGHTS, World, civitai_site

FILES = {"model.safetensors": WEIGHTS, "model-pruned.safetensors": WEIGHTS[:5000], "x.vae.pt": WEIGHTS[:300]}


@pytest.fixture
def world() -> Iterator[World]:
    with civitai_site("bob") as world:
        old = world.server.add(7, 70, {"old.safetensors": b"old"})
        new = world.server.add(7, 71, FILES)
        new.files[1].metadata.update(size="pruned", fp="fp32")
        new.files[2].type, new.files[2].metadata["format"] = "VAE", "PickleTensor"
        assert [one.id for one in old.files + new.files] == [3, 4, 5, 6]
        yield world


@pytest.mark.parametrize(
    ("address", "expected", "pinned"),
    [
        ("civitai://7", ["model.safetensors"], "civitai://7@71+4"),
        ("civitai://7@70", ["old.safetensors"], "civitai://7@70+3"),
        ("civitai://version/70", ["old.safetensors"], "civitai://7@70+3"),
        ("civitai://7@71+6", ["x.vae.pt"], "civitai://7@71+6"),
        ("civitai://7+3", ["old.safetensors"], "civitai://7@70+3"),
        ("civitai://7+5", ["model-pruned.safetensors"], "civitai://7@71+5"),
        ("civitai://7?type=VAE", ["x.vae.pt"], "civitai://7@71+6"),
        ("civitai://7?size=pruned&fp=FP32", ["model-pruned.safetensors"], "civitai://7@71+5"),
        (
            "civitai://7?file=*.safetensors",
            ["model-pruned.safetensors", "model.safetensors"],
            "civitai://7@71?file=*.safetensors",
        ),
        ("civitai://model/7?file=PRUNED", ["model-pruned.safetensors"], "civitai://7@71+5"),
        ("urn:air:sdxl:checkpoint:civitai:7@71.ckpt", ["x.vae.pt"], "civitai://7@71+6"),
        ("https://civitai.com/models/7/slug?modelVersionId=70", ["old.safetensors"], "civitai://7@70+3"),
        ("https://civitai.com/api/download/models/71?fileId=6", ["x.vae.pt"], "civitai://7@71+6"),
    ],
)
def test_what_is_chosen(world: World, address: str, expected: list[str], pinned: str) -> None:
    found = world.resolve(address)
    assert ([file.path for file in found.files], found.pinned) == (expected, pinned)
    assert world.resolve(pinned).files == found.files


@pytest.mark.parametrize("kind", ["AutoV1", "AutoV2", "SHA256", "CRC32", "BLAKE3"])
def test_a_hash_finds_its_file(world: World, kind: str) -> None:
    version = world.server.add(8, 80, {"decoy.bin": b"1", "wanted.bin": bytes(range(256)) * 5000})
    wanted = version.files[1].hashes[kind]
    found = world.resolve(f"civitai://hash/{wanted.lower()}")
    assert ([file.path for file in found.files], found.pinned) == (
        ["wanted.bin"],
        f"civitai://8@80+{version.files[1].id}",
    )


def test_files_are_asked_for_by_number(world: World) -> None:
    file = world.resolve("civitai://7@71+5").files[0]
    assert [place.url.partition("/api")[2] for place in file.places] == [
        "/download/models/71?fileId=5",
        "/download/models/71?type=Model&format=SafeTensor&size=pruned&fp=fp32",
    ]
    # Its own address is of the primary file's properties, and not found; the first place works.
    assert world.resolver.open(file, file.places[0], world.ctx()).probe().size == 5000
    with pytest.raises(NotFound):
        world.resolver.open(file, file.places[1], world.ctx()).probe()
    assert file.meta["approximate_size"] == 4997
    assert file.size is None


def test_refusals_are_no_web_pages_to_us(world: World) -> None:
    world.server.models[7].versions[0].login = True
    file = world.resolve("civitai://7").files[0]
    with pytest.raises(Unauthorized):
        world.resolver.open(file, file.places[0], world.ctx()).probe()
    assert not world.site.asked("GET", "/login")


CASES: dict[str, tuple[dict[str, Any], type[BundleError], str, str]] = {
    "login": ({"login": True}, Unauthorized, "wants a login: The creator", "set CIVITAI_TOKEN"),
    "early access": (
        {"early_access": "2026-12-24T00:00:00Z"},
        Unauthorized,
        "early access until 2026-12-24",
        "buy access at https://civitai.com/models/7?modelVersionId=71",
    ),
    "not for us": (
        {"restricted": True},
        Unauthorized,
        "You do not have access",
        "see https://civitai.com/models/7?modelVersionId=71",
    ),
    "no downloads": ({"downloads": False}, Unauthorized, "lets nobody download", "see https://civitai.com/models/7"),
}


@pytest.mark.parametrize("case", CASES)
def test_refusals_say_what_to_do(world: World, case: str) -> None:
    facts, kind, message, hint = CASES[case]
    version = world.server.models[7].versions[0]
    for name, value in facts.items():
        setattr(version, name, value)
    found = world.resolve("civitai://7")
    file = found.files[0]
    with pytest.raises(kind, match=message) as raised:
        world.resolver.open(file, file.places[0], world.ctx()).probe()
    assert hint in str(raised.value.hint)
    assert bool(found.warnings) == (case == "early access")


def test_a_key_opens_what_wants_a_login(world: World) -> None:
    world.token = secret("token") + "\n"
    world.server.users[world.token.strip()] = "bob"
    world.server.models[7].versions[0].login = True
    file = world.resolve("civitai://7").files[0]
    assert world.resolver.open(file, file.places[0], world.ctx()).probe().size == len(WEIGHTS)


@pytest.mark.parametrize(("mode", "message"), [("Archived", "was archived"), ("TakenDown", "was taken down")])
def test_models_that_are_gone(world: World, mode: str, message: str) -> None:
    file = world.resolve("civitai://7").files[0]
    world.server.models[7].mode = mode
    for address in ("civitai://7", "civitai://7@71", "civitai://version/70"):
        with pytest.raises(NotFound, match=message):
            world.resolve(address)
    if mode == "Archived":
        with pytest.raises(NotFound, match=message):
            world.resolver.open(file, file.places[0], world.ctx()).probe()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("civitai://99", "No model with id 99"),
        ("civitai://version/99", "Model not found"),
        ("civitai://hash/AAAAAAAA", "Model not found"),
        ("civitai://1@71", "version 71 is of model 7"),
        ("civitai://7@71+99", "no file that is asked for"),
        ("civitai://7?type=LoRA", "no file that is asked for"),
    ],
)
def test_what_is_not_there(world: World, address: str, message: str) -> None:
    with pytest.raises(NotFound, match=message) as raised:
        world.resolve(address)
    assert raised.value.hint


def test_scans_and_missing_hashes_are_warned_of(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    file = world.server.models[7].versions[0].files[0]
    file.scan = "Danger"
    monkeypatch.setattr(type(file), "hashes", property(lambda self: {"AutoV1": "AABBCCDD"}))
    found = world.resolve("civitai://7")
    assert any("says Danger" in text for text in found.warnings)
    assert any("no SHA256" in text for text in found.warnings)
    assert found.files[0].validator is None


@pytest.mark.parametrize(
    "name",
    [
        "a.safetensors",
        "a:b?.pt",
        "../../x.bin",
        "con.safetensors",
        "",
        "...",
        ".git",
        "a\u202eb.pt",
        "x" * 400,
        "é" * 200,
    ],
)
def test_any_name_becomes_one_that_can_be_written(name: str) -> None:
    assert paths.problem(file_name(name, 5)) is None
    assert "/" not in file_name(name, 5)


def test_other_addresses_are_refused(world: World) -> None:
    with pytest.raises(UsageError):
        world.resolve("hf://ns/name")
