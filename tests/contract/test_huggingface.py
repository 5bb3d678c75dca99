"""Hugging Face: commits, pages, choices, and what its refusals mean. The rest: test_sources.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelops_bundle.errors import BundleError, Corrupt, NotFound, Unauthorized, UnsafePath, UsageError
from modelops_bundle.testing import actions
from tests.support.canary import secret
from tests.support.hubs import FILES, WEIGHTS, World, huggingface

TREE = {
    "README.md": b"x",
    "a/b/deep.safetensors": WEIGHTS,
    "a/config.json": b"{}",
    "model-Q4_K_M-00001-of-00002.gguf": b"1" * 2000,
    "model-Q4_K_M-00002-of-00002.gguf": b"2" * 2000,
    "model-Q4_K.gguf": b"3" * 2000,
    "top.safetensors": WEIGHTS,
}


@pytest.fixture
def world() -> Iterator[World]:
    with huggingface("bob") as world:
        world.server.add("ns/tree").commit(TREE)
        yield world


def names(world: World, address: str) -> list[str]:
    return [file.path for file in world.resolve(address).files]


def test_a_resolution_is_pinned_to_the_commit(world: World) -> None:
    first = world.resolve()
    commit = world.server.repositories["models", "ns/name"].heads["main"]
    assert first.pinned == f"hf://ns/name@{commit}"
    assert all(f"/resolve/{commit}/" in file.places[0].url for file in first.files)
    assert first.licence == "mit"
    world.server.repositories["models", "ns/name"].commit({"other": b""})
    assert world.resolve(first.pinned).files == first.files
    assert names(world, "hf://ns/name") == ["other"]


@pytest.mark.parametrize("page", [1, 2, 1000])
def test_every_page_of_a_tree_is_read(world: World, page: int) -> None:
    world.server.page = page
    assert names(world, "hf://ns/tree") == sorted(TREE)


def test_lists_go_on_at_the_mirror_and_nowhere_else(world: World) -> None:
    def link(url: str) -> None:
        world.site.heal()
        headers = {"Link": f'<{url}/api/models/ns/tree/tree/x>; rel="next"', "Content-Type": "application/json"}
        world.site.fault(
            lambda method, path: "/tree/" in path and "recursive" in path, actions.Status(200, headers, b"[]")
        )

    link("https://evil.example")
    with pytest.raises(Corrupt, match=r"continues its list of files at evil\.example"):
        world.resolve("hf://ns/tree")
    # What the hub says of itself means the mirror that passed it on.
    link("https://huggingface.co")
    with pytest.raises(NotFound, match="no revision"):
        world.resolve("hf://ns/tree")


def test_a_list_without_end_is_refused(world: World) -> None:
    headers = {
        "Link": f'<{world.server.url}/api/models/ns/tree/tree/x>; rel="next"',
        "Content-Type": "application/json",
    }
    world.site.fault(lambda method, path: "/tree/" in path, actions.Status(200, headers, b"[]"), times=None)
    with pytest.raises(Corrupt, match="does not end"):
        world.resolve("hf://ns/tree")


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("/top.safetensors", ["top.safetensors"]),
        ("/a", ["a/b/deep.safetensors", "a/config.json"]),
        ("/*.safetensors", ["top.safetensors"]),
        ("/**/*.safetensors", ["a/b/deep.safetensors", "top.safetensors"]),
        ("/a/*.json", ["a/config.json"]),
        ("?include=*.safetensors", ["a/b/deep.safetensors", "top.safetensors"]),
        ("?include=*.safetensors&exclude=a/", ["top.safetensors"]),
        ("?quant=q4_k_m", ["model-Q4_K_M-00001-of-00002.gguf", "model-Q4_K_M-00002-of-00002.gguf"]),
        ("?quant=Q4_K", ["model-Q4_K.gguf"]),
    ],
)
def test_what_is_chosen(world: World, rest: str, expected: list[str]) -> None:
    found = world.resolve(f"hf://ns/tree{rest}")
    assert [file.path for file in found.files] == expected
    assert [file.path for file in world.resolve(found.pinned).files] == expected


@pytest.mark.parametrize("rest", ["/nope.bin", "/nope/*.bin", "/a/*.bin", "?include=*.xyz", "?quant=Q9_9"])
def test_nothing_chosen_is_not_found(world: World, rest: str) -> None:
    with pytest.raises(NotFound):
        world.resolve(f"hf://ns/tree{rest}")


def test_datasets_and_spaces_and_revisions(world: World) -> None:
    data = world.server.add("ns/data", "datasets")
    data.commit({"train.csv": b"1"})
    data.commit({"train.csv": b"2", "more.csv": b"3"}, "refs/convert/parquet")
    data.commit({"x.csv": b"4"}, "feature/x")
    world.server.add("ns/app", "spaces").commit({"app.py": b""})
    assert names(world, "hf://datasets/ns/data") == ["train.csv"]
    assert names(world, "hf://datasets/ns/data@refs/convert/parquet") == ["more.csv", "train.csv"]
    assert names(world, "hf://datasets/ns/data@feature%2Fx") == ["x.csv"]
    assert names(world, "https://huggingface.co/datasets/ns/data/blob/feature%2Fx/x.csv") == ["x.csv"]
    assert names(world, "hf://spaces/ns/app") == ["app.py"]
    file = world.resolve("hf://datasets/ns/data").files[0]
    assert b"".join(part for _, part in world.resolver.open(file, file.places[0], world.ctx()).read(0, None)) == b"1"


def test_old_names_are_pinned_by_the_new_ones(world: World) -> None:
    world.server.moved["gpt2"] = "ns/tree"
    commit = world.server.repositories["models", "ns/tree"].heads["main"]
    found = world.resolve("https://huggingface.co/gpt2/blob/main/top.safetensors")
    assert (found.canonical, found.pinned) == (
        "hf://gpt2@main/top.safetensors",
        f"hf://ns/tree@{commit}/top.safetensors",
    )


@pytest.mark.parametrize("facts", ['"sha": "main"', '"id": "../x"', '"id": "a/b/c"', '"id": "a b"'])
def test_a_hub_may_not_call_a_repository_anything(world: World, facts: str) -> None:
    body = f'{{"sha": "{"a" * 40}", {facts}}}'.encode()
    world.site.fault(lambda method, path: True, actions.Status(200, {"Content-Type": "application/json"}, body))
    with pytest.raises(Corrupt, match="name or commit"):
        world.resolve()


def refusals(world: World) -> dict[str, tuple[str, str | None, type[BundleError], str, str]]:
    token, wrong = secret("token"), secret("token")
    world.server.users[token] = "eve"
    world.server.add("ns/gated", gated="manual").commit(FILES)
    world.server.add("ns/off", disabled=True).commit(FILES)
    return {
        "gated": (
            "hf://ns/gated",
            None,
            Unauthorized,
            "model ns/gated is gated$",
            "accept its terms at https://huggingface.co/ns/gated, then set HF_TOKEN",
        ),
        "not granted": (
            "hf://ns/gated",
            token,
            Unauthorized,
            "not granted",
            "ask for access at https://huggingface.co/ns/gated",
        ),
        "absent": ("hf://ns/none", None, Unauthorized, "that everybody may read", "hf://datasets/ns/none is a dataset"),
        "absent to eve": ("hf://ns/none", token, NotFound, "or your token may not see it", "check its name"),
        "private": ("hf://ns/secret", token, NotFound, "there is no model ns/secret", "when it is private"),
        "a dataset": (
            "hf://datasets/ns/none",
            None,
            Unauthorized,
            "dataset ns/none",
            "when it is private, set HF_TOKEN",
        ),
        "revision": ("hf://ns/name@nope", None, NotFound, "has no revision nope", "refs"),
        "disabled": ("hf://ns/off", token, Unauthorized, "disabled", "see https://huggingface.co/ns/off"),
        "wrong token": ("hf://ns/name", wrong, Unauthorized, "does not know the token", "HF_TOKEN"),
    }


@pytest.mark.parametrize(
    "case",
    ["gated", "not granted", "absent", "absent to eve", "private", "a dataset", "revision", "disabled", "wrong token"],
)
def test_refusals_say_what_to_do(world: World, case: str) -> None:
    address, world.token, kind, message, hint = refusals(world)[case]
    with pytest.raises(kind, match=message) as raised:
        found = world.resolve(address)
        assert found.warnings == ("ns/gated is gated: its terms are at https://huggingface.co/ns/gated",)
        file = found.files[0]
        world.resolver.open(file, file.places[0], world.ctx()).probe()
    assert hint in str(raised.value.hint)
    assert world.token is None or world.token not in str(raised.value.to_json())


def test_a_file_that_is_gone_is_not_found(world: World) -> None:
    found = world.resolve()
    world.server.repositories["models", "ns/name"].commits.clear()
    world.server.repositories["models", "ns/name"].commit({"a": b""})
    file = found.files[0]
    with pytest.raises(NotFound):
        world.resolver.open(file, file.places[0], world.ctx()).probe()


def test_a_tree_that_nobody_may_write_is_refused(world: World) -> None:
    world.server.add("ns/evil").commit({"ok.bin": WEIGHTS, "../../evil.bin": WEIGHTS})
    with pytest.raises(UnsafePath):
        world.resolve("hf://ns/evil")
    assert names(world, "hf://ns/evil/ok.bin") == ["ok.bin"]


@pytest.mark.parametrize("address", ["hf://kernels/ns/name", "hf://buckets/ns/name", "modelscope://ns/name"])
def test_what_it_does_not_resolve(world: World, address: str) -> None:
    with pytest.raises(UsageError):
        world.resolve(address)


def test_names_are_made_from_what_a_file_tells(world: World) -> None:
    file = world.resolve("hf://ns/tree/model-Q4_K.gguf").files[0]
    known = {name: file.meta[name] for name in ("repo", "owner", "model_name", "file_name", "quant")}
    assert known == {
        "repo": "ns/tree",
        "owner": "ns",
        "model_name": "tree",
        "file_name": "model-Q4_K.gguf",
        "quant": "Q4_K",
    }
