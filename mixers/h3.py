"""H3 (Fu et al. 2023): two state-space models with a product before and after the second."""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixers.base import RecurrentMixer, State
from mixers.checks import check_size
from mixers.registry import register


@register("h3")
class H3(RecurrentMixer):
    """Hungry hungry hippos: ``y = q * SSM_diagonal(SSM_shift(k) * v)``, both SSMs computed by FFT.

    Parameters are named and shaped as in Zoology's H3, so its weights load. d channels are in groups of p =
    ``head_dim``; q, k, v are linear in the input with biases; N = ``d_state``:

        k~_t = sum_n C_n s_t[n] + D_k k_t        s_t[n] = s_{t-1}[n - 1] + B_n k_t         per channel
        u_t = k~_t v_t^T                                                                   p by p, per group
        h_t = A h_{t-1} + B u_t                  y_t = 2 Re sum_n C_n h_t[n] + D u_t       per entry of u
        out_t = W_o (y_t^T q_t) + b_o

    The shift SSM is a convolution of N taps, ``sum_n C_{n+j} B_n``, B learnt from e_1. The diagonal one is S4D (Gu et
    al. 2022, arXiv 2206.11893): N / 2 complex poles a group, ``-exp(inv_A_real) + i A_imag``, from -1/2 + i pi n, made
    discrete by the bilinear rule with the group's step ``exp(log_dt)``.

    Differences from Zoology: kernels are computed in float64, so that long ones are exact; no ``l_max``; projections
    keep torch's initialisation, where Zoology draws from N(0, 0.02), which makes the product of three of them tiny
    (on MQAR of 4 pairs, 0.24 against 0.15 after 1,600 steps). It reports ``d N`` elements; what must be carried is
    counted here. Recall wants a p of 8 or more: products per group, not per channel (2,000 steps of 4 to 32 pairs, d
    64: p = 2, N = 16 gave 0.02, p = 8, N = 8 0.24, p = 16, N = 4 0.53). The FFT mixes positions within rounding
    error: later tokens change an output by about 1e-7 of its size in float32. Decoding is exact.

    Source: Fu et al. 2023, arXiv 2212.14052.
    State: ``d (N - 1)`` elements, the inputs that the shift SSM's N taps still need, and ``p d N``, the poles' complex
    states as pairs of reals. All of it is read and written for every token.

    Args:
        d_model: model width, a multiple of ``head_dim``.
        layer_idx: position in the stack; unused.
        d_state: N, even.
        head_dim: p.
        dt_min, dt_max: range of the steps at the start, log-uniform.
    """

    def __init__(
        self,
        d_model: int,
        layer_idx: int | None = None,
        d_state: int = 64,
        head_dim: int = 1,
        dt_min: float = 0.001,
        dt_max: float = 0.1,
    ) -> None:
        super().__init__(d_model, layer_idx)
        if d_state < 2 or d_state % 2:
            raise ValueError(f"d_state must be even and positive, got {d_state}")
        check_size(d_state=d_state)
        if head_dim < 1 or d_model % head_dim:
            raise ValueError(f"head_dim must divide d_model {d_model}, got {head_dim}")
        if not 0 < dt_min <= dt_max:
            raise ValueError(f"dt_min and dt_max must be positive and in order, got {dt_min} and {dt_max}")
        self.d_state, self.head_dim, self.groups = d_state, head_dim, d_model // head_dim
        self.q_proj = nn.Linear(d_model, d_model)
        self.k_proj = nn.Linear(d_model, d_model)
        self.v_proj = nn.Linear(d_model, d_model)
        self.ssm_k_kernel = nn.ModuleDict({"kernel": ShiftSSM(d_model, d_state)})  # Zoology's names
        self.ssm_k_D = nn.Parameter(torch.randn(d_model))
        self.kernel = nn.ModuleDict({"kernel": DiagonalSSM(self.groups, d_state, dt_min, dt_max)})
        self.D = nn.Parameter(torch.randn(self.groups))
        self.output_linear = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        return self._mix(x, None, carry=False)[0]

    def mix(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        return self._mix(x, self.init_state(len(x)) if state is None else state, carry=True)

    def _mix(self, x: Tensor, state: State | None, carry: bool) -> tuple[Tensor, State]:
        shift = cast(ShiftSSM, self.ssm_k_kernel["kernel"])
        diagonal = cast(DiagonalSSM, self.kernel["kernel"])
        T = x.shape[1]
        dtype = torch.promote_types(x.dtype, torch.float32)  # FFTs need as much
        q, k, v = (proj(x).to(dtype).transpose(1, 2) for proj in (self.q_proj, self.k_proj, self.v_proj))  # [B, d, T]
        inputs = k if state is None else torch.cat([state["inputs"].to(dtype), k], -1)
        k = causal_convolution(inputs, shift.taps().to(dtype), T) + self.ssm_k_D.unsqueeze(-1) * k
        q, k, v = (t.unflatten(1, (self.groups, self.head_dim)).transpose(1, 2) for t in (q, k, v))  # [B, p, groups, T]
        u = k.unsqueeze(2) * v.unsqueeze(1)  # [B, p of k, p of v, groups, T]
        y = causal_convolution(u, diagonal.taps(T).to(dtype), T) + self.D.unsqueeze(-1) * u
        carried: State = {}
        if carry and state is not None:
            added, poles = diagonal.advance(u, state["poles"].to(dtype))
            y = y + added
            carried = {"inputs": inputs[..., T:], "poles": poles}
        mixed = (q.unsqueeze(2) * y).sum(1)  # [B, p, groups, T]: Zoology's order of the channels
        return self.output_linear(mixed.flatten(1, 2).transpose(1, 2).to(x.dtype)), carried

    def init_state(self, batch: int) -> State:
        p = self.head_dim
        return {
            "inputs": self._zeros(batch, self.d_model, self.d_state - 1),
            "poles": self._zeros(batch, p, p, self.groups, self.d_state // 2, 2),
        }

    def state_size(self, sequence_length: int) -> int:
        return self.d_model * (self.d_state - 1) + self.head_dim * self.d_model * self.d_state


class ShiftSSM(nn.Module):
    """``s_t[n] = s_{t-1}[n - 1] + B_n k_t``, ``y_t = sum_n C_n s_t[n]`` per channel: a convolution of N taps."""

    def __init__(self, channels: int, d_state: int) -> None:
        super().__init__()
        bound = d_state**-0.5  # of C, as torch's Conv1d
        self.C = nn.Parameter(torch.empty(1, channels, d_state).uniform_(-bound, bound))
        self.B = nn.Parameter(F.pad(torch.ones(channels, 1), (0, d_state - 1)))
        self.B._no_weight_decay = True  # type: ignore[attr-defined]

    def taps(self) -> Tensor:
        """``sum_n B_n C_{n+j}`` for j from 0: ``[channels, N]``."""
        N = self.B.shape[-1]
        B, C = (torch.fft.rfft(t.double(), 2 * N) for t in (self.B, self.C[0]))
        return torch.fft.irfft(B.conj() * C, 2 * N)[:, :N]


class DiagonalSSM(nn.Module):
    """``h_t = A h_{t-1} + B u_t``, ``y_t = 2 Re sum_n C_n h_t[n]`` per group, A diagonal and complex (S4D)."""

    def __init__(self, groups: int, d_state: int, dt_min: float, dt_max: float) -> None:
        super().__init__()
        poles = (groups, d_state // 2)
        self.log_dt = nn.Parameter(math.log(dt_min) + torch.rand(groups) * math.log(dt_max / dt_min))
        self.C = nn.Parameter(torch.view_as_real(torch.randn(1, *poles, dtype=torch.cfloat)).clone())
        self.B = nn.Parameter(torch.tensor([1.0, 0.0]).expand(*poles, 2).clone())
        self.inv_A_real = nn.Parameter(torch.full(poles, math.log(0.5)))
        self.A_imag = nn.Parameter(math.pi * torch.arange(poles[1]).expand(poles).clone())
        for parameter in (self.log_dt, self.B, self.inv_A_real, self.A_imag):
            parameter._no_weight_decay = True  # type: ignore[attr-defined]

    def _discrete(self) -> tuple[Tensor, Tensor, Tensor]:
        """``log A``, B and C of the discrete recurrence, complex128 ``[groups, N / 2]``."""
        B, C = (torch.view_as_complex(t.double().contiguous()) for t in (self.B, self.C[0]))
        dt = self.log_dt.double().exp().unsqueeze(-1)
        half = dt / 2 * torch.complex(-self.inv_A_real.double().exp(), self.A_imag.double())
        return (1 + half).log() - (1 - half).log(), dt * B / (1 - half), C

    def taps(self, T: int) -> Tensor:
        """``2 Re sum_n C_n A_n^t B_n`` for t below T, ``[groups, T]``; powers by blocks, so that few are held."""
        log_A, B, C = self._discrete()
        block = min(T, 64)
        starts, within = torch.arange(0, T, block, device=B.device), torch.arange(block, device=B.device)
        first = (B * C).unsqueeze(-1) * (log_A.unsqueeze(-1) * starts).exp()
        rest = (log_A.unsqueeze(-1) * within).exp()
        return 2 * (first.transpose(1, 2) @ rest).real.flatten(1)[:, :T]

    def advance(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """From h as pairs, ``[..., groups, N / 2, 2]``: what it adds to the outputs of u ``[..., groups, T]``, and h
        after them."""
        T, (log_A, B, C) = u.shape[-1], self._discrete()
        powers = (log_A.unsqueeze(-1) * torch.arange(T + 1, device=B.device)).exp()  # [groups, N / 2, T + 1]
        outgoing = torch.view_as_real((2 * C.unsqueeze(-1) * powers[..., 1:]).conj().resolve_conj()).to(u.dtype)
        incoming = torch.view_as_real(B.unsqueeze(-1) * powers[..., :T].flip(-1)).to(u.dtype)
        added = torch.einsum("...gnr,gntr->...gt", state, outgoing)  # Re(a b) is the dot product of a and conj(b)
        kept = torch.view_as_real(torch.view_as_complex(state.contiguous()) * powers[..., T]).to(u.dtype)
        return added, kept + torch.einsum("...gt,gntr->...gnr", u, incoming)


def causal_convolution(u: Tensor, taps: Tensor, outputs: int) -> Tensor:
    """The last ``outputs`` of ``sum_j taps[j] u_{t-j}`` along the last dimension, by FFT."""
    length = u.shape[-1]
    taps = taps[..., :length]
    if outputs == 1:
        return (u[..., length - taps.shape[-1] :] * taps.flip(-1)).sum(-1, keepdim=True)
    n = max(length, taps.shape[-1] + outputs - 1)  # what wraps around falls on outputs that are not wanted
    n = 1 << (n - 1).bit_length()
    return torch.fft.irfft(torch.fft.rfft(u, n) * torch.fft.rfft(taps, n), n)[..., length - outputs : length]
