"""The recurrence's choice of engine, and what it hands to flash-linear-attention."""

import inspect
import math
import subprocess
import sys
import warnings

import pytest
import torch

from mixers.ops import recurrence as recurrence_module
from tests.mixers.test_recurrence import KINDS, by_kind, draw_state, run, worst


class OnCuda:
    """What the choice of engine looks at, of a tensor on a GPU that need not be there."""

    def __init__(self, *shape, dtype=torch.float32):
        self.shape, self.dtype, self.device = shape, dtype, torch.device("cuda")


def test_cuda_takes_fla_where_it_can_run():
    choose = recurrence_module.choose_engine
    narrow, wide = OnCuda(2, 64, 2, 256), OnCuda(2, 64, 2, 257)
    assert choose("auto", narrow, narrow, delta=True) == "fla"
    assert choose("auto", wide, wide, delta=False) == "fla"
    assert choose("auto", wide, wide, delta=True) == "chunk"
    assert choose("auto", OnCuda(2, 1, 2, 64), narrow, delta=True) == "step"
    with pytest.raises(ValueError, match="head dimension of at most 256 with a and b, got K = 257"):
        choose("fla", wide, wide, delta=True)
    exact = OnCuda(2, 64, 2, 8, dtype=torch.float64)
    assert choose("auto", exact, exact, delta=False) == "chunk"
    with pytest.raises(ValueError, match="takes float32, bfloat16 or float16, got torch.float64"):
        choose("fla", exact, exact, delta=False)
    odd = OnCuda(2, 64, 2, 5, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="even head dimensions in 16 bits, got K = 5"):
        choose("fla", odd, odd, delta=False)
    with pytest.raises(ValueError, match="cpu engine needs CPU tensors, got tensors on cuda; use engine='auto' or"):
        choose("cpu", narrow, narrow, delta=False)


@pytest.mark.parametrize("delta", [False, True])
@pytest.mark.parametrize("length", [2, 64, 65])
def test_a_cpu_takes_the_compiled_engine_where_it_is_faster(length, delta):
    choose, module = recurrence_module.choose_engine, recurrence_module
    largest = (module.CPU_STATE_OF_ONE_CHUNK if length <= 64 else module.CPU_STATE)[delta]
    small, large = (torch.empty(1, length, 1, math.isqrt(largest) + more) for more in (0, 1))
    assert choose("auto", large, large, delta) == "chunk"
    assert choose("auto", small, small, delta) == "cpu"
    assert choose("cpu", large, large, delta) == "cpu"
    assert choose("auto", small.to("meta"), small.to("meta"), delta) == "chunk"


def test_packages_missing_are_named(monkeypatch):
    monkeypatch.setattr(recurrence_module.importlib.util, "find_spec", lambda name: None)
    q = OnCuda(2, 64, 2, 8)
    assert recurrence_module.choose_engine("auto", q, q, delta=False) == "chunk"
    with pytest.raises(ValueError, match="pip install flash-linear-attention"):
        recurrence_module.choose_engine("fla", q, q, delta=False)
    q = torch.empty(2, 65, 2, 8)
    reason = "cpu needs the package numba: pip install numba"
    assert recurrence_module.decide_engine("auto", q, q, delta=False) == ("chunk", reason)
    with pytest.raises(ValueError, match="cpu engine needs the package numba: pip install numba"):
        recurrence_module.choose_engine("cpu", q, q, delta=False)


def test_a_cpu_does_not_import_fla():
    code = (
        "import sys, torch; from mixers.ops.delta_rule import gated_delta_rule;"
        "q = torch.ones(1, 4, 1, 4); gated_delta_rule(q, q, q, q[..., 0]); assert 'fla' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def fla_in_pytorch(monkeypatch):
    """fla's own PyTorch operations in the place of its kernels, which must take the same arguments."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import fla.ops.gated_delta_rule as gated_delta
        import fla.ops.generalized_delta_rule as generalized
        import fla.ops.gla as gla
        import fla.ops.kda as kda
        import fla.ops.linear_attn as linear_attn
        import fla.ops.simple_gla as simple_gla
        from fla.ops.gated_delta_rule.naive import naive_recurrent_gated_delta_rule
        from fla.ops.generalized_delta_rule.dplr.naive import dplr_recurrence
        from fla.ops.gla.naive import naive_recurrent_gla
        from fla.ops.kda.naive import naive_recurrent_kda
        from fla.ops.linear_attn.naive import naive_recurrent_linear_attn
        from fla.ops.simple_gla.naive import naive_recurrent_simple_gla

    def gla_scaled(q, k, v, g, scale, **states):
        return naive_recurrent_gla(q * scale * q.shape[-1] ** 0.5, k, v, g, **states)  # has a scale of its own

    def dplr(q, k, v, a, b, gk, scale, **states):
        q = q * scale * q.shape[-1] ** 0.5
        o, S = dplr_recurrence(*(x.transpose(1, 2) for x in (q, k, v, a, b, gk)), **states)
        return o.transpose(1, 2), S

    called = []

    def replace(module, name, stand_in):
        signature = inspect.signature(getattr(module, name))

        def call(*arguments, **options):
            called.append(name)
            given = signature.bind(*arguments, **options).arguments
            return stand_in(**given)

        monkeypatch.setattr(module, name, call)

    replace(linear_attn, "chunk_linear_attn", naive_recurrent_linear_attn)
    replace(simple_gla, "chunk_simple_gla", naive_recurrent_simple_gla)
    replace(gla, "chunk_gla", gla_scaled)
    replace(generalized, "chunk_dplr_delta_rule", dplr)
    replace(gated_delta, "chunk_gated_delta_rule", naive_recurrent_gated_delta_rule)
    replace(kda, "chunk_kda", naive_recurrent_kda)
    monkeypatch.setattr(recurrence_module, "fla_refusal", lambda q, v, delta: None)
    return called


FLA_KERNELS = {
    "linear": "chunk_linear_attn",
    "scalar-decay": "chunk_simple_gla",
    "vector-decay": "chunk_gla",
    "rank-one": "chunk_dplr_delta_rule",
    "rank-one-scalar-decay": "chunk_dplr_delta_rule",
    "rank-one-vector-decay": "chunk_dplr_delta_rule",
    "delta": "chunk_gated_delta_rule",
    "gated-delta": "chunk_gated_delta_rule",
    "vector-gated-delta": "chunk_kda",
}


@pytest.mark.parametrize("with_state", [False, True], ids=["no-state", "state"])
@by_kind
def test_fla_is_given_what_it_expects(kind, with_state, fla_in_pytorch):
    operation, make = KINDS[kind]
    g = torch.Generator().manual_seed(0)
    tensors, state = make(g, 20), draw_state(g) if with_state else None
    exact = run(operation, tensors, state, "reference", final=with_state)
    assert worst(run(operation, tensors, state, "fla", torch.float32, with_state), exact) < 1e-5
    assert fla_in_pytorch == [FLA_KERNELS[kind]]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="fla's kernels need a GPU")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("length", [1, 63, 64, 130])
@by_kind
def test_fla_equals_the_loop_over_time(kind, length):
    operation, make = KINDS[kind]
    g = torch.Generator().manual_seed(length)
    tensors, state = [x if x is None else x.cuda() for x in make(g, length)], draw_state(g).cuda()
    exact = run(operation, tensors, state, "reference")
    assert worst(run(operation, tensors, state, "fla", torch.float32), exact) < 1e-2
    assert worst(run(operation, tensors, state, "auto", torch.float32), exact) < 1e-2
