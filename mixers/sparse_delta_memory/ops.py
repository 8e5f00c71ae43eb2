"""The operations of the sparse delta memory, ``address`` and ``sparse_delta``, and the choice of engine behind them.

| engine | where | what it is |
|---|---|---|
| ``reference`` | anywhere, any dtype | PyTorch: all N slots, a loop over time; the definition |
| ``dense`` | anywhere, any dtype | PyTorch: all N slots, the gated delta rule in chunks of the sequence |
| ``cpu`` | CPU | compiled with numba; cost follows W and R, not N |

``auto`` takes ``cpu`` for CPU tensors and ``dense`` for others, and for one token a step in PyTorch on the slots that
it concerns. An engine asked for by name that cannot run is an error, never replaced by another. 16-bit inputs are
computed in float32. ``cpu`` cannot be differentiated twice.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mixers.base import TensorKind
from mixers.ops.delta_rule import gated_delta_rule
from mixers.ops.recurrence import cpu_refusal
from mixers.sparse_delta_memory.keys import product_keys, product_keys_reference, scores_of
from mixers.sparse_delta_memory.memory import over_slots, sparse_delta_reference
from mixers.sparse_delta_memory.step import sparse_delta_step

Backend = Literal["auto", "reference", "dense", "cpu"]
Engine = Literal["reference", "dense", "cpu", "step"]


def decide_backend(backend: Backend, v: Tensor | TensorKind) -> tuple[Engine, str | None]:
    """The engine that will run for values like v ``[B, T, H, D]``, and why not the compiled one where that is usual.

    Raises:
        ValueError: the engine asked for by name cannot run.
    """
    if backend not in ("auto", "reference", "dense", "cpu"):
        raise ValueError(f"unknown backend {backend!r}: use 'auto', 'reference', 'dense' or 'cpu'")
    if backend == "auto":
        if v.shape[1] == 1:
            return "step", None
        refusal = cpu_refusal(v)
        if refusal is None:
            return "cpu", None
        return "dense", f"cpu {refusal}" if v.device.type == "cpu" else None
    if backend == "cpu" and (refusal := cpu_refusal(v)):
        raise ValueError(f"the sparse delta memory's cpu engine {refusal}; use backend='auto' or 'dense'")
    return backend, None


def choose_backend(backend: Backend, v: Tensor | TensorKind) -> Engine:
    """The engine that will run for values like v; ``ValueError`` if the one asked for cannot."""
    return decide_backend(backend, v)[0]


def address(scores: Tensor, top_k: int, backend: Backend = "auto") -> tuple[Tensor, Tensor]:
    """The K slots of the highest scores by product keys, and those scores.

    Args:
        scores: of the digits of a slot, the first the more significant, ``[B, T, H, 2, sqrt(N)]``.
        top_k: K.
        backend: which engine, see the module.

    Returns:
        Their scores ``[B, T, H, K]``, descending, each the sum of its digits' and differentiable in ``scores``, in
        float32 (float64 for float64 scores); and the slots ``[B, T, H, K]`` int32, distinct, of equals the lower first.

    Raises:
        ValueError: K outside 1..N, or an engine that cannot run here.
    """
    num_slots = scores.shape[-1] ** 2
    if not 1 <= top_k <= num_slots:
        raise ValueError(f"top_k must be between 1 and the {num_slots} slots, got {top_k}")
    engine = choose_backend(backend, scores)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    with torch.no_grad():
        if engine == "reference":
            slots = product_keys_reference(scores, top_k)
        elif engine == "dense" or cpu_refusal(scores):
            slots = product_keys(scores, top_k)
        else:
            from mixers.ramnet.address_cpu import decode_address_cpu  # numba is slow to import

            slots = decode_address_cpu(scores, top_k)[1]  # a softmax keeps the order
    return scores_of(scores, slots), slots


def sparse_delta(
    k: Tensor,
    k_idx: Tensor,
    q: Tensor,
    q_idx: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor,
    num_slots: int,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    backend: Backend = "auto",
    in_place: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Gated delta rule on the slots that a token writes, and a read of those that it reads, over a sequence.

    Per head, with a_t the decay exp(g_t) at the W written slots and 1 elsewhere: ``S~ = diag(a_t) S_{t-1}``, ``S_t = S~
    + beta_t k_t (v_t - S~^T k_t)^T``, ``o_t = S_t^T q_t``. The write comes before the read.

    Args:
        k, k_idx: write weights and slots, ``[B, T, H, W]`` (float, int32 or int64); a token's slots are distinct.
        q, q_idx: read weights and slots, ``[B, T, H, R]``; a token's slots are distinct.
        v: values, ``[B, T, H, D]``.
        beta: strength of the writes, ``[B, T, H]``.
        g: log-decay of the written slots, at most 0: one for all of a token's, ``[B, T, H]``, or for each, ``[B, T, H,
            W]``.
        num_slots: N.
        initial_state: S_0 ``[B, H, N, D]``, or ``[1, H, N, D]`` for all sequences; default 0. Not modified.
        output_final_state: also return S_T.
        backend: which engine, see the module.
        in_place: let S_T take the place of S_0, where ``auto`` takes a step; not with gradients.

    Returns:
        o ``[B, T, H, D]`` in v's dtype, and S_T ``[B, H, N, D]``, float32 for 16-bit inputs, or None if it was not
        asked for. Differentiable in all that is no slot.

    Raises:
        ValueError: shapes or slots that do not fit, or an engine that cannot run here.
    """
    if v.dim() != 4 or v.shape[1] < 1:
        raise ValueError(f"v must be [B, T, H, D] with T at least 1, got {list(v.shape)}")
    B, T, H, D = v.shape
    for name, weights, slots in (("k", k, k_idx), ("q", q, q_idx)):
        if weights.shape != slots.shape or weights.shape[:-1] != v.shape[:-1]:
            raise ValueError(
                f"{name} and {name}_idx must be [{B}, {T}, {H}, n] to go with v {list(v.shape)},"
                f" got {list(weights.shape)} and {list(slots.shape)}"
            )
        if slots.dtype not in (torch.int32, torch.int64):
            raise ValueError(f"{name}_idx must be int32 or int64, got {slots.dtype}")
        if slots.device.type == "cpu" and slots.numel() and not 0 <= int(slots.min()) <= int(slots.max()) < num_slots:
            raise ValueError(f"{name}_idx has slots outside 0..{num_slots - 1}")  # of a GPU's it would wait
    for name, tensor, shapes in (
        ("beta", beta, ((B, T, H),)),
        ("g", g, ((B, T, H), tuple(k.shape))),
        ("initial_state", initial_state, ((B, H, num_slots, D), (1, H, num_slots, D))),
    ):
        if tensor is not None and tuple(tensor.shape) not in shapes:
            raise ValueError(
                f"{name} must be {' or '.join(str(list(shape)) for shape in shapes)} to go with v {list(v.shape)},"
                f" got {list(tensor.shape)}"
            )
    engine = choose_backend(backend, v)
    wide = torch.float32
    for tensor in (k, q, v, beta, g, initial_state):
        wide = wide if tensor is None else torch.promote_types(wide, tensor.dtype)
    S = None if initial_state is None else initial_state.to(wide)
    with torch.autocast(v.device.type, enabled=False):
        o, S = _run(
            engine, k.to(wide), k_idx, q.to(wide), q_idx, v.to(wide), beta.to(wide), g.to(wide), num_slots, S,
            output_final_state, in_place,
        )  # fmt: skip
    return o.to(v.dtype), S if output_final_state else None


def _run(
    engine: Engine,
    k: Tensor,
    k_idx: Tensor,
    q: Tensor,
    q_idx: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor,
    num_slots: int,
    S: Tensor | None,
    final: bool,
    in_place: bool,
) -> tuple[Tensor, Tensor | None]:
    """One engine, on tensors of one dtype."""
    if engine == "cpu":
        from mixers.sparse_delta_memory.memory_cpu import sparse_delta_cpu  # numba is slow to import

        return sparse_delta_cpu(k, k_idx, q, q_idx, v, beta, g, num_slots, S, final)
    each = g if g.dim() == 4 else g[..., None].expand(k.shape)
    if engine == "reference":
        return sparse_delta_reference(k, k_idx, q, q_idx, v, beta, each, num_slots, S)
    B, _, H, D = v.shape
    if engine == "step":
        if S is None:
            S = v.new_zeros(B, H, num_slots, D)
        elif len(S) < B:
            S, in_place = S.expand(B, -1, -1, -1), False
        k, k_idx, q, q_idx, v, beta, each = (x[:, 0] for x in (k, k_idx, q, q_idx, v, beta, each))
        o, S = sparse_delta_step(k, k_idx, q, q_idx, v, beta, each, S, in_place)
        return o[:, None], S
    keys, queries, decay = (over_slots(x, slots, num_slots) for x, slots in ((k, k_idx), (q, q_idx), (each, k_idx)))
    S = None if S is None else S.expand(B, -1, -1, -1)
    return gated_delta_rule(queries, keys, v, beta, decay, 1.0, S, final, engine="chunk")
