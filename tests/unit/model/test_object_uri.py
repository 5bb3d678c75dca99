"""Addresses of object stores: values and their spelling. The examples stand in test_source_uri."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.errors import UsageError
from modelops_bundle.model.object_uri import ObjectUri
from modelops_bundle.model.source_uri import UrlUri, parse
from tests.support.canary import secret

KEY = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20).filter(
    lambda key: not key.startswith("/") and key == key.strip()
)


@given(KEY, st.sampled_from(["s3", "gs", "az"]))
def test_every_value_reads_back(key: str, service: str) -> None:
    options = {
        "s3": (("anon", "1"), ("endpoint", "http://127.0.0.1:9000"), ("versionId", "a+b/=")),
        "gs": (("generation", "17"),),
    }
    uri = (
        ObjectUri(service, "bucket.one", key, options=options[service])
        if service != "az"
        else ObjectUri(service, "models", key, "account1")
    )  # type: ignore[arg-type]
    assert parse(str(uri)) == uri


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket",
        "s3://bucket/",
        "s3://B/key",
        "s3://bucket//key",
        "s3://bucket/key#x",
        "s3://bucket/key?acl=1",
        "s3://bucket/key?anon=yes",
        "s3://bucket/key?endpoint=ftp://x",
        "s3://bucket/key?endpoint=http://a:b@x",
        "s3://bucket/" + "k" * 1025,
        "gs://bucket/key?region=x",
        "az://container/key",
        "az://acc/co",
        "abfs://container@other.example/key",
    ],
)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(text)
    assert raised.value.hint


def test_a_signed_address_stays_a_plain_url() -> None:
    uri = parse("https://account1.blob.core.windows.net/models/a.bin?sv=1&se=2")
    assert uri == UrlUri("https://account1.blob.core.windows.net/models/a.bin?sv=1&se=2")


def test_a_secret_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError) as raised:
        parse(f"s3://bucket/key?password={secret()}")
    assert raised.value.message == "the address holds a secret, as password="
