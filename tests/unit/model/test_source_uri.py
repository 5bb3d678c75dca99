"""Every form of an address, and what it canonically is (facts: fetch §1.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.errors import BundleError, UsageError
from modelops_bundle.model.source_uri import SCHEMES, FileUri, OciUri, SourceUri, UrlUri, parse, scheme_of
from tests.support.canary import secret

SHA = "0123456789abcdef" * 4
SAME = "the canonical spelling already"

FORMS = [
    # Hugging Face
    ("hf://ns/name", SAME),
    ("hf://models/ns/name", "hf://ns/name"),
    ("hf://datasets/ns/name", SAME),
    ("hf://spaces/ns/name", SAME),
    ("hf://kernels/ns/name", SAME),
    ("hf://buckets/ns/name", SAME),
    ("HF://ns/Name", "hf://ns/Name"),
    ("hf://ns/name@main/config.json", SAME),
    ("hf://ns/name/sub/config.json", SAME),
    ("hf://ns/name/sub/", "hf://ns/name/sub"),
    ("hf://ns/name/*.safetensors", SAME),
    ("hf://ns/name@feature%2Fx/a.bin", SAME),
    ("hf://ns/name@refs/pr/12/a.bin", SAME),
    ("hf://ns/name@refs%2Fpr%2F12/a.bin", "hf://ns/name@refs/pr/12/a.bin"),
    ("hf://ns/name@refs/convert/parquet", SAME),
    ("hf://ns/name?rev=v1", "hf://ns/name@v1"),
    ("hf://ns/name@v1?rev=v1", "hf://ns/name@v1"),
    ("hf://ns/name?quant=Q4_K_M", SAME),
    (
        "hf://ns/name?exclude=*.bin&include=*.json&include=a/**",
        "hf://ns/name?include=*.json&include=a/**&exclude=*.bin",
    ),
    ("hf://ns/name/a%20b%23.txt", SAME),
    ("hf://ns/name/a b.txt", "hf://ns/name/a%20b.txt"),
    ("hf://gpt2", SAME),
    ("hf://gpt2@main/config.json", SAME),
    ("hf://datasets/squad", SAME),
    ("https://huggingface.co/ns/name", "hf://ns/name"),
    ("https://huggingface.co/gpt2", "hf://gpt2"),
    ("https://huggingface.co/gpt2/tree/main", "hf://gpt2@main"),
    ("https://huggingface.co/ns/tree", "hf://ns/tree"),
    ("https://huggingface.co/gpt2/blob/main/config.json", "hf://gpt2@main/config.json"),
    ("https://hf.co/ns/name/blob/main/a/b.gguf", "hf://ns/name@main/a/b.gguf"),
    ("https://huggingface.co/ns/name/resolve/main/a%20b.bin?download=true", "hf://ns/name@main/a%20b.bin"),
    ("https://huggingface.co/ns/name/raw/abc123/x", "hf://ns/name@abc123/x"),
    ("https://huggingface.co/ns/name/blame/main/x", "hf://ns/name@main/x"),
    ("https://huggingface.co/ns/name/tree/main/sub", "hf://ns/name@main/sub"),
    ("https://huggingface.co/ns/name/tree/refs%2Fpr%2F1", "hf://ns/name@refs/pr/1"),
    ("https://huggingface.co/ns/name/tree/refs/convert/parquet/a", "hf://ns/name@refs/convert/parquet/a"),
    ("https://huggingface.co/datasets/ns/name/tree/main", "hf://datasets/ns/name@main"),
    ("https://huggingface.co/spaces/ns/name", "hf://spaces/ns/name"),
    # CivitAI
    ("civitai://123", SAME),
    ("civitai://123@456", SAME),
    ("civitai://123@456+7", SAME),
    ("civitai://123+7", SAME),
    (
        "civitai://123?file=*pruned*&quantType=Q4&fp=fp16&size=pruned&format=SafeTensor&type=Model",
        "civitai://123?type=Model&format=SafeTensor&size=pruned&fp=fp16&quantType=Q4&file=*pruned*",
    ),
    ("civitai://version/456", SAME),
    (f"civitai://hash/{SHA}", f"civitai://hash/{SHA.upper()}"),
    ("civitai://hash/5493A0EC", SAME),
    ("civitai://hash/cbaf000000", "civitai://hash/CBAF000000"),
    ("civitai://model/123?version=456&file=pruned", "civitai://123@456?file=*pruned*"),
    ("civitai://model/123", "civitai://123"),
    ("urn:air:sdxl:lora:civitai:123@456", "civitai://123@456"),
    ("air:sdxl:lora:civitai:123@456+7", "civitai://123@456+7"),
    ("sdxl:lora:civitai:123", "civitai://123"),
    ("urn:air:sd1:checkpoint:civitai:4384@128713.ckpt", "civitai://4384@128713?format=PickleTensor"),
    ("https://civitai.com/models/123", "civitai://123"),
    ("https://civitai.com/models/123/some-slug", "civitai://123"),
    ("https://civitai.com/models/123/some-slug?modelVersionId=456", "civitai://123@456"),
    ("https://civitai.red/models/123?modelVersionId=456", "civitai://123@456"),
    ("https://www.civitai.green/models/123", "civitai://123"),
    ("https://civitai.com/api/download/models/456", "civitai://version/456"),
    ("https://civitai.com/api/download/models/456?fileId=7", "civitai://version/456+7"),
    (
        "https://civitai.com/api/download/models/456?type=Model&format=SafeTensor&size=full&fp=fp16",
        "civitai://version/456?type=Model&format=SafeTensor&size=full&fp=fp16",
    ),
    ("https://civitai.com/api/v1/model-versions/456", "civitai://version/456"),
    ("https://civitai.com/api/v1/models/123", "civitai://123"),
    ("https://civitai.com/api/v1/model-versions/by-hash/5493a0ec", "civitai://hash/5493A0EC"),
    # ModelScope
    ("ms://ns/name", "modelscope://ns/name"),
    ("modelscope://ns/name@v1.0/a/b.bin", SAME),
    ("modelscope://models/ns/name", "modelscope://ns/name"),
    ("ms://datasets/ns/name", "modelscope://datasets/ns/name"),
    ("https://modelscope.cn/models/ns/name", "modelscope://ns/name"),
    ("https://www.modelscope.cn/models/ns/name/summary", "modelscope://ns/name"),
    ("https://www.modelscope.ai/models/ns/name/files", "modelscope://ns/name"),
    ("https://modelscope.cn/models/ns/name/file/view/master/a/b.json?status=1", "modelscope://ns/name@master/a/b.json"),
    ("https://modelscope.cn/models/ns/name/resolve/master/b.bin", "modelscope://ns/name@master/b.bin"),
    ("https://modelscope.cn/datasets/ns/name/tree/master", "modelscope://datasets/ns/name@master"),
    # URLs
    ("https://example.com/a.bin", SAME),
    ("http://example.com/a.bin", SAME),
    ("HTTPS://Example.COM:443", "https://example.com/"),
    ("http://example.com:8080/a?b=c&key=d", SAME),
    ("https://example.com/a%2Fb/ü", "https://example.com/a%2Fb/%C3%BC"),
    ("https://müller.example/x", "https://xn--mller-kva.example/x"),
    ("http://[::1]:80/x", "http://[::1]/x"),
    (f"https://example.com/a.bin#sha256={SHA.upper()}", f"https://example.com/a.bin#sha256={SHA}"),
    (f"https://example.com/a.bin#blake3={SHA}", SAME),
    (f"https://example.com/a.bin#md5={SHA[:32]}", SAME),
    ("https://example.com/page#files", "https://example.com/page"),
    # objects
    ("s3://bucket/a/b.bin", SAME),
    (
        "s3://bucket/k?versionId=1&region=eu-west-1&endpoint=http://127.0.0.1:9000&anon=1&requester_pays=1",
        "s3://bucket/k?anon=1&endpoint=http://127.0.0.1:9000&region=eu-west-1&requester_pays=1&versionId=1",
    ),
    ("s3://bucket/prefix/", SAME),
    ("gs://bucket/k?generation=17", SAME),
    ("gcs://bucket/k", "gs://bucket/k"),
    ("az://account/container/k", SAME),
    ("abfs://container@account.dfs.core.windows.net/a/k", "az://account/container/a/k"),
    ("abfss://container@account.dfs.core.windows.net/a/k", "az://account/container/a/k"),
    ("https://account.blob.core.windows.net/container/a/k", "az://account/container/a/k"),
    # this machine, registries, names
    ("file:///a/b.bin", SAME),
    ("file://localhost/a", "file:///a"),
    ("local:///a%23b", "file:///a%23b"),
    ("file:///c:/models/x", "file:///C:/models/x"),
    ("oci://registry.example/ns/repo", SAME),
    ("oci://localhost:5000/ns/repo:v1", SAME),
    (f"oci://registry.example/repo@sha256:{SHA}", SAME),
    (f"oci://registry.example/repo:v1@sha256:{SHA}#a/b.bin", SAME),
    ("ollama://llama3.2", "ollama://registry.ollama.ai/library/llama3.2:latest"),
    ("ollama://me/Model:7b", "ollama://registry.ollama.ai/me/Model:7b"),
    ("ollama://hf.co/ns/Repo-GGUF:Q4_K_M", SAME),
    ("ollama://localhost:5000/ns/m:t", SAME),
    ("starter://tiny-llm", SAME),
]


@pytest.mark.parametrize(("text", "canonical"), FORMS, ids=[text[:60] for text, _ in FORMS])
def test_every_form_has_one_canonical_spelling(text: str, canonical: str) -> None:
    uri = parse(text)
    assert str(uri) == (text if canonical == SAME else canonical)
    assert parse(str(uri)) == uri
    assert isinstance(uri, SourceUri)
    assert str(uri).startswith(f"{uri.scheme}://")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("ns/name", "did you mean hf://ns/name?"),
        ("huggingface.co/ns/name", "did you mean https://huggingface.co/ns/name?"),
        ("civitai.com/models/1", "did you mean https://civitai.com/models/1?"),
        ("/models/a.bin", "write file:// and the absolute path"),
        ("C:\\models\\a.bin", "write file:// and the absolute path"),
        ("model", "an address begins with its scheme"),
        ("ftp://host/x", "the schemes are "),
        ("hf://", "something follows hf://"),
        ("file://relative/x", "the path of file:// is absolute"),
        ("local://x", "the path of local:// is absolute"),
        ("file:///a?b", "write %3F"),
        ("https:///x", "a URL has a host"),
        ("https://example.com:99999/", "it is not a URL"),
        ("https://example.com/a b", "a URL has a host"),
        (f"https://example.com/x#sha265={SHA}", "after '#' stands ALGORITHM=HEX"),
        ("https://example.com/x#sha256=12", "after '#' stands ALGORITHM=HEX"),
        ("oci://registry.example/repo@sha256:1234567", "write the whole digest"),
        ("oci://registry.example/repo#", "write oci://"),
        ("ollama://a/b/c/d", "write ollama://"),
        ("ollama://a/:x", "write ollama://"),
        ("starter://No", "an alias has"),
    ],
)
def test_a_refusal_says_what_to_write(text: str, hint: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(text)
    assert hint in (raised.value.hint or "")


@pytest.mark.parametrize(
    "url", ["https://me:{}@example.com/x", "https://example.com/x?token={}", "https://hf.co/ns/n?token={}"]
)
def test_secrets_are_refused_and_not_repeated(url: str) -> None:
    word = secret("token")
    with pytest.raises(UsageError) as raised:
        parse(url.format(word))
    assert word not in str(raised.value.to_json())


@given(st.text(max_size=60), st.sampled_from(SCHEMES))
def test_anything_parses_or_is_refused_in_our_words(text: str, scheme: str) -> None:
    for address in (text, f"{scheme}://{text}", f"https://huggingface.co/{text}", f"https://civitai.com/{text}"):
        try:
            uri = parse(address)
        except BundleError:
            continue
        assert parse(str(uri)) == uri, address


def test_schemes_are_told_without_parsing() -> None:
    assert scheme_of("HF://x") == "hf"
    assert scheme_of("x") is None


def test_values() -> None:
    assert parse(f"https://example.com/a#sha256={SHA}") == UrlUri("https://example.com/a", ("sha256", SHA))
    assert parse("file:///a%20b") == FileUri("/a b")
    uri = parse("oci://registry.example/repo:v1#a b")
    assert isinstance(uri, OciUri) and (uri.reference.tag, uri.title) == ("v1", "a b")
