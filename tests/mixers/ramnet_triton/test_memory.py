"""The triton engine's memory; see ``against``."""

import pytest
import torch

from mixers.ramnet import pdma
from tests.mixers.ramnet_triton.against import (
    DEVICE,
    SIZES,
    compare,
    draw,
    memory,
    memory_triton,
)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_memory_with_states(size, short_chunks):
    compare(draw(**size), gamma=0.5, initial=True, final=True)


@pytest.mark.parametrize("size", [dict(T=30, K=3, R=5, D=24, M=16), dict(T=30, hot=True)], ids=["T30-R5-D24", "hot"])
@pytest.mark.parametrize("gamma, proxy", [(1.0, True), (0.0, True), (2.5, False)])
def test_memory_from_blank(size, gamma, proxy, short_chunks):
    compare(draw(**size, B=1), gamma=gamma, proxy=proxy, initial=False, final=False)


@pytest.mark.parametrize("initial, final", [(True, False), (False, True)])
def test_memory_with_one_state(initial, final, short_chunks):
    compare(draw(30, K=2, R=3, D=6), initial=initial, final=final)


@pytest.mark.parametrize("width", [6, 5], ids=["D6", "D5"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_values_of_16_bits(dtype, width, short_chunks):
    compare(draw(30, D=width, B=1, dtype=dtype), dtype)


def test_long_chunks_and_full_weights():
    w, *rest = draw(45, B=1)
    w[:, ::3] = 1.0  # forgets everything
    compare((w, *rest))


def test_scratch_memory_changes_nothing(short_chunks, monkeypatch):
    inputs = draw(12, B=3)
    at_once = memory("triton", inputs)
    monkeypatch.setattr(memory_triton, "SCRATCH_BYTES", 1)
    one_by_one = memory("triton", inputs)
    assert all(torch.equal(at_once[name], one_by_one[name]) for name in at_once)


def test_indices_of_64_bits_change_nothing(short_chunks, monkeypatch):
    inputs = draw(12)
    narrow = memory("triton", inputs)
    tile = memory_triton._Plan.tile.fget
    monkeypatch.setattr(memory_triton._Plan, "tile", property(lambda plan: tile(plan) | {"WIDE": True}))
    monkeypatch.setattr(memory_triton, "_key_dtype", lambda plan: torch.int64)
    wide = memory("triton", inputs)
    assert all(torch.equal(narrow[name], wide[name]) for name in narrow)


def test_repeated_runs_give_the_same_bits(short_chunks):
    inputs = draw(40, B=1, hot=True)
    runs = [memory("triton", inputs) for _ in range(2)]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


def test_a_sequence_may_be_split_anywhere(short_chunks):
    w, w_idx, r, r_idx, v, S, z = (t.to(DEVICE) for t in draw(20))
    whole, final = pdma(w, w_idx, r, r_idx, v, 9, 0.7, 1e-3, (S, z), True, backend="triton")
    state, pieces = (S, z), []
    for part in (slice(0, 7), slice(7, 20)):
        piece, state = pdma(*(t[:, part] for t in (w, w_idx, r, r_idx, v)), 9, 0.7, 1e-3, state, True, backend="triton")
        pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-5, atol=1e-6)
    for a, b in zip(state, final, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
