"""MQAR accuracy against state size, all architectures (RAM-Net paper, Fig. 3).

Every model has two layers: a short convolution, then the mixer under test, with no MLP and no positions, as in
Zoology's released sweep.
"""

from __future__ import annotations

from typing import Any

from mqar_bench.config import MixerSpec, RunConfig
from sweeps import protocols
from sweeps.protocols import CONV, PAPER_RATES, SCALES

__all__ = ["SCALES", "configs"]

#: Learning rates around each architecture's window at the demo's length: attention's is lower.
DEMO_RATES: dict[str, tuple[float, ...]] = {
    "attention": (5e-3, 1e-2, 2e-2),
    "linear_attention": (1e-2, 3e-2, 9e-2),
    "ramnet": (1e-2, 3e-2, 9e-2),
}


def sparse_delta(slots: int, width: int, touched: int) -> dict[str, Any]:
    """Of two heads with as many slots each, of which a token writes and reads ``touched``; the first state is 0."""
    sizes = {"slots_per_head": slots, "head_v_dim": width, "num_writes": touched, "num_reads": touched}
    return sizes | {"backprop_on_memory": False}


#: With the authors' steps, a hundred times shorter, and rates of decay as much higher, Mamba2 begins with writing next
#: to nothing, and learns that it should in a long training only.
MAMBA2_START = {"dt_min": 0.1, "dt_max": 1.0, "A_min": 0.01, "A_max": 0.1}

#: Widths and options by mixer, smallest state first. A slot of RAM-Net is ``head_v_dim`` numbers and its weight: with
#: 15 or 31 its state is that of a matrix of powers of two.
LAPTOP_MODELS: dict[str, list[tuple[int, dict]]] = {
    "attention": [(32, {}), (64, {})],
    "ramnet": [
        (64, {"order": 3, "sub_dim": 4, "head_v_dim": 15, "top_k": 16}),
        (64, {"order": 3, "sub_dim": 4, "head_v_dim": 31, "top_k": 16}),
        (64, {"order": 4, "sub_dim": 4, "head_v_dim": 15, "top_k": 8}),
        (64, {"order": 4, "sub_dim": 4, "head_v_dim": 32, "top_k": 8}),
        (64, {"order": 5, "sub_dim": 4, "head_v_dim": 32, "top_k": 8}),
    ],
    "linear_attention": [(64, {"expand_k": e, "expand_v": e}) for e in (1.0, 2.0, 3.0)],
    "gated_delta_net": [(64, {"head_dim": k, "expand_v": v}) for k, v in ((32, 1.0), (64, 1.0), (64, 2.0))],
    "mamba2": [(64, {"head_dim": 32, "state_size": n} | MAMBA2_START) for n in (16, 64)],
    "delta_net": [(64, {"expand_k": e, "expand_v": e}) for e in (1.0, 2.0, 3.0)],
    # without convolutions of its own it learns next to nothing in this time
    "gla": [(64, {"expand_k": e, "expand_v": e, "use_short_conv": True}) for e in (1.0, 2.0)],
    "rwkv7": [(64, {"head_dim": 32}), (64, {"head_dim": 64}), (128, {"head_dim": 64})],
    # gates that start at 1/2 forget what a query asks for before it comes
    "hgrn2": [(d, {"expand_ratio": f, "lower_bound": 0.9}) for d, f in ((64, 32), (64, 64))],
    "sliding_window_attention": [(64, {"window": w}) for w in (16, 64)],
    # with head_dim 1 or 2 it learns nothing in this time
    "h3": [(64, {"head_dim": p, "d_state": 4}) for p in (8, 32)],
    "armt": [(64, {"d_mem": m, "segment_size": 16, "num_mem_tokens": 16}) for m in (16, 64)],
    "mom": [(64, {"num_memories": m}) for m in (2, 4)],
    "kda": [(64, {"head_dim": k, "expand_v": v}) for k, v in ((32, 1.0), (64, 1.0), (64, 2.0))],
    # of as large a state, width recalls more than taps
    "long_conv": [(d, {"l_max": d}) for d in (64, 128)],
    "hyena": [(d, {"l_max": d}) for d in (64, 128)],
    "mamba": [(64, {"state_size": n}) for n in (16, 128)],
    "rwkv4": [(d, {}) for d in (64, 256)],
    "based": [(64, {"feature_dim": f}) for f in (8, 16)],
    "gsa": [(64, {"num_slots": m, "use_short_conv": True}) for m in (32, 128)],
    # RAM-Net's slots, widths and accesses, so its total and active states but for its weights of slots at width 32;
    # a learnt first state costs accuracy in this time
    "sparse_delta_memory": [
        (64, sparse_delta(slots, width, touched))
        for slots, width, touched in ((64, 16, 16), (64, 32, 16), (256, 16, 8), (256, 32, 8), (1024, 32, 8))
    ],
    "raven": [(64, {"num_slots": m}) for m in (32, 128)],
    "ttt_linear": [(64, {"num_heads": 2}), (128, {"num_heads": 2})],
    "ttt_mlp": [(64, {"num_heads": h}) for h in (16, 4)],
    "sparse_attention": [(32, {}), (64, {})],
}
#: Rates a factor of three apart about the best: a grid is wider where short runs chose its end.
LAPTOP_RATES: dict[str, tuple[float, ...]] = {
    "attention": (2e-3, 5e-3, 1e-2),
    "ramnet": (3e-3, 1e-2, 3e-2, 9e-2),
    "linear_attention": (3e-3, 1e-2, 3e-2, 9e-2),
    "gated_delta_net": (1e-3, 3e-3, 1e-2),
    "mamba2": (1e-3, 3e-3, 1e-2, 3e-2),
    "delta_net": (1e-3, 3e-3, 1e-2, 3e-2, 9e-2),
    "gla": (1e-3, 3e-3, 1e-2, 3e-2),
    "rwkv7": (1e-3, 3e-3, 1e-2, 3e-2, 9e-2),
    "hgrn2": (3e-3, 1e-2, 3e-2, 9e-2),
    "sliding_window_attention": (2e-3, 5e-3, 1e-2),
    "h3": (3e-3, 1e-2, 3e-2, 9e-2),
    "armt": (3e-3, 1e-2, 3e-2),
    "mom": (1e-3, 3e-3, 1e-2, 3e-2),
    "kda": (1e-3, 3e-3, 1e-2, 3e-2),
    "long_conv": (3e-3, 1e-2, 3e-2, 9e-2),
    "hyena": (1e-3, 3e-3, 1e-2, 3e-2, 9e-2),
    "mamba": (1e-3, 3e-3, 1e-2, 3e-2),
    "rwkv4": (1e-3, 3e-3, 1e-2, 3e-2, 9e-2),
    "based": (1e-3, 3e-3, 1e-2, 3e-2),
    "gsa": (1e-3, 3e-3, 1e-2, 3e-2),
    "sparse_delta_memory": (3e-3, 1e-2, 3e-2, 9e-2),
    "raven": (1e-3, 3e-3, 1e-2, 3e-2, 9e-2),
    "ttt_linear": (1e-3, 3e-3, 1e-2, 3e-2),
    "ttt_mlp": (1e-3, 3e-3, 1e-2, 3e-2),
    "sparse_attention": (1e-3, 3e-3, 1e-2, 3e-2),
}
#: The paper scale: Zoology's widths and two heads; its values for Mamba2's and H3's states and the window.
WIDTHS = (64, 128, 256)
PAPER_MODELS: dict[str, list[tuple[int, dict]]] = {
    "attention": [(d, {"num_heads": 2, "dropout": 0.1}) for d in (32, 64, 128)],
    "linear_attention": [(d, {"num_heads": 2}) for d in WIDTHS],
    "ramnet": [
        (64, {"order": u, "sub_dim": 4, "head_v_dim": v, "top_k": 8})
        for u, v in ((3, 15), (4, 15), (5, 15), (5, 31), (6, 31))
    ],
    "gated_delta_net": [(d, {"num_heads": 2, "expand_v": 2.0}) for d in WIDTHS],
    "mamba2": [(d, {"head_dim": 32, "state_size": n}) for d, n in ((64, 16), (128, 16), (128, 64))],
    "delta_net": [(d, {"num_heads": 2}) for d in WIDTHS],
    "gla": [(d, {"num_heads": 2, "expand_k": 1.0}) for d in WIDTHS],
    "rwkv7": [(d, {"head_dim": 64}) for d in WIDTHS],
    "hgrn2": [(d, {"expand_ratio": d // 2, "lower_bound": 0.9}) for d in WIDTHS],
    "sliding_window_attention": [(128, {"window": w}) for w in (8, 32, 128, 512)],
    "h3": [(d, {"d_state": d // 4, "head_dim": 2}) for d in WIDTHS],
    "armt": [(d, {"d_mem": d // 2, "segment_size": 16, "num_mem_tokens": 16}) for d in WIDTHS],
    "mom": [(d, {"num_memories": 4}) for d in WIDTHS],
    "kda": [(d, {"num_heads": 2}) for d in WIDTHS],
    "long_conv": [(d, {"l_max": 1024}) for d in WIDTHS],
    "hyena": [(d, {"l_max": 1024}) for d in WIDTHS],
    "mamba": [(d, {"state_size": n}) for d, n in ((64, 16), (128, 16), (128, 64))],
    "rwkv4": [(d, {}) for d in WIDTHS],
    "based": [(d, {"feature_dim": f}) for d, f in ((48, 8), (64, 16), (128, 16), (128, 24))],
    "gsa": [(d, {"num_heads": 2, "num_slots": 64}) for d in WIDTHS],
    "sparse_delta_memory": [
        (64, sparse_delta(n, v, 8)) for n, v in ((64, 16), (256, 16), (1024, 16), (1024, 32), (4096, 32))
    ],
    "raven": [(d, {"num_heads": 2, "num_slots": 64, "topk": 8}) for d in WIDTHS],
    "ttt_linear": [(d, {"num_heads": 2}) for d in WIDTHS],
    "ttt_mlp": [(d, {"num_heads": 2}) for d in WIDTHS],
    "sparse_attention": [(d, {}) for d in WIDTHS],
}


#: Seconds, for every architecture: what its defaults are too large for.
SMOKE_OPTIONS: dict[str, dict] = {
    "gla": {"gate_low_rank_dim": 4},
    "hgrn2": {"expand_ratio": 8},
    "rwkv7": {"head_dim": 8},
    "mamba2": {"head_dim": 8, "state_size": 8},
    "h3": {"d_state": 8},
    "sliding_window_attention": {"window": 8},
    "armt": {"d_mem": 8, "segment_size": 8},
    "mom": {"num_memories": 2, "topk": 1},
    "long_conv": {"l_max": 16},
    "hyena": {"l_max": 16, "filter_order": 8},
    "mamba": {"state_size": 4},
    "based": {"feature_dim": 4},
    "gsa": {"num_slots": 8},
    "raven": {"num_slots": 8, "topk": 2},
    "ramnet": {"order": 2, "sub_dim": 4, "head_v_dim": 8, "top_k": 4},
    "sparse_delta_memory": {"slots_per_head": 16, "num_writes": 4, "num_reads": 4},
}


def configs(scale: str) -> list[RunConfig]:
    """The runs of the sweep at ``scale``."""
    return {"smoke": smoke, "demo": demo, "laptop": laptop, "paper": paper}[scale]()


def run(scale: str, spec: MixerSpec, d_model: int, learning_rate: float) -> RunConfig:
    return protocols.run("fig3", scale, (CONV, spec), d_model, learning_rate)


def ramnet(order: int, head_v_dim: int, top_k: int) -> MixerSpec:
    """RAM-Net of two heads with 4 ** order slots each, of which a token writes and reads ``top_k``."""
    return MixerSpec(name="ramnet", options={"order": order, "sub_dim": 4, "head_v_dim": head_v_dim, "top_k": top_k})


def smoke() -> list[RunConfig]:
    """Seconds: every architecture trains a few steps. The accuracies mean nothing."""
    specs = [MixerSpec(name=name, options=SMOKE_OPTIONS.get(name, {})) for name in LAPTOP_MODELS]
    specs.append(ramnet(order=3, head_v_dim=8, top_k=4))
    return [run("smoke", spec, 16, 1e-2) for spec in specs]


def demo() -> list[RunConfig]:
    """Minutes on two CPU cores: a small vocabulary, up to 32 pairs in training and 128 in the longest test."""
    specs = [(d_model, MixerSpec(name="attention")) for d_model in (32, 64)]
    for expand in (1.0, 2.0, 3.0):
        specs.append((64, MixerSpec(name="linear_attention", options={"expand_k": expand, "expand_v": expand})))
    specs.append((64, ramnet(order=3, head_v_dim=32, top_k=16)))
    specs.append((64, ramnet(order=4, head_v_dim=16, top_k=8)))
    specs.append((64, ramnet(order=4, head_v_dim=32, top_k=8)))
    return [run("demo", spec, d_model, rate) for d_model, spec in specs for rate in DEMO_RATES[spec.name]]


def laptop() -> list[RunConfig]:
    """Every architecture at several state sizes; on two CPU cores two hours to screen rates, 45 minutes a seed.

    By rank in state size, so that an interrupted sweep has the smallest models of all architectures first.
    """
    models = [
        (rank, d_model, MixerSpec(name=name, options=options))
        for name, sizes in LAPTOP_MODELS.items()
        for rank, (d_model, options) in enumerate(sizes)
    ]
    return [
        run("laptop", spec, d_model, rate)
        for _, d_model, spec in sorted(models, key=lambda model: model[0])
        for rate in LAPTOP_RATES[spec.name]
    ]


def paper() -> list[RunConfig]:
    """Zoology's released protocol: 22,600 steps of 256 sequences a run. Meant for a GPU."""
    return [
        run("paper", MixerSpec(name=name, options=options), d_model, rate)
        for name, sizes in PAPER_MODELS.items()
        for d_model, options in sizes
        for rate in PAPER_RATES
    ]
