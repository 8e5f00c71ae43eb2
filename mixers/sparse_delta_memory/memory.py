"""Sparse delta memory, the obvious way: dense, one step of time after another.

Of N slots a token decays and writes W and reads R. With k_t and q_t its sparse keys and queries, and a_t the decay
exp(g_t) at the written slots and 1 at all others,

    S~ = diag(a_t) S_{t-1}        S_t = S~ + beta_t k_t (v_t - S~^T k_t)^T        o_t = S_t^T q_t

That is the gated delta rule over the slots: a slot that a token does not write neither decays nor changes. The write
comes before the read of the same token.
"""

from __future__ import annotations

import torch
from torch import Tensor


def over_slots(x: Tensor, slots: Tensor, num_slots: int) -> Tensor:
    """``[..., W]`` numbers at their slots, and zeros elsewhere: ``[..., N]``."""
    return x.new_zeros(*x.shape[:-1], num_slots).scatter(-1, slots.long(), x)


def sparse_delta_reference(
    k: Tensor,
    k_idx: Tensor,
    q: Tensor,
    q_idx: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor,
    num_slots: int,
    initial_state: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The equations above in plain autograd, any dtype: the oracle (use float64). See ``sparse_delta``; g ``[B, T, H,
    W]``, and the final state is always returned."""
    B, T, H, D = v.shape
    keys, queries, decay = (over_slots(x, slots, num_slots) for x, slots in ((k, k_idx), (q, q_idx), (g, k_idx)))
    S = v.new_zeros(B, H, num_slots, D) if initial_state is None else initial_state.expand(B, -1, -1, -1)
    outputs = []
    for t in range(T):
        S = decay[:, t].exp()[..., None] * S
        missing = v[:, t] - torch.einsum("bhn,bhnd->bhd", keys[:, t], S)
        S = S + torch.einsum("bh,bhn,bhd->bhnd", beta[:, t], keys[:, t], missing)
        outputs.append(torch.einsum("bhn,bhnd->bhd", queries[:, t], S))
    return torch.stack(outputs, 1), S
