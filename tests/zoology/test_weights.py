"""Zoology's own layers beside ours: the same weights, the same outputs. Where a layer needs CUDA, its kernel alone is
replaced, by Zoology's own reference if it has one."""

import importlib
import sys
import types

import pytest
import torch

import mixers
from tests.zoology.live import HOW, checkout, import_zoology

pytestmark = pytest.mark.skipif(checkout() is None, reason=HOW)

D, LENGTH = 16, 24


@pytest.fixture
def module(monkeypatch):
    """Imports a module of Zoology's mixers, with stand-ins for packages of CUDA code."""
    import_zoology(checkout())
    monkeypatch.setenv("RWKV_FLOAT_MODE", "")  # which it sets
    monkeypatch.setattr("torch.utils.cpp_extension.load", lambda **_: None)
    for name in ("causal_conv1d", "causal_conv1d_cuda", "selective_scan_cuda"):
        monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(causal_conv1d_fn=None))
    return lambda name: importlib.import_module(f"zoology.mixers.{name}")


def agree(ours, theirs, length=LENGTH):
    """Weights of theirs, moved from where they start, give the same outputs in both."""
    g = torch.Generator().manual_seed(0)
    theirs = theirs.double().eval()
    for p in theirs.parameters():
        if p.requires_grad:
            p.data.add_(0.2 * torch.randn(p.shape, generator=g))
    ours = ours.double().eval()
    weights = {name: value for name, value in theirs.state_dict().items() if not name.startswith("rotary_emb.")}
    ours.load_state_dict(weights, strict=True)
    x = torch.randn(2, length, D, generator=g).double()
    with torch.no_grad():
        expected = theirs(x)
        torch.testing.assert_close(ours(x), expected, rtol=1e-6, atol=1e-6)
    assert expected.abs().max() > 0.1


@pytest.mark.parametrize("implicit, length", [(True, LENGTH), (True, 9), (False, LENGTH)])
def test_base_conv(module, implicit, length):
    options = {"l_max": LENGTH, "implicit_long_conv": implicit}
    theirs = module("base_conv").BaseConv(D, kernel_size=-1, **options)
    agree(mixers.build("long_conv", D, **options), theirs, length)


def test_base_conv_lets_later_tokens_in_where_ours_does_not(module):
    """Sequences shorter than its explicit filter: its FFT has room for twice the sequence, and the taps are longer."""
    theirs = module("base_conv").BaseConv(D, l_max=LENGTH, kernel_size=-1, implicit_long_conv=False)
    ours = mixers.build("long_conv", D, l_max=LENGTH, implicit_long_conv=False)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(1, 9, D, generator=torch.Generator().manual_seed(1))
    changed = torch.cat([x[:, :8], x[:, 8:] + 1], 1)
    with torch.no_grad():
        assert (theirs(changed) - theirs(x))[:, :8].abs().max() > 0.1
        assert torch.equal(ours(changed)[:, :8], ours(x)[:, :8])


@pytest.mark.parametrize(
    "options",
    [{}, {"filter_order": 8, "emb_dim": 9, "w": 6, "num_inner_mlps": 1, "short_filter_order": 4}, {"shift": 0.2}],
    ids=str,
)
def test_hyena(module, options):
    agree(
        mixers.build("hyena", D, l_max=LENGTH, **options),
        module("hyena").Hyena(D, l_max=LENGTH, **options),
    )


def wkv(B, T, C, w, u, k, v):
    """The sums of its kernel, without a care for overflow."""
    p = q = torch.zeros(B, C, dtype=k.dtype)
    outputs, decay = [], torch.exp(-torch.exp(w))
    for t in range(T):
        now, key = torch.exp(u + k[:, t]), torch.exp(k[:, t])
        outputs.append((p + now * v[:, t]) / (q + now))
        p, q = decay * p + key * v[:, t], decay * q + key
    return torch.stack(outputs, 1)


@pytest.mark.parametrize("layer, layers", [(0, 2), (1, 2), (3, 12)])
def test_rwkv4(module, monkeypatch, layer, layers):
    theirs = module("rwkv")
    monkeypatch.setattr(theirs, "RUN_CUDA", wkv)
    mixer = theirs.RWKVTimeMixer(l_max=LENGTH, d_model=D, n_layer=layers, layer_idx=layer)
    ours = mixers.build("rwkv4", D, layer, num_hidden_layers=layers)
    for name, value in mixer.named_parameters():
        if name.startswith("time_"):
            torch.testing.assert_close(ours.get_parameter(name), value, rtol=1e-5, atol=1e-6)
    agree(ours, mixer)


@pytest.mark.parametrize(
    "theirs, ours",
    [
        ({}, {}),
        (
            {"d_state": 5, "d_conv": 3, "expand": 1, "dt_rank": 3, "bias": True, "conv_bias": False},
            {"state_size": 5, "conv_kernel": 3, "expand": 1, "dt_rank": 3, "use_bias": True, "use_conv_bias": False},
        ),
    ],
    ids=["defaults", "others"],
)
def test_mamba(module, monkeypatch, theirs, ours):
    reference = module("mamba_ssm.selective_scan_interface").selective_scan_ref
    layer = module("mamba")
    monkeypatch.setattr(layer, "selective_scan_fn", reference)
    if "dt_rank" in theirs:  # which its check takes for text
        monkeypatch.setattr(layer.Mamba, "__init__", layer.Mamba.__init__.raw_function)
    agree(mixers.build("mamba", D, **ours), layer.Mamba(D, use_fast_path=False, **theirs))


@pytest.fixture
def nsa(module):
    """Its class, as it is given in Zoology: of the window it passes ``causal`` on, of the rest it takes no notice."""
    for needed in ("einx", "rotary_embedding_torch"):
        pytest.importorskip(needed)
    sizes = {"num_heads": 4, "sliding_window_size": 6, "compress_block_size": 4, "selection_block_size": 4}
    layer = module("deepseek_nsa").SparseAttention
    return lambda **options: layer(D, num_selected_blocks=2, **sizes, **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kv_heads": 2, "num_compressed_mem_kv": 3, "norm": False},
        {"kv_heads": 1, "query_heads_share_selected_kv": False, "compress_mlp_expand_factor": 0.5},
    ],
    ids=["defaults", "two key heads", "each for itself"],
)
def test_nsa(nsa, options):
    sizes = {"num_heads": 4, "window": 7, "block_size": 4, "num_selected_blocks": 2}
    agree(mixers.build("sparse_attention", D, **sizes, **options), nsa(causal=True, **options))


def test_nsa_lets_later_tokens_in_where_ours_does_not(nsa):
    """Its window, as its sweeps give it."""
    theirs, x = nsa(), torch.randn(1, LENGTH, D, generator=torch.Generator().manual_seed(1))
    ours = mixers.build("sparse_attention", D, num_heads=4, window=7, block_size=4, num_selected_blocks=2)
    changed = torch.cat([x[:, :12], x[:, 12:] + 1], 1)
    with torch.no_grad():
        assert (theirs(changed) - theirs(x))[:, :12].abs().max() > 0.01
        assert torch.equal(ours(changed)[:, :12], ours(x)[:, :12])
