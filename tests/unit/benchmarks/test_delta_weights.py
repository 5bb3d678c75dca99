"""Synthetic weights: the numbers they stand for, and how many of them a step changes."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from benchmarks.delta.edits import RL_STEP, SFT_STEP, WORDS
from benchmarks.delta.weights import (
    BLOCK,
    Sizes,
    Tensor,
    adapted,
    as_bfloat16,
    as_int8,
    bfloat16,
    changed_share,
    llama,
    moved,
    step_of,
    values,
    where,
)

MATRIX = Tensor("model.layers.3.mlp.up_proj.weight", 512, 1024, 0.02)


def joined(tensor: Tensor, edit: object = None) -> bytes:
    return b"".join(as_bfloat16(tensor, edit))  # type: ignore[arg-type]


def test_the_model_has_the_size_of_the_facts() -> None:
    tensors = llama(Sizes())
    assert len(tensors) == 147
    assert sum(2 * tensor.count for tensor in tensors) / 2**20 == pytest.approx(517.06, abs=0.01)
    assert [tensor.name for tensor in tensors] == sorted(tensor.name for tensor in tensors)
    assert sum(2 * tensor.count for tensor in tensors if tensor.layer == 15) / 2**20 == pytest.approx(24.5, abs=0.01)
    assert Sizes().vocabulary == WORDS


def test_bf16_is_the_nearest_ties_to_even() -> None:
    one, up = 0x3F80, 0x3F81
    halfway = [(one << 16) | 0x8000, (up << 16) | 0x8000, (one << 16) | 0x7FFF, (one << 16) | 0x8001]
    block = np.array(halfway, np.uint32).view(np.float32).reshape(1, -1)
    assert bfloat16(block).tolist() == [[one, 0x3F82, one, up]]


def test_more_rows_begin_with_the_rows_there_were() -> None:
    few, more = (Tensor("lm_head.weight", rows, 1024, 0.02) for rows in (step_of(MATRIX) + 100, step_of(MATRIX) + 164))
    assert joined(more).startswith(joined(few))
    assert max(block.size for block in values(few)) <= BLOCK


def test_steps_change_as_many_weights_as_the_scenarios_say() -> None:
    before = joined(MATRIX)
    assert changed_share(before, joined(MATRIX, moved(RL_STEP))) == pytest.approx(0.024, abs=0.004)
    assert changed_share(before, joined(MATRIX, moved(SFT_STEP))) == pytest.approx(0.68, abs=0.03)


def test_an_adapter_has_the_spread_that_was_asked_for_and_a_low_rank() -> None:
    before, after = (np.concatenate(list(values(MATRIX, edit))) for edit in (None, adapted(1e-3, rank=4)))
    difference = (after - before).astype(np.float64)
    assert difference.std() == pytest.approx(1e-3, rel=0.3)
    singular = np.linalg.svd(difference, compute_uv=False)
    assert singular[4] < 1e-3 * singular[3]


def test_an_edit_for_some_leaves_the_others_alone() -> None:
    edit = where(lambda tensor: tensor.layer == 4, moved(1.0))
    assert joined(MATRIX, edit) == joined(MATRIX)


def test_int8_uses_the_whole_range_once() -> None:
    steps = np.frombuffer(b"".join(as_int8(MATRIX)), np.int8)
    assert len(steps) == MATRIX.count
    assert np.abs(steps.astype(int)).max() == 127


def test_the_first_weight_is_the_one_it_was() -> None:
    # A change of the generator would silently change what all figures were measured on.
    assert struct.unpack("<3H", joined(MATRIX)[:6]) == (0x3B64, 0x3C7E, 0x3C90)
