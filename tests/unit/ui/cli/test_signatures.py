"""What `verify --signature` prints; which signatures count is tests/flow/test_trust.py's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelops_bundle.errors import ConfigError, Untrusted, UsageError
from modelops_bundle.ui.cli import signatures
from modelops_bundle.ui.cli.command import Context
from modelops_bundle.ui.cli.options import Settings
from tests.support.bundle import Bundle
from tests.support.signing import Signer


@pytest.fixture
def signer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Signer:
    made = Signer(tmp_path / "keys")
    monkeypatch.setenv("COSIGN_PASSWORD", made.password)
    return made


@pytest.fixture
def alone(tmp_path: Path) -> Bundle:
    made = Bundle.create(tmp_path / "alone", None, {"a.txt": "a\n"})
    made.push()
    return made


def context(bundle: Bundle, *, json_output: bool = False) -> Context:
    return Context(Settings(directory=bundle.root, json=json_output, progress="none"))


def test_who_signed(alone: Bundle, signer: Signer, capsys: pytest.CaptureFixture[str]) -> None:
    alone.run("sign", ":latest", "--key", str(signer.key))
    other = Signer(signer.folder, "other", signer.password)
    alone.run("sign", ":latest", "--key", str(other.key))
    signatures.verify(context(alone), ":latest", ["../keys/cosign.pub"])
    shown = capsys.readouterr().out
    assert f"signed by {signer.public}" in shown.replace("alone/../", "")
    assert "1 other signature" in shown
    signatures.verify(context(alone, json_output=True), None, [str(signer.public), str(other.public)])
    document = json.loads(capsys.readouterr().out)
    assert len(document["signatures"]) == 2
    assert document["rejected"] == []
    assert document["digest"] == alone.json("inspect")["digest"]


def test_nobody_did(alone: Bundle, signer: Signer, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Untrusted, match="is not signed"):
        signatures.verify(context(alone), ":latest", [str(signer.public)])
    assert capsys.readouterr().out == ""


def test_by_whom(alone: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="whose"):
        signatures.verify(context(alone), ":latest")
    with pytest.raises(UsageError, match="belong together"):
        signatures.verify(context(alone), ":latest", identity="ann@example.com")
    with pytest.raises(ConfigError):
        signatures.verify(context(alone), ":latest", [str(tmp_path / "nothing.pub")])
