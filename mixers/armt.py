"""Associative Recurrent Memory Transformer (Rodkin et al. 2024): attention in segments, a delta-rule memory across."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixers.base import RecurrentMixer, State, at_least_float32, init_linear
from mixers.checks import check_size
from mixers.ops.norm import l2_norm
from mixers.registry import register
from mixers.rotary import check_rotary, rotate

EPS = 1e-5
MAX_NU = 1024  # features are made shift by shift


@register("armt")
class ARMT(RecurrentMixer):
    """ARMT: softmax attention within segments of s tokens, and an associative memory from segment to segment.

    A segment is its tokens and, after them, m learned memory tokens. What earlier segments left is read into all of
    them, attention mixes them, and the memory tokens' outputs h_i write it, all at once:

        read:   x~_t = x_t + A^T phi(W_q x_t) / (z^T phi(W_q x_t) + eps)       y_t = x~_t - x_t + attention(x~)_t
        write:  h^_i = rms_norm(h_i)   k_i = phi(W_k h^_i)     beta_i = sigmoid(w_b h^_i + b_0)
                old_i = A^T k_i / (z^T k_i + eps)
                A <- A + sum_i beta_i k_i (W_v h^_i - old_i)^T     z <- z + sum_i gamma_i k_i
                gamma_i = clip(1 - z^T k_i / (|k_i|^2 + eps), 0, 1), no gradient

    phi is DPFP-nu: y = [relu(u); relu(-u)], phi(u) = [y * roll(y, 1); ..; y * roll(y, nu)], to length 1. gamma keeps a
    key that is written again from counting twice in z. A sequence of one segment sees plain attention (whose parameter
    names are ``attention``'s); the gradient runs through all segments.

    Parameters of the memory are named as in the authors' code (``memory``, ``W_mq``, ``W_mk``, ``W_mv``, ``W_mb``). As
    a mixer it deviates from the paper's layer: the read enters what the block has normalised already, not the residual
    stream; the write comes after attention, before the block's MLP, and h_i adds the input x~_i as the layer's residual
    does; h_i is normalised before it is written; every layer has memory tokens of its own instead of those the layer
    below returns. Rotary positions count from each segment's start, as in the authors' model.
    Length 1 of phi is of later versions of the code; without it, ``normalize=False``, features grow with the square of
    what is read. W_v starts at zero there; here it and the attention start at ``1 / sqrt(d_model)``: with W_v at zero
    and attention at 0.02, recall was learnt within segments but not across. Without the norm of h_i what is read goes
    unchecked into the next write, and the loss became NaN within some 200 steps at learning rates from 3e-4 to 3e-3;
    without positions the memory tokens hardly learn to take different pairs (at 4 pairs, 0.72 instead of 0.97). It
    learns little when there are many more segments than hold pairs. Where a sequence ends within its first segment, the
    memory's parameters have no gradient.

    Source: Rodkin et al. 2024, arXiv 2407.04841.
    State: 2 nu d_mem (d_model + 1) of A and z, 2 (segment_size - 1) d_model of keys and values within the segment
    (room for its longest, whatever it holds), and the place in it; all of it is active.

    Args:
        d_model: model width, a multiple of ``num_heads``.
        layer_idx: position in the stack; unused.
        segment_size: s; should be well below the distances to be bridged.
        num_mem_tokens: m.
        d_mem: width of W_q and W_k.
        num_heads: of the attention.
        nu: of DPFP.
        correction: gamma; without it, 1.
        normalize: phi to length 1.
        rotary: turn the attention's queries and keys by their place in the segment; needs an even head width.
        rotary_base: of the rotary wavelengths.
    """

    def __init__(
        self,
        d_model: int,
        layer_idx: int | None = None,
        segment_size: int = 8,
        num_mem_tokens: int = 4,
        d_mem: int = 32,
        num_heads: int = 1,
        nu: int = 3,
        correction: bool = True,
        normalize: bool = True,
        rotary: bool = True,
        rotary_base: float = 10000.0,
    ) -> None:
        super().__init__(d_model, layer_idx)
        check_size(segment_size=segment_size, num_mem_tokens=num_mem_tokens, d_mem=d_mem)
        check_size(1, MAX_NU, nu=nu)
        if nu > 2 * d_mem:
            raise ValueError(f"nu must be at most 2 d_mem = {2 * d_mem}, got {nu}")
        if num_heads < 1 or d_model % num_heads:
            raise ValueError(f"d_model {d_model} must be a multiple of num_heads {num_heads}")
        if rotary:
            check_rotary(d_model // num_heads, rotary_base)
        self.rotary_base = rotary_base if rotary else None
        self.segment_size, self.num_mem_tokens, self.num_heads = segment_size, num_mem_tokens, num_heads
        self.d_mem, self.nu, self.correction, self.normalize = d_mem, nu, correction, normalize
        self.memory = nn.Parameter(0.3 * torch.randn(num_mem_tokens, d_model))
        self.Wqkv = nn.Linear(d_model, 3 * d_model)
        self.out_proj = nn.Linear(d_model, d_model)
        self.W_mq = nn.Linear(d_model, d_mem, bias=False)
        self.W_mk = nn.Linear(d_model, d_mem, bias=False)
        self.W_mv = nn.Linear(d_model, d_model, bias=False)
        self.W_mb = nn.Linear(d_model, 1)
        init_linear(self.Wqkv, self.out_proj, self.W_mv, std=d_model**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self._mix(x, None, False)[0]

    def mix(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        return self._mix(x, state or self.init_state(len(x)), True)

    def _mix(self, x: Tensor, state: State | None, keep: bool) -> tuple[Tensor, State]:
        """``keep`` also closes a segment that ends with ``x``; without it the state returned is not to be used."""
        B, T, _ = x.shape
        place, A, cached = 0, None, None
        if state is not None:
            place = int(state["place"][0])  # all sequences of a batch are as far
            A, cached = state["A"], (state["k"][:, :place], state["v"][:, :place])
        tokens = self.memory.expand(B, -1, -1)
        queries, token_queries = self._features(self.W_mq(x)), self._features(self.W_mq(self.memory)).expand(B, -1, -1)
        mixed, reads, start = [], [], 0
        while start < T:
            n = min(self.segment_size - place, T - start)
            here = slice(start, start + n)
            start, place = start + n, place + n
            closing = place == self.segment_size and (keep or start < T)
            segment = torch.cat([x[:, here], tokens], 1) if closing else x[:, here]
            if A is not None:
                read = self._read(torch.cat([queries[:, here], token_queries], 1) if closing else queries[:, here], A)
                segment = segment + read.to(x.dtype)
                reads.append(read[:, :n].to(x.dtype))
            else:
                reads.append(torch.zeros_like(segment[:, :n]))
            o, cached = self._attend(segment, cached)
            mixed.append(o[:, :n])
            if closing:
                A = self._write(segment[:, n:] + self.out_proj(o[:, n:]), A)
                place, cached = 0, None
        y = self.out_proj(torch.cat(mixed, 1)) + torch.cat(reads, 1)
        return y, self._state(B, A, cached, place) if keep else {}

    def _attend(self, x: Tensor, cached: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Causal attention of ``[B, n, d_model]``, not yet projected, and the keys and values with those cached."""
        q, k, v = self.Wqkv(x).unflatten(-1, (3, self.num_heads, -1)).unbind(2)  # [B, n, H, D]
        before = cached[0].shape[1] if cached is not None else 0
        if self.rotary_base is not None:
            places = torch.arange(before, before + q.shape[1], device=x.device)
            q, k = rotate(q, places, self.rotary_base), rotate(k, places, self.rotary_base)
        if cached is not None:
            k, v = torch.cat([cached[0], k], 1), torch.cat([cached[1], v], 1)
        mask = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool, device=x.device).tril(before)
        heads = [t.transpose(1, 2) for t in (q, k, v)]
        o = F.scaled_dot_product_attention(heads[0], heads[1], heads[2], mask)
        return o.transpose(1, 2).flatten(-2), (k, v)

    def _features(self, u: Tensor) -> Tensor:
        """DPFP: ``[.., d_mem] -> [.., 2 nu d_mem]``, in float32 at least, as all of the memory is."""
        u = at_least_float32(u)
        y = torch.cat([u.relu(), (-u).relu()], -1)
        phi = torch.cat([y * y.roll(shift, -1) for shift in range(1, self.nu + 1)], -1)
        return l2_norm(phi) if self.normalize else phi

    def _read(self, q: Tensor, A: Tensor) -> Tensor:
        """What the memory ``[B, d_k, d_model + 1]``, A and z side by side, holds for the features ``[B, n, d_k]``."""
        with torch.autocast(q.device.type, enabled=False):
            found = q @ A
        return found[..., :-1] / (found[..., -1:] + EPS)

    def _write(self, h: Tensor, A: Tensor | None) -> Tensor:
        """The memory after the tokens ``h [B, m, d_model]`` wrote it; without one they are the first."""
        h = F.rms_norm(h, (self.d_model,), eps=EPS)
        k, v, beta = self._features(self.W_mk(h)), self.W_mv(h), self.W_mb(h).sigmoid()
        return associate(A, k, v.to(k.dtype), beta.to(k.dtype), self.correction)

    def _state(self, batch: int, A: Tensor | None, cached: tuple[Tensor, Tensor] | None, place: int) -> State:
        state = self.init_state(batch)
        if A is not None:
            state["A"] = A
        if cached is not None:
            room = self.segment_size - 1 - place
            state["k"], state["v"] = (F.pad(t, (0, 0, 0, 0, 0, room)) for t in cached)
        state["place"] = state["place"] + place
        return state

    def init_state(self, batch: int) -> State:
        room = (batch, self.segment_size - 1, self.num_heads, self.d_model // self.num_heads)
        return {
            "A": at_least_float32(self._zeros(batch, 2 * self.nu * self.d_mem, self.d_model + 1)),  # z the last column
            "k": self._zeros(*room),
            "v": self._zeros(*room),
            "place": torch.zeros(batch, dtype=torch.long, device=self.memory.device),
        }

    def state_size(self, sequence_length: int) -> int:
        return 2 * self.nu * self.d_mem * (self.d_model + 1) + 2 * (self.segment_size - 1) * self.d_model + 1


def associate(A: Tensor | None, k: Tensor, v: Tensor, beta: Tensor, correction: bool = True) -> Tensor:
    """Write a batch of associations into the memory at once; see ``ARMT`` for the equations.

    Args:
        A: ``[B, d_k, d + 1]``, A and z side by side; None: empty.
        k: ``[B, m, d_k]``, features.
        v: ``[B, m, d]``.
        beta: ``[B, m, 1]``.
        correction: gamma; without it, 1.

    Returns:
        The memory after it, a new tensor.
    """
    with torch.autocast(k.device.type, enabled=False):
        gamma = torch.ones_like(beta)
        if A is None:
            return k.transpose(1, 2) @ torch.cat([beta * v, gamma], -1)
        found = k @ A
        v = v - found[..., :-1] / (found[..., -1:] + EPS)
        if correction:
            gamma = (1 - found[..., -1:] / (k.square().sum(-1, keepdim=True) + EPS)).clamp(0, 1).detach()
        return A + k.transpose(1, 2) @ torch.cat([beta * v, gamma], -1)
