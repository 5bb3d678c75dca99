from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from modelops_bundle import __version__
from modelops_bundle.ui.cli import main as module
from modelops_bundle.ui.cli.command import Context, command
from modelops_bundle.ui.cli.main import COMMANDS, SECTIONS, cli, main

ROOT = Path(__file__).parents[4]


@command("probe", example="bundle probe")
@click.argument("how", default="well")
def probe(context: Context, how: str) -> int | None:
    """Try."""
    if how == "bug":
        raise ValueError("broken")
    context.out.result({"how": how}, [how])
    return 3 if how == "partly" else None


@pytest.fixture
def with_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "probe", "somewhere:probe")
    real = module.import_module
    monkeypatch.setattr(
        module, "import_module", lambda name: sys.modules[__name__] if name == "somewhere" else real(name)
    )


def test_every_command_is_in_one_section_and_nothing_else_is() -> None:
    listed = [name for names in SECTIONS.values() for name in names]
    assert sorted(listed) == sorted(COMMANDS)
    # No module can be called as the keyword is.
    names = {name: f"{name}:{name}" for name in COMMANDS} | {"import": "importing:import_"}
    assert {name: f"modelops_bundle.ui.cli.{where}" for name, where in names.items()} == COMMANDS


def test_module_run_as_a_program() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "modelops_bundle", "--version"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"bundle {__version__}\n", "")


def test_the_version_imports_nothing_it_does_not_need() -> None:
    program = (
        "import sys; from modelops_bundle.ui.cli.main import main; code = main(['--version']);"
        "print([name for name in ('rich', 'urllib3', 'tomlkit', 'tomllib', 'platformdirs', 'ssl', 'json', 'difflib',"
        " 'traceback', 'modelops_bundle.events') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert ended.stdout.splitlines() == [f"bundle {__version__}", "[]"]


@pytest.mark.usefixtures("with_probe")
def test_a_command_from_its_words_to_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe"]) == 0
    assert main(["probe", "partly", "--json"]) == 3
    out = capsys.readouterr().out
    assert out == 'well\n{"how": "partly"}\n'


@pytest.mark.usefixtures("with_probe")
def test_errors_are_documents_wherever_json_stands(capsys: pytest.CaptureFixture[str]) -> None:
    for words, code in ((["--json", "probe", "bug"], "bug"), (["probe", "--wrong", "--json"], "usage")):
        assert main(words) in (1, 2)
        assert json.loads(capsys.readouterr().out)["error"]["code"] == code


def test_help_lists_the_groups_that_have_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "completion  Print the script" in shown
    assert "Options of every command" in shown
    assert shown.index("See:") < shown.index("--limit-rate") < shown.index("Example:")
    assert main(["-h"]) == 0


def test_no_words_show_the_help_and_fail(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Usage: bundle")


def test_typos(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pul"]) == 2
    assert capsys.readouterr().err == "error: no such command: pul\n\nhint: did you mean pull?\n"


def test_an_import_that_fails_inside_a_command_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> object:
        raise ModuleNotFoundError("no module named elsewhere", name="elsewhere")

    monkeypatch.setattr(module, "import_module", fail)
    with pytest.raises(ModuleNotFoundError):
        cli.get_command(click.Context(cli), "push")


@pytest.mark.usefixtures("with_probe")
def test_closed_and_narrow_streams(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with (tmp_path / "out").open("w", encoding="ascii", newline="\n") as narrow:
        monkeypatch.setattr(sys, "stdout", narrow)
        assert main(["probe", "模型"]) == 0
    assert (tmp_path / "out").read_bytes() == b"\\u6a21\\u578b\n"
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["probe"]) == 0
    sys.stdout.close()
    sys.stderr.close()
