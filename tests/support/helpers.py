"""A credential helper as a test needs it: a real program with the documented protocol, or one that misbehaves."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.support.canary import may_hold

_GOOD = """\
import json, pathlib, sys
store, log = pathlib.Path({store!r}), pathlib.Path({log!r})
known = json.loads(store.read_text()) if store.exists() else {{}}
action = sys.argv[1]
data = sys.stdin.read()
with log.open("a") as out:
    out.write(json.dumps([sys.argv[1:], data if action in ("get", "erase") else ""]) + "\\n")
server = json.loads(data)["ServerURL"] if action == "store" else data.strip()
if action == "list":
    print(json.dumps({{server: login["Username"] for server, login in known.items()}}))
elif action == "store":
    login = json.loads(data)
    known[server] = {{"Username": login["Username"], "Secret": login["Secret"]}}
elif server not in known:
    print("credentials not found in native keychain")
    sys.exit(1)
elif action == "get":
    print(json.dumps({{"ServerURL": server, **known[server]}}))
elif action == "erase":
    del known[server]
store.write_text(json.dumps(known))
"""


class HelperProgram:
    """`docker-credential-NAME` in `folder`, which belongs on PATH. `source` replaces what it does, in Python."""

    def __init__(self, folder: Path, name: str = "test", source: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.name = name
        self.store = may_hold(folder / f"{name}.store")
        self.log = folder / f"{name}.log"
        # Its source may quote a secret that it is to print.
        self.program = may_hold(folder / f"docker-credential-{name}")
        body = source or _GOOD.format(store=str(self.store), log=str(self.log))
        self.program.write_text(f"#!{sys.executable} -IS\n{body}")
        self.program.chmod(0o755)

    @classmethod
    def on_path(cls, folder: Path, monkeypatch: pytest.MonkeyPatch) -> HelperProgram:
        """One that is found before all others."""
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return cls(folder)

    def know(self, server: str, username: str, secret: str) -> None:
        """Let it keep a login."""
        known = self.known
        known[server] = {"Username": username, "Secret": secret}
        self.store.write_text(json.dumps(known))

    @property
    def known(self) -> dict[str, dict[str, str]]:
        """What it keeps, by server."""
        return dict(json.loads(self.store.read_text())) if self.store.exists() else {}

    @property
    def calls(self) -> list[tuple[str, str]]:
        """The actions so far, and the servers that `get` and `erase` were asked for."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [(" ".join(argv), data) for argv, data in map(json.loads, lines)]
