"""sign: what is signed, when it is refused, and what happens to passwords."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from modelops_bundle.testing.registry import Registry as Fake
from tests.support import canary
from tests.support.bundle import Bundle, call
from tests.support.clones import Pair, pair_on
from tests.support.oci import Repository
from tests.support.signing import Signer


@pytest.fixture
def signer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Signer:
    made = Signer(tmp_path / "keys")
    monkeypatch.setenv("COSIGN_PASSWORD", made.password)
    return made


def signed(bundle: Bundle) -> list[str]:
    return [each["artifact_type"] for each in bundle.json("referrers", ":latest")["referrers"]]


def test_a_version_is_signed_by_its_digest(pair: Pair, signer: Signer) -> None:
    digest = pair.a.json("inspect")["digest"]
    done = pair.a.json("sign", ":latest", "--key", str(signer.key))
    assert done["changed"] is True
    assert done["subject"].endswith(f"@{digest}")
    assert done["key"] == signer.loaded.public.fingerprint
    assert signed(pair.a) == ["application/vnd.dev.sigstore.bundle.v0.3+json"]
    assert pair.a.json("tags")["tags"][0]["digest"] == digest, "the version and its tag stay"


@pytest.mark.parametrize("words", [(), ("--legacy",)])
def test_a_second_time_does_nothing(pair: Pair, signer: Signer, words: tuple[str, ...]) -> None:
    first = pair.a.json("sign", ":latest", "--key", str(signer.key), *words)
    again = pair.b.json("sign", ":latest", "--key", str(signer.key), *words)
    assert (again["changed"], again["digest"]) == (False, first["digest"])
    assert "already" in pair.a.run("sign", ":latest", "--key", str(signer.key), *words).out


def test_both_forms_and_several_keys(pair: Pair, signer: Signer, tmp_path: Path) -> None:
    other = Signer(tmp_path / "keys", "other", signer.password)
    for each in (signer, other):
        for words in ((), ("--legacy",)):
            assert pair.a.json("sign", ":latest", "--key", str(each.key), *words)["changed"] is True
            assert pair.a.json("sign", ":latest", "--key", str(each.key), *words)["changed"] is False
    assert len(signed(pair.a)) == 2


def test_what_was_signed_while_killed_is_signed_again(fake: Fake, tmp_path: Path, signer: Signer) -> None:
    a = pair_on(f"{fake.host}/m", tmp_path).a
    a.killed_at("attachment sent", "sign", ":latest", "--key", str(signer.key))
    assert signed(a) == []
    assert a.json("sign", ":latest", "--key", str(signer.key))["changed"] is True
    assert len(signed(a)) == 1


def test_a_tag_that_somebody_moved_is_not_signed(pair: Pair, signer: Signer) -> None:
    """Between a push and its signature somebody else may push: that would be signed unseen."""
    before = pair.a.json("inspect")["digest"]
    after = pair.b.commit({"new.txt": "evil\n"})
    error = pair.a.refused(5, "sign", ":latest", "--key", str(signer.key))
    assert (error["facts"]["seen"], error["facts"]["found"]) == (before, after)
    assert signed(pair.a) == []
    assert pair.a.json("sign", f"@{before}", "--key", str(signer.key))["changed"] is True, (
        "by digest anything is signed"
    )


def test_outside_of_a_bundle(pair: Pair, signer: Signer, tmp_path: Path) -> None:
    call("-C", str(tmp_path), "sign", f"{pair.remote}:latest", "--key", str(signer.key.relative_to(tmp_path)))
    assert len(signed(pair.a)) == 1


def test_another_password_is_refused_before_anything_is_asked(
    fake: Fake, tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = pair_on(f"{fake.host}/m", tmp_path).a
    monkeypatch.setenv("COSIGN_PASSWORD", canary.secret("another"))
    result = a.run("--progress", "json", "--json", "sign", ":latest", "--key", str(signer.key), expect=2)
    assert "password" in result.error["message"]
    assert result.requests == []


def test_without_a_terminal_and_without_the_variable(
    pair: Pair, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COSIGN_PASSWORD")
    assert "COSIGN_PASSWORD" in pair.a.refused(2, "sign", ":latest", "--key", str(signer.key))["hint"]


def test_no_helper_gets_to_see_the_password(signer: Signer) -> None:
    from modelops_bundle.ui.cli.bundle import options
    from modelops_bundle.ui.cli.command import Context
    from modelops_bundle.ui.cli.options import Settings

    seen = dict(options(Context(Settings(directory=Path.cwd()))).helper_environment)
    assert "PATH" in seen
    assert not canary.printed(repr(seen).encode())


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), 2),
        ((":latest",), 2),
        (("--key", "cosign.key"), 2),
        ((":latest", "--key", "nothing.key"), 2),
        ((":latest", "--key", "README.md"), 2),
        ((":nothing", "--key", "KEY"), 6),
        ((":latest", "--generate-key", "new"), 2),
        (("--generate-key", "new", "--legacy"), 2),
        (("--generate-key", "dir/"), 2),
    ],
)
def test_words_that_do_not_fit(pair: Pair, signer: Signer, words: tuple[str, ...], code: int) -> None:
    pair.a.refused(code, "sign", *(str(signer.key) if word == "KEY" else word for word in words))
    assert signed(pair.a) == []


def test_a_public_key_does_not_sign(pair: Pair, signer: Signer) -> None:
    pair.a.refused(2, "sign", ":latest", "--key", str(signer.public))


# --- making keys


def test_a_pair_is_made_and_used(pair: Pair, signer: Signer, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        done = pair.a.json("sign", "--generate-key", "../made")
    finally:
        os.umask(before)
    assert (Path(done["private"]), Path(done["public"])) == (tmp_path / "made.key", tmp_path / "made.pub")
    assert stat.S_IMODE(Path(done["private"]).stat().st_mode) == 0o600
    assert pair.a.json("sign", ":latest", "--key", "../made.key")["changed"] is True


@pytest.mark.parametrize("taken", ["made.key", "made.pub"])
def test_a_key_is_never_replaced(signer: Signer, tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("mine")
    error = call("-C", str(tmp_path), "--json", "sign", "--generate-key", "made", expect=4).error
    assert taken in error["message"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("made")] == [taken]
    assert (tmp_path / taken).read_text() == "mine"


def test_a_link_to_nowhere_is_not_followed(signer: Signer, tmp_path: Path) -> None:
    (tmp_path / "made.key").symlink_to(tmp_path / "elsewhere")
    call("-C", str(tmp_path), "sign", "--generate-key", "made", expect=4)
    assert not (tmp_path / "elsewhere").exists()


def test_on_a_store_that_lists_referrers_under_a_tag(repo: str, tmp_path: Path, signer: Signer) -> None:
    made = pair_on(repo, tmp_path).a
    made.run("sign", ":latest", "--key", str(signer.key))
    digest = made.json("inspect")["digest"]
    assert digest.replace(":", "-") in Repository(repo).tags()


def test_verify_takes_what_was_signed_and_nothing_else(pair: Pair, signer: Signer, tmp_path: Path) -> None:
    public = str(signer.key.with_suffix(".pub"))
    other = Signer(tmp_path / "keys", "other", signer.password)
    words = ("verify", ":latest", "--signature", "--key")
    assert pair.b.refused(9, *words, public)["code"] == "untrusted"
    pair.a.run("sign", ":latest", "--key", str(signer.key))
    assert "signed by" in pair.b.run(*words, public).out
    assert pair.b.refused(9, *words, str(other.key.with_suffix(".pub")))["code"] == "untrusted"
    pair.b.run(*words, str(other.key.with_suffix(".pub")), "--key", public)
    pair.b.refused(2, "verify", ":latest", "--signature")
    pair.b.refused(2, "verify", ":latest", "--key", public)
    pair.b.refused(2, *words, public, "--deep")
