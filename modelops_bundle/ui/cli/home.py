"""The user's own folders, where there are any: a container may run as a number that has no home (OpenShift does)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

_APP = "modelops-bundle"


def home() -> Path | None:
    """The home directory."""
    return _unless_homeless(Path.home)


def config() -> Path | None:
    """The folder of the user's settings."""
    from platformdirs import user_config_path

    return _unless_homeless(lambda: user_config_path(_APP, appauthor=False))


def cache() -> Path | None:
    """The folder of what can be fetched again."""
    from platformdirs import user_cache_path

    return _unless_homeless(lambda: user_cache_path(_APP, appauthor=False))


def hub(variables: Mapping[str, str]) -> Path | None:
    """The folder in which Hugging Face's own tools keep models (huggingface_hub, "Environment variables")."""
    if variables.get("HF_HUB_CACHE"):
        return Path(variables["HF_HUB_CACHE"])
    if variables.get("HF_HOME"):
        return Path(variables["HF_HOME"]) / "hub"
    cache_home = variables.get("XDG_CACHE_HOME")
    found = home()
    base = Path(cache_home) if cache_home else found and found / ".cache"
    return base / "huggingface" / "hub" if base else None


def expanded(path: str) -> Path:
    """`path` with a leading `~` or `~NAME` resolved. :raises ValueError: whose home that is nobody knows."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError("there is no such home directory; write an absolute path") from None


def _unless_homeless(find: Callable[[], Path]) -> Path | None:
    try:
        found = find()
    except RuntimeError:
        return None
    # Earlier versions of platformdirs leave the ~ as it is.
    return None if found.parts[:1] == ("~",) else found
