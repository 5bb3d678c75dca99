from __future__ import annotations

import json

import pytest

from modelops_bundle.errors import Corrupt, UsageError
from modelops_bundle.model.sboms import CYCLONEDX, SPDX, media_type


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT"}, SPDX),
        ({"@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld", "@graph": []}, SPDX),
        ({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": []}, CYCLONEDX),
    ],
)
def test_what_is_known(value: object, kind: str) -> None:
    assert media_type(json.dumps(value).encode(), "x") == kind


@pytest.mark.parametrize(
    "value", [{}, {"bomFormat": "CycloneDX"}, {"spdxVersion": 2}, {"bomFormat": "Other", "specVersion": "1"}, {"a": []}]
)
def test_what_is_not(value: object) -> None:
    with pytest.raises(UsageError, match="neither SPDX nor CycloneDX"):
        media_type(json.dumps(value).encode(), "x")


@pytest.mark.parametrize("data", [b"", b"<xml/>", b"SPDXVersion: SPDX-2.3", b"[]", b'{"bomFormat":1,"bomFormat":2}'])
def test_what_is_no_json(data: bytes) -> None:
    with pytest.raises(Corrupt):
        media_type(data, "x")
