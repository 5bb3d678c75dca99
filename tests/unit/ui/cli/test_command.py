from __future__ import annotations

from typing import Any

import click
import pytest

from modelops_bundle.errors import UsageError
from modelops_bundle.ui.cli.command import BundleGroup, Context, command, group

seen: list[tuple[Context, dict[str, Any]]] = []


@group("root", example="root greet world")
def root(context: Context) -> None:
    """The root."""


@command("greet", group=root, example="bundle greet world\nbundle greet --loud world")
@click.argument("name")
@click.option("--loud", is_flag=True, help="Shout.")
def greet(context: Context, name: str, loud: bool) -> int | None:
    """Say hello."""
    seen.append((context, {"name": name, "loud": loud}))
    return 7 if loud else None


@group("nested", example="root nested list", invoke_without_command=True)
def nested(context: Context) -> int:
    """List, or more."""
    seen.append((context, {"nested": True}))
    return 5


@command("list", group=nested, example="root nested list")
def list_(context: Context) -> None:
    """List."""
    seen.append((context, {"list": True}))


root.add_command(nested)


@pytest.fixture(autouse=True)
def fresh() -> None:
    seen.clear()


def call(*words: str) -> Any:
    with root.make_context("root", list(words)) as context:
        return root.invoke(context)


@pytest.mark.parametrize("words", [["-q", "greet", "x"], ["greet", "-q", "x"], ["greet", "x", "--quiet"]])
def test_global_options_before_and_after(words: list[str]) -> None:
    call(*words)
    ((context, values),) = seen
    assert values == {"name": "x", "loud": False}
    assert context.settings.quiet
    assert not context.settings.verbose


def test_the_last_one_wins_and_config_adds_up() -> None:
    call("--jobs", "1", "--config", "a=1", "greet", "x", "--jobs", "2", "--config", "b=2", "--config", "a=3")
    assert seen[0][0].settings.jobs == 2
    assert seen[0][0].settings.config == {"a": "3", "b": "2"}


def test_nothing_given_is_nothing_decided() -> None:
    call("greet", "x")
    assert seen[0][0].settings.fixed == frozenset()


def test_invocations_do_not_remember_each_other() -> None:
    call("-q", "greet", "x")
    call("greet", "x")
    assert [context.settings.quiet for context, _ in seen] == [True, False]


def test_the_function_decides_the_exit_code() -> None:
    assert call("greet", "x") is None
    assert call("greet", "--loud", "x") == 7


def test_groups_run_alone_only_when_they_say_so() -> None:
    assert call("nested") == 5
    assert call("nested", "list") is None
    assert call("nested", "-q", "list", "--offline") is None
    assert [values for _, values in seen] == [{"nested": True}, {"list": True}, {"list": True}]
    assert seen[-1][0].settings.quiet
    assert seen[-1][0].settings.offline


def test_a_group_without_a_word_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(click.exceptions.Exit) as caught:
        call()
    assert caught.value.exit_code == 2
    assert capsys.readouterr().err.startswith("Usage: root")


def test_nearby_words_are_suggested() -> None:
    with pytest.raises(UsageError, match="no such command: gret") as caught:
        call("gret", "x")
    assert caught.value.hint == "did you mean greet?"
    with pytest.raises(UsageError) as caught:
        call("nested", "zzz")
    assert caught.value.hint == "root nested --help lists the commands"


def test_help_has_the_example_and_names_the_global_options_once() -> None:
    context = click.Context(greet, info_name="bundle greet")
    shown = greet.get_help(context)
    assert shown.endswith("Example:\n  bundle greet world\n  bundle greet --loud world")
    assert "--loud" in shown
    assert "--limit-rate" in shown
    assert "Most bytes per second" not in shown
    assert all(len(line) <= 80 for line in shown.splitlines())
    shown = root.get_help(click.Context(root, info_name="root"))
    assert shown.index("greet") < shown.index("Everywhere") < shown.index("Example:")


def test_no_example_no_section() -> None:
    bare = BundleGroup("bare")
    assert "Example" not in bare.get_help(click.Context(bare, info_name="bare"))


def test_the_projects_config_fills_in(capsys: pytest.CaptureFixture[str]) -> None:
    call("greet", "x", "--jobs", "2")
    context = seen[0][0]
    context.configure({"limits": {"jobs": 9, "rate": "1K"}, "quiet": True, "remotes": {}})
    assert (context.settings.jobs, context.settings.limit_rate) == (2, 1024)
    context.out.result({}, ["never: quiet now"])
    with context.run() as run:
        assert run.limits.jobs == 2
        assert run.limits.rate == 1024
    assert capsys.readouterr() == ("", "")
