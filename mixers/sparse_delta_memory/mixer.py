"""Sparse Delta Memory (Cabannes et al. 2026): the gated delta rule on a few of many slots, as a sequence mixer."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixers.base import EngineChoice, RecurrentMixer, State, TensorKind
from mixers.checks import MAX_STD, check_number, check_size
from mixers.decay import start_rate, start_step
from mixers.registry import register
from mixers.sparse_delta_memory.ops import Backend, address, decide_backend, sparse_delta

Activation = Literal["Softmax", "l2_normalize"]


@register("sparse_delta_memory")
class SparseDeltaMemory(RecurrentMixer):
    """Sparse Delta Memory: ``S_t = S~ + beta_t k_t (v_t - S~^T k_t)^T``, ``o_t = S_t^T q_t``, k_t and q_t sparse.

    Per head a memory of N slots of D numbers, of which a token writes W and reads R. k_t has the softmax of the W
    highest of N scores at their slots, q_t that of the R highest; a slot is two digits below sqrt(N), and its score
    the sum of theirs, from W_k x_t + b_k for writes and W_q x_t + b_q for reads. S~ is S_{t-1}, with the W slots that
    are written times alpha_t. **The other slots keep what they hold, undecayed.** With A and b learnt:

        v_t = W_v x_t + b_v     beta_t = sigmoid(w_b x_t)     alpha_t = exp(-A softplus(w_a x_t + b))
        y_t = W_o (LayerNorm(o_t) * sigmoid(W_g x_t))

    Parameters and options are those of the authors' SparseDeltaMemory, whose weights load; the defaults are its larger
    models', at sizes for a width of 64. As there, weights start truncated normal with a deviation of d_model^-1/2, the
    learnt S_0 too, A uniform in (0, 16), softplus(b) log-uniform in (0.001, 0.1), and neither decays with the
    weights. What differs: ``head_v_dim`` (a slot has ``d_model // num_heads`` numbers there); its batch norm of the
    scores is not offered, which sees other samples and later tokens, nor activations with which the delta rule can
    diverge; of equal scores the lower slot is taken. Its options of kernels and logging change no result.

    Source: Cabannes et al. 2026, arXiv 2607.07386.
    State: H N D elements, float32. Active per token: W writes and R reads (at most all N slots) of D elements in each
    head.

    Args:
        d_model, layer_idx: model width; index in the stack, unused.
        num_heads: H.
        slots_per_head: N, a square.
        num_writes, num_reads: W and R. With one write or read its Softmax is 1 and its scores are not trained.
        head_v_dim: D, width of a slot; default ``d_model // num_heads``.
        read_act, write_act: of the scores: ``Softmax`` or ``l2_normalize``.
        read_act_scale, write_act_scale: of the scores in their Softmax.
        normalize_readings: LayerNorm on each head's reading.
        output_gate: ``sigmoid(W_g x_t)``.
        backprop_on_memory: learn S_0; else it is 0.
        key_weighted_decay: ``alpha_t`` to the power of each slot's write weight, which must be a Softmax.
        backend: engine, see ``mixers.sparse_delta_memory.ops``.
    """

    def __init__(
        self,
        d_model: int,
        layer_idx: int | None = None,
        num_heads: int = 2,
        slots_per_head: int = 256,
        num_writes: int = 8,
        num_reads: int = 8,
        head_v_dim: int | None = None,
        read_act: Activation = "Softmax",
        write_act: Activation = "Softmax",
        read_act_scale: float = 1.0,
        write_act_scale: float = 1.0,
        normalize_readings: bool = True,
        output_gate: bool = True,
        backprop_on_memory: bool = True,
        key_weighted_decay: bool = False,
        backend: Backend = "auto",
    ) -> None:
        super().__init__(d_model, layer_idx)
        check_size(num_heads=num_heads)
        check_size(slots_per_head=slots_per_head)
        size = math.isqrt(slots_per_head)
        if size**2 != slots_per_head:
            raise ValueError(
                f"slots_per_head must be a square, as {size**2} or {(size + 1) ** 2}, got {slots_per_head}"
            )
        check_size(1, slots_per_head, num_writes=num_writes, num_reads=num_reads)
        if head_v_dim is None:
            head_v_dim = max(1, d_model // num_heads)
        check_size(head_v_dim=head_v_dim)
        for name, act in (("read_act", read_act), ("write_act", write_act)):
            if act not in ("Softmax", "l2_normalize"):
                raise ValueError(f"{name} must be Softmax or l2_normalize, got {act!r}")
        check_number(-MAX_STD, MAX_STD, read_act_scale=read_act_scale, write_act_scale=write_act_scale)
        if key_weighted_decay and write_act != "Softmax":
            raise ValueError(
                f"key_weighted_decay needs write_act Softmax, got {write_act}: slots with weights below 0 would grow"
            )
        self.num_heads, self.num_slots, self.head_v_dim = num_heads, slots_per_head, head_v_dim
        self.num_writes, self.num_reads = num_writes, num_reads
        self.read_act, self.write_act = read_act, write_act
        self.read_act_scale, self.write_act_scale = read_act_scale, write_act_scale
        self.key_weighted_decay, self.backend = key_weighted_decay, backend

        key_size, values = 2 * size * num_heads, num_heads * head_v_dim
        self.Wq_read = nn.Linear(d_model, key_size)
        self.Wk_write = nn.Linear(d_model, key_size)
        self.Wv_write = nn.Linear(d_model, values)
        self.a_proj = nn.Linear(d_model, num_heads)
        self.b_proj = nn.Linear(d_model, num_heads)
        self.Wo = nn.Linear(values, d_model)
        self.Wog = nn.Linear(d_model, values) if output_gate else None
        self.readings_norm = nn.LayerNorm(head_v_dim, eps=1e-6) if normalize_readings else None
        memory = torch.empty(num_heads * slots_per_head, head_v_dim)
        self.memory = nn.Parameter(memory) if backprop_on_memory else None
        self.A_log, self.dt_bias = start_rate(num_heads, 0.0, 16.0), start_step(num_heads)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        std = self.d_model**-0.5
        linear = [layer for layer in self.children() if isinstance(layer, nn.Linear)]
        for weight in [*(layer.weight for layer in linear), *([] if self.memory is None else [self.memory])]:
            nn.init.trunc_normal_(weight, std=std, a=-3 * std, b=3 * std)
        for layer in linear:
            nn.init.zeros_(layer.bias)

    def mix(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        y, S = self._mix(x, state, keep=True)
        assert S is not None
        return y, {"S": S}

    def forward(self, x: Tensor) -> Tensor:
        return self._mix(x, None, keep=False)[0]

    def step(self, x_t: Tensor, state: State) -> tuple[Tensor, State]:
        y, S = self._mix(x_t.unsqueeze(1), state, keep=True, in_place=not torch.is_grad_enabled())
        assert S is not None
        return y.squeeze(1), {"S": S}

    def _mix(self, x: Tensor, state: State | None, keep: bool, in_place: bool = False) -> tuple[Tensor, Tensor | None]:
        k, k_idx = self._address(self.Wk_write(x), self.num_writes, self.write_act, self.write_act_scale)
        q, q_idx = self._address(self.Wq_read(x), self.num_reads, self.read_act, self.read_act_scale)
        g = -self.A_log.exp() * F.softplus(self.a_proj(x) + self.dt_bias)
        if self.key_weighted_decay:
            g = g[..., None] * k
        o, S = sparse_delta(
            k,
            k_idx,
            q,
            q_idx,
            self.Wv_write(x).unflatten(-1, (self.num_heads, self.head_v_dim)),
            self.b_proj(x).sigmoid(),
            g,
            self.num_slots,
            initial_state=self._first_state() if state is None else state["S"],
            output_final_state=keep,
            backend=self.backend,
            in_place=in_place,
        )
        if self.readings_norm is not None:
            o = self.readings_norm(o)
        o = o.flatten(-2)
        if self.Wog is not None:
            o = self.Wog(x).sigmoid() * o
        return self.Wo(o), S

    def _address(self, scores: Tensor, top_k: int, act: Activation, scale: float) -> tuple[Tensor, Tensor]:
        """``[B, T, 2 H sqrt(N)]`` to weights and slots ``[B, T, H, K]``."""
        values, slots = address(scores.unflatten(-1, (self.num_heads, 2, -1)), top_k, self.backend)
        if act == "Softmax":
            return F.softmax(scale * values, -1), slots
        return values / (values.norm(dim=-1, keepdim=True) + 1e-12), slots

    def _first_state(self) -> Tensor | None:
        """S_0 of all sequences ``[1, H, N, D]``, if it is learnt."""
        return None if self.memory is None else self.memory.unflatten(0, (1, self.num_heads, -1))

    def engine(self, device: torch.device, dtype: torch.dtype = torch.float32, decoding: bool = False) -> EngineChoice:
        return EngineChoice(*decide_backend(self.backend, TensorKind((1, 1 if decoding else 2), dtype, device)))

    def init_state(self, batch: int) -> State:
        shape = self.num_heads, self.num_slots, self.head_v_dim
        first = self._first_state()
        if first is None:
            like = self.Wv_write.weight
            first = like.new_zeros(1, *shape, dtype=torch.promote_types(like.dtype, torch.float32))
        first = first.to(torch.promote_types(first.dtype, torch.float32))
        return {"S": first.expand(batch, *shape).clone()}  # steps may write into it

    def state_size(self, sequence_length: int) -> int:
        return self.num_heads * self.num_slots * self.head_v_dim

    def active_state_size(self, sequence_length: int) -> int:
        touched = min(self.num_writes + self.num_reads, self.num_slots)
        return self.num_heads * touched * self.head_v_dim

    def extra_repr(self) -> str:
        return f"slots_per_head={self.num_slots}, num_writes={self.num_writes}, num_reads={self.num_reads}"
