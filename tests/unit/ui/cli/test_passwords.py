from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from modelops_bundle.errors import Interrupted, UsageError
from modelops_bundle.ui.cli.command import Context
from modelops_bundle.ui.cli.options import Settings
from modelops_bundle.ui.cli.passwords import VARIABLE, of_key
from tests.support import canary


def context(*, terminal: bool = True, json: bool = False) -> Context:
    return Context(Settings(directory=Path("/"), stdin_is_tty=terminal, stderr_is_tty=terminal, json=json))


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is typed, in turn."""
    monkeypatch.delenv(VARIABLE, raising=False)
    words: list[str] = []

    def ask(prompt: str) -> str:
        if not words:
            raise EOFError
        return words.pop(0)

    monkeypatch.setattr(getpass, "getpass", ask)
    return words


@pytest.mark.parametrize("word", ["", "pässwörd", canary.secret()])
def test_the_variable_comes_first_even_when_it_is_empty(
    word: str, typed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, word)
    assert of_key(context())() == word.encode()
    assert of_key(context(terminal=False), new=True)() == word.encode()


def test_else_it_is_typed_once_or_for_a_new_key_twice(typed: list[str]) -> None:
    typed += ["one", "two", "two"]
    assert of_key(context())() == b"one"
    assert of_key(context(), new=True)() == b"two"
    assert typed == []


def test_two_that_differ(typed: list[str]) -> None:
    typed += [canary.secret(), canary.secret()]
    with pytest.raises(UsageError) as refused:
        of_key(context(), new=True)()
    assert not canary.printed(str(refused.value).encode())


def test_nobody_is_asked_who_is_not_there(typed: list[str]) -> None:
    typed += ["one"]
    for here in (context(terminal=False), context(json=True)):
        with pytest.raises(UsageError, match="no terminal"):
            of_key(here)()
    assert typed == ["one"]


def test_the_end_of_the_input_is_an_end(typed: list[str]) -> None:
    with pytest.raises(Interrupted):
        of_key(context())()
