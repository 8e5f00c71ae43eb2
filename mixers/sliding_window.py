"""Sliding-window attention: softmax attention over the last few positions, so that its state stops growing."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mixers.attention import SoftmaxAttention
from mixers.base import State
from mixers.checks import check_size
from mixers.registry import register

MIN_BLOCK = 64  # queries of smaller windows are taken together in blocks of this many


@register("sliding_window_attention")
class SlidingWindowAttention(SoftmaxAttention):
    """Sliding-window attention: ``o_t = softmax(q_t K_{s..t}^T / sqrt(D)) V_{s..t}``, ``s = t - window + 1``.

    Longformer's local attention, causal. Parameters are named and shaped as in Zoology's SlidingAttn (``Wqkv``,
    ``out_proj``), so its weights load. W counts the current position; Zoology's ``block_size`` lets a query see
    block_size + 1 positions, so that its ``block_size=W - 1`` is our ``window=W``. It has one head and no rotary
    positions.

    The parallel form takes queries in blocks of about a window, each against the keys of its block and of the window
    before it: the work grows with T times the window, not with T squared.

    Source: Beltagy et al. 2020, arXiv 2004.05150.
    State: the keys and values of the last W - 1 tokens (the current one brings its own): ``2 d_model min(T, W - 1)``
    elements, and with rotary positions one more, the position of the next token. All of it is read for every token.

    Args:
        d_model: model width, a multiple of ``num_heads``.
        layer_idx: position in the stack; unused.
        window: W, positions that a query sees, its own included.
        num_heads: H.
        bias: biases on the qkv projection.
        dropout: on the attention weights, in training.
        out_init_std: of the output projection; Zoology's is 0.02 / sqrt(2 n_layers), this one at its two layers.
        rotary: turn queries and keys by their position (Su et al. 2021, arXiv 2104.09864); needs an even D.
        rotary_base: of the rotary wavelengths.
    """

    def __init__(
        self,
        d_model: int,
        layer_idx: int | None = None,
        window: int = 64,
        num_heads: int = 1,
        bias: bool = True,
        dropout: float = 0.0,
        out_init_std: float = 0.01,
        rotary: bool = False,
        rotary_base: float = 10000.0,
    ) -> None:
        check_size(window=window)
        super().__init__(d_model, layer_idx, num_heads, bias, dropout, out_init_std, rotary, rotary_base)
        self.window = window

    def mix(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        state = self.init_state(len(x)) if state is None else state
        start = state["position"].unsqueeze(1) if "position" in state else 0  # [B, 1]
        q, k, v = self._qkv(x, start)
        before, T = state["k"].shape[1], x.shape[1]
        k, v = torch.cat([state["k"], k], 1), torch.cat([state["v"], v], 1)  # [B, before + T, H, D]
        o = attend_in_windows(q, k, v, self.window, before, self._attend)
        oldest = max(0, before + T - (self.window - 1))
        carried = {"k": k[:, oldest:], "v": v[:, oldest:]}
        if "position" in state:
            carried["position"] = state["position"] + T
        return self.out_proj(o.flatten(-2)), carried

    def init_state(self, batch: int) -> State:
        state = super().init_state(batch)
        if self.rotary_base is not None:
            state["position"] = torch.zeros(batch, dtype=torch.long, device=self.Wqkv.weight.device)
        return state

    def state_size(self, sequence_length: int) -> int:
        kept = min(sequence_length, self.window - 1)
        return 2 * self.d_model * kept + (self.rotary_base is not None)


def attend_in_windows(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    window: int,
    before: int,
    attend: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] = F.scaled_dot_product_attention,
) -> Tensor:
    """Queries ``[B, T, H, D]`` against keys and values ``[B, before + T, H, D]``, in blocks, with ``attend``.

    ``before`` is at most ``window - 1``: what a query does not see need not be given.
    """
    T = q.shape[1]
    block = min(T, max(window, MIN_BLOCK))
    blocks = -(-T // block)
    reach = before if blocks == 1 else window - 1  # keys before a block that it is given
    end = blocks * block - T
    q = F.pad(q, (0, 0, 0, 0, 0, end)).unflatten(1, (blocks, block)).transpose(2, 3)  # [B, blocks, H, block, D]
    padding = (0, 0, 0, 0, reach - before, end)
    k, v = (
        F.pad(t, padding).unfold(1, reach + block, block).transpose(-1, -2)  # [B, blocks, H, reach + block, D]
        for t in (k, v)
    )
    query = torch.arange(block, device=q.device).unsqueeze(1) + reach
    key = torch.arange(reach + block, device=q.device)
    seen = (key <= query) & (key > query - window)  # [block, reach + block]
    first = block * torch.arange(blocks, device=q.device)[:, None, None, None]
    mask = seen & (first + key >= reach - before)  # nor what stands before the first key; [blocks, 1, block, ...]
    return attend(q, k, v, mask).transpose(2, 3).flatten(1, 2)[:, :T]
