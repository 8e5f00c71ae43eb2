"""Sizes; and the formulas of bytes against those of real tensors."""

import pytest
import torch

from mixers.ramnet import decode_address, pdma
from mqar_bench.perf.inputs import draw_memory, make_generator
from mqar_bench.perf.shape import DEFAULTS, Shape

SHAPE = Shape(batch=2, length=6, heads=3, width=5, order=2, sub_dim=3, top_k=4, dtype="float32", decode_batch=7)


def size(*tensors) -> int:
    """Bytes of the tensors, a slot counted as int32."""
    return sum(t.numel() * (t.element_size() if t.is_floating_point() else 4) for t in tensors)


def test_address():
    logits = torch.randn(2, 6, 3, 2, 3)
    weights, slots = decode_address(logits, 4, "reference")
    expected = {"forward": size(logits, weights, slots), "backward": size(logits, logits, slots, weights)}
    expected["forward + backward"] = sum(expected.values())
    assert SHAPE.address_bytes == expected


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_memory(dtype):
    shape = SHAPE.model_copy(update={"dtype": dtype})
    m = draw_memory(make_generator(torch.device("cpu"), 0), shape, 9)
    o = pdma(*m, 9, 1.0, 1e-3, backend="reference")[0].to(shape.torch_dtype)
    inputs = size(m.w, m.w_idx, m.r, m.r_idx, m.v)
    expected = {"forward": inputs + size(o), "backward": inputs + size(o) + size(m.w, m.r, m.v)}
    expected["forward + backward"] = sum(expected.values())
    assert shape.memory_bytes == expected


def test_memory_rows():
    row, tokens = 5 * 4, 2 * 6 * 3
    assert SHAPE.memory_row_bytes["forward"] == tokens * (2 * 4 + 4) * row  # K read and written back, K read
    assert SHAPE.memory_row_bytes["forward + backward"] == tokens * 9 * 4 * row


def test_decode():
    logits, v, o = torch.randn(2, 7, 3, 2, 3), torch.randn(7, 3, 5), torch.randn(7, 3, 5)
    rows = torch.randn(3, 7, 3, 4, 5 + 1)  # of S and z: written slots read, written slots written, read slots read
    assert SHAPE.decode_bytes == size(logits, v, o, rows)


def test_sizes():
    shape = DEFAULTS["cuda"]
    (width, note), (equal, equal_note) = shape.peer_widths
    assert (shape.slots, shape.num_tokens, width, note, equal) == (1024, 8 * 4096 * 16, 64, "", 256)
    assert shape.slots * shape.width == equal**2 and equal_note == "equal state, d=256"


@pytest.mark.parametrize(
    "per_token, least, length, note",
    [(1, 1, 300, ""), (2**28 // 100, 1, 64, "T=64"), (2**40, 1, 1, "T=1"), (2**40, 8, 8, "T=8"), (2**40, 500, 300, "")],
)
def test_the_reference_gets_as_many_tokens_as_fit(per_token, least, length, note):
    shape = Shape(length=300)
    assert shape.for_reference(per_token, "cpu", least) == (shape.model_copy(update={"length": length}), note)


@pytest.mark.parametrize(
    "slots, order, top_k", [(4096, 5, 8), (1024, 5, 8), (1023, 4, 8), (16, 2, 8), (4, 1, 4), (1, 1, 4)]
)
def test_checks_have_fewer_slots(slots, order, top_k):
    shape = Shape().within(slots)
    assert shape == Shape(order=order, top_k=top_k)
