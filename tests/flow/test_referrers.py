"""referrers: what was attached to a version, wherever it is listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelops_bundle.operations import referrers as operation
from modelops_bundle.testing.actions import Action, Body, Headers, Html, Refuse
from modelops_bundle.testing.protocol import Call, Response
from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import Bundle, call
from tests.support.clones import Pair, pair_on
from tests.support.oci import INDEX, MANIFEST, Repository, digest_of, dumps

SBOM, NOTE = "application/vnd.example.sbom", "application/vnd.example.note"


def attach(bundle: Bundle, reference: str, kind: str, name: str = "README.md") -> str:
    return str(bundle.json("attach", reference, name, "--type", kind)["digest"])


def shown(bundle: Bundle, *words: str) -> list[dict[str, Any]]:
    found = bundle.json("referrers", *words)["referrers"]
    assert isinstance(found, list)
    return found


@pytest.fixture
def a(fake: Fake, tmp_path: Path) -> Bundle:
    return pair_on(f"{fake.host}/m", tmp_path).a


def of_referrers(_: str, path: str) -> bool:
    return "/referrers/" in path


def test_nothing_was_attached(pair: Pair) -> None:
    assert shown(pair.a, ":latest") == []
    assert pair.a.run("referrers").code == 0


def test_type_digest_size_and_annotations(pair: Pair) -> None:
    digest = attach(pair.a, ":latest", SBOM)
    pair.a.run("attach", ":latest", "--type", NOTE, "--annotation", "by=ci")
    found = {each["artifact_type"]: each for each in shown(pair.b, ":latest")}
    assert found.keys() == {SBOM, NOTE}
    assert found[SBOM]["digest"] == digest
    assert found[SBOM]["size"] > 0
    assert found[NOTE]["annotations"] == {"by": "ci"}
    assert [each["digest"] for each in shown(pair.b, ":latest", "--type", SBOM)] == [digest]
    table = pair.b.run("referrers", ":latest").out
    assert digest in table
    assert "by=ci" in table


def test_what_refers_to_what_refers(pair: Pair) -> None:
    first = attach(pair.a, ":latest", SBOM)
    second = attach(pair.a, f"@{first}", NOTE)
    assert shown(pair.a, ":latest")[0]["referrers"] == []
    tree = shown(pair.a, ":latest", "--recursive")
    assert [each["digest"] for each in tree] == [first]
    assert [each["digest"] for each in tree[0]["referrers"]] == [second]
    assert f"  {second}" in pair.a.run("referrers", ":latest", "-r").out


def test_a_version_that_is_not_there(pair: Pair) -> None:
    pair.a.refused(6, "referrers", ":nothing")


def test_outside_of_a_bundle(pair: Pair, tmp_path: Path) -> None:
    digest = attach(pair.a, ":latest", SBOM)
    found = call("-C", str(tmp_path), "--json", "referrers", f"{pair.remote}:latest").json
    assert [each["digest"] for each in found["referrers"]] == [digest]


def test_lists_of_clients_are_hidden_among_the_tags(repo: str, tmp_path: Path) -> None:
    a = pair_on(repo, tmp_path).a
    subject = a.json("inspect")["digest"]
    attach(a, ":latest", SBOM)
    assert [tag["tag"] for tag in a.json("tags")["tags"]] == ["latest"]
    assert [tag["tag"] for tag in a.json("tags", "--all", "--names")["tags"]] == ["latest", subject.replace(":", "-")]


# --- what registries do


def test_a_registry_with_a_list_is_left_to_keep_it(a: Bundle, fake: Fake) -> None:
    asked = a.requests("attach", ":latest", "README.md", "--type", SBOM)
    assert [one for one in asked if one.method == "PUT" and "/manifests/sha256-" in one.url] == []
    assert len(shown(a, ":latest")) == 1


def test_a_registry_that_lists_without_saying_so(a: Bundle, fake: Fake) -> None:
    fake.habits.says_subject = False
    attach(a, ":latest", SBOM)
    assert len(shown(a, ":latest")) == 1
    assert [tag["tag"] for tag in a.json("tags", "--all")["tags"]] == ["latest"]


def test_pages_and_filters_of_a_registry(a: Bundle, fake: Fake) -> None:
    made = []
    for number in range(7):
        a.write({"note.txt": f"{number}"})
        made.append(attach(a, ":latest", SBOM if number % 2 else NOTE, "note.txt"))
    fake.habits.page = 2
    for filters in (True, False):
        fake.habits.filters = filters
        assert {each["digest"] for each in shown(a, ":latest")} == set(made)
        assert {each["digest"] for each in shown(a, ":latest", "--type", SBOM)} == set(made[1::2])


@pytest.mark.parametrize("action", [Refuse(404, "X"), Refuse(405, "X"), Refuse(501, "X"), Html(), Body(b"{}")])
def test_a_registry_without_a_list(a: Bundle, fake: Fake, action: Action) -> None:
    fake.habits.referrers = False
    if not isinstance(action, Body):
        fake.fault(of_referrers, action, times=None)
    else:
        fake.fault(of_referrers, Answer(200, {"Content-Type": "application/json"}, action.body), times=None)
    digest = attach(a, ":latest", SBOM)
    assert [each["digest"] for each in shown(a, ":latest")] == [digest]
    assert [tag["tag"] for tag in a.json("tags", "--all")["tags"]][1].startswith("sha256-")


class Answer(Action):
    """Instead of what the registry would say."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self._response = Response(status, headers, body)

    def before(self, call: Call) -> Response:
        return self._response


def listing(*entries: object, **headers: str) -> Answer:
    body = dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(entries)})
    return Answer(200, {"Content-Type": INDEX, **headers}, body)


def entry(text: str) -> dict[str, object]:
    return {"mediaType": MANIFEST, "digest": digest_of(text.encode()), "size": 1, "artifactType": SBOM}


@pytest.mark.parametrize(("status", "code"), [(401, 7), (403, 7), (500, 8), (429, 8)])
def test_an_error_is_not_an_empty_list(a: Bundle, fake: Fake, status: int, code: int) -> None:
    fake.fault(of_referrers, Refuse(status, "X"), times=None)
    a.refused(code, "referrers", ":latest")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"manifests": 1}', b'{"a": 1, "a": 2}', b"[" * 9000])
def test_a_list_that_is_none(a: Bundle, fake: Fake, body: bytes) -> None:
    fake.fault(of_referrers, Answer(200, {"Content-Type": INDEX}, body), times=None)
    a.refused(9, "referrers", ":latest")


def test_a_list_that_goes_on_elsewhere(a: Bundle, fake: Fake) -> None:
    with Fake() as elsewhere:
        fake.fault(of_referrers, Headers({"Link": f'<{elsewhere.url}/v2/m/referrers/x>; rel="next"'}), times=None)
        assert "another server" in a.refused(10, "referrers", ":latest")["message"]
        assert elsewhere.requests == []


def test_a_page_that_comes_again_ends_the_list(a: Bundle, fake: Fake) -> None:
    digest = a.json("inspect")["digest"]
    link = f'</v2/m/referrers/{digest}>; rel="next"'
    fake.fault(of_referrers, listing(entry("x"), Link=link), times=None)
    assert len(shown(a, ":latest")) == 1


def test_pages_without_end_end(a: Bundle, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelops_bundle.stores import referrers

    class Endless(Action):
        def before(self, call: Call) -> Response:
            number = len(fake.requests)
            return listing(entry(str(number)), Link=f'</v2/m/referrers/{number}>; rel="next"').before(call)

    monkeypatch.setattr(referrers, "MAX_PAGES", 50)
    fake.fault(of_referrers, Endless(), times=None)
    fake.requests.clear()
    assert "without an end" in a.refused(9, "referrers", ":latest")["message"]
    assert len(fake.asked("GET", "/referrers/")) <= 51


def test_a_list_that_leads_in_circles(a: Bundle, fake: Fake) -> None:
    digest = a.json("inspect")["digest"]
    circle = {**entry("x"), "digest": digest}
    fake.fault(of_referrers, listing(circle, entry("y")), times=None)
    tree = shown(a, ":latest", "-r")
    assert [each["digest"] for each in tree] == [entry("y")["digest"]]
    assert tree[0]["referrers"] == []


def test_a_list_that_is_deeper_than_anybody_needs(a: Bundle, fake: Fake) -> None:
    class Deeper(Action):
        def before(self, call: Call) -> Response:
            return listing(entry(call.path)).before(call)

    fake.fault(of_referrers, Deeper(), times=None)
    assert "levels deep" in a.refused(10, "referrers", ":latest", "-r")["message"]


def test_a_tree_that_is_larger_than_anybody_needs(a: Bundle, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation, "MOST", 20)
    fake.fault(of_referrers, listing(*(entry(f"{number}") for number in range(30))), times=None)
    assert "more than 20" in a.refused(10, "referrers", ":latest")["message"]
    monkeypatch.setattr(operation, "MOST", 30)
    assert len(shown(a, ":latest")) == 30


def test_control_characters_reach_no_terminal(a: Bundle, fake: Fake) -> None:
    evil = {**entry("x"), "artifactType": "a\x1b[31m/b", "annotations": {"k\x1b[0m": "v\x1b]0;x\x07"}}
    fake.fault(of_referrers, listing(evil), times=None)
    assert "\x1b" not in a.run("referrers", ":latest").text


# --- the list of clients in the hands of others


def test_something_else_under_its_tag_is_left_alone(repo: str, tmp_path: Path) -> None:
    a = pair_on(repo, tmp_path).a
    there = Repository(repo)
    subject = a.json("inspect")["digest"]
    tag = subject.replace(":", "-")
    there.retag("latest", tag)
    for words in (("referrers", ":latest"), ("attach", ":latest", "README.md", "--type", SBOM)):
        error = a.refused(9, *words)
        assert "should list referrers" in error["message"]
    assert there.digest(tag) == subject


def test_what_was_deleted_behind_our_back_does_not_stop_others(repo: str, tmp_path: Path) -> None:
    """distribution 2.8 refuses an index that names what is gone."""
    a = pair_on(repo, tmp_path).a
    there = Repository(repo)
    gone = attach(a, ":latest", SBOM)
    there._ask("DELETE", f"{there._base}/manifests/{gone}")
    stays = attach(a, ":latest", NOTE)
    assert [each["digest"] for each in shown(a, ":latest")] == [stays]


def test_what_a_killed_deletion_left_in_the_list_goes_with_the_next(repo: str, tmp_path: Path) -> None:
    a = pair_on(repo, tmp_path).a
    gone, stays = attach(a, ":latest", SBOM), attach(a, ":latest", NOTE)
    a.killed_at("answer DELETE manifest", "delete", f"@{gone}", "--yes")
    assert {each["digest"] for each in shown(a, ":latest")} == {gone, stays}
    a.run("delete", f"@{gone}", "--yes")
    assert [each["digest"] for each in shown(a, ":latest")] == [stays]
    a.refused(6, "delete", f"@{gone}", "--yes")


def test_what_a_registry_does_not_delete_stays_in_the_list(fake: Fake, tmp_path: Path) -> None:
    fake.habits.referrers = False
    a = pair_on(f"{fake.host}/m", tmp_path).a
    stays = attach(a, ":latest", SBOM)
    fake.fault(lambda method, _: method == "DELETE", Refuse(404, "NOT_FOUND"), times=None)
    a.refused(6, "delete", f"@{stays}", "--yes")
    assert [each["digest"] for each in shown(a, ":latest")] == [stays]


def test_the_list_of_clients_keeps_what_others_put_into_it(repo: str, tmp_path: Path) -> None:
    a = pair_on(repo, tmp_path).a
    there = Repository(repo)
    first = attach(a, ":latest", SBOM)
    tag = a.json("inspect")["digest"].replace(":", "-")
    found = there.manifest(tag)
    assert found is not None
    value = json.loads(found[1])
    value["annotations"] = {"by": "somebody"}
    value["manifests"][0]["platform"] = {"os": "linux", "architecture": "amd64"}
    there.put_manifest(tag, dumps(value), INDEX)
    attach(a, ":latest", NOTE)
    found = there.manifest(tag)
    assert found is not None
    after = json.loads(found[1])
    assert after["annotations"] == {"by": "somebody"}
    assert after["manifests"][0] == value["manifests"][0]
    assert after["manifests"][0]["digest"] == first
    assert len(after["manifests"]) == 2
