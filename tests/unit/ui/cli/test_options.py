from __future__ import annotations

import dataclasses
import io
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import click
import pytest

from modelops_bundle.errors import ConfigError, Interrupted, Terminated, UsageError
from modelops_bundle.events import Event, Limits, Notice, Run, Started
from modelops_bundle.net.options import NetOptions
from modelops_bundle.ui.cli import options
from modelops_bundle.ui.cli.options import (
    OPTIONS,
    Settings,
    build_settings,
    cancelling,
    make_run,
    read_user_config,
    wants_json,
)


def built(
    where: Path,
    flags: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
    user: dict[str, Any] | None = None,
) -> Settings:
    return build_settings(flags or {}, environment or {}, user or {}, where=where)


# ----------------------------------------------------------------------------------------------------- precedence


def test_every_option_is_a_setting_and_the_defaults_are_those_of_the_core() -> None:
    assert {option.name for option in OPTIONS} <= {field.name for field in dataclasses.fields(Settings)}
    assert Settings().jobs == options.DEFAULT_JOBS == Limits().jobs
    assert Settings().connections == options.DEFAULT_CONNECTIONS == Limits().connections
    assert Settings().timeout == options.DEFAULT_TIMEOUT == NetOptions().stall_timeout
    assert Settings().limit_rate == Limits().rate


def test_flag_beats_config_flag_beats_variable_beats_project_beats_user(tmp_path: Path) -> None:
    flags: dict[str, Any] = {"jobs": "1", "config": ["limits.jobs=2"]}
    environment, project, user = {"BUNDLE_JOBS": "3"}, {"limits": {"jobs": 4}}, {"limits": {"jobs": 5}}
    chosen = []
    for _ in range(5):
        chosen.append(built(tmp_path, flags, environment, user).override(project).jobs)
        if "jobs" in flags:
            del flags["jobs"]
        elif flags:
            flags = {}
        elif environment:
            environment = {}
        else:
            project = {}
    assert chosen == [1, 2, 3, 4, 5]
    assert built(tmp_path).override({}).jobs == Limits().jobs


def test_any_key_is_looked_up_by_the_same_precedence(tmp_path: Path) -> None:
    user = {"push": {"storage": "user"}}
    project = {"push": {"storage": "project"}}
    settings = built(tmp_path, {"config": ["push.storage=flag"]}, {"BUNDLE_PUSH_STORAGE": "variable"}, user)
    assert settings.get("push.storage", project) == "flag"
    assert built(tmp_path, {}, {"BUNDLE_PUSH_STORAGE": "variable"}, user).get("push.storage", project) == "variable"
    assert built(tmp_path, user=user).get("push.storage", project) == "project"
    assert built(tmp_path, user=user).get("push.storage") == "user"
    assert built(tmp_path, user=user).get("push.storage.deeper", default=1) == 1
    assert built(tmp_path).get("push.storage") is None


def test_a_full_set(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    environment = {
        "BUNDLE_DIRECTORY": "sub",
        "BUNDLE_LIMIT_RATE": "10M",
        "BUNDLE_PLAIN_HTTP": "yes",
        "BUNDLE_OFFLINE": "0",
        "BUNDLE_QUIET": "",
        "BUNDLE_CA_FILE": "~/ca.pem",
        "BUNDLE_YES": "1",
        "CI": "true",
        "NO_COLOR": "1",
        "OTHER": "x",
    }
    settings = build_settings({"progress": "plain"}, environment, {}, where=tmp_path, terminals=(True, True, True))
    assert settings.directory == tmp_path / "sub"
    assert settings.resolve("x") == tmp_path / "sub/x"
    assert settings.resolve("/x") == Path("/x")
    assert settings.limit_rate == 10 * 1024**2
    assert settings.ca_file == Path("~/ca.pem").expanduser()
    assert (settings.plain_http, settings.offline, settings.quiet, settings.yes) == (True, False, False, True)
    assert (settings.ci, settings.colour, settings.colour_stderr, settings.stderr_is_tty) == (True, False, False, True)
    assert "OTHER" not in settings.variables


def test_neither_settings_nor_their_text_carry_the_values_of_variables(tmp_path: Path) -> None:
    assert "hunter2" not in repr(built(tmp_path, environment={"BUNDLE_PASSWORD": "hunter2"}))


def test_what_a_flag_said_is_known_apart_from_what_a_variable_said(tmp_path: Path) -> None:
    settings = built(tmp_path, {"insecure": True, "client_cert": "me.pem"}, {"BUNDLE_CLIENT_KEY": "me.key"})
    assert settings.flags == {"insecure", "client_cert"}
    assert settings.fixed == {"insecure", "client_cert", "client_key"}
    assert (settings.client_cert, settings.client_key) == (Path("me.pem"), Path("me.key"))


@pytest.mark.parametrize("key", ["yes", "json", "directory", "insecure", "client_cert", "client_key"])
def test_consent_and_the_like_are_no_settings(tmp_path: Path, key: str) -> None:
    assert built(tmp_path, user={key: "true"}).override({key: "true"}) == built(tmp_path, user={key: "true"})


@pytest.mark.parametrize(
    ("flags", "where"),
    [
        ({"jobs": "0"}, "--jobs cannot be '0'"),
        ({"jobs": "many"}, "--jobs cannot be 'many'"),
        ({"limit_rate": "fast\x1b"}, "--limit-rate cannot be"),
        ({"progress": "loud"}, "--progress cannot be"),
        ({"config": ["jobs"]}, "--config wants KEY=VALUE"),
        ({"config": ["=1"]}, "--config wants KEY=VALUE"),
        ({"config": ["limits.jobs=x"]}, "limits.jobs in --config cannot be 'x'"),
        ({"directory": "nowhere"}, "no such directory"),
        ({"ca_file": ""}, "--ca-file cannot be ''"),
    ],
)
def test_wrong_flags_are_usage_errors(tmp_path: Path, flags: dict[str, Any], where: str) -> None:
    with pytest.raises(UsageError, match="^" + where) as caught:
        built(tmp_path, flags)
    assert "\x1b" not in caught.value.message


def test_wrong_variables_and_files_are_config_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="BUNDLE_OFFLINE cannot be 'perhaps'"):
        built(tmp_path, environment={"BUNDLE_OFFLINE": "perhaps"})
    with pytest.raises(ConfigError, match=r"limits.jobs in your config.toml cannot be True"):
        built(tmp_path, user={"limits": {"jobs": True}})
    with pytest.raises(ConfigError, match=r"limits.rate in the bundle's config.toml cannot be -1"):
        built(tmp_path).override({"limits": {"rate": -1}})


@pytest.mark.parametrize(("written", "meant"), [("0", None), ("none", None), (5, 5), ("1K", 1024)])
def test_rates(tmp_path: Path, written: object, meant: int | None) -> None:
    assert built(tmp_path, user={"limits": {"rate": written}}).limit_rate == meant


# ----------------------------------------------------------------------------------------------------- user config


def test_the_user_config(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    assert read_user_config(file) == {}
    assert read_user_config(file / "below-a-file") == {}
    file.write_text("jobs = 3\n[push]\nstorage = 'delta'\n")
    assert read_user_config(file) == {"jobs": 3, "push": {"storage": "delta"}}
    file.write_text("jobs = \n")
    with pytest.raises(ConfigError, match="is not TOML"):
        read_user_config(file)
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="is not TOML"):
        read_user_config(file)
    with pytest.raises(ConfigError, match="cannot read"):
        read_user_config(tmp_path)


def test_the_user_config_has_a_place_of_its_own() -> None:
    assert options.user_config_file().parts[-2:] == ("modelops-bundle", "config.toml")


# ----------------------------------------------------------------------------------------------------- click, json


@pytest.mark.parametrize(
    ("arguments", "environment", "wanted"),
    [
        (["push", "--json"], {}, True),
        (["--json", "push"], {}, True),
        (["add", "--", "--json"], {}, False),
        (["push"], {"BUNDLE_JSON": "1"}, True),
        (["push"], {"BUNDLE_JSON": "perhaps"}, False),
        ([], {}, False),
    ],
)
def test_whether_errors_are_documents(arguments: list[str], environment: dict[str, str], wanted: bool) -> None:
    assert wants_json(arguments, environment) is wanted


def test_current_settings_are_those_of_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(options, "user_config_file", lambda: tmp_path / "none.toml")
    monkeypatch.setenv("BUNDLE_JOBS", "7")
    monkeypatch.setattr("sys.stdin", None)
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr("sys.stdout", closed)
    context = click.Context(click.Command("x"))
    context.meta[options.FLAGS_KEY] = {"quiet": True}
    settings = options.current(context)
    assert (settings.jobs, settings.quiet, settings.directory) == (7, True, tmp_path)
    assert not settings.stdin_is_tty
    assert not settings.stdout_is_tty


# ------------------------------------------------------------------------------------------------------------ runs


def test_a_run_has_the_limits_and_the_sink(capsys: pytest.CaptureFixture[str]) -> None:
    with make_run(Settings(jobs=3, limit_rate=9, progress="plain")) as run:
        run.notice("n", "read this")
    assert run.limits == Limits(3, 9)
    assert capsys.readouterr() == ("", "note: read this\n")


def test_a_run_without_progress_shows_notices_and_keeps_json(capsys: pytest.CaptureFixture[str]) -> None:
    for progress in ("plain", "json"):
        with make_run(Settings(progress=progress), progress=False) as run:
            run.emit(Started("scan"))
            run.notice("n", "read this")
    note, *lines = capsys.readouterr().err.splitlines()
    assert note == "note: read this"
    assert [json.loads(line)["event"] for line in lines] == ["started", "notice"]


def test_who_waits_for_the_end_is_told_how_to_have_it() -> None:
    told = threading.Event()
    run = Run(emit=lambda event: told.set() if isinstance(event, Notice) else None)
    with cancelling(run, patience=0):
        os.kill(os.getpid(), signal.SIGINT)
        assert told.wait(10)


def test_who_does_not_wait_is_told_nothing() -> None:
    events: list[Event] = []
    run = Run(emit=events.append)
    with cancelling(run, patience=3600):
        os.kill(os.getpid(), signal.SIGINT)
        assert run.cancelled.wait(10)
    assert events == []


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, Interrupted), (signal.SIGTERM, Terminated)])
def test_the_first_signal_cancels_and_the_second_leaves(number: signal.Signals, raised: type[Exception]) -> None:
    left: list[int] = []
    before = signal.getsignal(number)
    run = Run()
    with cancelling(run, leave=left.append):
        os.kill(os.getpid(), number)
        assert run.cancelled.wait(10)
        assert left == []
        with pytest.raises(raised):
            run.check()
        os.kill(os.getpid(), number)
        assert left == [number]
    assert signal.getsignal(number) is before


def test_a_signal_does_not_wait_for_a_lock_that_the_main_thread_holds() -> None:
    run = Run()
    with cancelling(run, leave=lambda _number: None):
        with run.cancelled._cond:  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGINT)
        assert run.cancelled.wait(10)


def test_the_second_signal_shows_the_cursor_again(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    monkeypatch.setattr(os, "write", lambda _descriptor, data: written.append(data))
    with cancelling(Run(), show_cursor=True, leave=lambda _number: None):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
    assert written == [b"\x1b[?25h\n"]


def test_other_threads_leave_signals_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def work() -> None:
        with cancelling(Run()):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_leaving_uses_the_code_shells_use(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    options.leave_now(signal.SIGINT)
    options.leave_now(signal.SIGTERM)
    assert codes == [130, 143]
