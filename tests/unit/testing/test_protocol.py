"""The in-process registry's answers, by the distribution specification."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.model import media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.testing.protocol import Call, Protocol, Response, ranged

DATA = b"0123456789"
DIGEST = str(Digest.of(DATA))
ACCEPT = {"accept": ", ".join(media.MANIFEST_TYPES)}


@pytest.fixture
def protocol() -> Protocol:
    protocol = Protocol()
    protocol.repository("a/b").blobs[DIGEST] = DATA
    return protocol


def ask(protocol: Protocol, method: str, path: str, body: bytes = b"", **headers: str) -> Response:
    return protocol.answer(
        Call(method, f"/v2/{path}", {name.replace("_", "-"): text for name, text in headers.items()}, body)
    )


def code(response: Response) -> str:
    found: str = json.loads(response.body)["errors"][0]["code"]
    return found


def manifest(*layers: Descriptor, subject: Descriptor | None = None) -> bytes:
    value = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": Descriptor(media.OCI_EMPTY, Digest.of(DATA), len(DATA)).to_json(),
        "layers": [layer.to_json() for layer in layers],
        "artifactType": "x/y",
    }
    if subject is not None:
        value["subject"] = subject.to_json()
    return json.dumps(value).encode()


def push(protocol: Protocol, name: str, data: bytes, **headers: str) -> Response:
    return ask(protocol, "PUT", f"a/b/manifests/{name}", data, content_type=media.OCI_MANIFEST, **headers)


def test_the_root_says_yes(protocol: Protocol) -> None:
    assert ask(protocol, "GET", "").status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "expected"),
    [
        ("GET", "nothing", 404, "NAME_UNKNOWN"),
        ("GET", "A/b/tags/list", 400, "NAME_INVALID"),
        ("GET", "x/tags/list", 404, "NAME_UNKNOWN"),
        ("GET", "x/manifests/latest", 404, "NAME_UNKNOWN"),
        ("GET", "a/b/manifests/latest", 404, "MANIFEST_UNKNOWN"),
        ("GET", "a/b/blobs/sha256:" + "0" * 64, 404, "BLOB_UNKNOWN"),
        ("GET", "a/b/blobs/sha512:00", 400, "DIGEST_INVALID"),
        ("PATCH", "a/b/blobs/uploads/none", 404, "BLOB_UPLOAD_UNKNOWN"),
        ("GET", "a/b/blobs/uploads/", 405, "UNSUPPORTED"),
    ],
)
def test_errors_have_their_codes(protocol: Protocol, method: str, path: str, status: int, expected: str) -> None:
    found = ask(protocol, method, path)
    assert (found.status, code(found)) == (status, expected)


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [
        ("bytes=0-3", 206, b"0123"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=5-99", 206, b"56789"),
        ("bytes=10-", 416, b""),
        ("bytes=4-2", 416, b""),
        ("bytes=-", 200, DATA),
        ("bytes=0-1,3-4", 200, DATA),
        ("chars=0-1", 200, DATA),
        ("", 200, DATA),
    ],
)
def test_ranges(asked: str, status: int, body: bytes) -> None:
    found = ranged(Call("GET", "/", {"range": asked}), DATA)
    assert (found.status, found.body) == (status, body)
    if status == 206:
        start = DATA.index(body)
        assert found.headers["Content-Range"] == f"bytes {start}-{start + len(body) - 1}/10"
    if status == 416:
        assert found.headers["Content-Range"] == "bytes */10"


def start(protocol: Protocol, query: str = "") -> Response:
    return ask(protocol, "POST", f"a/b/blobs/uploads/{query}")


def session(response: Response) -> str:
    return response.headers["Location"].removeprefix("/v2/")


def test_an_upload_in_one_piece(protocol: Protocol) -> None:
    begun = start(protocol)
    assert begun.status == 202
    digest = Digest.of(b"new")
    done = ask(protocol, "PUT", f"{session(begun)}&digest={digest}", b"new")
    assert (done.status, done.headers["Docker-Content-Digest"]) == (201, str(digest))
    assert ask(protocol, "GET", f"a/b/blobs/{digest}").body == b"new"
    assert ask(protocol, "PUT", f"{session(begun)}&digest={digest}", b"new").status == 404


def test_an_upload_in_order_and_out_of_it(protocol: Protocol) -> None:
    at = session(start(protocol))
    assert ask(protocol, "PATCH", at, b"abc", content_range="0-2").headers["Range"] == "0-2"
    assert ask(protocol, "PATCH", at, b"xyz", content_range="7-9").status == 416
    assert ask(protocol, "GET", at).headers["Range"] == "0-2"
    assert ask(protocol, "PATCH", at, b"def", content_range="3-5").status == 202
    assert ask(protocol, "PUT", f"{at}&digest={Digest.of(b'abcdef')}").status == 201


def test_digests_are_enforced(protocol: Protocol) -> None:
    at = session(start(protocol))
    assert code(ask(protocol, "PUT", f"{at}&digest={DIGEST}", b"other")) == "DIGEST_INVALID"
    assert code(ask(protocol, "PUT", session(start(protocol)), b"x")) == "DIGEST_INVALID"
    assert start(protocol, f"?digest={DIGEST}").status == 400


def test_sessions_belong_to_a_repository_and_can_be_given_up(protocol: Protocol) -> None:
    at = session(start(protocol))
    assert ask(protocol, "PATCH", at.replace("a/b", "a/c"), b"x").status == 404
    assert ask(protocol, "DELETE", at).status == 204
    assert ask(protocol, "PATCH", at, b"x").status == 404


def test_mounts(protocol: Protocol) -> None:
    assert ask(protocol, "POST", f"a/c/blobs/uploads/?mount={DIGEST}&from=a/b").status == 201
    assert ask(protocol, "GET", f"a/c/blobs/{DIGEST}").body == DATA
    assert ask(protocol, "POST", f"a/c/blobs/uploads/?mount={Digest.of(b'?')}&from=a/b").status == 202
    protocol.habits.mounts = False
    assert ask(protocol, "POST", f"a/d/blobs/uploads/?mount={DIGEST}&from=a/b").status == 202


def test_registries_differ_in_the_parts_they_take(protocol: Protocol) -> None:
    protocol.habits.patch = 4
    where = session(start(protocol))
    assert ask(protocol, "PATCH", where, b"12345").status == 416
    assert ask(protocol, "PATCH", where, b"1234").status == 202
    protocol.habits.patched = 204
    assert ask(protocol, "PATCH", where, b"5").status == 204
    protocol.habits.patch = 0
    assert ask(protocol, "PATCH", where, b"6").status == 405
    assert ask(protocol, "GET", where).headers["Range"] == "0-4"


def test_some_append_whatever_they_get(protocol: Protocol) -> None:
    where = session(start(protocol))
    ask(protocol, "PATCH", where, b"12")
    assert ask(protocol, "PATCH", where, b"12", content_range="0-1").status == 416
    protocol.habits.appends = True
    assert ask(protocol, "PATCH", where, b"12", content_range="0-1").headers["Range"] == "0-3"


@pytest.mark.parametrize("keeps", [True, False])
def test_what_is_left_of_a_body_that_was_cut(protocol: Protocol, keeps: bool) -> None:
    protocol.habits.keeps = keeps
    where = session(start(protocol))
    ask(protocol, "PATCH", where, b"12")
    protocol.cut(Call("PATCH", f"/v2/{where}", {}, b"345"))
    protocol.cut(Call("PUT", "/v2/a/b/manifests/x", {}, b"345"))
    answer = ask(protocol, "GET", where)
    assert (answer.status, answer.headers.get("Range")) == ((204, "0-4") if keeps else (404, None))


def test_a_restart_loses_every_upload(protocol: Protocol) -> None:
    where = session(start(protocol))
    assert protocol.uploads == 1
    protocol.restart()
    assert protocol.uploads == 0
    assert code(ask(protocol, "GET", where)) == "BLOB_UPLOAD_UNKNOWN"


def test_sessions_may_say_the_least_part_and_carry_a_state(protocol: Protocol) -> None:
    first = start(protocol).headers
    assert "_state=" in first["Location"]
    assert "OCI-Chunk-Min-Length" not in first
    protocol.habits.least, protocol.habits.state = 5, False
    second = start(protocol).headers
    assert "?" not in second["Location"]
    assert second["OCI-Chunk-Min-Length"] == "5"


def test_single_post(protocol: Protocol) -> None:
    assert ask(protocol, "POST", f"a/b/blobs/uploads/?digest={Digest.of(b'x')}", b"x").status == 201
    protocol.habits.single_post = False
    assert ask(protocol, "POST", f"a/b/blobs/uploads/?digest={Digest.of(b'y')}", b"y").status == 202


def test_manifests_by_tag_and_digest(protocol: Protocol) -> None:
    data = manifest()
    digest = str(Digest.of(data))
    done = push(protocol, "v1", data)
    assert (done.status, done.headers["Docker-Content-Digest"]) == (201, digest)
    for name in ("v1", digest):
        found = ask(protocol, "GET", f"a/b/manifests/{name}", **ACCEPT)
        assert (found.status, found.body, found.headers["Content-Type"]) == (200, data, media.OCI_MANIFEST)
    assert ask(protocol, "GET", "a/b/manifests/v1", accept="text/plain").status == 404
    assert ask(protocol, "GET", "a/b/manifests/v1", if_none_match=f'"{digest}"', **ACCEPT).status == 304


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("v1", b"{", "MANIFEST_INVALID"),
        ("v1", b"[]", "MANIFEST_INVALID"),
        ("v1", b'{"schemaVersion": 1}', "MANIFEST_INVALID"),
        ("v1", b'{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json"}', "MANIFEST_INVALID"),
        ("-v1", manifest(), "MANIFEST_INVALID"),
        ("sha256:" + "0" * 64, manifest(), "DIGEST_INVALID"),
        ("v1", manifest(Descriptor("x", Digest.of(b"missing"), 7)), "MANIFEST_BLOB_UNKNOWN"),
        ("v1", bytes(4 * 1024 * 1024 + 1), "SIZE_INVALID"),
    ],
)
def test_manifests_that_are_refused(protocol: Protocol, name: str, data: bytes, expected: str) -> None:
    assert code(push(protocol, name, data)) == expected
    assert protocol.repositories["a/b"].manifests == {}


def test_conditions(protocol: Protocol) -> None:
    data, other = manifest(), manifest() + b" "
    digest = Digest.of(data)
    assert push(protocol, "v1", data, if_match=f'"{digest}"').status == 412
    assert push(protocol, "v1", data, if_none_match="*").status == 201
    assert push(protocol, "v1", other, if_none_match="*").status == 412
    assert push(protocol, "v1", other, if_match=f'"{Digest.of(b"?")}"').status == 412
    assert push(protocol, "v1", other, if_match=f'"{digest}"').status == 201
    protocol.habits.conditions = False
    assert push(protocol, "v1", data, if_none_match="*").status == 201


def test_deletion(protocol: Protocol) -> None:
    data = manifest()
    digest = Digest.of(data)
    for tag in ("v1", "v2"):
        push(protocol, tag, data)
    assert ask(protocol, "DELETE", "a/b/manifests/v1").status == 202
    assert ask(protocol, "GET", "a/b/manifests/v2", **ACCEPT).status == 200
    protocol.habits.tag_deletes = False
    assert ask(protocol, "DELETE", "a/b/manifests/v2").status == 405
    assert ask(protocol, "DELETE", f"a/b/manifests/{digest}").status == 202
    assert ask(protocol, "GET", "a/b/manifests/v2", **ACCEPT).status == 404
    protocol.habits.deletes = False
    assert ask(protocol, "DELETE", f"a/b/blobs/{DIGEST}").status == 405
    protocol.habits.deletes = True
    assert ask(protocol, "DELETE", f"a/b/blobs/{DIGEST}").status == 202


def test_tags_come_in_pages(protocol: Protocol) -> None:
    for tag in "cab":
        push(protocol, tag, manifest())
    assert json.loads(ask(protocol, "GET", "a/b/tags/list").body) == {"name": "a/b", "tags": ["a", "b", "c"]}
    page = ask(protocol, "GET", "a/b/tags/list?n=2")
    assert json.loads(page.body)["tags"] == ["a", "b"]
    assert page.headers["Link"] == '</v2/a/b/tags/list?last=b&n=2>; rel="next"'
    last = ask(protocol, "GET", "a/b/tags/list?last=b&n=2")
    assert json.loads(last.body)["tags"] == ["c"]
    assert "Link" not in last.headers
    protocol.habits.page = 1
    assert json.loads(ask(protocol, "GET", "a/b/tags/list?n=2").body)["tags"] == ["a"]


def test_referrers(protocol: Protocol) -> None:
    data = manifest()
    subject = Descriptor.of(media.OCI_MANIFEST, data)
    push(protocol, "v1", data)
    done = push(protocol, "sig", manifest(subject=subject))
    assert done.headers["OCI-Subject"] == str(subject.digest)
    found = json.loads(ask(protocol, "GET", f"a/b/referrers/{subject.digest}").body)["manifests"]
    assert [one["artifactType"] for one in found] == ["x/y"]
    filtered = ask(protocol, "GET", f"a/b/referrers/{subject.digest}?artifactType=other")
    assert json.loads(filtered.body)["manifests"] == []
    assert filtered.headers["OCI-Filters-Applied"] == "artifactType"
    protocol.habits.referrers = False
    assert ask(protocol, "GET", f"a/b/referrers/{subject.digest}").status == 404


def test_referrers_come_in_pages_filtered_or_not(protocol: Protocol) -> None:
    data = manifest()
    subject = Descriptor.of(media.OCI_MANIFEST, data)
    push(protocol, "v1", data)
    push(protocol, "sig", manifest(subject=subject))
    other = Descriptor("application/x", subject.digest, 1)
    push(protocol, "more", manifest(subject=other))
    protocol.habits.page = 1
    path = f"a/b/referrers/{subject.digest}?artifactType=x%2Fy"
    page = ask(protocol, "GET", path)
    assert len(json.loads(page.body)["manifests"]) == 1
    link = page.headers["Link"]
    assert link.endswith('&n=1&artifactType=x%2Fy>; rel="next"')
    following = ask(protocol, "GET", link[len("</v2/") :].partition(">")[0])
    assert len(json.loads(following.body)["manifests"]) == 1
    assert following.body != page.body
    assert "Link" not in following.headers
    protocol.habits.filters = protocol.habits.says_subject = False
    unfiltered = ask(protocol, "GET", f"a/b/referrers/{subject.digest}?artifactType=other")
    assert len(json.loads(unfiltered.body)["manifests"]) == 1
    assert "OCI-Filters-Applied" not in unfiltered.headers
    assert "OCI-Subject" not in push(protocol, "sig", manifest(subject=subject)).headers


def test_the_catalog_comes_in_pages_or_not_at_all(protocol: Protocol) -> None:
    for name in ("c", "a/b", "b"):
        protocol.repository(name)
    assert json.loads(ask(protocol, "GET", "_catalog").body) == {"repositories": ["a/b", "b", "c"]}
    page = ask(protocol, "GET", "_catalog?n=2")
    assert json.loads(page.body)["repositories"] == ["a/b", "b"]
    assert page.headers["Link"] == '</v2/_catalog?last=b&n=2>; rel="next"'
    protocol.habits.catalog = False
    assert ask(protocol, "GET", "_catalog").status == 404


@given(
    st.sampled_from(["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "FOO"]),
    st.text(alphabet="abv2/:?=&%.-_", max_size=40),
    st.binary(max_size=20),
)
def test_nothing_breaks_it(method: str, path: str, body: bytes) -> None:
    for prefix in ("/v2/", "/v2/a/b/manifests/", "/v2/a/b/blobs/", "/v2/a/b/blobs/uploads/", "/v2/a/b/tags/"):
        assert 200 <= Protocol().answer(Call(method, prefix + path, {}, body)).status < 500
