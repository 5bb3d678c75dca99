"""Optional abilities are found by `isinstance`, and only where they are."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import pytest

from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.ports import ABSENT, ANYTHING, Atomic, Chunks, Dated, Expect, Lister, Parts, Untagger


class Everything:
    @property
    def atomic_tags(self) -> Literal[True]:
        return True

    def tags(self) -> list[str]:
        return []

    def untag(self, name: str, what: Descriptor) -> bool:
        return True

    def now(self) -> float | None:
        return None

    @property
    def host(self) -> str:
        return "h"

    def part(
        self, what: Descriptor, start: int, stop: int, hindered: Callable[[], None]
    ) -> AbstractContextManager[Chunks | None]:
        return nullcontext()


@pytest.mark.parametrize("port", [Atomic, Dated, Lister, Parts, Untagger])
def test_an_ability_is_found_where_it_is(port: type) -> None:
    assert isinstance(Everything(), port)
    assert not isinstance(object(), port)


def test_absent_and_anything_are_two_things() -> None:
    assert ABSENT is Expect.ABSENT
    assert ANYTHING is Expect.ANYTHING
    assert ABSENT != ANYTHING
