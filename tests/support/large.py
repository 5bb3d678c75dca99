"""Files that are large by the rules, and small enough for a test: the rules are made small, and weights look like weights."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from random import Random

import pytest

from modelops_bundle.formats import cuts
from modelops_bundle.plan import delta
from modelops_bundle.workspace import chunks

LOW = 40_000
"""Bytes from which files are cut."""
STEP, TAIL = 4096, 1024
"""Of the chunks of tensors."""
FASTCDC = (512, 2048, 8192)
LEAST_PACK = 16 * 1024
HERE = f"""
from modelops_bundle.formats import cuts
from modelops_bundle.plan import delta
from modelops_bundle.workspace import chunks
cuts.SMALLEST = chunks.SMALLEST = {LOW}
cuts.STEP, cuts.TAIL = {STEP}, {TAIL}
cuts.FASTCDC = dict.fromkeys(cuts.FASTCDC, {FASTCDC})
"""
"""Python that makes the rules small in a process of its own."""


def make_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the rules small in this process; chunk packs stay as large as they are."""
    monkeypatch.setattr(cuts, "SMALLEST", LOW)
    monkeypatch.setattr(chunks, "SMALLEST", LOW)
    monkeypatch.setattr(cuts, "STEP", STEP)
    monkeypatch.setattr(cuts, "TAIL", TAIL)
    monkeypatch.setattr(cuts, "FASTCDC", dict.fromkeys(cuts.FASTCDC, FASTCDC))


def make_small_here() -> None:
    """Make the rules small in this process for good: one of a `Zygote`."""
    exec(HERE, {})


def small_packs(monkeypatch: pytest.MonkeyPatch, *, budget: int = delta.BUDGET, least: int = LEAST_PACK) -> None:
    """Make chunk packs small as well, and few of them enough."""
    monkeypatch.setattr(delta, "LEAST_PACK", least)
    monkeypatch.setattr(delta, "BUDGET", budget)


def weights(seed: int, count: int) -> bytes:
    """`count` numbers of two bytes each whose exponents are alike, as those of bf16 weights are."""
    random = Random(seed)
    data = bytearray(2 * count)
    data[0::2] = random.randbytes(count)
    data[1::2] = bytes(random.choices(b"\x3c\xbc\x3b\xbb", k=count))
    return bytes(data)


def noise(seed: int, size: int) -> bytes:
    """Bytes that nothing shrinks."""
    return Random(seed).randbytes(size)


def nudged(data: bytes, seed: int, share: float = 0.02) -> bytes:
    """The same numbers, some of them a little different: a step of training."""
    random, changed = Random(seed), bytearray(data)
    for at in random.sample(range(len(data) // 2), int(share * len(data) / 2)):
        changed[2 * at] ^= 1 + random.randrange(3)
    return bytes(changed)


def tensors(seed: int = 1, count: int = 8, numbers: int = 6000) -> dict[str, bytes]:
    """The tensors of a model, by name."""
    return {f"layer.{number}.weight": weights(100 * seed + number, numbers) for number in range(count)}


def safetensors(held: Mapping[str, bytes], note: str = "") -> bytes:
    """A file of these tensors, in this order."""
    header: dict[str, object] = {"__metadata__": {"note": note}} if note else {}
    at = 0
    for name, data in held.items():
        header[name] = {"dtype": "BF16", "shape": [len(data) // 2], "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(held.values())


def csv(rows: int, seed: int = 1) -> bytes:
    """Rows of numbers."""
    random = Random(seed)
    return b"".join(b"%d,%.6f,%s\n" % (n, random.random(), random.choice([b"cat", b"dog"])) for n in range(rows))


def archive(members: Mapping[str, bytes]) -> bytes:
    """A ZIP of these members, stored as they are: what torch.save writes."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as writer:
        for name, data in members.items():
            writer.writestr(zipfile.ZipInfo(name), data)
    return made.getvalue()
