"""Mixture-of-Memories (Du et al. 2025): gated delta rule memories, and a router that sends each token to a few."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixers.base import EngineChoice, RecurrentMixer, State, at_least_float32
from mixers.checks import MAX_TAPS, check_size, scaled_size
from mixers.decay import DT_MAX, DT_MIN, check_start, start_rate, start_step
from mixers.layers import CausalConv1d, GatedRMSNorm, RMSNorm
from mixers.ops.delta_rule import gated_delta_rule
from mixers.ops.norm import l2_norm
from mixers.ops.packed import Packing
from mixers.ops.recurrence import engine_for
from mixers.registry import register

MAX_MEMORIES = 1024  # each has projections of its own


@register("mom")
class MixtureOfMemories(RecurrentMixer):
    """Mixture-of-Memories: a router sends each token to ``topk`` of M gated delta rule memories, which alone it sees.

        p_t = softmax(W_gate x_t)                             rho_t = p_t at its k largest, over their sum
        S_m <- exp(g) S_m + beta k (v - exp(g) S_m^T k)^T     o_tm = d_k^-1/2 S_m^T q
        o_t = sum_m rho_tm o_tm + o_t_shared                  y_t = W_o (norm(o_t) silu(W_g x_t))

    in each head; q from ``q_proj``, k, v, beta = sigmoid and g = -exp(A_log) softplus(. + dt_bias) from the memory's
    own projections; q, k, v through short convolutions and SiLU, q and k then to length 1. A memory sees the
    subsequence of the tokens sent to it: no other token writes it, decays it, reads it, or enters its convolutions.
    The shared memory, with projections of its own, takes all tokens. ``get_auxiliary_loss`` is the load balancing
    loss ``aux_loss_scale M sum_m f_m P_m``, f_m being the choices of m per token and P_m its mean probability.

    Parameters are named and shaped as in fla's MomAttention, so its weights load. Unlike it: in training, too, the
    convolutions keep to one sequence and one memory (fla's run on into the next, so its outputs in training depend on
    other sequences and on later tokens); tokens keep their order (fla sorts them unstably); of equal probabilities the
    lower memory wins; the loss is per layer (fla's model has one over the tokens of all layers); ``capacity``, which
    fla does not read, is no option.

    Source: Du et al. 2025, arXiv 2502.13685.
    State: (M + shared) memories of H d_k d_v elements and, for the convolutions, (conv_size - 1) H (2 d_k + d_v);
    active are those of the k + shared memories that a token meets.

    Args:
        d_model: model width.
        layer_idx: position in the stack; unused.
        num_heads: H.
        head_dim: d_k; default ``d_model / num_heads``.
        expand_v: d_v over d_k.
        num_memories: M, the shared one not counted.
        topk: k.
        shared_mem: whether there is a shared memory.
        single_kv_proj: one set of projections for all memories, the shared one included.
        use_output_gate: the factor silu(W_g x).
        conv_size: taps, the current token included.
        conv_bias: biases on the convolutions.
        norm_eps: of the RMSNorm on each head's output.
        aux_loss_scale: of the load balancing loss; 0 for none.
        dt_min, dt_max: range of softplus(dt_bias) at the start, log-uniform.
        A_min, A_max: range of exp(A_log) at the start, uniform.
    """

    def __init__(
        self,
        d_model: int,
        layer_idx: int | None = None,
        num_heads: int = 2,
        head_dim: int | None = None,
        expand_v: float = 1.0,
        num_memories: int = 4,
        topk: int = 2,
        shared_mem: bool = True,
        single_kv_proj: bool = False,
        use_output_gate: bool = True,
        conv_size: int = 4,
        conv_bias: bool = False,
        norm_eps: float = 1e-5,
        aux_loss_scale: float = 0.01,
        dt_min: float = DT_MIN,
        dt_max: float = DT_MAX,
        A_min: float = 1e-4,
        A_max: float = 16.0,
    ) -> None:
        super().__init__(d_model, layer_idx)
        if num_heads < 1 or (head_dim is None and d_model % num_heads):
            raise ValueError(f"d_model {d_model} must be a multiple of num_heads {num_heads}, or head_dim be given")
        head_dim = d_model // num_heads if head_dim is None else head_dim
        check_size(num_heads=num_heads, head_dim=head_dim)
        check_size(1, MAX_MEMORIES, num_memories=num_memories)
        head_v_dim = scaled_size("expand_v", head_dim, expand_v)
        if head_v_dim < 1 or not math.isclose(head_v_dim, head_dim * expand_v):
            raise ValueError(f"expand_v times head_dim must be a whole number, got {expand_v} times {head_dim}")
        if not 1 <= topk <= num_memories:
            raise ValueError(f"topk must be between 1 and num_memories {num_memories}, got {topk}")
        check_size(1, MAX_TAPS, conv_size=conv_size)
        if not norm_eps > 0:
            raise ValueError(f"norm_eps must be positive, got {norm_eps}")
        if not aux_loss_scale >= 0:
            raise ValueError(f"aux_loss_scale must be at least 0, got {aux_loss_scale}")
        check_start(dt_min=dt_min, dt_max=dt_max, A_min=A_min, A_max=A_max)
        self.num_heads, self.head_dim, self.head_v_dim = num_heads, head_dim, head_v_dim
        self.num_memories, self.topk, self.shared_mem, self.single_kv_proj = (
            num_memories,
            topk,
            shared_mem,
            single_kv_proj,
        )
        self.aux_loss_scale = aux_loss_scale
        self.key_dim, self.value_dim = num_heads * head_dim, num_heads * head_v_dim
        self.q_proj = nn.Linear(d_model, self.key_dim, bias=False)
        self.gate = nn.Linear(d_model, num_memories, bias=False)
        widths = {"k": self.key_dim, "v": self.value_dim, "b": num_heads, "a": num_heads}
        for name, width in widths.items():
            if not single_kv_proj:
                own = nn.ModuleList(nn.Linear(d_model, width, bias=False) for _ in range(num_memories))
                self.add_module(f"{name}_proj", own)
            if single_kv_proj or shared_mem:
                self.add_module(f"shared_{name}", nn.Linear(d_model, width, bias=False))
        self.A_log, self.dt_bias = start_rate(num_heads, A_min, A_max), start_step(num_heads, dt_min, dt_max)
        self.q_conv1d = CausalConv1d(self.key_dim, conv_size, conv_bias)
        self.k_conv1d = CausalConv1d(self.key_dim, conv_size, conv_bias)
        self.v_conv1d = CausalConv1d(self.value_dim, conv_size, conv_bias)
        self.g_proj = nn.Linear(d_model, self.value_dim, bias=False) if use_output_gate else None
        self.o_norm = (GatedRMSNorm if use_output_gate else RMSNorm)(head_v_dim, eps=norm_eps)
        self.o_proj = nn.Linear(self.value_dim, d_model, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, gain=2**-2.5)
        self._auxiliary_loss: Tensor | None = None

    def get_auxiliary_loss(self) -> Tensor:
        """The load balancing loss of the last ``forward`` or, in training, ``prefill``, a scalar: add it to the loss.
        Without one, 0."""
        return self._zeros() if self._auxiliary_loss is None else self._auxiliary_loss

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_auxiliary_loss": None}  # a piece of graph can be neither copied nor saved

    def forward(self, x: Tensor) -> Tensor:
        packing, weight = self._pack(x, self.aux_loss_scale > 0)
        return self._mix(x, packing, weight, None, False)[0]

    def mix(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        packing, weight = self._pack(x, self.training and self.aux_loss_scale > 0)
        return self._mix(x, packing, weight, state or self.init_state(len(x)), True)

    def _pack(self, x: Tensor, balanced: bool) -> tuple[Packing, Tensor]:
        """Which tokens go where, with which weights; ``balanced`` finds the load balancing loss of it."""
        choice, weight, p = self._route(x)
        packing = Packing(choice, self.num_memories)
        self._auxiliary_loss = None
        if balanced:
            frequency = packing.counts.sum(0) / (x.shape[0] * x.shape[1])
            self._auxiliary_loss = self.aux_loss_scale * self.num_memories * (frequency * p.mean((0, 1))).sum()
        return packing, weight

    def _mix(
        self, x: Tensor, packing: Packing, weight: Tensor, state: State | None, keep: bool
    ) -> tuple[Tensor, State]:
        B, M, projections = x.shape[0], self.num_memories, self._projections()
        z = packing.pack(x).flatten(1, 2) @ projections[:M].transpose(1, 2)  # [M, B length, projected]
        before = None if state is None else {key: s[:, :M].transpose(0, 1).flatten(0, 1) for key, s in state.items()}
        o, after = self._remember(z.view(M * B, packing.length, -1), before, packing, keep)
        o = packing.unpack(o.reshape(M, B, packing.length, -1))  # [B, T, k, H V]
        o = (weight.unsqueeze(-1) * o).sum(2)
        after = {key: s.unflatten(0, (M, B)).transpose(0, 1) for key, s in after.items()}
        if self.shared_mem:
            before = None if state is None else {key: s[:, M] for key, s in state.items()}
            o_shared, last = self._remember(F.linear(x, projections[-1]), before, None, keep)
            o = o + o_shared.flatten(2)
            after = {key: torch.cat([s, last[key].unsqueeze(1)], 1) for key, s in after.items()}
        return self._output(o, x), after

    def step(self, x_t: Tensor, state: State) -> tuple[Tensor, State]:
        """As the base class says; touches the state of the k + shared memories only."""
        choice, weight, _ = self._route(x_t)  # [B, k]
        if self.shared_mem:
            choice, weight = F.pad(choice, (0, 1), value=self.num_memories), F.pad(weight, (0, 1), value=1.0)
        z = torch.einsum("bd,mod->bmo", x_t, self._projections()).expand(-1, self.num_memories + self.shared_mem, -1)
        at = torch.arange(len(x_t), device=x_t.device).unsqueeze(-1), choice
        met = {key: s[at].flatten(0, 1) for key, s in state.items()}
        o, met = self._remember(z[at].flatten(0, 1).unsqueeze(1), met, None, True)
        o = (weight.unsqueeze(-1) * o.flatten(1).unflatten(0, choice.shape)).sum(1)
        put = torch.index_put if torch.is_grad_enabled() else torch.index_put_
        after = {key: put(s, at, met[key].unflatten(0, choice.shape).to(s.dtype)) for key, s in state.items()}
        return self._output(o, x_t), after

    def _route(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The memories of each token, int64 ``[..., k]``, their weights, and all probabilities ``[..., M]``."""
        p = at_least_float32(self.gate(x)).softmax(-1)
        ranked, memory = p.sort(dim=-1, descending=True, stable=True)
        best = ranked[..., : self.topk]
        return memory[..., : self.topk], (best / best.sum(-1, keepdim=True)).to(x.dtype), p

    def _projections(self) -> Tensor:
        """Weights to q, k, v, b, a together, ``[M + shared, 2 H K + H V + 2 H, d_model]``; the shared one's last."""
        sets = [] if self.single_kv_proj else [[f"{n}_proj.{m}" for n in "kvba"] for m in range(self.num_memories)]
        if self.single_kv_proj or self.shared_mem:
            sets.append([f"shared_{name}" for name in "kvba"])
        both = [torch.cat([self.get_parameter(f"{name}.weight") for name in ["q_proj", *names]]) for names in sets]
        every = torch.stack(both)
        return every.expand(self.num_memories + self.shared_mem, -1, -1) if self.single_kv_proj else every

    def _remember(self, z: Tensor, state: State | None, packing: Packing | None, keep: bool) -> tuple[Tensor, State]:
        """Convolutions and gated delta rule along N subsequences: projected ``[N, L, .]`` to ``[N, L, H, V]``.

        ``packing`` says where they end (None: all at L); the state returned, empty without ``keep``, is as of there.
        """
        qkv, beta, g = z.split([2 * self.key_dim + self.value_dim, self.num_heads, self.num_heads], -1)
        widths = [self.key_dim, self.key_dim, self.value_dim]
        before = (None, None, None) if state is None else state["conv"].split(widths, -1)
        convolutions = self.q_conv1d, self.k_conv1d, self.v_conv1d
        parts = zip(convolutions, qkv.split(widths, -1), before, strict=True)
        q, k, v = (conv.mix(part, last)[0].unflatten(-1, (self.num_heads, -1)) for conv, part, last in parts)
        beta = beta.sigmoid()
        g = -at_least_float32(self.A_log).exp() * F.softplus(at_least_float32(g) + self.dt_bias)
        if packing is not None:
            filled = packing.filled.flatten(0, 1).unsqueeze(-1)
            beta, g = beta * filled, g * filled
        S = None if state is None else state["S"]
        o, S = gated_delta_rule(l2_norm(q), l2_norm(k), v, beta, g, self.head_dim**-0.5, S, keep)
        if not keep or S is None or state is None:
            return o, {}
        inputs, registers = torch.cat([state["conv"], qkv], 1), self.q_conv1d.state_length
        if packing is None:
            return o, {"S": S, "conv": inputs[:, z.shape[1] :]}
        last = packing.counts.t().reshape(-1, 1) + torch.arange(registers, device=z.device)
        return o, {"S": S, "conv": inputs[torch.arange(len(z), device=z.device).unsqueeze(-1), last]}

    def _output(self, o: Tensor, x: Tensor) -> Tensor:
        o = o.unflatten(-1, (self.num_heads, -1))
        if self.g_proj is None:
            return self.o_proj(self.o_norm(o).flatten(-2))
        return self.o_proj(self.o_norm(o, self.g_proj(x).unflatten(-1, (self.num_heads, -1))).flatten(-2))

    def engine(self, device: torch.device, dtype: torch.dtype = torch.float32, decoding: bool = False) -> EngineChoice:
        return engine_for(self.head_dim, self.head_v_dim, True, device, dtype, decoding)

    def init_state(self, batch: int) -> State:
        memories, H = self.num_memories + self.shared_mem, self.num_heads
        return {
            "S": self._zeros(batch, memories, H, self.head_dim, self.head_v_dim),
            "conv": self._zeros(batch, memories, self.q_conv1d.state_length, 2 * self.key_dim + self.value_dim),
        }

    def state_size(self, sequence_length: int) -> int:
        return (self.num_memories + self.shared_mem) * self._memory_size()

    def active_state_size(self, sequence_length: int) -> int:
        return (self.topk + self.shared_mem) * self._memory_size()

    def _memory_size(self) -> int:
        convolutions = self.q_conv1d.state_length * (2 * self.key_dim + self.value_dim)
        return self.num_heads * self.head_dim * self.head_v_dim + convolutions
