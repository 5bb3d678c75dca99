from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.net.redact import HIDDEN, has_controls, redact, redact_url, redacted, safe

CANARY = "s3cr3t-canary-4711"


@pytest.mark.parametrize(
    "text",
    [
        f"https://user:{CANARY}@host/path",
        f"https://host/blob?X-Amz-Signature={CANARY}&n=1",
        f"https://host/blob?sig={CANARY}",
        f"GET https://host/a?X-Amz-Credential={CANARY} failed",
        f"Authorization: Bearer {CANARY}",
        f"authorization: basic {CANARY}==",
        f"token={CANARY}",
        f'"access_token": "{CANARY}"',
        f"password: {CANARY}",
        f"bearer {CANARY}.{CANARY}",
        f"eyJ{CANARY.replace('-', 'x')}.eyJ{CANARY.replace('-', 'x')}.sig",
    ],
)
def test_secrets_are_hidden(text: str) -> None:
    shown = redact(text)
    assert CANARY not in shown
    assert CANARY.replace("-", "x") not in shown
    assert HIDDEN in shown or "@" not in shown


@pytest.mark.parametrize(
    "text",
    [
        "manifest unknown",
        "blob sha256:" + "a" * 64 + " unknown to registry",
        "https://host:5000/v2/team/model/tags/list?n=1000&last=v1",
        "connection refused",
    ],
)
def test_harmless_text_stays(text: str) -> None:
    assert redact(text) == text


def test_urls_keep_what_tells_people_something() -> None:
    url = "https://me:pw@host:5000/v2/a/blobs/uploads/?mount=sha256:1&from=a&_state=abc#frag"
    assert redact_url(url) == "https://***@host:5000/v2/a/blobs/uploads/?mount=sha256:1&from=a&_state=***"
    assert redact_url("https://[bad") == HIDDEN


@given(st.text(max_size=200))
def test_safe_text_steers_no_terminal(text: str) -> None:
    shown = safe(text)
    assert not has_controls(shown)
    assert all(unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in shown)


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S"]), max_size=200))
def test_safe_leaves_ordinary_text_alone(text: str) -> None:
    assert safe(text) == text


def test_safe_escapes_visibly_and_cuts() -> None:
    assert safe("a\x1b[31mb\u202ec\nd\x9b") == "a\\x1b[31mb\\u202ec\\x0ad\\x9b"
    assert safe("\U000e0041") == "\\U000e0041"
    assert safe("x" * 600) == "x" * 500 + "…"


@given(st.text(max_size=300))
def test_nothing_breaks_it(text: str) -> None:
    redact(text)
    redact_url(text)
    redact("https://" + text)


@pytest.mark.parametrize(
    "leak",
    [
        "GET https://user:S3CRET@host/path",
        "https://S3CRET@host",
        "https://user:pa?S3CRET@host/",
        "not a host: user:S3CRET@reg.example.com/x",
        "Authorization: Bearer S3CRET",
        "{'Authorization': 'Basic S3CRET=='}",
        "header Bearer S3CRETabcdef0",
        "https://s3/x?X-Amz-Signature=S3CRET&X-Amz-Credential=S3CRET",
        "https://blob/x?sv=1&sig=S3CRET",
        "password=S3CRET",
        '{"refresh_token": "S3CRET"}',
        "api_key='S3CRET'",
        "hf_S3CRETabcdefghijklmn",
        "eyJhbGciOiJS3CRET.eyJzdWIiOiJS3CRET.S3CRET",
        "ghp_S3CRETabcdefghijklmnopq",
    ],
)
def test_redaction_hides_secrets(leak: str) -> None:
    assert "S3CRET" not in redact(leak)
    assert "***" in redact(leak)


@pytest.mark.parametrize(
    "harmless",
    [
        "registry.example.com:5000/team/model:v1@sha256:" + "ab" * 32,
        "mem://name:tag@sha256:" + "ab" * 32,
        "HOST/REPO:tag@0123abcd",
        "the registry wants basic authentication",
        "tokenizer: tokenizer.json",
        "bundle remote set origin https://host/path",
        "config=4",
    ],
)
def test_redaction_leaves_the_rest(harmless: str) -> None:
    assert redact(harmless) == harmless


def test_redaction_of_documents_looks_at_keys_too() -> None:
    document = {"token": {"deep": "S3CRET"}, "urls": ("https://u:S3CRET@h/",), "n": 3, "ok": True, "none": None}
    cleaned = redacted(document)
    assert cleaned == {"token": "***", "urls": ["https://***@h/"], "n": 3, "ok": True, "none": None}
