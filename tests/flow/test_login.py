"""login: verified, stored where docker and oras look for it, and shown nowhere."""

from __future__ import annotations

import json
import os
import pty
import re
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelops_bundle.disk import locks
from modelops_bundle.events import Run, observe_checkpoints
from modelops_bundle.net.credentials import Credentials
from modelops_bundle.operations import login
from modelops_bundle.operations.options import Options
from modelops_bundle.operations.session import Session
from modelops_bundle.testing.actions import Action, Refuse
from modelops_bundle.testing.protocol import Call, Response
from modelops_bundle.testing.registry import Registry as Fake
from tests.support import htpasswd
from tests.support.bundle import KILL, ROOT, Bundle, Result, call
from tests.support.canary import CANARY, printed, secret
from tests.support.clones import BASE
from tests.support.helpers import HelperProgram
from tests.support.logins import auth, write
from tests.support.registry_process import ProcessRegistry, Unobtainable

Peer = Callable[[str], str]


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessRegistry]:
    """The distribution registry, which wants HTTP Basic of everybody."""
    folder = tmp_path_factory.mktemp("htpasswd")
    try:
        server = ProcessRegistry(folder / "registry", htpasswd.settings(folder))
    except Unobtainable as error:
        pytest.skip(f"no registry: {error}")
    yield server
    server.stop()


@pytest.fixture
def config(home: Path) -> Path:
    """Docker's config.json of this user, which is not there yet."""
    return home / ".docker" / "config.json"


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HelperProgram:
    """A credential helper on PATH, which no file names yet."""
    return HelperProgram.on_path(tmp_path / "bin", monkeypatch)


def log_in(host: str, user: str, password: str, *words: str, expect: int = 0) -> Result:
    return call("login", host, "-u", user, "--password-stdin", *words, stdin=f"{password}\n".encode(), expect=expect)


def words_of(host: str, user: str) -> list[str]:
    return [sys.executable, "-m", "modelops_bundle", "login", host, "-u", user, "--password-stdin"]


def start(words: list[str]) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT)


# --- against the distribution registry


@pytest.mark.registry
def test_login_push_pull_logout(closed: ProcessRegistry, config: Path, tmp_path: Path) -> None:
    password = htpasswd.password()
    made = Bundle.create(tmp_path / "a", f"{closed.host}/team/m", BASE)
    assert made.refused(7, "push")["hint"].startswith(f"bundle login {closed.host}")
    shown = log_in(closed.host, htpasswd.USER, password)
    assert shown.out == f"Logged in to {closed.host} as bob ({config})\n"
    assert f"unencrypted in {config}" in shown.err
    made.push()
    assert Bundle.clone(f"{closed.host}/team/m", tmp_path / "b").tree() == made.tree()
    assert call("logout", closed.host).out == f"Logged out of {closed.host} ({config})\n"
    made.refused(7, "tags")
    assert call("logout", closed.host).out == f"Not logged in to {closed.host}\n"


@pytest.mark.registry
@pytest.mark.parametrize("before", [None, {"auths": {"other:1": {"auth": "eDp5"}}}])
def test_a_wrong_password_stores_nothing(closed: ProcessRegistry, config: Path, before: dict[str, Any] | None) -> None:
    if before is not None:
        write(config, before)
    error = log_in(closed.host, htpasswd.USER, secret("wrong"), "--json", expect=7).error
    assert error["code"] == "unauthorized"
    assert "refused user 'bob'" in error["message"]
    assert "nothing was stored" in error["hint"]
    assert (json.loads(config.read_text()) if config.exists() else None) == before


@pytest.mark.registry
def test_through_a_helper(closed: ProcessRegistry, config: Path, helper: HelperProgram, tmp_path: Path) -> None:
    password = htpasswd.password()
    write(config, {"credsStore": "test", "auths": {closed.host: auth("old", secret("old"))}, "HttpHeaders": {"X": "y"}})
    document = log_in(closed.host, htpasswd.USER, password, "--json").json
    where = f"the credential helper test (credsStore in {config})"
    expected = {"host": closed.host, "username": "bob", "verified": True, "stored": "helper", "where": where}
    assert document == expected
    assert helper.known == {closed.host: {"Username": "bob", "Secret": password}}
    # The old password is gone, and what is left says where the login is: docker does the same.
    kept = {"credsStore": "test", "auths": {closed.host: {}}, "HttpHeaders": {"X": "y"}}
    assert json.loads(config.read_text()) == kept
    Bundle.create(tmp_path / "a", f"{closed.host}/team/helped", BASE).push()
    assert call("--json", "logout", closed.host).json == {"host": closed.host, "removed": [where], "left": []}
    assert helper.known == {}
    assert json.loads(config.read_text())["auths"] == {}
    # The secret went through standard input alone: the arguments of every call were one word.
    assert {action for action, _ in helper.calls} == {"get", "store", "list", "erase"}


@pytest.mark.registry
@pytest.mark.peers
@pytest.mark.parametrize("settings", [{"auths": {}}, {"credsStore": "test"}])
def test_oras_and_we_read_what_the_other_wrote(
    closed: ProcessRegistry, config: Path, helper: HelperProgram, tmp_path: Path, peer: Peer, settings: dict[str, Any]
) -> None:
    password, oras = htpasswd.password(), peer("oras")

    def run(*words: str, given: str = "", code: int = 0) -> None:
        done = subprocess.run([oras, *words], input=given.encode(), capture_output=True, timeout=120, check=False)
        assert done.returncode == code, (words, done.stdout, done.stderr)

    host = closed.host
    made = Bundle.create(tmp_path / "a", f"{host}/team/oras", BASE)
    write(config, settings)
    run("login", "--plain-http", "-u", htpasswd.USER, "--password-stdin", host, given=password)
    made.push()
    call("logout", host)
    run("repo", "tags", "--plain-http", f"{host}/team/oras", code=1)
    log_in(host, htpasswd.USER, password)
    run("repo", "tags", "--plain-http", f"{host}/team/oras")
    done = subprocess.run([peer("crane"), "ls", "--insecure", f"{host}/team/oras"], capture_output=True, check=False)
    assert done.stdout == b"latest\n", done.stderr
    assert bool(helper.known) == ("credsStore" in settings)
    # And forgets it.
    run("logout", host)
    assert helper.known == {}
    made.refused(7, "tags")


# --- ways to log in


@pytest.mark.parametrize("basic", [True, False])
def test_basic_and_bearer(fake: Fake, config: Path, basic: bool) -> None:
    password = secret()
    fake.require_auth("bob", password, basic=basic)
    log_in(fake.host, "bob", secret("wrong"), expect=7)
    assert not config.exists()
    assert log_in(fake.host, "bob", password, "--json").json["verified"] is True
    assert json.loads(config.read_text()) == {"auths": {fake.host: auth("bob", password)}}
    assert all("scope=" not in one.path for one in fake.asked("GET", "/token")) or not basic


def test_an_identity_token(fake: Fake, config: Path, tmp_path: Path) -> None:
    token = secret("token")
    fake.require_auth("bob", secret(), identity_token=token)
    call("login", fake.host, "--token-stdin", stdin=secret("wrong").encode(), expect=7)
    call("login", fake.host, "--token-stdin", stdin=f"{token}\r\n".encode())
    assert json.loads(config.read_text()) == {"auths": {fake.host: {"identitytoken": token}}}
    Bundle.create(tmp_path / "a", f"{fake.host}/m", BASE).push()


def test_a_second_login_in_a_helper_leaves_the_file_alone(fake: Fake, config: Path, helper: HelperProgram) -> None:
    write(config, {"credsStore": "test"})
    log_in(fake.host, "bob", secret())
    before = config.stat().st_ino
    log_in(fake.host, "bob", password := secret())
    assert helper.known == {fake.host: {"Username": "bob", "Secret": password}}
    assert config.stat().st_ino == before


@pytest.mark.parametrize("settled", [False, True])
def test_a_helper_needs_no_lock_on_a_file_that_stays_as_it_is(
    fake: Fake, config: Path, helper: HelperProgram, settled: bool
) -> None:
    own = {"credHelpers": {fake.host: "test"}}
    write(config, {"credsStore": "test", "auths": {fake.host: {}}} if settled else own)
    # What a read-only mount says of the lock file, this says to root, too.
    config.with_name("config.json.lock").mkdir()
    log_in(fake.host, "bob", password := secret())
    assert helper.known == {fake.host: {"Username": "bob", "Secret": password}}
    write(config, own)
    assert call("--json", "logout", fake.host).json["removed"]
    assert helper.known == {}


def test_a_file_that_has_to_change_and_cannot_be_locked_stores_nothing(
    fake: Fake, config: Path, helper: HelperProgram
) -> None:
    write(config, {"credsStore": "test"})
    config.with_name("config.json.lock").mkdir()
    log_in(fake.host, "bob", secret(), expect=11)
    assert not helper.store.exists()
    assert json.loads(config.read_text()) == {"credsStore": "test"}


def test_an_identity_token_through_a_helper(fake: Fake, config: Path, helper: HelperProgram, tmp_path: Path) -> None:
    token = secret("token")
    fake.require_auth("bob", secret(), identity_token=token)
    write(config, {"credHelpers": {fake.host: "test"}})
    call("login", fake.host, "-u", "bob", "--token-stdin", stdin=token.encode())
    assert helper.known == {fake.host: {"Username": "<token>", "Secret": token}}
    Bundle.create(tmp_path / "a", f"{fake.host}/m", BASE).push()


def test_a_registry_that_asks_for_no_login_is_told_of(fake: Fake, config: Path) -> None:
    password = secret()
    shown = log_in(fake.host, "bob", password, "--progress", "json")
    assert "could not be verified" in shown.notices["unverified-login"]
    assert shown.out.startswith(f"Stored for {fake.host} as bob")
    assert fake.host in json.loads(config.read_text())["auths"]
    assert not [one for one in fake.requests if "authorization" in one.headers]


def test_what_is_no_registry_gets_no_login(fake: Fake, config: Path) -> None:
    class Page(Action):
        def before(self, call: Call) -> Call | Response:
            return Response(200, {"Content-Type": "text/html"}, b"<html>")

    fault = fake.fault(lambda *_: True, Page(), times=None)
    assert "HTML" in log_in(fake.host, "bob", secret(), "--json", expect=8).error["message"]
    fault.left = 0
    fake.fault(lambda *_: True, Refuse(404, "X"))
    log_in(fake.host, "bob", secret(), expect=6)
    assert not config.exists()


@pytest.mark.parametrize("spelling", ["{}", "http://{}/", "https://{}", "{}/team/m:v1", "oci://{}/team/m", "{}/v2/"])
def test_the_host_may_be_written_as_a_reference_or_address(fake: Fake, config: Path, spelling: str) -> None:
    fake.require_auth("bob", password := secret())
    assert log_in(spelling.format(fake.host), "bob", password, "--json").json["host"] == fake.host
    assert list(json.loads(config.read_text())["auths"]) == [fake.host]
    assert call("--json", "logout", spelling.format(fake.host)).json["removed"] == [str(config)]


def test_a_remote_by_its_name(fake: Fake, config: Path, tmp_path: Path) -> None:
    fake.require_auth("bob", password := secret())
    made = Bundle.create(tmp_path / "a", f"{fake.host}/m", BASE)
    given = f"{password}\n".encode()
    call("-C", str(made.root), "login", "origin", "-u", "bob", "--password-stdin", stdin=given)
    assert list(json.loads(config.read_text())["auths"]) == [fake.host]
    made.push()


@pytest.mark.parametrize(
    "word", ["bob", "origin", "ftp://host.example", "a..b/c", "-x.y", "h.example:99999", "", "./dir"]
)
def test_what_names_no_registry_is_refused(config: Path, word: str) -> None:
    result = call("--json", "login", "-u", "bob", "--password-stdin", "--", word, stdin=secret().encode(), expect=None)
    assert result.code in (2, 9), result
    assert not config.exists()


def test_a_user_name_in_the_address_is_not_repeated(config: Path) -> None:
    word = f"https://bob:{secret()}@registry.example.com/"
    for command in (["login", word, "-u", "bob", "--password-stdin"], ["logout", word]):
        call(*command, stdin=b"x", expect=2)


# --- the password's way in


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_one_line_end_is_no_part_of_the_password(fake: Fake, config: Path, end: bytes) -> None:
    fake.require_auth("bob", password := secret() + " ü ")
    call("login", fake.host, "-u", "bob", "--password-stdin", stdin=password.encode() + end)
    assert json.loads(config.read_text())["auths"] == {fake.host: auth("bob", password)}


@pytest.mark.parametrize(
    "given", [b"", b"\n", b"a\nb\n", b"a\0b", b"a\n\n", b"\xff", b"x" * 70_000, b"a\tb", b"a\x1b[0m"]
)
@pytest.mark.parametrize("words", [["-u", "bob", "--password-stdin"], ["--token-stdin"]])
def test_a_password_that_cannot_be_one_is_refused(config: Path, given: bytes, words: list[str]) -> None:
    mark = CANARY.encode() if given.strip() else b""
    secret()
    error = call("--json", "login", "registry.example.com", *words, stdin=mark + given, expect=2).error
    assert "on standard input" in error["message"]
    assert not config.exists()


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["-u", "bob"],
        ["--password-stdin"],
        ["-u", "bob", "--password-stdin", "--token-stdin"],
        ["-u", "", "--password-stdin"],
        ["-u", "a:b", "--password-stdin"],
        ["-u", "a\nb", "--password-stdin"],
        ["-u", "a\udcff", "--password-stdin"],
        ["-u", "bob", "-p", "x"],
    ],
)
def test_without_a_terminal_the_words_must_be_complete(config: Path, words: list[str]) -> None:
    error = call("--json", "login", "registry.example.com", *words, stdin=secret().encode(), expect=2).error
    assert error["hint"]
    assert not config.exists()


def test_without_a_terminal_the_hint_says_how() -> None:
    assert "--password-stdin" in call("--json", "login", "registry.example.com", expect=2).error["hint"]


def typed(words: list[str], answers: list[tuple[bytes, bytes]]) -> tuple[int, bytes]:
    """Run a command on a terminal and type an answer to each prompt; exit code, and all that was shown."""
    screen, end = pty.openpty()
    with subprocess.Popen(words, cwd=ROOT, stdin=end, stdout=end, stderr=end, start_new_session=True) as process:
        os.close(end)
        shown = b""
        try:
            while block := os.read(screen, 1024):
                shown += block
                if answers and answers[0][0] in shown:
                    os.write(screen, answers.pop(0)[1])
        except OSError:
            pass  # the other side has hung up
        os.close(screen)
    return process.returncode, shown


def test_on_a_terminal_it_asks_and_shows_no_password(fake: Fake, config: Path) -> None:
    fake.require_auth("bob", password := secret())
    words = [sys.executable, "-m", "modelops_bundle", "login", fake.host]
    answers = [(b"User name: ", b"bob\n"), (b"Password (not shown): ", f"{password}\n".encode())]
    code, shown = typed(words, answers)
    assert (code, answers) == (0, []), shown
    assert not printed(shown)
    assert b"Logged in to" in shown
    assert json.loads(config.read_text())["auths"] == {fake.host: auth("bob", password)}
    code, shown = typed([*words, "-u", "bob"], [(b"Password (not shown): ", b"\x04")])
    assert code == 130, shown


# --- the file


@pytest.mark.parametrize("umask", [0, 0o077])
def test_the_file_is_its_owners_alone_from_the_start(fake: Fake, config: Path, umask: int) -> None:
    modes = []

    def look(path: str, flags: int, mode: int = 0o777, **rest: Any) -> int:
        descriptor = real(path, flags, mode, **rest)
        if flags & os.O_CREAT and str(path).startswith(str(config.parent)) and not str(path).endswith(".lock"):
            modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    real, before = os.open, os.umask(umask)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "open", look)
            log_in(fake.host, "bob", secret())
    finally:
        os.umask(before)
    assert modes == [0o600]
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.parent.stat().st_mode) == 0o700


def test_a_file_that_others_could_read_is_closed_by_a_login(fake: Fake, config: Path) -> None:
    write(config, {})
    config.chmod(0o644)
    log_in(fake.host, "bob", secret())
    assert stat.S_IMODE(config.stat().st_mode) == 0o600


def test_the_rest_of_the_file_stays(fake: Fake, config: Path) -> None:
    other = {"HttpHeaders": {"X": "é"}, "proxies": {"default": {"noProxy": "a,b"}}, "psFormat": "t\t", "n": [1, None]}
    write(config, {**other, "auths": {"other:1": auth("x", secret()), f"https://{fake.host}/v2/": {}}})
    password = secret()
    log_in(fake.host, "bob", password)
    after = json.loads(config.read_text())
    assert {key: after[key] for key in other} == other
    assert after["auths"].keys() == {"other:1", f"https://{fake.host}/v2/"}
    assert after["auths"][f"https://{fake.host}/v2/"] == auth("bob", password)


@pytest.mark.parametrize("there", [True, False])
def test_a_linked_file_is_followed(fake: Fake, config: Path, home: Path, there: bool) -> None:
    target = home / "dotfiles" / "docker" / "config.json"
    if there:
        write(target, {"detachKeys": "x"})
    config.parent.mkdir()
    config.symlink_to("../dotfiles/docker/config.json")
    log_in(fake.host, "bob", secret())
    assert config.is_symlink()
    assert fake.host in json.loads(target.read_text())["auths"]
    assert ("detachKeys" in json.loads(target.read_text())) == there


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": 1}'])
def test_a_file_that_cannot_be_read_is_left_alone(fake: Fake, config: Path, text: str) -> None:
    config.parent.mkdir()
    config.write_text(text)
    assert str(config) in log_in(fake.host, "bob", secret(), "--json", expect=2).error["message"]
    assert config.read_text() == text


def test_logins_at_the_same_time_are_all_kept(fake: Fake, config: Path) -> None:
    password = secret()
    with Fake() as second, Fake() as third:
        hosts = [
            host for one in (fake, second, third) for host in (one.host, one.host.replace("localhost", "127.0.0.1"))
        ]
        processes = [start(words_of(host, "bob")) for host in hosts]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(password.encode())
            process.stdin.close()
        for process in processes:
            with process:
                assert process.stdout is not None
                shown = process.stdout.read()
                assert not printed(shown)
            assert process.returncode == 0, shown
    assert json.loads(config.read_text())["auths"] == {host: auth("bob", password) for host in hosts}


def test_who_comes_while_another_writes_waits_and_reads_what_was_written(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, password = tmp_path / "config.json", secret()
    writing, waits_or_done, go_on = threading.Event(), threading.Event(), threading.Event()

    class Clock:
        monotonic = staticmethod(time.monotonic)

        @staticmethod
        def sleep(_seconds: float) -> None:
            waits_or_done.set()
            go_on.wait()

    def hold(step: str) -> None:
        if step == "file synced" and not writing.is_set():
            writing.set()
            go_on.wait()

    def work(host: str) -> None:
        with Session(None, Run(), Options(docker_config=config), cwd=tmp_path) as session:
            login.login(session, host, Credentials("bob", password))

    def second(host: str) -> None:
        work(host)
        waits_or_done.set()

    monkeypatch.setattr(locks, "time", Clock)
    stop = observe_checkpoints(hold)
    try:
        hosts = [fake.host, fake.host.replace("localhost", "127.0.0.1")]
        threads = [
            threading.Thread(target=target, args=[host]) for target, host in zip((work, second), hosts, strict=True)
        ]
        threads[0].start()
        writing.wait()
        threads[1].start()
        waits_or_done.wait()
        go_on.set()
        for thread in threads:
            thread.join()
    finally:
        stop()
    assert json.loads(config.read_text())["auths"].keys() == set(hosts)


@pytest.mark.parametrize("step", ["file synced", "file renamed"])
def test_killed_while_it_writes_it_leaves_the_old_or_the_new(fake: Fake, config: Path, step: str) -> None:
    write(config, {"auths": {"other:1": {}}})
    source = KILL.format(step=step) + "\nfrom modelops_bundle.ui.cli.main import main\nraise SystemExit(main())"
    with start([sys.executable, "-c", source, *words_of(fake.host, "bob")[3:]]) as process:
        process.communicate(secret().encode())
    assert process.returncode == -9
    known = {"other:1"} | ({fake.host} if step == "file renamed" else set())
    assert json.loads(config.read_text())["auths"].keys() == known
    for left in config.parent.iterdir():
        assert left.suffix == ".lock" or stat.S_IMODE(left.stat().st_mode) == 0o600
    # What is left of it has the password in it: the next login, and logout, take it away.
    log_in(fake.host, "bob", secret())
    assert {path.name for path in config.parent.iterdir()} == {"config.json", "config.json.lock"}


def test_where_the_file_cannot_be_written_nothing_is_claimed(fake: Fake, config: Path) -> None:
    config.parent.parent.mkdir(exist_ok=True)
    config.parent.write_text("a file in the place of the directory")
    assert "logged in" not in log_in(fake.host, "bob", secret(), expect=11).text.lower()


def test_offline_is_refused_before_anything(fake: Fake, config: Path) -> None:
    log_in(fake.host, "bob", secret(), "--offline", expect=8)
    assert not config.exists()
    assert fake.requests == []


# --- helpers that fail


@pytest.mark.parametrize("source", [None, "raise SystemExit('keychain is locked')"])
def test_a_helper_that_cannot_store_is_an_error_and_the_file_stays(
    fake: Fake, config: Path, helper: HelperProgram, source: str | None
) -> None:
    if source is None:
        helper.program.unlink()
    else:
        HelperProgram(helper.folder, source=source)
    write(config, {"credsStore": "test"})
    assert "the credential helper test" in log_in(fake.host, "bob", secret(), "--json", expect=2).error["message"]
    assert json.loads(config.read_text()) == {"credsStore": "test"}


def test_a_helper_sees_no_secret_of_other_variables(
    fake: Fake, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "environment.json"
    source = f"import json, os, sys; json.dump([dict(os.environ), sys.argv[1:]], open({str(seen)!r}, 'w'))"
    monkeypatch.setenv("PATH", str(HelperProgram(tmp_path / "bin", source=source).folder))
    monkeypatch.setenv("BUNDLE_USERNAME", "bob")
    monkeypatch.setenv("BUNDLE_PASSWORD", secret())
    monkeypatch.setenv("BUNDLE_TOKEN", secret("token"))
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"auths": {"x": auth("u", secret())}}))
    write(config, {"credsStore": "test"})
    log_in(fake.host, "bob", secret())
    environment, arguments = json.loads(seen.read_text())
    assert arguments == ["store"]
    assert environment["HOME"] == os.environ["HOME"]
    assert not {"BUNDLE_PASSWORD", "BUNDLE_TOKEN", "DOCKER_AUTH_CONFIG"} & environment.keys()


# --- what comes first


def test_a_login_that_others_come_before_says_so(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUNDLE_USERNAME", "ci")
    monkeypatch.setenv("BUNDLE_PASSWORD", secret())
    shown = log_in(fake.host, "bob", secret(), "--progress", "json")
    assert re.match(r"BUNDLE_USERNAME has a login .* comes first", shown.notices["login-overridden"])


def test_a_login_of_the_environment_for_other_registries_is_not_named(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Bundle.create(tmp_path / "a", "registry.example.com/m")
    monkeypatch.setenv("BUNDLE_TOKEN", secret("token"))
    shown = log_in(fake.host, "bob", secret(), "--progress", "json", "-C", str(made.root))
    assert "login-overridden" not in shown.notices


def test_registry_auth_file_is_where_it_writes(
    fake: Fake, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "deep" / "er" / "auth.json"
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(file))
    log_in(fake.host, "bob", secret())
    assert fake.host in json.loads(file.read_text())["auths"]
    assert stat.S_IMODE(file.parent.parent.stat().st_mode) == 0o700
    assert not config.exists()


@pytest.mark.registry
def test_how_the_host_was_reached_is_remembered(closed: ProcessRegistry, config: Path, home: Path) -> None:
    password = htpasswd.password()
    result = log_in(closed.host, htpasswd.USER, password, "--json", "--plain-http")
    assert result.json["settings"] == {"plain_http": True}
    [settings] = home.rglob("config.toml")
    assert f'[hosts."{closed.host}"]' in settings.read_text()
    assert "Remembered" in log_in(closed.host, htpasswd.USER, password, "--plain-http").out
