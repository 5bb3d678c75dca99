"""push: what is sent, what is refused, and what is said when somebody was faster."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelops_bundle.events import observe_checkpoints
from modelops_bundle.testing.actions import Action, Digest, Html, Refuse
from modelops_bundle.testing.protocol import Call, Response
from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import Bundle, Node
from tests.support.clones import BASE, Pair, pair_on
from tests.support.oci import Repository, digest_of

WRITES = ("PUT", "POST", "PATCH", "DELETE")


def writes(fake: Fake) -> list[str]:
    return [f"{one.method} {one.path}" for one in fake.requests if one.method in WRITES]


@pytest.fixture
def at_step() -> Callable[[str, Callable[[], object]], None]:
    """Do something once, when a command of this process reaches a checkpoint."""
    undo: list[Callable[[], None]] = []

    def arrange(step: str, what: Callable[[], object]) -> None:
        waiting = [step]

        def observer(name: str) -> None:
            if name in waiting:
                waiting.remove(name)
                what()

        undo.append(observe_checkpoints(observer))

    yield arrange  # type: ignore[misc]
    for each in undo:
        each()


# ------------------------------------------------------------------------------------------------- what is sent


def test_a_new_tag_gets_the_whole_tree(repo: str, tmp_path: Path) -> None:
    a = Bundle.create(tmp_path / "a", repo, BASE)
    done = a.json("push", "--tag", "v1")
    assert done["tags"] == ["v1"]
    assert done["sent_blobs"] == len(BASE) + 2
    found = Repository(repo).manifest("v1")
    assert found is not None
    assert found[0] == done["digest"] == digest_of(found[1])
    assert len(done["digest"]) == 71
    titles = {layer["annotations"]["org.opencontainers.image.title"] for layer in json.loads(found[1])["layers"]}
    assert titles == {*BASE, ".bundle/index.json"}


def test_a_second_push_changes_nothing_and_says_so(pair: Pair) -> None:
    before = pair.a.push()
    again = pair.a.run("--json", "push")
    assert again.json["digest"] == before
    assert again.json["changed"] is False
    assert again.json["sent_blobs"] == 0
    assert "up to date" in pair.a.run("push").out


def test_only_what_changed_is_sent(pair: Pair) -> None:
    pair.a.write({"README.md": "# changed\n"})
    done = pair.a.json("push")
    assert done["sent_blobs"] == 3  # the file, the index, the config
    assert done["sent_bytes"] < 3000


def test_another_tag_of_the_same_tree_sends_nothing(pair: Pair) -> None:
    first = pair.a.push()
    done = pair.a.json("push", "--tag", "v9")
    assert done["digest"] == first
    assert done["sent_blobs"] == 0


def test_the_same_files_with_another_annotation_move_the_tag(pair: Pair) -> None:
    before = pair.a.push()
    after = pair.a.push("--annotation", "org.opencontainers.image.licenses=MIT")
    assert after != before
    assert pair.a.json("inspect")["annotations"]["org.opencontainers.image.licenses"] == "MIT"
    assert pair.a.json("inspect")["digest"] == after
    pair.b.run("pull")
    assert pair.b.changes() == {}


def test_an_annotation_of_ours_is_reserved(pair: Pair) -> None:
    pair.a.refused(2, "push", "--annotation", "dev.modelops.bundle.version=9")
    pair.a.refused(2, "push", "--annotation", "no-equals-sign")


def test_source_date_epoch_sets_created(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "org.opencontainers.image.created" not in pair.a.json("inspect")["annotations"]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    pair.a.push()
    assert pair.a.json("inspect")["annotations"]["org.opencontainers.image.created"] == "2023-11-14T22:13:20Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    pair.a.refused(2, "push")


def test_a_rename_is_shown_as_one_and_uploads_nothing(pair: Pair) -> None:
    a = pair.a
    a.path("weights/a.bin").rename(a.path("weights/renamed.bin"))
    a.run("add", "weights/renamed.bin")
    assert a.json("status")["renames"] == [{"from": "weights/a.bin", "to": "weights/renamed.bin"}]
    assert "weights/a.bin -> weights/renamed.bin" in a.run("status").out
    assert a.json("diff")["renames"] == [{"from": "weights/a.bin", "to": "weights/renamed.bin"}]
    assert a.json("push", "--dry-run")["upload_bytes"] == 0
    done = a.json("push")
    assert done["sent_blobs"] == 2  # index and config
    moved = pair.b.json("pull")
    assert moved["fetched_blobs"] == 0  # the content was here under its old name
    assert pair.b.tree() == a.tree()


def test_a_change_of_mode_alone_travels_without_bytes(pair: Pair) -> None:
    a, b, _ = pair
    a.path("config.json").chmod(0o755)
    assert a.json("status")["changes"][0]["local"] == "mode"
    assert a.json("push", "--dry-run")["upload_bytes"] == 0
    a.push()
    assert b.json("pull")["fetched_blobs"] == 0
    assert b.tree()["config.json"] == Node("file", b"{}\n", True)
    b.path("config.json").chmod(0o644)
    b.push()
    a.run("pull")
    assert a.tree()["config.json"] == Node("file", b"{}\n", False)


def test_an_edit_of_the_same_size_and_time_is_not_missed(pair: Pair) -> None:
    path = pair.a.path("weights/a.bin")
    before = path.stat()
    path.write_text("AAAA\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert pair.a.changes() == {"weights/a.bin": "local"}
    pair.a.push()
    pair.b.run("pull")
    assert pair.b.read("weights/a.bin") == "AAAA\n"


def test_nothing_tracked_is_refused(tmp_path: Path, remote: str) -> None:
    made = Bundle.create(tmp_path / "m", remote)
    assert made.refused(4, "push")["code"] == "no-match"


def test_push_wants_a_tag_and_not_a_digest(pair: Pair) -> None:
    digest = pair.a.push()
    pair.a.refused(2, "push", f"@{digest}")
    pair.a.refused(2, "push", "--tag", "not a tag")
    pair.a.refused(2, "push", "--tag", "latest-lost-0123456789ab")


def test_a_reference_with_a_tag_and_another_place(pair: Pair, tmp_path: Path) -> None:
    other = f"layout:{tmp_path / 'elsewhere'}"
    pair.a.run("remote", "add", "backup", other)
    pair.a.run("push", "backup:v7")
    assert Bundle.clone(f"{other}:v7", tmp_path / "c").tree() == pair.a.tree()


def test_a_file_that_changes_while_it_is_sent_stops_the_push(fake: Fake, tmp_path: Path) -> None:
    a = Bundle.create(tmp_path / "a", f"{fake.host}/m", {"x.bin": "one\n", "y.bin": "two\n"})

    @dataclass(frozen=True)
    class Meanwhile(Action):
        def before(self, call: Call) -> Call:
            a.write({"x.bin": "ONE\n", "y.bin": "TWO\n"})
            return call

    fake.fault(lambda method, _: method == "POST", Meanwhile())
    error = a.refused(5, "push", "--jobs", "1")
    assert error["code"] == "workspace-changed"
    assert fake.repositories.get("m") is None or fake.repositories["m"].tags == {}
    a.push()
    assert a.run("cat", ":latest:x.bin").data == b"ONE\n"


# ---------------------------------------------------------------------------------------------------- the lease


def test_a_stale_clones_push_is_refused_and_names_what_would_be_lost(pair: Pair) -> None:
    a, b, _ = pair
    seen = a.json("status")["seen"]
    moved = a.commit({"weights/b.bin": "BBBB v2\n", "new.txt": "n\n", "README.md": None})
    b.write({"weights/a.bin": "AAAA v2\n"})
    error = b.refused(5, "push")
    assert error["code"] == "tag-moved"
    losses = {loss["path"]: loss["action"] for loss in error["facts"]["losses"]}
    assert losses == {"weights/b.bin": "modified", "new.txt": "added", "README.md": "deleted"}
    for path in losses:
        assert path in error["message"]
    assert "bundle pull" in error["hint"]
    # Both versions are named: the one this clone knew and the one that is there.
    assert moved in json.dumps(error)
    assert seen in json.dumps(error)
    assert a.json("status")["remote"] == moved
    # The way out: pull, and then it goes.
    b.run("pull")
    b.push()
    a.run("pull")
    assert a.tree() == b.tree()
    assert (a.read("weights/a.bin"), a.read("weights/b.bin")) == ("AAAA v2\n", "BBBB v2\n")


def test_two_quick_pushes_the_second_is_refused(pair: Pair) -> None:
    pair.a.write({"config.json": "a"})
    pair.b.write({"config.json": "b"})
    first = pair.a.push()
    pair.b.refused(5, "push")
    assert pair.a.json("status")["remote"] == first


def test_a_tag_that_was_rolled_back_is_noticed(repo: str, tmp_path: Path) -> None:
    pair = pair_on(repo, tmp_path)
    pair.a.push("--tag", "old")
    pair.a.commit({"config.json": "v2"})
    Repository(repo).retag("old", "latest")
    pair.a.write({"config.json": "v3"})
    assert pair.a.refused(5, "push")["code"] == "tag-moved"


def test_a_tag_that_was_deleted_is_noticed(fake: Fake, tmp_path: Path) -> None:
    pair = pair_on(f"{fake.host}/m", tmp_path)
    del fake.repositories["m"].tags["latest"]
    pair.a.write({"config.json": "v3"})
    error = pair.a.refused(5, "push")
    assert error["facts"]["tags"][0]["digest"] is None
    assert "latest" not in fake.repositories["m"].tags


def test_a_first_push_to_a_tag_that_exists_is_refused(remote: str, tmp_path: Path) -> None:
    Bundle.create(tmp_path / "a", remote, {"a.txt": "a"}).push()
    late = Bundle.create(tmp_path / "b", remote, {"b.txt": "b"})
    error = late.refused(5, "push")
    assert "a.txt" in error["message"]
    assert late.listed(":latest") == {"a.txt"}


def test_a_first_push_that_meets_another_first_push_is_refused(
    repo: str, tmp_path: Path, at_step: Callable[[str, Callable[[], object]], None]
) -> None:
    a = Bundle.create(tmp_path / "a", repo, {"a.txt": "a"})
    b = Bundle.create(tmp_path / "b", repo, {"b.txt": "b"})
    at_step("manifest sent", lambda: b.spawn("push"))
    error = a.refused(5, "push")
    assert error["code"] == "tag-moved"
    assert a.listed(":latest") == {"b.txt"}


def test_a_push_overtaken_right_after_its_put_keeps_its_version(fake: Fake, tmp_path: Path) -> None:
    fake.habits.conditions = False  # as every registry of today
    pair = pair_on(f"{fake.host}/m", tmp_path)
    theirs = pair.a.commit({"config.json": "theirs\n"})
    pair.b.run("pull")

    @dataclass(frozen=True)
    class Overtake(Action):
        def after(self, call: Call, response: Response) -> Response:
            fake.repositories["m"].tags["latest"] = theirs
            return response

    pair.b.write({"README.md": "ours\n"})
    fake.fault(lambda method, path: method == "PUT" and path.endswith("/manifests/latest"), Overtake())
    error = pair.b.refused(5, "push")
    kept = error["facts"]["kept"]
    assert kept in error["message"]
    assert kept.startswith("latest-lost-")
    assert kept not in pair.b.run("tags").out
    assert kept in pair.b.run("tags", "--all").out
    pair.b.run("restore", "--source", f":{kept}", "README.md")
    assert pair.b.read("README.md") == "ours\n"
    fake.heal()
    pair.b.push()
    pair.a.run("pull")
    assert (pair.a.read("README.md"), pair.a.read("config.json")) == ("ours\n", "theirs\n")


def test_a_push_overtaken_just_before_its_put_writes_no_tag(fake: Fake, tmp_path: Path) -> None:
    for conditions in (True, False):
        fake.habits.conditions = conditions
        pair = pair_on(f"{fake.host}/m{int(conditions)}", tmp_path / str(conditions))
        other = pair.a.push("--tag", "other", "--annotation", "x=y")
        name = f"m{int(conditions)}"

        @dataclass(frozen=True)
        class Overtake(Action):
            name: str
            digest: str

            def after(self, call: Call, response: Response) -> Response:
                fake.repositories[self.name].tags["latest"] = self.digest
                return response

        pair.b.write({"README.md": "ours\n"})
        fake.fault(
            lambda method, path: method == "PUT" and "/manifests/sha256:" in path,  # by digest, before the tag
            Overtake(name, other),
        )
        assert pair.b.refused(5, "push")["code"] == "tag-moved"
        assert fake.repositories[name].tags["latest"] == other


def test_expect_replaces_exactly_that_version(pair: Pair, tmp_path: Path) -> None:
    late = Bundle.create(tmp_path / "late", pair.remote, {"z.txt": "z"})
    there = pair.a.json("status")["remote"]
    late.refused(2, "push", "--expect", there[:20])
    wrong = digest_of(b"another")
    assert late.refused(5, "push", "--expect", wrong, "--yes")["code"] == "tag-moved"
    assert pair.a.json("status")["remote"] == there
    plan = late.json("push", "--expect", there, "--dry-run")
    assert sorted(plan["dropped"]) == sorted(BASE)
    late.run("push", "--expect", there, "--yes")
    assert late.listed(":latest") == {"z.txt"}


def test_expect_does_not_overrule_what_is_there(pair: Pair) -> None:
    old = pair.b.json("status")["remote"]
    pair.a.commit({"config.json": "v2"})
    pair.b.write({"README.md": "mine"})
    assert pair.b.refused(5, "push", "--expect", old)["code"] == "tag-moved"


def test_force_prints_what_it_drops_and_goes_through(pair: Pair) -> None:
    a, b, _ = pair
    a.commit({"weights/b.bin": "v2\n", "new.txt": "n\n"})
    b.write({"config.json": "mine\n"})
    plan = b.json("push", "--force", "--dry-run")
    assert [loss["path"] for loss in plan["losses"]] == ["new.txt", "weights/b.bin"]
    result = b.run("push", "--force")
    assert result.err.count("new.txt (added there)") == 1  # once, and not twice
    assert "weights/b.bin (modified there)" in result.err
    assert b.listed(":latest") == set(BASE)


def test_force_prints_what_it_drops_even_when_quiet(pair: Pair) -> None:
    pair.a.commit({"new.txt": "n\n"})
    pair.b.write({"config.json": "mine\n"})
    result = pair.b.run("--quiet", "push", "--force")
    assert result.out == ""
    assert "new.txt" in result.err


def test_a_push_that_drops_most_paths_wants_a_yes(pair: Pair) -> None:
    a = pair.a
    before = a.json("status")["remote"]
    a.run("rm", "weights", "README.md")
    error = a.refused(4, "push")
    assert error["code"] == "needs-confirmation"
    assert "3" in error["message"]
    assert any("weights/a.bin" in line for line in error["facts"]["details"])
    assert a.json("status")["remote"] == before
    assert a.listed(":latest") == set(BASE)
    a.run("push", "--yes")
    assert a.listed(":latest") == {"config.json"}


def test_a_push_that_drops_everything_wants_a_yes(tmp_path: Path, remote: str) -> None:
    a = Bundle.create(tmp_path / "a", remote, {"one.txt": "1"})
    a.push()
    a.path("one.txt").unlink()
    assert a.refused(4, "push")["code"] == "needs-confirmation"
    a.run("push", "--yes")
    assert a.listed(":latest") == set()


# ------------------------------------------------------------------------------------------------- several tags


def test_several_tags_move_together(pair: Pair) -> None:
    pair.a.write({"config.json": "v2"})
    done = pair.a.json("push", "--tag", "v2", "--tag", "latest", "--tag", "stable")
    tags = {tag["tag"]: tag["digest"] for tag in pair.a.json("tags")["tags"]}
    assert tags == dict.fromkeys(("v2", "latest", "stable"), done["digest"])
    # The lease holds for each of them.
    pair.a.write({"config.json": "v3"})
    pair.a.run("push", "--tag", "v2", "--tag", "stable")


def test_every_tag_is_checked_before_the_first_is_written(fake: Fake, tmp_path: Path) -> None:
    pair = pair_on(f"{fake.host}/m", tmp_path)
    pair.a.commit({"config.json": "v2"})
    pair.b.write({"README.md": "mine"})
    fake.requests.clear()
    error = pair.b.refused(5, "push", "--tag", "fresh", "--tag", "latest")
    assert [tag["tag"] for tag in error["facts"]["tags"]] == ["latest"]
    assert writes(fake) == []
    assert "fresh" not in fake.repositories["m"].tags


def test_a_tag_that_moves_after_the_plan_stops_all_of_them(fake: Fake, tmp_path: Path) -> None:
    pair = pair_on(f"{fake.host}/m", tmp_path)
    other = pair.a.push("--tag", "other", "--annotation", "x=y")

    @dataclass(frozen=True)
    class Move(Action):
        def after(self, call: Call, response: Response) -> Response:
            fake.repositories["m"].tags["latest"] = other
            return response

    pair.b.write({"README.md": "mine"})
    fake.fault(lambda method, path: method == "PUT" and "/manifests/sha256:" in path, Move())
    pair.b.refused(5, "push", "--tag", "fresh", "--tag", "latest")
    assert "fresh" not in fake.repositories["m"].tags


def test_a_later_tag_that_fails_is_exit_3_with_the_state_of_each(fake: Fake, tmp_path: Path) -> None:
    a = Bundle.create(tmp_path / "a", f"{fake.host}/m", BASE)
    fake.fault(
        lambda method, path: method == "PUT" and path.endswith("/manifests/v2"), Refuse(403, "DENIED"), times=None
    )
    error = a.refused(3, "push", "--tag", "v1", "--tag", "v2", "--tag", "v3")
    assert error["code"] == "partial"
    states = {state["tag"]: state["state"] for state in error["facts"]["failed"]}
    assert states == {"v1": "moved", "v2": "failed", "v3": "moved"}
    assert set(fake.repositories["m"].tags) == {"v1", "v3"}
    fake.heal()
    done = a.json("push", "--tag", "v1", "--tag", "v2", "--tag", "v3")
    assert set(fake.repositories["m"].tags.values()) == {done["digest"]}
    assert set(fake.repositories["m"].tags) == {"v1", "v2", "v3"}


def test_the_first_tag_that_fails_is_that_failure(fake: Fake, tmp_path: Path) -> None:
    a = Bundle.create(tmp_path / "a", f"{fake.host}/m", BASE)
    fake.fault(lambda method, path: method == "PUT" and path.endswith("/manifests/v1"), Refuse(403, "DENIED"))
    a.refused(7, "push", "--tag", "v1", "--tag", "v2")
    assert fake.repositories["m"].tags == {}


# --------------------------------------------------------------------------------------------------------- bump


def test_a_release_taken_meanwhile_is_refused(
    repo: str, tmp_path: Path, at_step: Callable[[str, Callable[[], object]], None]
) -> None:
    pair = pair_on(repo, tmp_path)
    pair.a.push("--tag", "1.0.0")
    pair.b.write({"config.json": "b"})
    at_step("blobs sent", lambda: Repository(repo).retag("1.0.0", "1.0.1"))
    assert pair.b.refused(5, "push", "--bump", "patch")["code"] == "tag-moved"
    assert Repository(repo).digest("1.0.1") == Repository(repo).digest("1.0.0")
    assert pair.b.json("push", "--bump", "patch")["tags"] == ["1.0.2"]


# ------------------------------------------------------------------------------------------------------- dry run


def test_a_dry_run_writes_nothing_anywhere(fake: Fake, tmp_path: Path) -> None:
    a = Bundle.create(tmp_path / "a", f"{fake.host}/m", BASE)
    before, tree = a.bookkeeping(), a.tree()
    fake.requests.clear()
    result = a.run("push", "--dry-run")
    for path in BASE:
        assert path in result.out
    assert writes(fake) == []
    assert fake.repositories == {}
    assert (a.bookkeeping(), a.tree()) == (before, tree)


def test_a_dry_run_into_a_layout_makes_no_layout(tmp_path: Path) -> None:
    a = Bundle.create(tmp_path / "a", f"layout:{tmp_path / 'store'}", BASE)
    a.run("push", "--dry-run")
    assert not (tmp_path / "store").exists()


def test_a_dry_run_of_a_refused_push_shows_the_losses(pair: Pair) -> None:
    pair.a.commit({"new.txt": "n"})
    shown = pair.b.json("push", "--dry-run")
    assert shown["tags"][0]["standing"] == "moved"
    assert shown["losses"] == [{"path": "new.txt", "action": "added"}]


def test_what_a_dry_run_shows_is_what_is_done(pair: Pair) -> None:
    pair.a.write({"config.json": "v2", "more.txt": "m"})
    pair.a.run("add", "more.txt")
    shown = pair.a.json("push", "--dry-run")
    assert pair.a.push() == shown["digest"]
    assert {(c["path"], c["action"]) for c in shown["changes"]} == {("config.json", "modified"), ("more.txt", "added")}


# ------------------------------------------------------------------------------- unknown is not empty (DESIGN §1)

ANSWERS = [
    pytest.param(Refuse(401, "UNAUTHORIZED"), 7, id="401"),
    pytest.param(Refuse(403, "DENIED"), 7, id="403"),
    pytest.param(Refuse(429, "TOOMANYREQUESTS"), 8, id="429"),
    pytest.param(Refuse(500, "UNKNOWN"), 8, id="500"),
    pytest.param(Refuse(503, "UNAVAILABLE"), 8, id="503"),
    pytest.param(Html(), 8, id="html-200"),
    pytest.param(Html(404), 8, id="html-404"),
]


@pytest.mark.parametrize("seen", [True, False], ids=["seen", "never-seen"])
@pytest.mark.parametrize(("answer", "code"), ANSWERS)
def test_an_error_reading_the_tag_is_never_absence(
    fake: Fake, tmp_path: Path, answer: Action, code: int, seen: bool
) -> None:
    a = Bundle.create(tmp_path / "a", f"{fake.host}/m", BASE)
    if seen:
        a.push()
        a.write({"config.json": "v2"})
    fake.fault(lambda _, path: "/manifests/" in path, answer, times=None)
    fake.requests.clear()
    before = a.bookkeeping()
    for words in (("push",), ("push", "--force"), ("push", "--bump", "patch"), ("push", "--dry-run")):
        error = a.refused(code, *words)
        assert error["code"] in ("unauthorized", "unavailable", "rate-limited")
    assert writes(fake) == []
    assert a.bookkeeping() == before


@pytest.mark.parametrize(("answer", "code"), ANSWERS)
def test_an_error_reading_the_tag_is_an_error_of_every_command(
    fake: Fake, tmp_path: Path, answer: Action, code: int
) -> None:
    a = pair_on(f"{fake.host}/m", tmp_path).a
    fake.fault(lambda _, path: "/manifests/" in path, answer, times=None)
    for words in (
        ("status",),
        ("pull",),
        ("diff", ":latest"),
        ("ls", ":latest"),
        ("inspect",),
        ("cat", ":latest:config.json"),
        ("verify", ":latest"),
        ("clone", f"{fake.host}/m", str(tmp_path / "c")),
    ):
        a.refused(code, *words)
    assert not (tmp_path / "c").exists()


def test_a_registry_without_digest_header_is_asked_for_the_bytes(fake: Fake, tmp_path: Path) -> None:
    a = Bundle.create(tmp_path / "a", f"{fake.host}/m", BASE)
    fake.fault(lambda method, path: "/manifests/" in path and method != "PUT", Digest(None), times=None)
    digest = a.push()
    assert fake.repositories["m"].tags["latest"] == digest
    assert a.json("status")["remote"] == digest
    a.write({"config.json": "v2"})
    a.push()
