"""Test-time training (Sun et al. 2024): the state is a small model, trained on the sequence as it is read."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixers.base import RecurrentMixer, State, at_least_float32, init_linear
from mixers.checks import MAX_TAPS, check_number, check_size
from mixers.layers import CausalConv1d
from mixers.ops.inner_model import EPS, learn_and_answer
from mixers.registry import register
from mixers.rotary import check_rotary, rotate

MAX_RATE = 1e3


class TTT(RecurrentMixer):
    """What ``ttt_linear`` and ``ttt_mlp`` share. A subclass says with ``widths`` what the inner model is.

    Attributes:
        widths: of the inner model's layers over a head's, the input's first: two of them are one layer.
    """

    widths: tuple[int, ...]

    def __init__(
        self,
        d_model: int,
        layer_idx: int | None = None,
        num_heads: int = 2,
        mini_batch_size: int = 16,
        ttt_base_lr: float = 1.0,
        use_gate: bool = False,
        share_qk: bool = False,
        conv_kernel: int = 4,
        rotary_base: float = 10000.0,
    ) -> None:
        super().__init__(d_model, layer_idx)
        if num_heads < 1 or d_model % num_heads:
            raise ValueError(f"d_model {d_model} must be a multiple of num_heads {num_heads}")
        head_dim = d_model // num_heads
        if head_dim < 4:  # normalised, two numbers are +-1 whatever they are: no gradient but rounding
            raise ValueError(f"d_model {d_model} over num_heads {num_heads} must be at least 4, got {head_dim}")
        check_rotary(head_dim, rotary_base)
        check_size(mini_batch_size=mini_batch_size)
        check_number(0, MAX_RATE, ttt_base_lr=ttt_base_lr)
        check_size(1, MAX_TAPS, conv_kernel=conv_kernel)
        self.num_heads, self.head_dim, self.mini_batch_size = num_heads, head_dim, mini_batch_size
        self.ttt_base_lr, self.rotary_base, self.share_qk = ttt_base_lr, rotary_base, share_qk

        self.q_proj = nn.Linear(d_model, d_model, bias=False)
        self.k_proj = None if share_qk else nn.Linear(d_model, d_model, bias=False)
        self.v_proj = nn.Linear(d_model, d_model, bias=False)
        self.o_proj = nn.Linear(d_model, d_model, bias=False)
        self.g_proj = nn.Linear(d_model, d_model, bias=False) if use_gate else None
        init_linear(*(layer for layer in self.children() if isinstance(layer, nn.Linear)))
        if share_qk:
            self.conv_q = CausalConv1d(d_model, conv_kernel, bias=True, activation="identity")
            self.conv_k = CausalConv1d(d_model, conv_kernel, bias=True, activation="identity")
        self.post_norm = nn.LayerNorm(d_model, eps=EPS)
        self.learnable_ttt_lr_weight = nn.Parameter(0.02 * torch.randn(num_heads, d_model, 1))
        self.learnable_ttt_lr_bias = nn.Parameter(torch.zeros(num_heads, 1))
        self.learnable_token_idx = nn.Parameter(torch.zeros(mini_batch_size))
        self.ttt_norm_weight = nn.Parameter(torch.ones(num_heads, head_dim))
        self.ttt_norm_bias = nn.Parameter(torch.zeros(num_heads, head_dim))
        sizes = [head_dim * width for width in self.widths]
        self.inner_names: list[str] = []
        for layer, (before, after) in enumerate(zip(sizes, sizes[1:], strict=False), 1):
            self.inner_names += [f"W{layer}", f"b{layer}"]
            self.register_parameter(f"W{layer}", nn.Parameter(0.02 * torch.randn(num_heads, before, after)))
            self.register_parameter(f"b{layer}", nn.Parameter(torch.zeros(num_heads, 1, after)))

    def mix(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        state = self.init_state(len(x)) if state is None else state
        carried: State = {}
        place = int(state["place"][0]) if "place" in state else 0  # all sequences of a batch are as far
        places = (place + torch.arange(x.shape[1], device=x.device)) % self.mini_batch_size
        q, k, v = self._project(x, places, state, carried)
        rate = torch.einsum("btc,hc->bht", x, self.learnable_ttt_lr_weight[..., 0]) + self.learnable_ttt_lr_bias
        rate = self.ttt_base_lr / self.head_dim * rate.sigmoid()
        with torch.autocast(x.device.type, enabled=False):
            q, k, v, rate = (at_least_float32(t) for t in (q, k, v, rate))
            o, inner = self._learn(q, k, v, rate, place, state)
        y = self.post_norm(o.transpose(1, 2).flatten(-2).to(x.dtype))
        if self.g_proj is not None:
            y = F.gelu(self.g_proj(x), approximate="tanh") * y
        if "place" in state:
            carried["place"] = (state["place"] + x.shape[1]) % self.mini_batch_size
        return self.o_proj(y), inner | carried

    def _project(self, x: Tensor, places: Tensor, state: State, carried: State) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, ``[B, H, T, D]``, the first two turned by their place in the mini-batch."""
        q, v = self.q_proj(x), self.v_proj(x)
        if self.k_proj is None:
            k, carried["qk"] = self.conv_k.mix(q, state["qk"])
            q, _ = self.conv_q.mix(q, state["qk"])
        else:
            k = self.k_proj(x)
        q, k, v = (t.unflatten(-1, (self.num_heads, self.head_dim)) for t in (q, k, v))
        q, k = (rotate(t, places, self.rotary_base, interleaved=True) for t in (q, k))
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    def _learn(self, q: Tensor, k: Tensor, v: Tensor, rate: Tensor, place: int, state: State) -> tuple[Tensor, State]:
        """Answers ``[B, H, T, D]`` from ``place`` in a mini-batch on, and the inner model and gradients after them."""
        T, b = q.shape[2], self.mini_batch_size
        norm = [at_least_float32(p).unsqueeze(1) for p in (self.ttt_norm_weight, self.ttt_norm_bias)]
        shares = 1 / torch.arange(1, b + 1, device=q.device, dtype=q.dtype) + self.learnable_token_idx
        shares = shares.clamp(min=0).unsqueeze(-1)
        model = [state[name] for name in self.inner_names]
        pending = [state[f"{name}_grad"] for name in self.inner_names] if place else []
        answers, start = [], 0
        while start < T:
            n = min(b - place, T - start)
            here = slice(start, start + n)
            o, pending = learn_and_answer(
                q[:, :, here], k[:, :, here], v[:, :, here], rate[:, :, here], shares[place : place + n],
                model, pending, norm[0], norm[1],
            )  # fmt: skip
            answers.append(o)
            start, place = start + n, place + n
            if place == b:
                model = [weight - shares[-1] * gradient for weight, gradient in zip(model, pending, strict=True)]
                place, pending = 0, []
        carried = dict(zip(self.inner_names, model, strict=True))
        if b > 1:
            pending = pending or [torch.zeros_like(weight) for weight in model]
            carried |= {f"{name}_grad": gradient for name, gradient in zip(self.inner_names, pending, strict=True)}
        return torch.cat(answers, 2), carried

    def init_state(self, batch: int) -> State:
        state: State = {}
        for name in self.inner_names:
            start = at_least_float32(self.get_parameter(name))
            state[name] = start.expand(batch, *start.shape)
            if self.mini_batch_size > 1:
                state[f"{name}_grad"] = torch.zeros_like(state[name])
        if self.mini_batch_size > 1:
            state["place"] = torch.zeros(batch, dtype=torch.long, device=self.q_proj.weight.device)
        if self.share_qk:
            state["qk"] = self.conv_k.init_state(batch)
        return state

    def state_size(self, sequence_length: int) -> int:
        inner = sum(self.get_parameter(name).numel() for name in self.inner_names)
        convolutions = self.conv_k.state_size() if self.share_qk else 0
        return (2 * inner + 1 if self.mini_batch_size > 1 else inner) + convolutions

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        """Also of Zoology's wrapper, which calls the layer ``ttt_layer``."""
        for name in [name for name in state_dict if name.startswith(f"{prefix}ttt_layer.")]:
            state_dict[prefix + name.removeprefix(f"{prefix}ttt_layer.")] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *others)


@register("ttt_linear")
class TTTLinear(TTT):
    """TTT-Linear: ``f(k) = k W + b`` per head, learnt by gradient descent as tokens come, answers for each its query.

    Tokens come in mini-batches of b. With W_0 (and the bias, alike) as it is before one of them, its token t gets

        g_i = grad_W |LN(k_i W_0) + k_i - v_i|^2 / 2        z_t = q_t + LN(q_t W_t)
        W_t = W_0 - s_t sum_{i <= t} eta_i g_i              eta_i = base / D sigmoid(w_r x_i + b_r)
        y_t = W_o LN(z_t)                                   s_t = max(0, 1 / t + u_t), t = 1 .. b

    and the next one begins from W_b. The gradients of a mini-batch do not wait for each other, so that it is computed
    at once, as attention; the mini-batches follow one another. W and b of the first, the norm LN of each head, the
    rates w_r, b_r and u are learnt in training, through all of this. Queries and keys are turned by their place in the
    mini-batch.

    Parameters and options are those of the authors' TTTLinear, which Zoology's TTT wraps: its weights load, with its
    prefix ``ttt_layer`` or without. Differences: lengths, and pieces of a sequence, need not end with a mini-batch
    (in the authors' code prefilling must); the inner model is float32 at least; angles are computed in float64.
    Zoology counts W and b alone.

    Source: Sun et al. 2024, arXiv 2407.04620.
    State: H D (D + 1) elements of W and b, as many of the gradients that wait for the mini-batch's end, and the place
    in it (neither of these two where b is 1); with ``share_qk`` (conv_kernel - 1) d_model inputs of the convolutions.
    All of it is active.

    Args:
        d_model: model width, a multiple of ``num_heads``.
        layer_idx: position in the stack; unused.
        num_heads: H; D = d_model / H must be even, and at least 4.
        mini_batch_size: b.
        ttt_base_lr: base, the largest inner learning rate times D.
        use_gate: multiply the output's norm by ``gelu(W_g x_t)``.
        share_qk: one projection for queries and keys, told apart by a convolution for each.
        conv_kernel: taps of these.
        rotary_base: of the rotary wavelengths.
    """

    widths = (1, 1)


@register("ttt_mlp")
class TTTMLP(TTT):
    """TTT-MLP: ``f(k) = gelu(k W_1 + b_1) W_2 + b_2`` per head, learnt by gradient descent as tokens come.

    As ``ttt_linear``, with an inner model of two layers, 4 D wide between them, both of which are learnt:

        g_i = grad |LN(f_0(k_i)) + k_i - v_i|^2 / 2         z_t = q_t + LN(f_t(q_t))
        f_t: each weight of f_0 less s_t sum_{i <= t} eta_i g_i

    Parameters and options are those of the authors' TTTMLP, which Zoology's TTT wraps: its weights load, with its
    prefix ``ttt_layer`` or without. What differs is what differs of ``ttt_linear``.

    Source: Sun et al. 2024, arXiv 2407.04620.
    State: H (8 D^2 + 5 D) elements of the weights and biases, as many of the gradients that wait for the mini-batch's
    end, and the place in it (neither of these two where b is 1); with ``share_qk`` (conv_kernel - 1) d_model inputs of
    the convolutions. All of it is active.

    Args:
        d_model: model width, a multiple of ``num_heads``.
        layer_idx: position in the stack; unused.
        num_heads: H; D = d_model / H must be even, and at least 4.
        mini_batch_size: b.
        ttt_base_lr: base, the largest inner learning rate times D.
        use_gate: multiply the output's norm by ``gelu(W_g x_t)``.
        share_qk: one projection for queries and keys, told apart by a convolution for each.
        conv_kernel: taps of these.
        rotary_base: of the rotary wavelengths.
    """

    widths = (1, 4, 1)
