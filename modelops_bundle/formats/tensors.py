"""What weight files say of the tensors they hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

Read = Callable[[int, int], bytes]
"""The bytes from an offset on, as many as asked for; fewer only at the end of the file."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: its type as its format names it, and where its bytes are in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def parameters(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "name": self.name,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "start": self.start,
            "stop": self.stop,
        }


@dataclass(frozen=True, slots=True)
class Header:
    """The tensors of one file, in the order of their bytes.

    :param size: bytes before the first tensor.
    :param metadata: what the file says of itself, long values left out.
    """

    format: str
    size: int
    tensors: tuple[Tensor, ...]
    metadata: Mapping[str, Any]

    @property
    def parameters(self) -> int:
        """How many numbers all of them hold."""
        return sum(tensor.parameters for tensor in self.tensors)
