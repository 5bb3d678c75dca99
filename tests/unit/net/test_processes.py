from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

import pytest

from modelops_bundle.errors import Interrupted
from modelops_bundle.net import processes

PYTHON = Path(sys.executable)


def run(source: str, data: bytes = b"", *, timeout: float = 60.0, check=lambda: None) -> processes.Ended:
    arguments = ("-IS", "-c", source)
    return processes.run(PYTHON, arguments, data, {"ONLY": "this"}, timeout=timeout, check=check)


def test_input_output_and_how_it_ended() -> None:
    ended = run("import sys; d = sys.stdin.read(); print(d[::-1]); print('no', file=sys.stderr); sys.exit(3)", b"abc")
    assert (ended.code, ended.out, ended.err) == (3, b"cba\n", b"no\n")


def test_a_session_of_its_own_at_the_root_with_the_given_environment() -> None:
    ended = run("import os; print(os.getcwd(), os.getsid(0) == os.getpid(), sorted(os.environ))")
    where, own, names = ended.out.decode().split(" ", 2)
    assert (where, own) == (os.sep, "True")
    # Python itself sets LC_CTYPE where there is no locale.
    assert eval(names) in (["ONLY"], ["LC_CTYPE", "ONLY"])


def test_full_pipes_in_both_directions_do_not_wait_for_each_other() -> None:
    data = bytes(500_000)
    assert run("import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())", data).out == data


def test_nobody_has_to_read_the_input() -> None:
    assert run("import os; os.close(0); print('done')", bytes(500_000)).out == b"done\n"


def test_an_output_without_end_is_ended() -> None:
    with pytest.raises(processes.TooMuch):
        run("import sys\nwhile True: sys.stdout.write('x' * 65536)")


def test_complaints_without_end_are_cut() -> None:
    ended = run("import sys; sys.stderr.write('x' * 3_000_000)")
    assert ended.code == 0
    assert len(ended.err) == processes.MAX_COMPLAINT


def test_the_end_of_the_program_is_the_end_though_a_child_holds_its_output(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    os.mkfifo(tmp_path / "told")
    # The child lives until the test lets go of the lock, in a session of its own as daemons are.
    child = f"import fcntl; fcntl.flock(open({str(lock)!r}), fcntl.LOCK_EX)"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        source = (
            "import subprocess, sys; "
            f"subprocess.Popen([sys.executable, '-IS', '-c', {child!r}], start_new_session=True); print('done')"
        )
        assert run(source).out == b"done\n"


def test_who_complains_faster_than_we_read_holds_nobody_after_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, ready = tmp_path / "lock", tmp_path / "ready"
    lock.touch()
    # More than is kept, and less than a pipe holds; read byte by byte it is as good as without an end.
    source = (
        f"import fcntl, os; file = open({str(lock)!r}); fcntl.flock(file, fcntl.LOCK_EX); "
        f"open({str(ready)!r}, 'w').close(); os.write(2, bytes(60_000))"
    )

    def wait_for_the_end() -> None:
        if ready.exists():
            with lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX)

    monkeypatch.setattr(processes, "_BLOCK", 1)
    assert len(run(source, check=wait_for_the_end).err) < processes.MAX_COMPLAINT


def _holds(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.mark.parametrize("why", ["timeout", "cancelled"])
def test_who_does_not_end_is_killed_with_its_children(tmp_path: Path, why: str) -> None:
    lock, ready = tmp_path / "lock", tmp_path / "ready"
    lock.touch()
    child = (
        "import fcntl, pathlib, signal; "
        f"file = open({str(lock)!r}); fcntl.flock(file, fcntl.LOCK_EX); pathlib.Path({str(ready)!r}).touch(); "
        "signal.pause()"
    )
    source = f"import subprocess, sys; subprocess.run([sys.executable, '-IS', '-c', {child!r}])"

    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

        def sleep(self, _seconds: float) -> None:
            pass

    clock = Clock()

    def check() -> None:
        if ready.exists():
            assert _holds(lock)
            if why == "cancelled":
                raise Interrupted("interrupted")
            clock.now = 1e9

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "time", clock)
        with pytest.raises(processes.Hung if why == "timeout" else Interrupted):
            run(source, check=check)
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # waits for ever if the child lives


def test_what_cannot_be_started_is_an_os_error(tmp_path: Path) -> None:
    program = tmp_path / "p"
    program.write_text("#!/nowhere/at/all\n")
    program.chmod(0o755)
    with pytest.raises(OSError, match="No such file"):
        processes.run(program, (), b"", {}, timeout=1, check=lambda: None)


def test_programs_are_found_in_absolute_directories_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("bin", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tool").touch(0o755)
    (tmp_path / "tool").touch(0o755)
    assert processes.find("tool", f"bin:.::{tmp_path}/other:{tmp_path}/bin") == tmp_path / "other" / "tool"
    assert processes.find("tool", "bin:.:") is None
    assert processes.find("tool", "") is None
    (tmp_path / "other" / "tool").chmod(0o644)
    assert processes.find("tool", f"{tmp_path}/other") is None
    (tmp_path / "other" / "tool").unlink()
    (tmp_path / "other" / "tool").mkdir()
    assert processes.find("tool", f"{tmp_path}/other") is None


def test_output_does_not_show_in_repr() -> None:
    assert "secret" not in repr(processes.Ended(0, b"secret", b"secret"))
