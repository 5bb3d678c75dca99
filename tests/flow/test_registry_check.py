"""registry check: reachable, logged in, and able; the first failure decides how it ends."""

from __future__ import annotations

import json
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from modelops_bundle.model import media
from modelops_bundle.net.exchange import Reply
from modelops_bundle.stores.probes import Probes
from modelops_bundle.testing import actions
from modelops_bundle.testing.protocol import Response
from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import Bundle, Result, call
from tests.support.canary import secret
from tests.support.registry_process import Registry, free_port

NAMES = ["reach", "login", "pull", "push", "range", "mount", "referrers", "cleanup", "kind", "clock"]


def check(place: str, *flags: str, expect: int = 0) -> Result:
    result = call("--json", "registry", "check", *flags, place, expect=expect)
    assert result.json["ok"] is (expect == 0)
    return result


def verdicts(result: Result) -> dict[str, str]:
    return {each["name"]: each["verdict"] for each in result.json["checks"]}


def found(result: Result, name: str) -> dict[str, object]:
    [one] = [each for each in result.json["checks"] if each["name"] == name]
    assert isinstance(one, dict)
    return one


def test_a_real_registry_is_examined_and_left_as_it_was(registry: Registry, repo: str) -> None:
    result = check(repo)
    assert list(verdicts(result)) == NAMES
    assert verdicts(result) == {**dict.fromkeys(NAMES, "ok"), "referrers": "info", "kind": "info"}
    assert all(each["seconds"] >= 0 for each in result.json["checks"])
    assert result.json["learnt"]["ranges"] is True
    assert result.json["learnt"]["referrers"] is False
    digest = found(result, "push")["facts"]["digest"]  # type: ignore[index]
    if registry.root is not None:
        name = repo.partition("/")[2]
        assert not list(
            (registry.root / f"docker/registry/v2/repositories/{name}/_layers").glob(f"*/{digest[7:]}/link")
        )


@pytest.mark.parametrize("what", ["/v2/", "manifests"])
def test_who_does_not_answer_well_is_asked_twice_and_not_for_minutes(fake: Fake, what: str) -> None:
    fake.fault(lambda _, path: path.endswith(what) or what in path.split("/"), actions.Status(503), times=None)
    check(f"{fake.host}/team/model", expect=8)
    assert len([one for one in fake.requests if one.status == 503]) == 2


def test_the_second_implementation(crane_host: str) -> None:
    result = check(f"{crane_host}/team/model")
    assert found(result, "push")["verdict"] == "ok"
    assert found(result, "range")["verdict"] == "ok"


def test_what_is_learnt_is_shown_and_lasts(fake: Fake, home: Path) -> None:
    fake.habits.referrers = False
    fake.habits.mounts = False
    result = check(f"{fake.host}/team/model")
    assert result.json["learnt"]["mounts"] is False
    assert result.json["learnt"]["referrers"] is False
    assert fake.host in (home / ".cache/modelops-bundle/registries.json").read_text()
    assert verdicts(result)["mount"] == "info"


def test_a_registry_with_the_referrers_api(fake: Fake) -> None:
    result = check(f"{fake.host}/team/model")
    assert verdicts(result)["referrers"] == "ok"
    assert result.json["learnt"]["referrers"] is True


def test_the_text_names_everything(fake: Fake) -> None:
    result = call("registry", "check", f"{fake.host}/team/model:v1")
    lines = result.out.splitlines()
    assert lines[0] == f"{fake.host}/team/model:v1"
    assert [line.split()[1] for line in lines[1:] if not line.startswith(" ")] == NAMES


def test_read_only_stores_nothing(fake: Fake, tmp_path: Path) -> None:
    place = f"{fake.host}/team/model"
    result = check(place, "--read-only")
    assert {one.method for one in fake.requests} <= {"GET", "HEAD"}
    assert verdicts(result)["push"] == "skip"
    assert verdicts(result)["range"] == "skip"

    Bundle.create(tmp_path / "a", place, {"weights.bin": b"x" * 100}).push()
    fake.requests.clear()
    result = check(place, "--read-only")
    assert {one.method for one in fake.requests} <= {"GET", "HEAD"}
    assert verdicts(result)["range"] == "ok"
    assert "is absent" not in str(found(result, "pull"))


def test_the_default_remote_is_meant_inside_a_bundle(fake: Fake, tmp_path: Path) -> None:
    bundle = Bundle.create(tmp_path / "a", f"{fake.host}/team/model", {"a.txt": "a\n"})
    bundle.push()
    result = bundle.run("--json", "registry", "check")
    assert result.json["reference"] == f"{fake.host}/team/model:latest"
    assert found(result, "pull")["facts"]["digest"]  # type: ignore[index]


def test_a_place_that_is_no_registry_is_exit_2(tmp_path: Path) -> None:
    error = call("--json", "registry", "check", f"layout:{tmp_path}", expect=2).error
    assert "doctor" in error["hint"]


def test_an_index_can_be_pulled_like_anything_else(fake: Fake, tmp_path: Path) -> None:
    a = Bundle.create(tmp_path / "a", f"{fake.host}/team/model", {"a.txt": "a"})
    a.push()
    value = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": []}
    answer = actions.Status(200, {"Content-Type": media.OCI_INDEX}, json.dumps(value).encode())
    fake.fault(lambda _, path: "/manifests/" in path, answer, times=None)
    result = check(f"{fake.host}/team/model")
    assert "an index" in str(found(result, "pull")["message"])
    assert verdicts(result)["range"] == "ok"


def test_nobody_there_is_exit_8() -> None:
    result = check(f"localhost:{free_port()}/team/model", expect=8)
    assert verdicts(result) == {"reach": "fail", **dict.fromkeys(NAMES[1:], "skip")}
    assert "refused" in str(found(result, "reach")["message"])


def test_a_web_server_is_no_registry(fake: Fake) -> None:
    page = actions.Status(200, {"Content-Type": "text/html", "Docker-Distribution-Api-Version": ""}, b"<html>")
    fake.fault(lambda *_: True, page, times=None)
    result = check(f"{fake.host}/team/model", expect=8)
    assert "no registry" in str(found(result, "reach")["message"])


def test_a_missing_login_is_exit_7(fake: Fake) -> None:
    fake.require_auth("ann", secret())
    result = check(f"{fake.host}/team/model", expect=7)
    assert verdicts(result)["reach"] == "ok"
    assert verdicts(result)["login"] == "fail"
    assert verdicts(result)["push"] == "skip"
    assert verdicts(result)["clock"] == "ok"


@pytest.mark.parametrize("basic", [True, False])
def test_who_is_logged_in_and_from_where(fake: Fake, monkeypatch: pytest.MonkeyPatch, basic: bool) -> None:
    password = secret()
    fake.require_auth("ann", password, basic=basic)
    monkeypatch.setenv("BUNDLE_USERNAME", "ann")
    monkeypatch.setenv("BUNDLE_PASSWORD", password)
    result = check(f"{fake.host}/team/model")
    login = found(result, "login")
    assert login["facts"]["user"] == "ann"  # type: ignore[index]
    assert "BUNDLE_USERNAME" in str(login["facts"]["source"])  # type: ignore[index]


def test_a_default_port_that_is_written_hides_no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    reply = Reply(401, {"www-authenticate": 'Basic realm="x"'}, b"", "http://localhost/v2/")
    monkeypatch.setattr(Probes, "root", lambda *_, **__: reply)
    monkeypatch.setenv("BUNDLE_USERNAME", "ann")
    monkeypatch.setenv("BUNDLE_PASSWORD", secret())
    # Whoever may be at that port: the login is found before anybody is asked.
    result = call("--json", "registry", "check", "--read-only", "localhost:80/team/model", expect=None)
    assert found(result, "login")["facts"]["user"] == "ann"  # type: ignore[index]


def test_a_wrong_password_is_exit_7(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.require_auth("ann", secret())
    monkeypatch.setenv("BUNDLE_USERNAME", "ann")
    monkeypatch.setenv("BUNDLE_PASSWORD", secret())
    result = check(f"{fake.host}/team/model", expect=7)
    assert "ann" in str(found(result, "login")["message"])


def test_a_login_that_may_only_read(fake: Fake) -> None:
    fake.fault(lambda method, _: method == "POST", actions.Refuse(403, "DENIED"), times=None)
    result = check(f"{fake.host}/team/model", expect=7)
    assert verdicts(result)["pull"] == "ok"
    assert verdicts(result)["push"] == "fail"
    check(f"{fake.host}/team/model", "--read-only")


def test_parts_that_come_whole_are_a_warning(fake: Fake) -> None:
    fake.fault(lambda method, path: method == "GET" and "/blobs/" in path, actions.IgnoreRange(), times=None)
    result = check(f"{fake.host}/team/model")
    assert verdicts(result)["range"] == "warn"


@pytest.mark.parametrize(("method", "name"), [("GET", "range"), ("DELETE", "cleanup")])
def test_an_answer_that_fails_is_asked_for_again_and_then_a_finding(fake: Fake, method: str, name: str) -> None:
    def blobs(asked: str, path: str) -> bool:
        return asked == method and "/blobs/" in path

    fake.fault(blobs, actions.Reset(), times=1)
    assert found(check(f"{fake.host}/team/model"), name)["verdict"] == "ok"

    fake.fault(blobs, actions.Status(503), times=None)
    result = check(f"{fake.host}/team/model", expect=8)
    assert verdicts(result) == {**dict.fromkeys(NAMES, "ok"), "kind": "info", name: "fail"}


def test_a_registry_that_deletes_nothing_keeps_the_blob(fake: Fake) -> None:
    fake.habits.deletes = False
    result = check(f"{fake.host}/team/model")
    cleanup = found(result, "cleanup")
    assert cleanup["verdict"] == "info"
    assert cleanup["facts"]["digest"] == found(result, "push")["facts"]["digest"]  # type: ignore[index]


class _Late(actions.Action):
    """Answers from another time."""

    def after(self, call: object, response: Response) -> Response:  # type: ignore[override]
        return response.with_headers(Date=formatdate(time.time() - 3600, usegmt=True))


def test_a_clock_that_is_wrong_is_a_warning(fake: Fake) -> None:
    fake.fault(lambda *_: True, _Late(), times=None)
    result = check(f"{fake.host}/team/model")
    assert verdicts(result)["clock"] == "warn"
    assert "behind" in str(found(result, "clock")["message"])


def test_offline_asks_nobody(fake: Fake) -> None:
    call("--offline", "registry", "check", f"{fake.host}/team/model", expect=8)
    assert fake.requests == []
