"""What settings ask of versions: refused before anything lands, and whatever is in doubt is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest

from modelops_bundle.testing import actions
from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import Bundle, call
from tests.support.clones import BASE, pair_on
from tests.support.oci import Repository
from tests.support.signing import Signer, attached


class Scene(NamedTuple):
    """`a` publishes; `b` asks for the signature of `signer` on what it pulls from its remote."""

    a: Bundle
    b: Bundle
    remote: str
    signer: Signer
    mallory: Signer

    def publish(self, signer: Signer | None) -> str:
        """A new version, signed or not."""
        digest = self.a.commit({"new.txt": "new\n"})
        if signer is not None:
            attached(Repository(self.remote), digest, signer.signature_of(digest))
        return digest


@pytest.fixture
def scene(fake: Fake, tmp_path: Path) -> Scene:
    pair = pair_on(f"{fake.host}/team/m", tmp_path)
    signers = (Signer(tmp_path / "keys"), Signer(tmp_path / "keys", "mallory"))
    pair.b.run("config", "set", "remotes.origin.require_signature", str(signers[0].public))
    return Scene(pair.a, pair.b, pair.remote, *signers)


def user_config(text: str) -> Path:
    path = Path(os.environ["XDG_CONFIG_HOME"]) / "modelops-bundle" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# --- pull


def test_a_signed_version_is_pulled(scene: Scene) -> None:
    scene.publish(scene.signer)
    scene.b.run("pull")
    assert scene.b.read("new.txt") == "new\n"


@pytest.mark.parametrize("by", ["nobody", "mallory"])
def test_any_other_is_refused_and_nothing_lands(scene: Scene, by: str) -> None:
    digest = scene.publish(scene.mallory if by == "mallory" else None)
    tree, books = scene.b.tree(), scene.b.bookkeeping()
    for words in (("pull",), ("pull", "--dry-run"), ("pull", "--overwrite", "--yes"), ("pull", f"@{digest}")):
        error = scene.b.refused(9, *words)
        assert error["code"] == "untrusted"
        assert "cosign.pub" in error["message"]
        assert "remotes.origin.require_signature" in error["message"]
    assert (scene.b.tree(), scene.b.bookkeeping()) == (tree, books)


def test_no_blob_is_asked_for(scene: Scene) -> None:
    scene.publish(scene.mallory)
    asked = scene.b.run("--progress", "json", "pull", expect=9).requests
    bodies = [one.url for one in asked if "/blobs/" in one.url]
    assert len(bodies) == 1, "the signature that was looked at, and nothing of the version"


def test_what_is_there_already_has_to_be_signed_as_well(scene: Scene) -> None:
    """A setting that was made after the pull."""
    scene.b.refused(9, "pull")


def test_one_of_several_keys_is_enough(scene: Scene) -> None:
    both = f"{scene.mallory.public},{scene.signer.public}"
    scene.b.run("config", "set", "remotes.origin.require_signature", both)
    scene.publish(scene.signer)
    scene.b.run("pull")


def test_paths_of_keys_are_relative_to_the_bundle(scene: Scene) -> None:
    scene.b.run("config", "set", "remotes.origin.require_signature", "../keys/cosign.pub")
    scene.publish(scene.signer)
    (scene.b.root / "sub").mkdir()
    scene.b.run("pull", cwd="sub")
    assert scene.b.read("new.txt") == "new\n"


def test_naming_the_place_is_no_way_around(scene: Scene) -> None:
    scene.publish(scene.mallory)
    scene.b.refused(9, "pull", f"{scene.remote}:latest")
    scene.b.run("remote", "add", "other", scene.remote)
    scene.b.refused(9, "pull", "other:latest")


def test_another_version_and_single_files_of_it(scene: Scene) -> None:
    scene.publish(scene.mallory)
    scene.b.refused(9, "restore", "--source", f"{scene.remote}:latest", "new.txt")
    assert not scene.b.path("new.txt").exists()


def test_a_saved_plan_is_looked_at_again(scene: Scene) -> None:
    scene.b.run("config", "set", "remotes.origin.require_signature", "--unset")
    scene.publish(None)
    scene.b.run("pull", "--plan-out", "p.plan")
    scene.b.run("config", "set", "remotes.origin.require_signature", str(scene.signer.public))
    scene.b.refused(9, "apply", "p.plan")
    assert not scene.b.path("new.txt").exists()


def test_a_signature_is_looked_for_once(scene: Scene) -> None:
    scene.publish(scene.signer)
    asked = scene.b.run("--progress", "json", "pull").requests
    assert sum("/referrers/" in one.url for one in asked) == 1


def test_without_settings_nothing_is_asked(scene: Scene) -> None:
    scene.publish(scene.signer)
    asked = scene.a.run("--progress", "json", "pull").requests
    assert not any("/referrers/" in one.url for one in asked)


# --- in doubt


def test_a_key_that_is_gone(scene: Scene) -> None:
    scene.publish(scene.signer)
    scene.signer.public.unlink()
    assert "cosign.pub" in scene.b.refused(2, "pull")["message"]
    assert not scene.b.path("new.txt").exists()


@pytest.mark.parametrize(("status", "code"), [(401, 7), (403, 7), (500, 8), (429, 8)])
def test_a_registry_that_does_not_answer_about_signatures(scene: Scene, fake: Fake, status: int, code: int) -> None:
    scene.publish(scene.signer)
    fake.fault(lambda _, path: "/referrers/" in path, actions.Status(status), None)
    scene.b.refused(code, "pull")
    assert not scene.b.path("new.txt").exists()


def test_a_registry_that_keeps_no_list_and_has_no_signature(scene: Scene, fake: Fake) -> None:
    scene.publish(scene.signer)
    fake.fault(lambda _, path: "/referrers/" in path, actions.Status(404), None)
    scene.b.refused(9, "pull")


def test_without_the_extra(scene: Scene) -> None:
    scene.publish(scene.signer)
    missing = "import sys; sys.modules['cryptography'] = None"
    done = scene.b.spawn("--json", "pull", expect=10, before=missing)
    assert "modelops-bundle[sign]" in done.error["hint"]
    assert not scene.b.path("new.txt").exists()


def test_everything_else_works_without_the_extra(scene: Scene) -> None:
    missing = "import sys; sys.modules['cryptography'] = None; sys.modules['sigstore'] = None"
    scene.a.spawn("pull", before=missing)
    scene.a.spawn("sign", "--help", before=missing)


def test_the_setting_can_be_taken_back_for_one_command_by_config_only(scene: Scene) -> None:
    scene.publish(None)
    scene.b.run("pull", "--config", "remotes.origin.require_signature=")
    assert scene.b.read("new.txt") == "new\n"


@pytest.mark.parametrize("value", ["require_signature = 7", "require_signature = [1]"])
def test_a_setting_that_nobody_can_use(scene: Scene, value: str) -> None:
    path = scene.b.root / ".modelops-bundle" / "config.toml"
    path.write_text(f'[remotes.origin]\nurl = "{scene.remote}"\n{value}\n')
    scene.publish(None)
    scene.b.refused(2, "pull")


# --- clone


def test_a_clone_of_what_is_not_signed_makes_nothing(scene: Scene, tmp_path: Path) -> None:
    scene.publish(scene.mallory)
    user_config(f'[trust]\n"{scene.remote.partition("/")[0]}" = "{scene.signer.public}"\n')
    error = call("--json", "clone", scene.remote, str(tmp_path / "new"), expect=9).error
    assert "trust." in error["message"]
    assert not (tmp_path / "new").exists()


def test_a_clone_of_what_is_signed(scene: Scene, tmp_path: Path) -> None:
    scene.publish(scene.signer)
    user_config(f'[trust]\n"{scene.remote}" = ["{scene.signer.public}"]\n')
    result = call("--progress", "json", "clone", scene.remote, str(tmp_path / "new"))
    assert sum("/referrers/" in one.url for one in result.requests) == 1
    assert (tmp_path / "new" / "new.txt").read_text() == "new\n"


def test_a_setting_for_the_one_command_that_clones(scene: Scene, tmp_path: Path) -> None:
    scene.publish(scene.mallory)
    setting = "remotes.origin.require_signature=keys/cosign.pub"
    words = ("-C", str(tmp_path), "--config", setting, "clone", scene.remote, "new")
    call(*words, expect=9)
    assert not (tmp_path / "new").exists()
    digest = scene.a.json("inspect")["digest"]
    attached(Repository(scene.remote), digest, scene.signer.signature_of(digest))
    call(*words)


# --- the user's own settings


@pytest.mark.parametrize(
    ("prefix", "counts"),
    [
        ("{host}", True),
        ("{host}/team", True),
        ("{host}/team/m", True),
        ("{host}/tea", False),
        ("{host}/team/m/below", False),
        ("example.com", False),
    ],
)
def test_a_place_and_all_below_it(scene: Scene, prefix: str, counts: bool) -> None:
    host = scene.remote.partition("/")[0]
    user_config(f'[trust]\n"{prefix.format(host=host)}" = "{scene.signer.public}"\n')
    scene.a.write({"more.txt": "x\n"})
    scene.a.run("add", "more.txt")
    scene.a.push()
    scene.a.run("pull", expect=9 if counts else 0)


def test_the_longest_prefix_speaks_and_an_empty_one_takes_its_part_out(scene: Scene, tmp_path: Path) -> None:
    host = scene.remote.partition("/")[0]
    user_config(f'[trust]\n"{host}" = "{scene.signer.public}"\n"{host}/team" = ""\n')
    scene.a.run("pull")
    user_config(f'[trust]\n"{host}" = ""\n"{host}/team" = "{scene.signer.public}"\n')
    scene.a.run("pull", expect=9)


def test_a_bundle_takes_nothing_from_what_the_user_asks_for(scene: Scene, tmp_path: Path) -> None:
    user_config(f'[trust]\n"{scene.remote}" = "{scene.signer.public}"\n')
    scene.a.run("config", "set", f"trust.{scene.remote}", str(scene.mallory.public))
    scene.publish(scene.mallory)
    error = scene.a.refused(9, "pull")
    assert "cosign.pub" in error["message"]
    digest = scene.publish(scene.mallory)
    attached(Repository(scene.remote), digest, scene.signer.signature_of(digest))
    scene.a.run("pull")


def test_keys_beside_the_users_file(scene: Scene, tmp_path: Path) -> None:
    path = user_config(f'[trust]\n"{scene.remote}" = "my.pub"\n')
    (path.parent / "my.pub").write_bytes(scene.signer.public.read_bytes())
    scene.publish(scene.signer)
    scene.a.run("pull")


@pytest.mark.parametrize("place", ["https://registry.example.com", "registry.example.com/m:v1", "not a place", ""])
def test_a_place_that_no_reference_is_in(scene: Scene, place: str) -> None:
    """It would protect nothing, and nobody would notice."""
    user_config(f'[trust]\n"{place}" = "{scene.signer.public}"\n')
    scene.a.run("pull", expect=2)


def test_on_a_layout(tmp_path: Path) -> None:
    signer = Signer(tmp_path / "keys")
    a = Bundle.create(tmp_path / "a", f"layout:{tmp_path / 'there'}", BASE)
    a.push()
    b = Bundle.clone(f"layout:{tmp_path / 'there'}", tmp_path / "b")
    b.run("config", "set", "remotes.origin.require_signature", str(signer.public))
    b.refused(9, "pull")
    os.environ["COSIGN_PASSWORD"] = signer.password
    try:
        a.run("sign", ":latest", "--key", str(signer.key))
    finally:
        del os.environ["COSIGN_PASSWORD"]
    b.run("pull")


# --- ensure


def test_ensure_asks_as_well(scene: Scene, tmp_path: Path) -> None:
    user_config(f'[trust]\n"{scene.remote}" = "{scene.signer.public}"\n')
    scene.publish(scene.signer)
    dest = tmp_path / "dest"
    call("ensure", scene.remote, "--dest", str(dest))
    good = (dest / "new.txt").read_text()
    bad = scene.a.commit({"new.txt": "bad\n"})
    for place in (scene.remote, f"{scene.remote}@{bad}"):
        for words in (("ensure", place, "--dest", str(dest)), ("ensure", place, "--dest", str(tmp_path / "other"))):
            assert call("--json", *words, expect=9).error["code"] == "untrusted"
    assert (dest / "new.txt").read_text() == good
    assert not (tmp_path / "other" / "new.txt").exists()


def test_ensure_leaves_what_it_brought_where_there_is_no_network(scene: Scene, tmp_path: Path) -> None:
    user_config(f'[trust]\n"{scene.remote}" = "{scene.signer.public}"\n')
    digest = scene.publish(scene.signer)
    dest = tmp_path / "dest"
    place = f"{scene.remote}@{digest}"
    call("ensure", place, "--dest", str(dest))
    call("--offline", "ensure", place, "--dest", str(dest))
    call("--offline", "ensure", place, "--dest", str(tmp_path / "other"), expect=8)
    assert not (tmp_path / "other").exists()


def test_a_plan_that_says_one_version_and_brings_another(scene: Scene, tmp_path: Path) -> None:
    good = scene.publish(scene.signer)
    scene.b.run("pull")
    before = scene.b.tree()
    bad = scene.a.commit({"new.txt": "bad\n", "more.txt": "bad\n"})
    plan = tmp_path / "plan.json"
    scene.b.run("pull", "--config", "remotes.origin.require_signature=", "--plan-out", str(plan))
    assert scene.b.refused(9, "apply", str(plan))["code"] == "untrusted"
    plan.write_text(plan.read_text().replace(bad, good))
    assert scene.b.refused(9, "apply", str(plan))["code"] == "untrusted"
    assert scene.b.tree() == before


def test_a_bundles_file_takes_nothing_from_the_users_remotes(scene: Scene) -> None:
    user_config(f'[remotes.origin]\nrequire_signature = "{scene.signer.public}"\n')
    scene.a.commit({"new.txt": "bad\n"})
    scene.b.run("config", "set", "remotes.origin.require_signature", "")
    assert scene.b.refused(9, "pull")["code"] == "untrusted"
