"""What the global options take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.ui import text
from modelops_bundle.ui.cli import values
from modelops_bundle.ui.cli.values import parse_size


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("0", 0),
        ("512", 512),
        ("512B", 512),
        ("10M", 10 * 1024**2),
        ("10m", 10 * 1024**2),
        ("10MiB", 10 * 1024**2),
        (" 10 MiB/s ", 10 * 1024**2),
        ("10MB", 10**7),
        ("1.5G", 3 * 1024**3 // 2),
        ("1kB", 1000),
        ("1TiB", 1024**4),
    ],
)
def test_sizes_as_people_write_them(written: str, meant: int) -> None:
    assert parse_size(written) == meant


@pytest.mark.parametrize(
    "wrong", ["", "M", "-1", "1e3", "10X", "1ib", "1 0", "10M/m", "٣M", "1.", "0x10", "1,5G", "inf"]
)
def test_what_is_no_size(wrong: str) -> None:
    with pytest.raises(ValueError):
        parse_size(wrong)


@given(st.integers(0, 2**70), st.sampled_from(["", "K", "KiB", "M", "MiB", "G", "GiB", "T", "TiB"]))
def test_whole_sizes_are_exact(number: int, unit: str) -> None:
    assert parse_size(f"{number}{unit}") == number * 1024 ** " KMGT".index(unit[:1] or " ")


@given(st.integers(0, 2**59))
def test_what_we_print_can_be_written(count: int) -> None:
    assert abs(parse_size(text.size(count)) - count) <= 0.05 * max(count, 1)


@given(st.text())
def test_any_text_is_a_size_or_an_error(written: str) -> None:
    try:
        assert parse_size(written) >= 0
    except ValueError:
        pass


@pytest.mark.parametrize(("written", "meant"), [("0.1", 0.1), (30, 30.0), ("86400", 86400.0)])
def test_seconds(written: object, meant: float) -> None:
    assert values.seconds(written) == meant


@pytest.mark.parametrize("wrong", ["", "0", "-1", "nan", "inf", "ten", "86401"])
def test_what_is_no_time_to_wait(wrong: str) -> None:
    with pytest.raises(ValueError, match="number of seconds"):
        values.seconds(wrong)
