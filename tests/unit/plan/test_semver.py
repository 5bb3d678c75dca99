"""The next release tag (DESIGN §6, `--bump`)."""

from __future__ import annotations

import pytest

from modelops_bundle.plan.semver import Part, bump


@pytest.mark.parametrize(
    ("tags", "part", "expected"),
    [
        ([], "patch", "0.1.0"),
        ([], "major", "0.1.0"),
        (["latest", "nightly"], "minor", "0.1.0"),
        (["1.2.3"], "patch", "1.2.4"),
        (["1.2.3"], "minor", "1.3.0"),
        (["1.2.3"], "major", "2.0.0"),
        (["v1.2.3"], "minor", "v1.3.0"),
        (["1.9.0", "1.10.0"], "patch", "1.10.1"),
        (["v1.0.0", "2.0.0"], "patch", "2.0.1"),
        (["2.0.0", "v3.0.0"], "patch", "v3.0.1"),
        (["1.0.0", "2.0.0-rc.1"], "patch", "1.0.1"),
        (["1.0.0", "9.9.9+build"], "patch", "1.0.1"),
        (["1.0.0", "01.0.0", "1.0", "1.0.0.0", "x1.0.0", "V2.0.0"], "patch", "1.0.1"),
        (["0.0.0"], "patch", "0.0.1"),
        (["v0.9.9", "0.9.9"], "major", "v1.0.0"),
    ],
)
def test_the_next_release(tags: list[str], part: Part, expected: str) -> None:
    assert bump(tags, part) == expected
    assert bump(reversed(tags), part) == expected
