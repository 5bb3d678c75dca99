"""Every module has its test, at the place where people look for it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from tests.support.tree import PACKAGE, ROOT, modules, plant

# Rooms whose modules may be tested elsewhere than in tests/unit: stores and sources by the contract every one of them
# keeps, verbs and commands by the journeys they are part of.
_ELSEWHERE = {"stores": "contract", "sources": "contract", "operations": "flow", "ui/cli": "flow"}


def without_mirror(root: Path) -> list[str]:
    """The modules below `root` that have no test file, with the places where one may stand."""
    missing = []
    for module in modules(root):
        path = PurePosixPath(module.path).relative_to(PACKAGE)
        if path.name in ("__init__.py", "__main__.py"):
            continue
        places = [f"tests/unit/{path.with_name(f'test_{path.name}')}"]
        places += [f"tests/{suite}/test_{path.name}" for room, suite in _ELSEWHERE.items() if module.inside(room)]
        if not any((root / place).is_file() for place in places):
            missing.append(f"{module.path}: no {' and no '.join(places)}")
    return missing


def test_every_module_has_its_test() -> None:
    assert without_mirror(ROOT) == []


def test_the_rule_sees_a_module_without_test(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {
            f"{PACKAGE}/__init__.py": "",
            f"{PACKAGE}/errors.py": "",
            f"{PACKAGE}/model/digest.py": "",
            f"{PACKAGE}/model/lonely.py": "",
            f"{PACKAGE}/stores/layout.py": "",
            f"{PACKAGE}/operations/push.py": "",
            f"{PACKAGE}/ui/text.py": "",
            f"{PACKAGE}/ui/cli/pull.py": "",
            "tests/unit/test_errors.py": "",
            "tests/unit/model/test_digest.py": "",
            "tests/contract/test_layout.py": "",
            "tests/flow/test_push.py": "",
            "tests/flow/test_pull.py": "",
            "tests/flow/test_text.py": "",
        },
    )
    assert without_mirror(tmp_path) == [
        f"{PACKAGE}/model/lonely.py: no tests/unit/model/test_lonely.py",
        f"{PACKAGE}/ui/text.py: no tests/unit/ui/test_text.py",
    ]
