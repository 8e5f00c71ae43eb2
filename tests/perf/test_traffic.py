"""The formulas against the bytes of real tensors."""

import pytest
import torch

from mixers.ramnet import decode_address, pdma
from mqar_bench.perf.data import recall_task
from mqar_bench.perf.inputs import draw_memory, make_generator
from mqar_bench.perf.shape import Shape
from mqar_bench.perf.traffic import (
    address_bytes,
    data_bytes,
    decode_bytes,
    memory_bytes,
    memory_row_bytes,
    step_bytes,
)

SHAPE = Shape(batch=2, length=6, heads=3, width=5, order=2, sub_dim=3, top_k=4, dtype="float32", decode_batch=7)


def size(*tensors) -> int:
    """Bytes of the tensors, a slot counted as int32."""
    return sum(t.numel() * (t.element_size() if t.is_floating_point() else 4) for t in tensors)


def test_address():
    logits = torch.randn(2, 6, 3, 2, 3)
    weights, slots = decode_address(logits, 4, "reference")
    expected = {"forward": size(logits, weights, slots), "backward": size(logits, logits, slots, weights)}
    expected["forward + backward"] = sum(expected.values())
    assert address_bytes(SHAPE) == expected


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_memory(dtype):
    shape = SHAPE.model_copy(update={"dtype": dtype})
    m = draw_memory(make_generator(torch.device("cpu"), 0), 2, 6, 3, 5, 4, 9, shape.torch_dtype)
    o = pdma(m.w, m.w_idx, m.r, m.r_idx, m.v, 9, 1.0, 1e-3, backend="reference")[0].to(shape.torch_dtype)
    inputs = size(m.w, m.w_idx, m.r, m.r_idx, m.v)
    expected = {"forward": inputs + size(o), "backward": inputs + size(o) + size(m.w, m.r, m.v)}
    expected["forward + backward"] = sum(expected.values())
    assert memory_bytes(shape) == expected


def test_memory_rows():
    row, tokens = 5 * 4, 2 * 6 * 3
    assert memory_row_bytes(SHAPE)["forward"] == tokens * (2 * 4 + 4) * row  # K read and written back, K read
    assert memory_row_bytes(SHAPE)["forward + backward"] == tokens * 9 * 4 * row


def test_decode():
    logits, v, o = torch.randn(2, 7, 3, 2, 3), torch.randn(7, 3, 5), torch.randn(7, 3, 5)
    rows = torch.randn(3, 7, 3, 4, 5 + 1)  # of S and z: written slots read, written slots written, read slots read
    assert decode_bytes(SHAPE) == size(logits, v, o, rows)


def test_data():
    segment = recall_task(SHAPE, 3).build(0)
    length, pairs = segment.tokens.shape[1], segment.positions.shape[1]
    assert 3 * data_bytes(length, pairs) == size(segment.tokens, segment.positions, segment.answers)


def test_step():
    assert step_bytes(10) == 360
