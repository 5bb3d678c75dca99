"""Media types of roles, there and back."""

from __future__ import annotations

import pytest

from modelops_bundle.model import media
from modelops_bundle.model.roles import ROLES


@pytest.mark.parametrize("role", ROLES)
def test_a_role_survives_its_layer_type(role: str) -> None:
    assert media.role_of_layer(media.layer_type(role)) == role


def test_a_custom_role_travels_as_code() -> None:
    assert media.layer_type("tokenizer-zoo") == "application/vnd.cncf.model.code.v1.raw"


def test_the_config_role_has_modelpacks_name() -> None:
    assert media.layer_type("config") == "application/vnd.cncf.model.weight.config.v1.raw"


@pytest.mark.parametrize("compression", ["raw", "tar", "tar+gzip"])
def test_the_role_does_not_depend_on_the_packaging(compression: str) -> None:
    assert media.role_of_layer(f"application/vnd.cncf.model.weight.v1.{compression}") == "weight"


@pytest.mark.parametrize(
    "other", ["", "application/octet-stream", media.OCI_LAYER, "application/vnd.cncf.model.x.v1.raw"]
)
def test_other_types_have_no_role(other: str) -> None:
    assert media.role_of_layer(other) is None


def test_our_annotations_share_a_prefix() -> None:
    assert all(key.startswith(media.PREFIX) for key in (media.VERSION, media.STORAGE, media.INDEX, media.CONTENT))


def test_the_manifest_limit_is_the_registries() -> None:
    assert media.MAX_MANIFEST == 4 * 1024 * 1024
