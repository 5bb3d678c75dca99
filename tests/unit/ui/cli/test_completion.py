from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from modelops_bundle.errors import UsageError
from modelops_bundle.ui.cli.completion import SHELLS, VARIABLE, source
from modelops_bundle.ui.cli.main import COMMANDS, main


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_calls_bundle(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"{VARIABLE}={shell}_complete" in script
    assert script.rstrip("\n") == "\n".join(source(shell).splitlines())
    assert "\\t" not in script  # a script is data: nothing in it was escaped


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_understands_the_script(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    ended = subprocess.run([shell, "-n"], input=source(shell), text=True, check=False, capture_output=True)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_as_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "fish", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"shell": "fish", "script": source("fish")}


def test_other_shells() -> None:
    assert main(["completion", "tcsh"]) == 2
    with pytest.raises(UsageError):
        source("tcsh")


def complete(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str) -> list[str]:
    monkeypatch.setenv(VARIABLE, "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    assert main([]) == 0
    return [line.partition(",")[2] for line in capsys.readouterr().out.splitlines()]


def test_commands_and_options_complete(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert "completion" in complete(monkeypatch, capsys, "bundle comp")
    assert set(complete(monkeypatch, capsys, "bundle ")) <= set(COMMANDS)
    assert complete(monkeypatch, capsys, "bundle completion z") == ["zsh"]
    assert complete(monkeypatch, capsys, "bundle --limit") == ["--limit-rate"]
    assert complete(monkeypatch, capsys, "bundle completion --off") == ["--offline"]


def test_an_unknown_instruction_fails_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "cmd_complete")
    assert main([]) == 1


def test_shells_are_not_asked_at_import() -> None:
    program = "import sys, modelops_bundle.ui.cli.completion; sys.exit('click.shell_completion' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
