"""Native sparse attention (Yuan et al. 2025): compressed blocks, the blocks they point at, and a sliding window."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixers.base import RecurrentMixer, State, init_linear
from mixers.checks import check_number, check_size
from mixers.registry import register
from mixers.rotary import check_rotary, rotate

MAX_EXPAND = 64.0


@register("sparse_attention")
class SparseAttention(RecurrentMixer):
    """NSA, native sparse attention: ``y_t = W_o (g^c o^c_t + g^s o^s_t + g^w o^w_t)``, three attentions under gates.

    Tokens are taken in blocks of b. Of every whole block before the query's, an MLP makes one key and one value:

        k~_j = MLP_k(K_j + P_k),  v~_j = MLP_v(V_j + P_v)        K_j, V_j [b, D], P what a place in a block adds
        s_tj = q_t . k~_j / sqrt(D)                              and o^c_t = softmax(s_t)-weighted v~
        o^s: attention over the tokens of the n blocks with the largest s_tj and over the query's block up to it
        o^w: attention over the last W tokens                    g = sigmoid(W_g norm(x_t) + b_g), per head

    ``num_compressed_mem_kv`` learnt keys and values stand before the compressed ones. The last two attentions have
    rotary positions (pairs of neighbouring channels), the compressed one none. Key and value heads may be fewer than
    query heads; the queries of one choose blocks together, by the mean of their s, or each for itself.

    Parameters are named and shaped as in Zoology's ``deepseek_nsa.SparseAttention``, whose weights load (but for its
    rotary frequencies, which are constants), and start as there. ``window`` is its ``sliding_window_size`` + 1, as the
    query's token counts, and ``block_size`` is both of its block sizes, which it needs equal. Deviations: its sliding
    window looks as far ahead as back unless it is given ``causal=True`` (its sweeps do not), and this one never ahead;
    a sequence need not be whole blocks; a block is not left out for a share of attention below 1e-10. It computes all
    scores and masks those that are not attended to, so that on a CPU a step costs what full attention does; what is
    sparse is what is read.

    Source: Yuan et al. 2025, arXiv 2502.11089.
    State: keys and values of all tokens and of all whole blocks, and the open block's keys before their rotation:
    ``2 H_kv D (T + floor(T / b)) + H_kv D (T mod b)`` elements. Read for a token: the compressed ones, the tokens of n
    blocks, its own block and its window.

    Args:
        d_model: model width, a multiple of ``num_heads``.
        layer_idx: position in the stack; unused.
        num_heads: H, of the queries.
        kv_heads: H_kv, of keys and values, of which H is a multiple; default H.
        window: W, positions that the sliding window holds, the query's own included.
        block_size: b.
        num_selected_blocks: n.
        num_compressed_mem_kv: learnt keys and values before the compressed ones.
        norm: an RMSNorm of the input, besides the block's.
        query_heads_share_selected_kv: queries of one key head choose the same blocks.
        compress_mlp_expand_factor: width of the MLP's hidden layer over b D.
    """

    def __init__(
        self,
        d_model: int,
        layer_idx: int | None = None,
        num_heads: int = 2,
        kv_heads: int | None = None,
        window: int = 17,
        block_size: int = 8,
        num_selected_blocks: int = 4,
        num_compressed_mem_kv: int = 1,
        norm: bool = True,
        query_heads_share_selected_kv: bool = True,
        compress_mlp_expand_factor: float = 1.0,
    ) -> None:
        super().__init__(d_model, layer_idx)
        kv_heads = num_heads if kv_heads is None else kv_heads
        check_size(num_heads=num_heads, kv_heads=kv_heads, window=window, block_size=block_size)
        check_size(num_selected_blocks=num_selected_blocks, num_compressed_mem_kv=num_compressed_mem_kv)
        check_number(0, MAX_EXPAND, compress_mlp_expand_factor=compress_mlp_expand_factor)
        if d_model % num_heads:
            raise ValueError(f"d_model {d_model} must be a multiple of num_heads {num_heads}")
        if num_heads % kv_heads:
            raise ValueError(f"num_heads {num_heads} must be a multiple of kv_heads {kv_heads}")
        D = d_model // num_heads
        check_rotary(D, 10000.0)
        self.num_heads, self.kv_heads, self.head_dim = num_heads, kv_heads, D
        self.window, self.block_size, self.num_selected_blocks = window, block_size, num_selected_blocks
        self.share = query_heads_share_selected_kv
        self.norm = nn.RMSNorm(d_model) if norm else nn.Identity()
        self.to_qkv = nn.Linear(d_model, (num_heads + 2 * kv_heads) * D, bias=False)
        self.compress_mem_kv = nn.Parameter(torch.zeros(2, kv_heads, num_compressed_mem_kv, D))
        self.k_intrablock_positions = nn.Parameter(torch.zeros(kv_heads, block_size, D))
        self.v_intrablock_positions = nn.Parameter(torch.zeros(kv_heads, block_size, D))
        hidden = max(1, int(compress_mlp_expand_factor * block_size * D))
        self.k_compress = _compress(block_size * D, hidden, D)
        self.v_compress = _compress(block_size * D, hidden, D)
        gates = nn.Linear(d_model, 3 * num_heads)
        self.to_strategy_combine = nn.Sequential(gates, nn.Sigmoid())
        self.combine_heads = nn.Linear(d_model, d_model, bias=False)
        init_linear(self.to_qkv, self.combine_heads)
        nn.init.zeros_(gates.weight)  # the window leads until the others have something to say
        gates.bias.data.copy_(torch.tensor([-2.0, -2.0, 2.0] * num_heads))

    def mix(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        state = self.init_state(len(x)) if state is None else state
        x = self.norm(x)
        before, T, b = state["k"].shape[1], x.shape[1], self.block_size
        heads = [self.num_heads, self.kv_heads, self.kv_heads]
        q, k, v = self.to_qkv(x).unflatten(-1, (-1, self.head_dim)).split(heads, 2)
        positions = before + torch.arange(T, device=x.device)
        raw, v = torch.cat([state["raw"], k], 1), torch.cat([state["v"], v], 1)
        turned = torch.cat([state["k"], rotate(k, positions, interleaved=True)], 1)
        whole = (before + T) // b - before // b  # blocks that these tokens complete
        ck, cv = self._compressed(raw[:, : whole * b], v[:, before - before % b :][:, : whole * b])
        ck, cv = torch.cat([state["ck"], ck], 1), torch.cat([state["cv"], cv], 1)

        scores, o_blocks = self._attend_to_blocks(q, ck, cv, positions)
        tokens = torch.arange(before + T, device=x.device)
        behind = positions.unsqueeze(-1) - tokens  # [T, before + T]
        chosen = self._chosen(scores, positions)[..., tokens // b]  # [B, H, T, before + T]
        near = (behind >= 0) & (positions.unsqueeze(-1) // b == tokens // b)
        q, k, values = (t.transpose(1, 2) for t in (rotate(q, positions, interleaved=True), turned, v))
        k, values = self._for_queries(k), self._for_queries(values)
        o_chosen = F.scaled_dot_product_attention(q, k, values, chosen | near)
        o_window = F.scaled_dot_product_attention(q, k, values, (behind >= 0) & (behind < self.window))
        gates = self.to_strategy_combine(x).unflatten(-1, (self.num_heads, 3)).transpose(1, 2).unsqueeze(-1)
        o = gates[..., 0, :] * o_blocks + gates[..., 1, :] * o_chosen + gates[..., 2, :] * o_window
        carried = {"k": turned, "v": v, "ck": ck, "cv": cv, "raw": raw[:, whole * b :]}
        return self.combine_heads(o.transpose(1, 2).flatten(-2)), carried

    def _compressed(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """A key and a value ``[B, blocks, H_kv, D]`` for each block of ``[B, blocks * b, H_kv, D]``."""
        parts = []
        for t, place, mlp in (
            (k, self.k_intrablock_positions, self.k_compress),
            (v, self.v_intrablock_positions, self.v_compress),
        ):
            blocks = t.unflatten(1, (-1, self.block_size)).transpose(2, 3) if t.shape[1] else None
            empty = t.new_zeros(len(t), 0, self.kv_heads, self.head_dim)
            parts.append(empty if blocks is None else mlp((blocks + place).flatten(-2)))
        return parts[0], parts[1]

    def _attend_to_blocks(self, q: Tensor, ck: Tensor, cv: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Scores ``[B, H, T, blocks]``, -inf for blocks that are not whole before the query's, and what is read."""
        learnt = self.compress_mem_kv.unsqueeze(1).expand(-1, len(q), -1, -1, -1)  # [2, B, H_kv, learnt, D]
        ck, cv = (torch.cat([first, t.transpose(1, 2)], 2) for first, t in zip(learnt, (ck, cv), strict=True))
        logits = q.transpose(1, 2) @ self._for_queries(ck).mT * self.head_dim**-0.5
        ends = torch.arange(1, ck.shape[2] - learnt.shape[3] + 1, device=q.device) * self.block_size
        later = F.pad(ends > positions.unsqueeze(-1), (learnt.shape[3], 0))
        logits = logits.masked_fill(later, -torch.inf)
        return logits[..., learnt.shape[3] :], logits.softmax(-1) @ self._for_queries(cv)

    def _chosen(self, scores: Tensor, positions: Tensor) -> Tensor:
        """Which blocks a query attends to, ``[B, H, T, blocks + 1]``: never the last one, which may be open."""
        if self.share and self.kv_heads != self.num_heads:
            scores = self._for_queries(scores.unflatten(1, (self.kv_heads, -1)).mean(2))
        best = scores.detach().topk(min(self.num_selected_blocks, scores.shape[-1]), -1).indices
        chosen = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, best, True) & (scores > -torch.inf)
        return F.pad(chosen, (0, 1))

    def _for_queries(self, t: Tensor) -> Tensor:
        """``[B, H_kv, ...]`` repeated to ``[B, H, ...]``."""
        return t if self.kv_heads == self.num_heads else t.repeat_interleave(self.num_heads // self.kv_heads, 1)

    def init_state(self, batch: int) -> State:
        return {name: self._zeros(batch, 0, self.kv_heads, self.head_dim) for name in ("k", "v", "ck", "cv", "raw")}

    def state_size(self, sequence_length: int) -> int:
        whole, open_ = divmod(sequence_length, self.block_size)
        return self.kv_heads * self.head_dim * (2 * (sequence_length + whole) + open_)

    def active_state_size(self, sequence_length: int) -> int:
        whole, open_ = divmod(sequence_length, self.block_size)
        chosen = min(whole, self.num_selected_blocks) * self.block_size + open_
        # a token of the window may be one of a chosen block: counted for each
        seen = min(sequence_length, chosen + min(sequence_length, self.window - 1))
        return self.kv_heads * self.head_dim * (2 * (whole + seen) + open_)


def _compress(width: int, hidden: int, out: int) -> nn.Sequential:
    """Zoology's MLP of a flattened block, which it flattens in the first place."""
    mlp = nn.Sequential(nn.Identity(), nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out))
    init_linear(*(layer for layer in mlp if isinstance(layer, nn.Linear)))
    return mlp
