"""Operating system errors in our words."""

from __future__ import annotations

import errno

import pytest

from modelops_bundle.disk.problems import translate, translated
from modelops_bundle.errors import DiskError, DiskFull


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_no_space_is_told_apart(number: int) -> None:
    error = translate(OSError(number, "No space"), "write x")
    assert type(error) is DiskFull
    assert (error.message, error.facts) == ("cannot write x: no space", {"errno": number})
    assert error.hint is not None


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EROFS, errno.ELOOP])
def test_everything_else_is_a_disk_error(number: int) -> None:
    assert type(translate(OSError(number, "Bad"), "read x")) is DiskError


def test_an_error_without_text_is_named_by_its_type() -> None:
    assert translate(TimeoutError(), "read x").message == "cannot read x: timeouterror"


def test_the_original_stays_the_cause() -> None:
    original = OSError(errno.EIO, "Input/output error")
    with pytest.raises(DiskError) as caught, translated("read x"):
        raise original
    assert caught.value.__cause__ is original


def test_other_exceptions_pass() -> None:
    with pytest.raises(KeyError), translated("read x"):
        raise KeyError
