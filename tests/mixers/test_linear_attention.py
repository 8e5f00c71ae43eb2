import pytest
import torch

from mixers.ops.linear_attention import linear_attention, linear_attention_reference


@pytest.mark.parametrize("length", [1, 63, 64, 65, 130])
def test_chunks_equal_the_loop_over_time(length):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(2, length, 3, width, dtype=torch.float64, generator=generator, requires_grad=True)
        for width in (5, 5, 7)
    )
    results = []
    for op in (linear_attention_reference, linear_attention):
        o, S = op(q, k, v)
        gradients = torch.autograd.grad(o.sin().sum() + S.cos().sum(), (q, k, v))
        results.append((o, S, *gradients))
    for name, expected, got in zip(("o", "S", "dq", "dk", "dv"), *results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")
