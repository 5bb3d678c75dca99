"""What is measured: what is there first, what becomes of it, and the most it may cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.delta import edits
from benchmarks.delta.edits import Scale

Write = Callable[[Path, Scale], None]
SLACK = 1.05
"""How much worse than the prototype's figures a row may be."""
BUDGET = 0.03
"""Of the file, when one of 64 tensors changed: the design's performance budget."""


def of(moved: float, size: float = 517.1) -> float:
    """The most that may move, as a share of the file, from what the prototype moved of how much, in MiB."""
    return SLACK * moved / size


@dataclass(frozen=True, slots=True)
class Limits:
    """The most of each way, as a share of the changed file; None: no aim but Xet's bytes."""

    delta: float | None = None
    """Up with `--delta`, and down into the old version."""
    plain: float | None = None
    """Down into the old version, of a version that was pushed plain."""
    xor: float | None = None
    """Up with `--xor-base`, and down into the old version."""
    clone: float | None = None
    """Down into nothing."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One edit."""

    name: str
    title: str
    base: Write | None
    """Writes the first version into an empty directory; None: there is none."""
    change: Write
    """Writes the changed version into an empty directory."""
    limits: Limits = Limits()
    xor: bool = False
    """Whether `--xor-base` is measured, too."""


_model = edits.write_model
_LINEARS = edits.merged(*edits.LINEARS)

_EACH = (
    Scenario("first-push", "first push", None, _model, Limits(delta=of(350.1), clone=of(350.1))),
    Scenario(
        "last-layer", "last layer", _model, edits.edited(edits.last_layer), Limits(delta=of(16.61), plain=of(24.5))
    ),
    Scenario("header-edit", "header edit", _model, edits.longer_header, Limits(delta=of(0.021), plain=of(0.035))),
    Scenario(
        "lora-qv",
        "LoRA merge in q, v",
        _model,
        edits.edited(edits.merged("q_proj", "v_proj")),
        Limits(delta=of(43.35), plain=of(64.0)),
    ),
    Scenario("lora-all", "LoRA merge in all linears", _model, edits.edited(_LINEARS), Limits(delta=of(265.4))),
    Scenario("reorder", "tensors reordered", _model, edits.reordered, Limits(delta=of(0.022))),
    Scenario("re-shard", "re-shard: second half to its own file", _model, edits.resharded),
    Scenario("vocabulary", "vocabulary growth: 64 rows", _model, edits.grown, Limits(delta=of(0.893))),
    Scenario(
        "rl-step",
        "RL step: 2.4 % of the weights",
        _model,
        edits.edited(edits.stepped(edits.RL_STEP)),
        Limits(xor=of(15.02)),
        xor=True,
    ),
    Scenario(
        "sft-step",
        "SFT step: 68 % of the weights",
        _model,
        edits.edited(edits.stepped(edits.SFT_STEP)),
        Limits(xor=of(140.7)),
        xor=True,
    ),
    Scenario("int8", "int8 requantisation", _model, edits.quantised, Limits(delta=of(216.0, 258.5))),
    Scenario(
        "one-of-64",
        "one tensor of 64",
        edits.equal_tensors,
        lambda folder, scale: edits.equal_tensors(folder, scale, 37),
        Limits(delta=BUDGET, plain=BUDGET),
    ),
    Scenario("csv-append", "csv: 10,000 rows appended", edits.write_csv, partial(edits.write_csv, appended=10_000)),
    Scenario("csv-insert", "csv: 100 rows inserted", edits.write_csv, partial(edits.write_csv, inserted=100)),
    # What one place costs is the luck of where the content cuts around it, with every tool; 16 are their mean.
    Scenario(
        "csv-places",
        "csv: 100 rows inserted at each of 16 places",
        edits.write_csv,
        partial(edits.write_csv, inserted=100, places=16),
    ),
    Scenario(
        "checkpoint",
        "torch checkpoint: a step, half frozen",
        edits.write_checkpoint,
        partial(edits.write_checkpoint, trained=True),
    ),
    Scenario("gguf-template", "GGUF: chat template", edits.write_gguf, edits.gguf_template),
    Scenario(
        "gguf-words",
        "GGUF: chat template, vocabulary in the header",
        partial(edits.write_gguf, words=edits.WORDS),
        partial(edits.gguf_template, words=edits.WORDS),
    ),
    Scenario("gguf-layer", "GGUF: one layer", edits.write_gguf, edits.gguf_layer),
)
ALL = {scenario.name: scenario for scenario in _EACH}
