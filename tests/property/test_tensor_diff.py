"""Whether two tensors are the same, told from chunks cut anywhere: never wrongly."""

from __future__ import annotations

from itertools import accumulate, pairwise

from blake3 import blake3
from hypothesis import event, given
from hypothesis import strategies as st

from modelops_bundle.formats.tensors import Header, Tensor
from modelops_bundle.operations.tensor_diff import At, are_same
from modelops_bundle.operations.tensor_sides import Cuts, WeightFile
from modelops_bundle.operations.tensors import Weights


@st.composite
def placed(draw: st.DrawFn, content: bytes) -> At:
    """A tensor with this content in a file that is cut somewhere, and may be near."""
    before, after = (draw(st.binary(max_size=3)) for _ in range(2))
    data = before + content + after
    # Often where tensors begin and end, or every two bytes from there.
    edges = {0, len(data)}
    if draw(st.booleans()):
        edges |= {len(before), len(before) + len(content)}
    if draw(st.booleans()):
        edges |= set(range(len(before), len(before) + len(content), 2))
    edges |= draw(st.sets(st.integers(0, len(data)), max_size=3))
    starts = sorted(edges)
    cuts = Cuts(starts, b"".join(blake3(data[start:stop]).digest() for start, stop in pairwise(starts)))
    tensor = Tensor("t", "U8", (len(content),), len(before), len(before) + len(content))
    header = Header("safetensors", len(before), (tensor,), {})
    known = draw(st.sampled_from(["cuts", "bytes", "both", "neither"]))
    file = WeightFile(
        Weights("m.safetensors", len(data), header),
        b"",
        cuts if known in ("cuts", "both") else None,
        (lambda start, stop: iter([data[start:stop]])) if known in ("bytes", "both") else None,
        "",
    )
    return At(file, tensor)


bytes_of = st.text("ab", max_size=8).map(str.encode)


@given(st.data(), bytes_of)
def test_what_is_told_is_true(data: st.DataObject, one: bytes) -> None:
    other = data.draw(st.one_of(st.just(one), bytes_of))
    old, new = data.draw(placed(one)), data.draw(placed(other))
    found = are_same(old, new)
    event(str(found))
    if found is None:
        assert not (old.file.readable and new.file.readable)
        assert one
    else:
        assert found == (one == other)


@given(st.data(), bytes_of.filter(bool))
def test_equal_cuts_or_bytes_on_both_sides_are_enough(data: st.DataObject, one: bytes) -> None:
    old = data.draw(placed(one))
    same = WeightFile(old.file.weights, b"", old.file.cuts, None, "")
    if old.file.cuts is not None:
        assert are_same(old, At(same, old.tensor))
    other = data.draw(placed(one))
    if old.file.readable and other.file.readable:
        assert are_same(old, other)


def test_parts_are_found_where_lists_begin_elsewhere() -> None:
    cuts = Cuts(list(accumulate([3, 4, 5], initial=0)), bytes(96))
    assert list(cuts.within(Tensor("t", "U8", (2,), 5, 7))) == [(-2, 4)]
