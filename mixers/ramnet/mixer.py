"""RAM-Net (Xiao et al. 2026, arXiv 2602.11958): sparse addresses into a large memory, as a sequence mixer."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from mixers.base import EngineChoice, SequenceMixer, State, TensorKind
from mixers.checks import MAX_STD, check_number, check_size
from mixers.ops.norm import rms_norm
from mixers.ramnet.memory import empty_memory
from mixers.ramnet.ops import Backend, decide_backend, decode_address, pdma, ramnet_step
from mixers.ramnet.start import Projection, align_values, shift_by_one, tie_addresses
from mixers.ramnet.trace import Access
from mixers.registry import register

MAX_SLOTS = 2**31 - 1  # slots are numbered in 32 bits


@register("ramnet")
class RAMNet(SequenceMixer):
    """RAM-Net: keys and queries become sparse addresses, K of ``M = sub_dim ** order`` slots to write and read.

    Per head, with A the address decoder (``decode_address``) and P_t the cyclic shift by t (CAPE), equations 4 to 7:

        w_t = P_t A(exp(alpha_k) W_k x_t)      o_t = PDMA(w_t, r_t, W_v x_t)
        r_t = P_t A(exp(alpha_q) W_q x_t)      y_t = W_o o_t

    That and the proxy gradient are the paper's. Ours is what makes it learn (``results/RAMNET.md``: what each part
    buys, and what did not help): more slots in training, which fade, the options from ``normalize_reads`` to
    ``tied_addresses``, and addresses that cannot sharpen. With ``train_top_k=top_k``, false for those, no
    ``address_norm`` and a ``learnable_temperature`` it is the paper's. Scoring always uses K.

    Source: Xiao et al. 2026, arXiv 2602.11958.
    State: S (H M D elements) and z (H M), float32, and the position, once per head, where a head uses CAPE. Active
    per token: K writes and K' reads (at most all M slots) of D + 1 elements in each head, and the positions.

    Args:
        d_model, layer_idx: model width; index in the stack, unused.
        num_heads: H.
        order, sub_dim: U sub-vectors per address, of d_p numbers each.
        top_k, read_top_k: K slots written and K' (default K) read per token.
        head_v_dim: D, width of a slot; default ``d_model // num_heads``.
        gamma: exponent of the decay (1 - w) ** gamma; 0 keeps everything.
        eps: in the read's denominator and the proxy gradient.
        output_norm: ``rmsnorm`` on each head's output, or ``identity``.
        cape: CAPE in all heads (true), none (false), or the first n heads.
        address_init_std: standard deviation of the initial W_q and W_k.
        address_norm: what the root mean square of W_q x and W_k x is made over a head without CAPE; None: as they come.
        alpha_init, learnable_temperature: initial alpha (exp(alpha) is the inverse temperature), and whether it learns.
        train_top_k: K at the start of training; default 4 sqrt(M), at most M / 2, at least ``top_k``.
        anneal_start, anneal_end: fractions of training between which K comes down to ``top_k``; never, if both are 1.
        anneal_steps: all of training, in forward passes, where none reports progress; K throughout, without either.
        anneal: ``shrink`` drops the slots above K in turn, ``fade`` takes their weights to 0, not their gradients.
        normalize_reads: divide the K' weights of a read by their sum.
        address_bias: a bias on W_q x and W_k x; under CAPE it starts so that a head reads what the last token wrote.
        aligned_values, output_gain: W_v starts orthogonal and W_o as W_v^T times 0.02 under CAPE, else ``output_gain``.
        tied_addresses: W_k starts as W_q on turned channels, on which heads with CAPE put what they read.
        proxy_gradient, backend: see ``pdma`` and ``mixers.ramnet.ops``.
    """

    def __init__(
        self,
        d_model: int,
        layer_idx: int | None = None,
        num_heads: int = 2,
        order: int = 4,
        sub_dim: int = 4,
        top_k: int = 8,
        read_top_k: int | None = None,
        head_v_dim: int | None = None,
        gamma: float = 1.0,
        eps: float = 1e-6,
        output_norm: Literal["rmsnorm", "identity"] = "identity",
        cape: bool | int = False,
        address_init_std: float = 0.1,
        address_norm: float | None = 1.5,
        alpha_init: float = 0.0,
        learnable_temperature: bool = False,
        train_top_k: int | None = None,
        anneal_start: float = 0.3,
        anneal_end: float = 0.8,
        anneal_steps: int | None = None,
        anneal: Literal["shrink", "fade"] = "fade",
        normalize_reads: bool = True,
        address_bias: bool = True,
        aligned_values: bool = True,
        output_gain: float = 0.3,
        tied_addresses: bool = True,
        proxy_gradient: bool = True,
        backend: Backend = "auto",
    ) -> None:
        super().__init__(d_model, layer_idx)
        check_size(num_heads=num_heads)
        check_size(1, MAX_SLOTS.bit_length(), order=order)
        check_size(2, sub_dim=sub_dim)
        self.num_slots = sub_dim**order
        if self.num_slots > MAX_SLOTS:
            raise ValueError(f"sub_dim^order must be at most {MAX_SLOTS} slots, got {sub_dim}^{order}")
        read_top_k = top_k if read_top_k is None else read_top_k
        for name, value in (("top_k", top_k), ("read_top_k", read_top_k)):
            if not 1 <= value <= self.num_slots:
                raise ValueError(f"{name} must be between 1 and the {self.num_slots} slots, got {value}")
        if train_top_k is not None and not top_k <= train_top_k <= self.num_slots:
            raise ValueError(
                f"train_top_k must be between top_k {top_k} and the {self.num_slots} slots, got {train_top_k}"
            )
        if not 0 <= anneal_start <= anneal_end <= 1:
            raise ValueError(f"need 0 <= anneal_start <= anneal_end <= 1, got {anneal_start} and {anneal_end}")
        if anneal_steps is not None:
            check_size(anneal_steps=anneal_steps)
        if not gamma >= 0:
            raise ValueError(f"gamma must be at least 0, got {gamma}")
        if not eps > 0:
            raise ValueError(f"eps must be above 0, got {eps}")
        if output_norm not in ("rmsnorm", "identity"):
            raise ValueError(f"output_norm must be rmsnorm or identity, got {output_norm!r}")
        if anneal not in ("shrink", "fade"):
            raise ValueError(f"anneal must be shrink or fade, got {anneal!r}")
        cape_heads = num_heads * cape if isinstance(cape, bool) else cape
        if not 0 <= cape_heads <= num_heads:
            raise ValueError(f"cape must be true, false or a number of heads up to {num_heads}, got {cape}")
        if head_v_dim is None:
            head_v_dim = max(1, d_model // num_heads)
        check_size(head_v_dim=head_v_dim)
        check_number(0, MAX_STD, address_init_std=address_init_std)
        check_number(0, MAX_STD, output_gain=output_gain)
        if address_norm is not None:
            check_number(0, MAX_STD, address_norm=address_norm)
        check_number(-80, 80, alpha_init=alpha_init)  # its exponential is a float32

        self.num_heads, self.order, self.sub_dim, self.head_v_dim = num_heads, order, sub_dim, head_v_dim
        self.top_k, self.read_top_k = top_k, read_top_k
        self.train_top_k = default_train_top_k(self.num_slots, top_k) if train_top_k is None else train_top_k
        self.anneal_start, self.anneal_end, self.anneal_steps = anneal_start, anneal_end, anneal_steps
        self.forwards: int | None = 0  # in training; None once progress is reported
        self.gamma, self.eps, self.proxy_gradient, self.backend = gamma, eps, proxy_gradient, backend
        self.anneal, self.normalize_reads, self.address_norm = anneal, normalize_reads, address_norm
        self.extra_top_k = 0  # slots above top_k (and read_top_k) that training uses at present,
        self.extra_share = 1.0  # and the share of their weights
        self.trace: list[Access] | None = None  # see record_access

        address_dim = num_heads * order * sub_dim
        self.q_proj = Projection(d_model, address_dim, address_bias)
        self.k_proj = Projection(d_model, address_dim, address_bias)
        self.v_proj = Projection(d_model, num_heads * head_v_dim)
        self.o_proj = Projection(num_heads * head_v_dim, d_model)
        for layer in (self.q_proj, self.k_proj):
            nn.init.normal_(layer.weight, std=address_init_std)
        for layer in (self.v_proj, self.o_proj):
            nn.init.normal_(layer.weight, std=0.02)
        self.norm = nn.RMSNorm(head_v_dim, eps=1e-5) if output_norm == "rmsnorm" else nn.Identity()
        alpha = torch.full((num_heads,), float(alpha_init))
        self.alpha_q = nn.Parameter(alpha.clone(), requires_grad=learnable_temperature)
        self.alpha_k = nn.Parameter(alpha.clone(), requires_grad=learnable_temperature)
        self.cape_heads = cape_heads
        self.cape: Tensor
        self.register_buffer("cape", torch.arange(num_heads) < cape_heads, persistent=False)
        self._start(aligned_values, output_gain, tied_addresses, alpha_init)

    @torch.no_grad()
    def _start(self, aligned_values: bool, output_gain: float, tied_addresses: bool, alpha_init: float) -> None:
        heads, cape = self.num_heads, self.cape_heads
        if self.q_proj.bias is not None and self.k_proj.bias is not None:
            biases = self._digits(self.q_proj.bias)[:cape], self._digits(self.k_proj.bias)[:cape]
            shift_by_one(*biases, scale=math.exp(alpha_init))
        if aligned_values:
            align_values(self.v_proj, self.o_proj, heads, cape, output_gain)
        if tied_addresses:
            tie_addresses(self.q_proj, self.k_proj, self.o_proj, heads, cape)

    def set_training_progress(self, progress: float) -> None:
        self.forwards = None
        self._anneal(progress)

    def _anneal(self, progress: float) -> None:
        span = max(self.anneal_end - self.anneal_start, 1e-9)
        left = 1 - min(max((progress - self.anneal_start) / span, 0.0), 1.0)
        if self.anneal == "fade":
            self.extra_top_k, self.extra_share = self.train_top_k - self.top_k, left
        else:
            self.extra_top_k = round(self.top_k * (self.train_top_k / self.top_k) ** left) - self.top_k

    def _address(
        self, x: Tensor, proj: Projection, alpha: Tensor, top_k: int, position: Tensor
    ) -> tuple[Tensor, Tensor]:
        """``[B, T, d_model]`` to weights and slots ``[B, T, H, K]``, K with what training adds."""
        kept = min(top_k + self.extra_top_k, self.num_slots) if self.training else top_k
        logits = self._code(x, proj) * alpha.exp()[:, None, None]
        cape = (position, self.cape) if self.cape_heads else ()
        weights, slots = decode_address(logits, kept, self.backend, *cape)
        fading = self.extra_share < 1 and kept > top_k
        counted = weights
        if fading:
            share = torch.ones(kept, device=x.device)
            share[top_k:] = self.extra_share
            counted = weights * share
        if self.normalize_reads and proj is self.q_proj:
            total = counted.sum(-1, keepdim=True)
            weights, counted = weights / total, counted / total
        if fading:  # the forward pass sees a share of the slots above top_k, the gradient all of them
            weights = weights - (weights - counted).detach()
        return weights, slots

    def _code(self, x: Tensor, proj: Projection) -> Tensor:
        """``[..., d_model] -> [..., H, U, d_p]``, to the norm asked for; under CAPE the shift keeps its height."""
        code = self._digits(proj(x))
        if self.address_norm is None:
            return code
        normed = rms_norm(code.flatten(-2), None, 1e-6).unflatten(-1, code.shape[-2:]) * self.address_norm
        return torch.where(self.cape[:, None, None], code, normed) if self.cape_heads else normed

    def _digits(self, x: Tensor) -> Tensor:
        """``[..., H U d_p] -> [..., H, U, d_p]``."""
        return x.unflatten(-1, (self.num_heads, self.order, self.sub_dim))

    def _mix(
        self, x: Tensor, position: Tensor, state: tuple[Tensor, Tensor] | None, keep_state: bool
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        w, w_idx = self._address(x, self.k_proj, self.alpha_k, self.top_k, position)
        r, r_idx = self._address(x, self.q_proj, self.alpha_q, self.read_top_k, position)
        if self.trace is not None:
            self.trace.append(Access(*(t.detach().clone() for t in (w, w_idx, r, r_idx))))
        v = self.v_proj(x).unflatten(-1, (self.num_heads, self.head_v_dim))
        o, state = pdma(
            w, w_idx, r, r_idx, v, self.num_slots, self.gamma, self.eps, state, keep_state,
            self.proxy_gradient, self.backend,
        )  # fmt: skip
        return self.o_proj(self.norm(o).flatten(-2)), state

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.anneal_steps is not None and self.forwards is not None:
            self._anneal(self.forwards / self.anneal_steps)
            self.forwards += 1
        position = torch.arange(x.shape[1], device=x.device)
        return self._mix(x, position, None, keep_state=False)[0]

    def engine(self, device: torch.device, dtype: torch.dtype = torch.float32, decoding: bool = False) -> EngineChoice:
        return EngineChoice(*decide_backend(self.backend, TensorKind((), dtype, device)))

    def init_state(self, batch: int) -> State:
        like = self.v_proj.weight
        dtype = torch.promote_types(like.dtype, torch.float32)
        S, z = empty_memory(batch, self.num_heads, self.num_slots, self.head_v_dim, dtype, like.device)
        state = {"S": S, "z": z}
        if self.cape_heads:
            state["position"] = torch.zeros(batch, self.num_heads, dtype=torch.int64, device=like.device)
        return state

    def prefill(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        T = x.shape[1]
        position = torch.arange(T, device=x.device)
        memory = None
        if state is not None:
            memory = state["S"], state["z"]
            if self.cape_heads:
                position = position + state["position"][:, :1]
        y, memory = self._mix(x, position, memory, keep_state=True)
        assert memory is not None
        new = {"S": memory[0], "z": memory[1]}
        if self.cape_heads:
            new["position"] = (position[..., -1:] + 1).expand(len(x), self.num_heads).contiguous()
        return y, new

    def step(self, x_t: Tensor, state: State) -> tuple[Tensor, State]:
        # addresses are recorded, and gradients taken, by the operations on sequences
        if torch.is_grad_enabled() or self.trace is not None or self.training:
            y, state = self.prefill(x_t.unsqueeze(1), state)
            return y.squeeze(1), state
        v = self.v_proj(x_t).unflatten(-1, (self.num_heads, self.head_v_dim))
        o = ramnet_step(
            self._code(x_t, self.q_proj), self._code(x_t, self.k_proj), v, state["S"], state["z"],
            self.top_k, self.read_top_k, self.gamma, self.eps, self.alpha_q, self.alpha_k,
            state.get("position"), self.cape if self.cape_heads else None, self.backend, self.normalize_reads,
        )  # fmt: skip
        return self.o_proj(self.norm(o).flatten(-2)), state

    def state_size(self, sequence_length: int) -> int:
        return self.num_heads * self.num_slots * (self.head_v_dim + 1) + self._positions()

    def active_state_size(self, sequence_length: int) -> int:
        touched = min(self.top_k + self.read_top_k, self.num_slots)
        return self.num_heads * touched * (self.head_v_dim + 1) + self._positions()

    def _positions(self) -> int:
        return self.num_heads if self.cape_heads else 0

    def extra_repr(self) -> str:
        return f"num_slots={self.sub_dim}^{self.order}={self.num_slots}, top_k={self.top_k}, gamma={self.gamma}"


def default_train_top_k(num_slots: int, top_k: int) -> int:
    """K at the start of training: 4 sqrt(M), at most M / 2, at least ``top_k``."""
    return max(top_k, min(round(4 * math.sqrt(num_slots)), num_slots // 2))
