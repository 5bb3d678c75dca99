"""Weights that look like weights: gaussian, with a spread of their own for each tensor. The same for everybody, from one seed.

A tensor is made in blocks of rows, each from a generator of its own, so that any part of any version can be made again
without the rest of it, in the memory of one block.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SEED = 20261120
BLOCK = 1 << 20
"""Weights made at once, about."""
LAYER_KINDS = (
    "input_layernorm",
    "mlp.down_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "post_attention_layernorm",
    "self_attn.k_proj",
    "self_attn.o_proj",
    "self_attn.q_proj",
    "self_attn.v_proj",
)
_STD = {
    "lm_head": 0.020,
    "embed_tokens": 0.022,
    "q_proj": 0.028,
    "k_proj": 0.030,
    "v_proj": 0.018,
    "o_proj": 0.016,
    "gate_proj": 0.022,
    "up_proj": 0.020,
    "down_proj": 0.018,
}

Block = NDArray[np.float32]
Bits = NDArray[np.uint16]
Edit = Callable[["Tensor", int, Block], Block]
"""A block of a tensor as it is after training, from the block before and the number of its first row."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A matrix of `rows` by `columns`; a vector is one row."""

    name: str
    rows: int
    columns: int
    std: float
    mean: float = 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.columns,) if self.rows == 1 else (self.rows, self.columns)

    @property
    def count(self) -> int:
        return self.rows * self.columns

    @property
    def layer(self) -> int | None:
        """The number of the layer it belongs to."""
        parts = self.name.split(".")
        return int(parts[2]) if parts[:2] == ["model", "layers"] else None


@dataclass(frozen=True, slots=True)
class Sizes:
    """A model like Llama. Of 147 tensors and 517.1 MiB unless it says otherwise."""

    hidden: int = 1024
    feed_forward: int = 2816
    layers: int = 16
    vocabulary: int = 32000


def llama(sizes: Sizes, *, tied: bool = False) -> list[Tensor]:
    """Its tensors in the order in which the `safetensors` library writes them: by name.

    :param tied: without a head; the embedding is used for both.
    """
    hidden, wide = sizes.hidden, sizes.feed_forward
    shapes = {"down_proj": (hidden, wide), "gate_proj": (wide, hidden), "up_proj": (wide, hidden)}
    tensors = [Tensor("model.embed_tokens.weight", sizes.vocabulary, hidden, _STD["embed_tokens"])]
    if not tied:
        tensors.append(Tensor("lm_head.weight", sizes.vocabulary, hidden, _STD["lm_head"]))
    for layer in range(sizes.layers):
        for kind in LAYER_KINDS:
            name, short = f"model.layers.{layer}.{kind}.weight", kind.rpartition(".")[2]
            if short.endswith("layernorm"):
                tensors.append(Tensor(name, 1, hidden, 0.05, 1.0))
            else:
                # Deeper layers are a little wider: no two tensors of one kind are spread alike.
                tensors.append(Tensor(name, *shapes.get(short, (hidden, hidden)), _STD[short] * (0.82 + 0.02 * layer)))
    tensors.append(Tensor("model.norm.weight", 1, hidden, 0.05, 1.0))
    return sorted(tensors, key=lambda tensor: tensor.name)


def normal(stream: str, tensor: Tensor, block: int, rows: int) -> Block:
    """`rows` rows of standard gaussians, always the same for these arguments; fewer rows are the first of more."""
    seed = [SEED, zlib.crc32(stream.encode()), zlib.crc32(tensor.name.encode()), block]
    return np.random.Generator(np.random.PCG64DXSM(seed)).standard_normal((rows, tensor.columns), dtype=np.float32)


def blocks(tensor: Tensor) -> Iterator[tuple[int, int, int]]:
    """Number, first row and rows of each block."""
    step = step_of(tensor)
    for number, row in enumerate(range(0, tensor.rows, step)):
        yield number, row, min(step, tensor.rows - row)


def step_of(tensor: Tensor) -> int:
    """Rows of a block. It depends on columns only, so that a tensor that grows keeps the rows it has."""
    return max(1, BLOCK // tensor.columns)


def values(tensor: Tensor, edit: Edit | None = None) -> Iterator[Block]:
    """The weights, block by block, changed by `edit`."""
    for number, row, rows in blocks(tensor):
        block = normal("base", tensor, number, rows) * np.float32(tensor.std) + np.float32(tensor.mean)
        yield edit(tensor, row, block) if edit else block


def bfloat16(block: Block) -> Bits:
    """The bits of the nearest bf16 numbers, ties to even; finite input only."""
    bits = block.view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded >> np.uint32(16)).astype(np.uint16)


def as_bfloat16(tensor: Tensor, edit: Edit | None = None) -> Iterator[bytes]:
    """The tensor as a bf16 file holds it."""
    for block in values(tensor, edit):
        yield bfloat16(block).tobytes()


def stored(block: Block) -> Block:
    """The numbers that a bf16 file holds of `block`."""
    return (bfloat16(block).astype(np.uint32) << np.uint32(16)).view(np.float32)


def as_float32(tensor: Tensor, edit: Edit | None = None) -> Iterator[bytes]:
    """The tensor as an fp32 file holds it."""
    for block in values(tensor, edit):
        yield np.ascontiguousarray(block, dtype="<f4").tobytes()


def as_int8(tensor: Tensor) -> Iterator[bytes]:
    """Each weight as one of 255 steps to the largest of its tensor."""
    scale = absmax(tensor) / 127
    for block in values(tensor):
        yield np.rint(block / np.float32(scale)).astype(np.int8).tobytes()


def absmax(tensor: Tensor) -> float:
    """The largest weight, by amount."""
    return max(float(np.abs(block).max()) for block in values(tensor))


# Ways to train


def moved(step: float) -> Edit:
    """Each stored weight moves by a gaussian of `step`: 2e-6 is a step of reinforcement learning, 1e-4 a fine-tuning.

    From what the bf16 file holds, as trainers do that keep no wider copy: small steps are rounded away but in small weights.
    """

    def edit(tensor: Tensor, row: int, block: Block) -> Block:
        noise = normal(f"moved {step}", tensor, row // step_of(tensor), len(block))
        return stored(block) + noise * np.float32(step)

    return edit


def adapted(step: float, rank: int = 16) -> Edit:
    """A low-rank adapter merged in: the product of two matrices, spread by `step`."""

    def edit(tensor: Tensor, row: int, block: Block) -> Block:
        left = Tensor(f"{tensor.name} B", tensor.rows, rank, 1.0)
        right = Tensor(f"{tensor.name} A", rank, tensor.columns, 1.0)
        across = normal("adapter", left, row, len(block)) @ normal("adapter", right, 0, rank)
        return block + across * np.float32(step / rank**0.5)

    return edit


def where(chosen: Callable[[Tensor], bool], edit: Edit) -> Edit:
    """`edit` for some tensors only."""

    def either(tensor: Tensor, row: int, block: Block) -> Block:
        return edit(tensor, row, block) if chosen(tensor) else block

    return either


def changed_share(before: bytes, after: bytes) -> float:
    """The share of bf16 weights whose bits differ, of two buffers of them."""
    one, other = np.frombuffer(before, np.uint16), np.frombuffer(after, np.uint16)
    return float(np.count_nonzero(one != other) / len(one))
