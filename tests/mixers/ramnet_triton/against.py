"""The triton engine of RAM-Net against the float64 reference: on CUDA compiled, elsewhere in Triton's interpreter.

Uninitialised memory is filled with NaN and huge integers. Errors are relative, in norm, and bounded by twice those of
the plain PyTorch engine in the same precision, or by a few units in the last place where that one is lucky.
"""

import pytest
import torch

from mixers.ramnet import pdma

memory_triton = pytest.importorskip("mixers.ramnet.memory_triton", reason="triton is not installed")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FLOOR = {torch.float32: 5e-7, torch.bfloat16: 2e-3, torch.float16: 3e-4}


def generator(seed):
    return torch.Generator().manual_seed(seed)


def rel(x, exact):
    return ((x.double() - exact).norm() / exact.norm().clamp(min=1e-30)).item()


def check(ours, plain, exact, dtype):
    # the interpreter cuts float32 off to bfloat16, every time towards zero, where a GPU rounds
    factor = 5 if dtype == torch.bfloat16 and DEVICE == "cpu" else 2
    for name, expected in exact.items():
        assert ours[name].isfinite().all(), f"{name} holds something that was never written"
        bound = max(factor * rel(plain[name], expected), FLOOR[dtype])
        assert rel(ours[name], expected) <= bound, f"{name}: {rel(ours[name], expected):.2e} above {bound:.2e}"


BIG = DEVICE == "cuda"
SIZES = {
    "T1": dict(T=1),
    "T3-K1-D1": dict(T=3, K=1, R=1, D=1, M=2),
    "T63-R5-D24": dict(T=63, K=3, R=5, D=24, M=16, B=1),
    "T130-K2-D7": dict(T=130, K=2, R=3, D=7, M=8, B=1),
    "hot": dict(T=50, K=3, R=3, B=1, hot=True),
    "never-written": dict(T=20, K=1, R=8, M=64),
    "D130": dict(T=9, D=130),
}
if BIG:
    SIZES |= {
        "T2049-D64-M1024": dict(T=2049, K=8, R=8, D=64, M=1024),
        "T1000-hot": dict(T=1000, K=8, R=8, D=64, M=256, hot=True),
    }


def draw(T, K=3, R=3, D=5, M=9, B=2, H=1, seed=0, hot=False, dtype=torch.float32):
    g = generator(seed)
    w, r = (torch.rand(B, T, H, n, generator=g) for n in (K, R))
    w_idx, r_idx = (torch.rand(B, T, H, M, generator=g).argsort(-1)[..., :n].int() for n in (K, R))
    if hot:  # every token writes and reads the same slots
        w_idx, r_idx = (torch.arange(n, dtype=torch.int32).expand(B, T, H, n).contiguous() for n in (K, R))
    v = torch.randn(B, T, H, D, generator=g).to(dtype)
    S, z = torch.randn(B, H, M, D, generator=g), torch.rand(B, H, M, generator=g) + 0.1
    return w, w_idx, r, r_idx, v, S, z


def memory(backend, inputs, gamma=1.0, proxy=True, initial=True, final=True, dtype=None, eps=1e-3):
    w, w_idx, r, r_idx, v, S, z = (t.to(DEVICE) for t in inputs)
    if dtype is not None:
        w, r, v, S, z = (t.to(dtype) for t in (w, r, v, S, z))
    leaves = [w, r, v, *([S, z] if initial else [])]
    for leaf in leaves:
        leaf.requires_grad_()
    o, state = pdma(w, w_idx, r, r_idx, v, S.shape[2], gamma, eps, (S, z) if initial else None, final, proxy, backend)
    outputs = {"o": o} | (dict(zip(("S", "z"), state, strict=True)) if final else {})
    g = generator(7)
    loss = sum((t * torch.randn(t.shape, generator=g, dtype=torch.float64).to(t)).sum() for t in outputs.values())
    names = ["dw", "dr", "dv", "dS", "dz"][: len(leaves)]
    gradients = dict(zip(names, torch.autograd.grad(loss, leaves), strict=True))
    return {name: t.detach().cpu() for name, t in (outputs | gradients).items()}


def compare(inputs, dtype=torch.float32, **options):
    exact = memory("reference", inputs, dtype=torch.float64, **options)
    check(memory("triton", inputs, **options), memory("reference", inputs, **options), exact, dtype)
