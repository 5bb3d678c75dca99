from __future__ import annotations

from pathlib import Path

import pytest

from modelops_bundle.errors import ConfigError, Interrupted
from modelops_bundle.net.helpers import LIFE, Helper, Helpers, Login
from tests.support.canary import printed, secret
from tests.support.helpers import HelperProgram


def nothing() -> None:
    """Nobody asked to stop."""


def named(name: str = "test") -> Helper:
    return Helper(name, "credsStore in /c.json", own=False)


def helpers_of(program: HelperProgram, **options) -> Helpers:
    return Helpers({"PATH": f"relative:{program.folder}"}, **options)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def failure(tmp_path: Path, source: str, *, timeout: float = 60.0, name: str = "test") -> ConfigError:
    made = helpers_of(HelperProgram(tmp_path / "bin", source=source), timeout=timeout)
    with pytest.raises(ConfigError) as caught:
        made.get(named(name), "host:5000", nothing)
    assert "credsStore in /c.json" in caught.value.message
    assert caught.value.hint
    assert not printed(str(caught.value).encode(), repr(caught.value.__context__).encode())
    return caught.value


def test_store_get_list_erase(tmp_path: Path) -> None:
    program = HelperProgram(tmp_path / "bin")
    made, login = helpers_of(program), Login("bob", secret() + ' "ü\\')
    assert made.get(named(), "host:5000", nothing) is None
    made.store(named(), "host:5000", login, nothing)
    assert made.get(named(), "host:5000", nothing) == login
    assert made.servers(named(), nothing) == {"host:5000": "bob"}
    made.erase(named(), "host:5000", nothing)
    assert made.get(named(), "host:5000", nothing) is None
    made.erase(named(), "host:5000", nothing)
    actions = [action for action, _ in program.calls]
    assert actions == ["get", "store", "get", "list", "erase", "get", "erase"]


@pytest.mark.parametrize("server", ["host", "host:5001", "sub.host:5000", "host:5000/team"])
def test_the_server_is_asked_for_exactly(tmp_path: Path, server: str) -> None:
    program = HelperProgram(tmp_path / "bin")
    program.know(server, "bob", secret())
    assert helpers_of(program).get(named(), "host:5000", nothing) is None
    assert program.calls == [("get", "host:5000")]


def test_it_is_asked_once_until_the_answer_is_old(tmp_path: Path) -> None:
    program, clock = HelperProgram(tmp_path / "bin"), Clock()
    program.know("host", "bob", secret())
    made = helpers_of(program, clock=clock)
    for _ in range(3):
        assert made.get(named(), "host", nothing) is not None
        assert made.get(named(), "other", nothing) is None
    assert program.calls == [("get", "host"), ("get", "other")]
    clock.now += LIFE
    made.get(named(), "host", nothing)
    assert len(program.calls) == 3


def test_a_failure_is_remembered_and_raised_anew(tmp_path: Path) -> None:
    log = tmp_path / "log"
    made = helpers_of(
        HelperProgram(tmp_path / "bin", source=f"open({str(log)!r}, 'a').write('x'); raise SystemExit(2)")
    )
    errors = []
    for _ in range(2):
        with pytest.raises(ConfigError) as caught:
            made.get(named(), "host", nothing)
        errors.append(caught.value)
    assert log.read_text() == "x"
    assert errors[0] is not errors[1]
    assert (errors[0].message, errors[0].hint, errors[0].facts) == (errors[1].message, errors[1].hint, errors[1].facts)


def test_who_stops_waiting_is_asked_again_next_time(tmp_path: Path) -> None:
    program = HelperProgram(tmp_path / "bin")
    made = helpers_of(program)

    def stop() -> None:
        raise Interrupted("interrupted")

    with pytest.raises(Interrupted):
        made.get(named(), "host", stop)
    assert made.get(named(), "host", nothing) is None


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_not_found_is_no_failure(tmp_path: Path, stream: str) -> None:
    text = "credentials not found in native keychain\\n"
    source = f"import sys; sys.{stream}.write({text!r}.replace('\\\\n', chr(10))); sys.exit(1)"
    made = helpers_of(HelperProgram(tmp_path / "bin", source=source))
    assert made.get(named(), "host", nothing) is None
    made.erase(named(), "host", nothing)


def test_a_login_without_a_secret_is_none(tmp_path: Path) -> None:
    answer = '{"ServerURL": "host", "Username": "", "Secret": ""}'
    assert helpers_of(HelperProgram(tmp_path / "bin", source=f"print({answer!r})")).get(named(), "h", nothing) is None


@pytest.mark.parametrize("name", ["../../x", "a/b", "", "a b", "a;b", "ä", "a\n", "x\0y"])
def test_names_that_are_paths_or_worse_are_refused(tmp_path: Path, name: str) -> None:
    ran = tmp_path / "ran"
    error = failure(tmp_path, f"open({str(ran)!r}, 'w')", name=name)
    assert "not the name of a credential helper" in error.message
    assert not ran.exists()


def test_a_missing_one_is_named(tmp_path: Path) -> None:
    error = failure(tmp_path, "", name="absent")
    assert "docker-credential-absent on PATH" in error.message
    assert "install it" in str(error.hint)


def test_one_in_the_working_directory_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    HelperProgram(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="not installed"):
        Helpers({"PATH": ".::"}).get(named(), "host", nothing)


def test_one_that_cannot_be_started_is_named(tmp_path: Path) -> None:
    program = HelperProgram(tmp_path / "bin")
    program.program.write_text("#!/nowhere/at/all\n")
    with pytest.raises(ConfigError, match="cannot be started"):
        helpers_of(program).get(named(), "host", nothing)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("around", ["", "keychain is locked, password="])
def test_what_one_that_fails_prints_is_not_quoted(tmp_path: Path, stream: str, around: str) -> None:
    password = secret()
    error = failure(tmp_path, f"import sys; print({around + password!r}, file=sys.{stream}); sys.exit(1)")
    assert error.message.endswith("failed to get (exit code 1)")
    assert error.hint == "see what it says: docker-credential-test list"


def test_a_login_that_comes_with_a_failure_is_not_quoted(tmp_path: Path) -> None:
    failure(tmp_path, f"import json; print(json.dumps([{secret()!r}])); raise SystemExit(1)")


def test_one_that_dies_of_a_signal(tmp_path: Path) -> None:
    assert "(signal 9)" in failure(tmp_path, "import os; os.kill(os.getpid(), 9)").message


def test_one_that_hangs_is_ended(tmp_path: Path) -> None:
    error = failure(tmp_path, "import signal\nwhile True: signal.pause()", timeout=0.0)
    assert "did not answer within 0 s" in error.message


@pytest.mark.parametrize(
    "source",
    ["print('hello')", "print('[]')", "print('{\"Secret\": 1}')", "print('[' * 100_000)", "print(chr(255))", ""],
)
def test_garbage_is_an_error_that_quotes_nothing(tmp_path: Path, source: str) -> None:
    error = failure(tmp_path, source or "pass")
    assert "something else than a login" in error.message
    assert "hello" not in error.message


def test_garbage_that_holds_a_secret_stays_out_of_the_chain_of_causes(tmp_path: Path) -> None:
    error = failure(tmp_path, f'print(\'{{"Secret": "\' + {secret()!r})')
    assert error.__context__ is None


def test_a_megabyte_and_more_is_refused(tmp_path: Path) -> None:
    assert "more than 1,048,576 bytes" in failure(tmp_path, "print('x' * 2_000_000)").message


@pytest.mark.parametrize("shown", ["given", "json.loads(given)['Secret']", "given.split('\"Secret\": ')[1]"])
def test_a_store_that_fails_shows_nothing_of_what_it_was_given(tmp_path: Path, shown: str) -> None:
    source = f"import json, sys; given = sys.stdin.read(); print('I was given', {shown}); sys.exit(1)"
    program = HelperProgram(tmp_path / "bin", source=source)
    with pytest.raises(ConfigError, match="failed to store") as caught:
        helpers_of(program).store(named(), "host", Login("bob", secret() + '"é'), nothing)
    assert not printed(caught.value.message.encode())


def test_secrets_do_not_show_in_repr() -> None:
    assert "canary" not in repr(Login("u", "canary"))
