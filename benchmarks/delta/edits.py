"""The files of each scenario: what is there first, and what an edit makes of it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.delta import weights
from benchmarks.delta.files import Entry, checkpoint, gguf, safetensors
from benchmarks.delta.weights import Edit, Sizes, Tensor, llama

MODEL = "model.safetensors"
GGUF = "model.gguf"
CSV = "events.csv"
CHECKPOINT = "checkpoint.pt"
PLAIN_METADATA = {"format": "pt"}
LONGER_METADATA = {"format": "pt", "modelspec.title": "Support assistant, second edition", "modelspec.license": "mit"}
RL_STEP, SFT_STEP, TUNED_STEP, ADAPTER_STEP = 2e-6, 1e-4, 1e-3, 1e-3
GROWTH = 64
"""Rows that the vocabulary grows by; of both matrices 0.25 MiB."""
WORDS = 32_000
_ROWS_AT_ONCE = 100_000
_LABELS = ("view", "click", "buy", "return", "rate")
_TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
_LONGER_TEMPLATE = "{% if system %}{{ system }}\n{% endif %}" * 40 + _TEMPLATE


@dataclass(frozen=True, slots=True)
class Scale:
    """How large everything is; `QUICK` is an eighth of the model, and as much of the others as chunk maps begin at."""

    model: Sizes
    gguf: Sizes
    rows: int
    checkpoint_layers: int
    checkpoint_rows: tuple[int, int]
    """Of the embedding, which is frozen, and of the head."""
    matrix: int
    """Rows and columns of each of 64 equal tensors."""


FULL = Scale(Sizes(), Sizes(layers=8), 4_883_000, 4, (3456, 512), 2048)
QUICK = Scale(Sizes(layers=2, vocabulary=4000), Sizes(layers=2, vocabulary=8000), 2_700_000, 1, (1024, 512), 736)
TINY = Scale(Sizes(64, 128, 2, 256), Sizes(64, 128, 2, 256), 2000, 2, (16, 8), 8)
"""For tests."""


def bfloat16(tensor: Tensor, edit: Edit | None = None) -> Entry:
    """The tensor as bf16, after `edit`."""
    return Entry(tensor.name, "BF16", tensor.shape, 2 * tensor.count, partial(weights.as_bfloat16, tensor, edit))


def model(scale: Scale, edit: Edit | None = None) -> list[Entry]:
    """The tensors of the model."""
    return [bfloat16(tensor, edit) for tensor in llama(scale.model)]


def write_model(folder: Path, scale: Scale) -> None:
    """The base of most scenarios."""
    safetensors(folder / MODEL, model(scale), PLAIN_METADATA)


def edited(edit: Callable[[Scale], Edit]) -> Callable[[Path, Scale], None]:
    """The model with other weights."""
    return lambda folder, scale: safetensors(folder / MODEL, model(scale, edit(scale)), PLAIN_METADATA)


def last_layer(scale: Scale) -> Edit:
    """All weights of the last layer."""
    last = scale.model.layers - 1
    return weights.where(lambda tensor: tensor.layer == last, weights.moved(TUNED_STEP))


def merged(*kinds: str) -> Callable[[Scale], Edit]:
    """An adapter merged into these projections of all layers."""
    return lambda _: weights.where(
        lambda tensor: tensor.layer is not None and tensor.name.split(".")[-2] in kinds, weights.adapted(ADAPTER_STEP)
    )


LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def stepped(step: float) -> Callable[[Scale], Edit]:
    """One step of training that touches every tensor."""
    return lambda _: weights.moved(step)


def longer_header(folder: Path, scale: Scale) -> None:
    """More metadata, so that all data stands somewhere else."""
    safetensors(folder / MODEL, model(scale), LONGER_METADATA)


def reordered(folder: Path, scale: Scale) -> None:
    """The same tensors in another order."""
    entries = model(scale)
    random.Random(weights.SEED).shuffle(entries)
    safetensors(folder / MODEL, entries, PLAIN_METADATA)


def resharded(folder: Path, scale: Scale) -> None:
    """Two files of half the bytes each, and the index that transformers write beside them."""
    entries = model(scale)
    half, seen, cut = sum(entry.size for entry in entries) // 2, 0, 0
    while seen + entries[cut].size <= half:
        seen += entries[cut].size
        cut += 1
    places: dict[str, str] = {}
    for number, part in enumerate((entries[:cut], entries[cut:]), 1):
        name = f"model-{number:05}-of-00002.safetensors"
        safetensors(folder / name, part, PLAIN_METADATA)
        places |= {entry.name: name for entry in part}
    index = {
        "metadata": {"total_size": sum(entry.size for entry in entries)},
        "weight_map": dict(sorted(places.items())),
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def grown(folder: Path, scale: Scale) -> None:
    """More words: rows at the end of embedding and head."""
    more = llama(replace(scale.model, vocabulary=scale.model.vocabulary + GROWTH))
    safetensors(folder / MODEL, [bfloat16(tensor) for tensor in more], PLAIN_METADATA)


def quantised(folder: Path, scale: Scale) -> None:
    """Every tensor as int8 with one scale, which stands beside it."""
    entries = []
    for tensor in llama(scale.model):
        entries += [
            Entry(tensor.name, "I8", tensor.shape, tensor.count, partial(weights.as_int8, tensor)),
            Entry(f"{tensor.name}_scale", "F32", (1,), 4, partial(_scale_of, tensor)),
        ]
    safetensors(folder / MODEL, entries, PLAIN_METADATA)


def _scale_of(tensor: Tensor) -> Iterator[bytes]:
    yield np.float32(weights.absmax(tensor) / 127).tobytes()


# 64 tensors of one size


def equal_tensors(folder: Path, scale: Scale, *changed: int) -> None:
    """64 tensors, of which those with these numbers have other weights."""
    tensors = [Tensor(f"expert.{number}.weight", scale.matrix, scale.matrix, 0.02) for number in range(64)]
    edit = weights.where(lambda tensor: int(tensor.name.split(".")[1]) in changed, weights.moved(TUNED_STEP))
    safetensors(folder / MODEL, [bfloat16(tensor, edit) for tensor in tensors], PLAIN_METADATA)


# GGUF


def write_gguf(
    folder: Path, scale: Scale, *, template: str = _TEMPLATE, edit: Edit | None = None, words: int = 0
) -> None:
    """A converted model of half the size; `words` of its vocabulary stand in the header."""
    metadata: dict[str, str | int | Sequence[str]] = {
        "general.architecture": "llama",
        "general.name": "synthetic",
        "general.alignment": 32,
        "llama.block_count": scale.gguf.layers,
        "llama.embedding_length": scale.gguf.hidden,
    }
    if words:
        metadata["tokenizer.ggml.tokens"] = _vocabulary(words)
    metadata["tokenizer.chat_template"] = template
    tensors = llama(scale.gguf, tied=True)
    entries = [replace(bfloat16(tensor, edit), name=_gguf_name(tensor.name)) for tensor in tensors]
    gguf(folder / GGUF, entries, metadata)


def _vocabulary(words: int) -> list[str]:
    """Words of two to four syllables, as tokenisers list them: in no order that a compressor could use."""
    draw = random.Random(weights.SEED)
    syllables = [first + second for first in "bcdfghjklmnprstvwz" for second in ("a", "e", "i", "o", "u", "er", "in")]
    return ["▁" * draw.getrandbits(1) + "".join(draw.choices(syllables, k=draw.randint(2, 4))) for _ in range(words)]


def gguf_layer(folder: Path, scale: Scale) -> None:
    """All weights of the last layer."""
    last = scale.gguf.layers - 1
    write_gguf(folder, scale, edit=weights.where(lambda tensor: tensor.layer == last, weights.moved(TUNED_STEP)))


def gguf_template(folder: Path, scale: Scale, *, words: int = 0) -> None:
    """A longer chat template, so that all data stands somewhere else."""
    write_gguf(folder, scale, template=_LONGER_TEMPLATE, words=words)


def _gguf_name(name: str) -> str:
    for old, new in (
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("model.layers.", "blk."),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.", "attn_"),
        ("post_attention_layernorm", "ffn_norm"),
        ("input_layernorm", "attn_norm"),
        ("mlp.", "ffn_"),
        ("_proj", ""),
    ):
        name = name.replace(old, new)
    return name


# Checkpoints


def write_checkpoint(folder: Path, scale: Scale, *, trained: bool = False) -> None:
    """fp32 weights, the lower half of them frozen, and Adam's two moments of the others; `trained`: one step later."""
    step = weights.moved(SFT_STEP) if trained else None
    frozen, moving = _checkpoint_tensors(scale)
    entries = [_float32(tensor) for tensor in frozen] + [_float32(tensor, edit=step) for tensor in moving]
    for moment, keeps in (("exp_avg", 0.9), ("exp_avg_sq", 0.999)):
        edit = partial(_moment, moment, keeps, trained)
        entries += [_float32(tensor, f"optimizer.{tensor.name}.{moment}", edit) for tensor in moving]
    checkpoint(folder / CHECKPOINT, entries)


def _checkpoint_tensors(scale: Scale) -> tuple[list[Tensor], list[Tensor]]:
    """The frozen ones and those that are trained, in the order of the modules."""
    layers, (embedding, head) = scale.checkpoint_layers, scale.checkpoint_rows
    all_of_them = llama(replace(scale.model, layers=layers, vocabulary=embedding))
    moving = [tensor for tensor in all_of_them if tensor.layer is not None and tensor.layer >= layers // 2]
    heads = [replace(tensor, rows=head) for tensor in all_of_them if tensor.name == "lm_head.weight"]
    frozen = [tensor for tensor in all_of_them if tensor not in moving and tensor.name != "lm_head.weight"]
    return frozen, moving + heads


def _float32(tensor: Tensor, name: str = "", edit: Edit | None = None) -> Entry:
    name = name or f"model.{tensor.name}"
    return Entry(name, "F32", tensor.shape, 4 * tensor.count, partial(weights.as_float32, tensor, edit))


def _moment(moment: str, keeps: float, trained: bool, tensor: Tensor, row: int, block: weights.Block) -> weights.Block:
    """Adam's moment in the place of the weight: a mean of gradients, or of their squares."""
    gradients = [weights.normal(stream, tensor, row // weights.step_of(tensor), len(block)) for stream in ("g1", "g2")]
    size = np.float32(1e-3)
    first, second = (gradient * size if moment == "exp_avg" else (gradient * size) ** 2 for gradient in gradients)
    return first * np.float32(keeps) + second * np.float32(1 - keeps) if trained else first


# Tables


def write_csv(folder: Path, scale: Scale, *, appended: int = 0, inserted: int = 0, places: int = 1) -> None:
    """Rows of events; `appended` at the end, `inserted` at each of `places` that are equally far apart."""
    with (folder / CSV).open("w", newline="") as file:
        file.write("id,score,user,label\n")
        row = 0
        for place in range(1, places + 1):
            stop = scale.rows * place // (places + 1)
            file.writelines(_rows(row, stop))
            new = 10 * place * scale.rows
            file.writelines(_rows(new, new + inserted))
            row = stop
        file.writelines(_rows(row, scale.rows + appended))


def _rows(start: int, stop: int) -> Iterable[str]:
    """The rows with these numbers: the same wherever one starts to count."""
    for first in range(start - start % _ROWS_AT_ONCE, stop, _ROWS_AT_ONCE):
        draw = np.random.Generator(np.random.PCG64DXSM([weights.SEED, first]))
        scores = draw.random(_ROWS_AT_ONCE).tolist()
        users = draw.integers(0, 90_000, _ROWS_AT_ONCE).tolist()
        labels = draw.integers(0, len(_LABELS), _ROWS_AT_ONCE).tolist()
        for number in range(max(start, first), min(stop, first + _ROWS_AT_ONCE)):
            at = number - first
            yield f"{number},{scores[at]:.5f},{users[at]},{_LABELS[labels[at]]}\n"
