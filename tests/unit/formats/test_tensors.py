"""What is said of tensors."""

from __future__ import annotations

from modelops_bundle.formats.tensors import Header, Tensor


def test_parameters_are_counted() -> None:
    tensors = (Tensor("a", "F32", (2, 3), 0, 24), Tensor("b", "F32", (), 24, 28), Tensor("c", "F32", (0, 5), 28, 28))
    assert [tensor.parameters for tensor in tensors] == [6, 1, 0]
    assert Header("x", 0, tensors, {}).parameters == 7
    assert tensors[0].to_json() == {"name": "a", "dtype": "F32", "shape": [2, 3], "start": 0, "stop": 24}
