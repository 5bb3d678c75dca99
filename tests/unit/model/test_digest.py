"""Digests: only sha256, only lower case, before they reach a URL or a path."""

from __future__ import annotations

import hashlib

import pytest

from modelops_bundle.errors import Corrupt
from modelops_bundle.model.digest import Digest

HEX = hashlib.sha256(b"x").hexdigest()


def test_parse_and_print_are_inverse() -> None:
    assert str(Digest.parse(f"sha256:{HEX}")) == f"sha256:{HEX}"
    assert Digest.parse(f"sha256:{HEX}") == Digest.of(b"x")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        HEX,
        f"sha256:{HEX[:-1]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX.upper()}",
        f"SHA256:{HEX}",
        f"sha512:{HEX}{HEX}",
        f"sha256:{HEX}\n",
        f" sha256:{HEX}",
        f"sha256:{HEX[:-2]}..",
        "sha256:" + "../" * 21 + "x",
        f"sha256:{HEX[:-1]}\N{FULLWIDTH DIGIT ONE}",
    ],
)
def test_anything_else_is_corrupt(text: str) -> None:
    with pytest.raises(Corrupt, match="not a sha256 digest"):
        Digest.parse(text)


@pytest.mark.parametrize("value", [None, 1, b"sha256:" + HEX.encode(), ["sha256"], {}])
def test_what_is_no_text_is_corrupt(value: object) -> None:
    with pytest.raises(Corrupt):
        Digest.parse(value)  # type: ignore[arg-type]


def test_the_message_does_not_repeat_megabytes() -> None:
    with pytest.raises(Corrupt) as caught:
        Digest.parse("z" * 1_000_000)
    assert len(str(caught.value)) < 200


def test_raw_bytes_and_text_agree() -> None:
    assert Digest.from_bytes(hashlib.sha256(b"x").digest()) == Digest.of(b"x")


def test_short_is_twelve_digits() -> None:
    assert Digest.of(b"x").short == HEX[:12]


def test_digests_are_hashable_and_ordered() -> None:
    one, two = sorted([Digest.of(b"1"), Digest.of(b"2")])
    assert one.hex < two.hex
    assert len({one, two, Digest.parse(str(one))}) == 2
