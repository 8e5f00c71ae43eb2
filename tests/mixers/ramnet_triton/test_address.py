"""The triton engine's addresses; see ``against``."""

import pytest
import torch

from mixers.ramnet import decode_address
from tests.mixers.ramnet_triton.against import (
    DEVICE,
    check,
    generator,
)

ADDRESSES = [
    (1, 5, 3), (1, 128, 8), (1, 64, 64), (2, 7, 9), (2, 3, 9), (2, 64, 8), (3, 4, 1), (3, 5, 3), (4, 2, 16), (5, 4, 8),
    (5, 4, 128), (6, 2, 64), (10, 2, 5),
]  # fmt: skip


def addresses(backend, x, per_slot, top_k, **cape):
    """Weights by slot and the gradient of a loss that goes by slot, so that near ties may come in either order."""
    x = x.detach().clone().to(DEVICE).requires_grad_()
    weights, slots = decode_address(x, top_k, backend, **{k: t.to(DEVICE) for k, t in cape.items()})
    assert weights.diff().le(0).all(), "best first"
    slots, by_slot = slots.long().sort(-1)
    weights = weights.gather(-1, by_slot)
    upstream = per_slot.to(DEVICE, weights.dtype).expand(*slots.shape[:-1], -1).gather(-1, slots)
    (dx,) = torch.autograd.grad((weights * upstream).sum(), x)
    return {"weights": weights.detach().cpu(), "dlogits": dx.cpu()}, slots.cpu()


@pytest.mark.parametrize("order, sub_dim, top_k", ADDRESSES, ids=[f"{p}^{u}-top{k}" for u, p, k in ADDRESSES])
def test_addresses(order, sub_dim, top_k):
    x = 2 * torch.randn(*((5, 7, 2) if DEVICE == "cpu" else (5, 70, 6)), order, sub_dim, generator=generator(0))
    per_slot = torch.randn(sub_dim**order, generator=generator(1))
    exact, expected = addresses("reference", x.double(), per_slot, top_k)
    plain, _ = addresses("reference", x, per_slot, top_k)
    ours, slots = addresses("triton", x, per_slot, top_k)
    assert torch.equal(slots, expected)
    check(ours, plain, exact, torch.float32)


def test_many_slots():
    """2^24 of them: each weight is the product of its digits' probabilities, and the best slot has the best digits."""
    x = 2 * torch.randn(4, 12, 4, generator=generator(0))
    weights, slots = (t.cpu() for t in decode_address(x.to(DEVICE), 6, "triton"))
    digits = slots.long()[..., None] // 4 ** torch.arange(11, -1, -1) % 4  # [rows, K, U]
    p = x.softmax(-1)[:, None].expand(-1, 6, -1, -1).gather(-1, digits[..., None])[..., 0]
    torch.testing.assert_close(weights, p.prod(-1))
    assert torch.equal(digits[:, 0], x.argmax(-1))
    assert all(len(set(row)) == 6 for row in slots.tolist())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_addresses_of_16_bits(dtype):
    x = 2 * torch.randn(3, 9, 2, 3, 4, generator=generator(0)).to(dtype)
    per_slot = torch.randn(64, generator=generator(1))
    exact, _ = addresses("reference", x.double(), per_slot, 5)
    plain, expected = addresses("reference", x, per_slot, 5)
    ours, slots = addresses("triton", x, per_slot, 5)
    assert torch.equal(slots, expected)
    check(ours, plain, exact, dtype)


def test_equal_weights_go_to_the_lower_slot():
    _, slots = decode_address(torch.zeros(2, 5, 4, device=DEVICE), 16, "triton")
    assert torch.equal(slots.cpu(), torch.arange(16, dtype=torch.int32).expand(2, 16))


@pytest.mark.parametrize("positions", ["shared", "per sequence"])
def test_addresses_under_cape(positions):
    x = 2 * torch.randn(2, 9, 3, 3, 4, generator=generator(0))
    upstream = torch.randn(64, generator=generator(1))
    t = torch.arange(9) + 61  # wraps around the 64 slots
    cape = {
        "position": t if positions == "shared" else torch.stack([t, t + 7]),
        "cape": torch.tensor([True, False, True]),
    }
    exact, expected = addresses("reference", x.double(), upstream, 5, **cape)
    plain, _ = addresses("reference", x, upstream, 5, **cape)
    ours, slots = addresses("triton", x, upstream, 5, **cape)
    assert torch.equal(slots, expected)
    check(ours, plain, exact, torch.float32)
