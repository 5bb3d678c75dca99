"""Names inside `.modelops-bundle/`."""

from __future__ import annotations

from modelops_bundle.model.paths import RESERVED_DIRECTORIES, problem
from modelops_bundle.model.reference import Reference, parse
from modelops_bundle.workspace import layout


def test_the_folder_is_one_nobody_else_may_write_to() -> None:
    assert layout.FOLDER in RESERVED_DIRECTORIES
    assert problem(f"{layout.FOLDER}/{layout.CONFIG}") is not None


def test_every_name_is_distinct_even_where_case_is_ignored() -> None:
    names = [value for name, value in vars(layout).items() if name.isupper() and isinstance(value, str)]
    own = [name for name in names if name not in (layout.FOLDER, layout.IGNORE_FILE, layout.EMBEDDED)]
    assert len({name.lower() for name in own}) == len(own)
    assert all("/" not in name for name in own)


def test_the_embedded_store_is_a_relative_layout() -> None:
    assert parse(layout.EMBEDDED) == Reference("layout", f"{layout.FOLDER}/{layout.STORE}")
