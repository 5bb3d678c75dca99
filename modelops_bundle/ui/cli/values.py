"""What the global options take: a parser each, raising ValueError with what to write instead."""

from __future__ import annotations

import re
from pathlib import Path

from modelops_bundle.ui.cli import home
from modelops_bundle.ui.sinks import PROGRESS, Progress

_SIZE = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(?:([kmgtp]?)(i?)(b?))(?:/s)?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def parse_size(value: str) -> int:
    """Bytes from `512`, `10M`, `10MiB`, `1.5G`, `10MB`, `10M/s`.

    A letter alone counts in 1024s, as curl and wget do; `MB` counts in 1000s, as the standards do.

    :raises ValueError: anything else.
    """
    found = _SIZE.fullmatch(value.strip())
    if found is None or not value.isascii():
        raise ValueError("write a number of bytes, or one with K, M, G or T, as in 10M or 1.5GiB")
    number, letter, binary, byte = found.groups()
    if binary and not letter:
        raise ValueError("write KiB, MiB, GiB or TiB")
    base = 1000 if letter and byte and not binary else 1024
    # Whole numbers stay exact at any size; only fractions go through floats.
    scale = base ** _POWERS[letter.lower()]
    return int(number) * scale if number.isdigit() else int(float(number) * scale)


def rate(value: object) -> int | None:
    """Bytes per second, None for no limit."""
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif str(value).strip().lower() in ("none", "unlimited"):
        return None
    else:
        size = parse_size(str(value))
    if size < 0:
        raise ValueError("a rate is not negative")
    return size or None


def count(value: object) -> int:
    """How many at once."""
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if not 1 <= number <= 1024:
        raise ValueError("write a number from 1 to 1024")
    return number


def seconds(value: object) -> float:
    """A time to wait."""
    try:
        number = float(str(value))
    except ValueError:
        number = 0.0
    # Not `0 < seconds`: a number of seconds that is none (nan) is refused as well.
    if not 0.1 <= number <= 86400:
        raise ValueError("write a number of seconds from 0.1 to 86400")
    return number


def switch(value: object) -> bool:
    """On or off."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off", ""):
        return False
    raise ValueError("write true or false")


def progress(value: object) -> Progress:
    """A way to show progress."""
    for known in PROGRESS:
        if value == known:
            return known
    raise ValueError(f"write one of {', '.join(PROGRESS)}")


def path(value: object) -> Path:
    """A file or directory."""
    if not str(value):
        raise ValueError("it is empty")
    return home.expanded(str(value))


def platform(value: object) -> str:
    """An operating system and an architecture, as Go and image indexes call them."""
    if not re.fullmatch(r"[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?", str(value)):
        raise ValueError("write OS/ARCHITECTURE, as in linux/amd64")
    return str(value)
