"""The triton engine one token at a time, and what it refuses; see ``against``."""

import pytest
import torch

from mixers.ramnet import ramnet_step
from mixers.ramnet.ops import choose_backend
from tests.mixers.ramnet_triton.against import (
    DEVICE,
    check,
    generator,
)


@pytest.mark.parametrize(
    "order, sub_dim, top_k, read_top_k, width, gamma",
    [(3, 4, 3, 5, 24, 1.0), (1, 5, 2, 1, 1, 0.0), (5, 2, 8, 8, 7, 0.5), (2, 3, 9, 9, 16, 1.0)],
)
@pytest.mark.parametrize("cape", [False, True], ids=["plain", "cape"])
@pytest.mark.parametrize("normalize_reads", [False, True], ids=["as_decoded", "normalised"])
def test_step(order, sub_dim, top_k, read_top_k, width, gamma, cape, normalize_reads):
    B, H, M = 3 if cape else 1, 2, sub_dim**order
    results = {}
    for name, backend, dtype in (
        ("exact", "reference", torch.float64),
        ("plain", "reference", torch.float32),
        ("ours", "triton", torch.float32),
    ):
        g = generator(0)
        S, z = torch.randn(B, H, M, width, generator=g), torch.rand(B, H, M, generator=g)
        S, z = S.to(DEVICE, dtype), z.to(DEVICE, dtype)
        alphas = torch.tensor([0.3, -0.4], device=DEVICE, dtype=dtype)
        place = {}
        if cape:
            place = {
                "position": torch.tensor([[M - 2] * H, [3] * H, [5 * M] * H], device=DEVICE),
                "cape": torch.tensor([True, False], device=DEVICE),
            }
        outputs = []
        for _ in range(3):
            q, k = (2 * torch.randn(B, H, order, sub_dim, generator=g).to(DEVICE, dtype) for _ in range(2))
            v = torch.randn(B, H, width, generator=g).to(DEVICE, dtype)
            outputs.append(
                ramnet_step(
                    q,
                    k,
                    v,
                    S,
                    z,
                    top_k,
                    read_top_k,
                    gamma,
                    1e-3,
                    alphas,
                    alphas + 0.1,
                    **place,
                    backend=backend,
                    normalize_reads=normalize_reads,
                )  # fmt: skip
            )
        results[name] = {"o": torch.stack(outputs).cpu(), "S": S.cpu(), "z": z.cpu()}
        if cape:
            assert place["position"].cpu().tolist() == [[M + 1] * H, [6] * H, [5 * M + 3] * H]
    check(results["ours"], results["plain"], results["exact"], torch.float32)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int32])
def test_types_it_cannot_do(dtype):
    with pytest.raises(ValueError, match=f"takes float32, bfloat16 or float16, got {dtype}"):
        choose_backend("triton", torch.zeros(1, dtype=dtype))


def test_the_cpu_without_the_interpreter(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ValueError, match="needs a CUDA device, got tensors on cpu.*TRITON_INTERPRET=1"):
        choose_backend("triton", torch.zeros(1))


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(S=torch.zeros(1, 1, 9, 5, dtype=torch.float64)), "S must be .* torch.float32"),
        (dict(z=torch.zeros(1, 1, 9).bfloat16()), "z must be"),
        (dict(S=torch.zeros(1, 1, 5, 9).transpose(2, 3)), "must be contiguous"),
        (dict(alpha_q=torch.zeros(1)), "alpha_q and alpha_k go together"),
        (dict(cape=torch.ones(1, dtype=torch.bool)), "position and cape go together"),
        (dict(top_k=10), "top_k must be between 1 and the 9 slots of 3\\^2, got 10"),
    ],
    ids=lambda c: "-".join(c) if isinstance(c, dict) else "",
)
def test_mistakes_of_a_step_are_named(change, message):
    arguments = dict(
        q=torch.zeros(1, 1, 2, 3), k=torch.zeros(1, 1, 2, 3), v=torch.zeros(1, 1, 5),
        S=torch.zeros(1, 1, 9, 5), z=torch.zeros(1, 1, 9), top_k=2, read_top_k=2, gamma=1.0, eps=1e-3,
    )  # fmt: skip
    with pytest.raises(ValueError, match=message):
        ramnet_step(**arguments | change)
