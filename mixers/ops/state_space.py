"""H3's two state-space models: their parameters, and what a sequence makes of them, by FFT or as linear attention."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Tokens in a chunk, at most.
CHUNK = 32
#: Taps up to which a convolution is their sum; of more it goes by FFT.
FEW_TAPS = 16


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
        """``log A``, B and C of the discrete recurrence, complex128 ``[groups, N / 2, 1]``."""
        B, C = (torch.view_as_complex(t.double().contiguous()) for t in (self.B, self.C[0]))
        dt = self.log_dt.double().exp().unsqueeze(-1)
        half = dt / 2 * torch.complex(-self.inv_A_real.double().exp(), self.A_imag.double())
        log_A, B = (1 + half).log() - (1 - half).log(), dt * B / (1 - half)
        return log_A.unsqueeze(-1), B.unsqueeze(-1), C.unsqueeze(-1)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, D: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """``y_t^T q_t`` for ``y_t`` the outputs, and D times the inputs, of ``k_t v_t^T``: as linear attention.

        Within a chunk a token weighs an earlier one by ``q . k`` times the tap between them, so that no product of k
        and v is held; the poles' states go from chunk to chunk.

        Args:
            q, k, v: ``[B, T, groups, p]``, all float32 or all float64.
            D: ``[groups]``.
            state: h before the first token as pairs of reals, ``[B, p of k, p of v, groups, N / 2, 2]``; None: 0.

        Returns:
            ``[B, T, p, groups]``, and h after the last token, None if ``state`` is.
        """
        B, T, G, p = q.shape
        C = min(T, CHUNK)
        chunks = -(-T // C)
        log_A, into, out_of = self._discrete()
        powers = (log_A * torch.arange(C + 1, device=q.device)).exp()  # [groups, N / 2, C + 1]
        taps = with_direct(2 * (into * out_of * powers[..., :C]).sum(1).real, D).to(q.dtype)
        between = F.pad(taps, (C - 1, 0)).unfold(-1, C, 1).flip(-1)  # [groups, C, C]: the tap from column to row
        q, k, v = (_split(t, chunks, C) for t in (q, k, v))
        y = (q @ k.mT * between[:, None, None]) @ v
        if state is None and chunks == 1:
            return _join(y, T), None
        incoming = _pairs(into * powers[..., :C].flip(-1)).to(q.dtype)
        keep = _pairs(powers[..., C:]).to(q.dtype)
        # states that enter the chunks, but for the first if that is 0
        entering = [] if state is None else [state.permute(3, 0, 4, 5, 1, 2)]
        if chunks > 1:
            added = _spread(k[:, :-1], incoming).mT @ v[:, :-1]
            for each in added.view(G, chunks - 1, B, -1, 2, p, p).unbind(1):
                entering.append(_turned(entering[-1], keep) + each if entering else each)
        reads = _spread(q[:, -len(entering) :], _pairs((2 * out_of * powers[..., 1:]).conj()).to(q.dtype))
        found = reads @ torch.stack(entering, 1).view(G, len(entering), B, -1, p)  # Re(a b): a dot conj(b)
        y = y + found if state is not None else torch.cat([y[:, :1], y[:, 1:] + found], 1)
        if state is None:
            return _join(y, T), None
        last = T - (chunks - 1) * C
        keep = _pairs(powers[..., last : last + 1]).to(q.dtype)
        added = _spread(k[:, -1, :, None, :last], incoming[:, C - last :]).mT @ v[:, -1, :, None, :last]
        h = _turned(entering[-1], keep) + added.view(G, B, -1, 2, p, p)
        return _join(y, T), h.permute(1, 4, 5, 0, 2, 3)

    def filter(self, q: Tensor, k: Tensor, v: Tensor, D: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """As ``attend``, by convolutions of all ``k_t v_t^T`` with the taps: for p small and N large."""
        T = q.shape[1]
        q, k, v = (t.permute(0, 3, 2, 1) for t in (q, k, v))  # [B, p, groups, T]
        u = k.unsqueeze(2) * v.unsqueeze(1)  # [B, p of k, p of v, groups, T]
        y, after = fft_convolution(u, with_direct(self.taps(T), D).to(q.dtype), T), None
        if state is not None:
            added, after = self.advance(u, state)
            y = y + added
        return (q.unsqueeze(2) * y).sum(1).permute(0, 3, 1, 2), after

    def taps(self, T: int) -> Tensor:
        """``2 Re sum_n C_n A_n^t B_n`` for t below T, ``[groups, T]``; powers by blocks, so that few are held."""
        log_A, into, out_of = self._discrete()
        block = min(T, 64)
        starts, within = torch.arange(0, T, block, device=into.device), torch.arange(block, device=into.device)
        first = into * out_of * (log_A * starts).exp()
        return 2 * (first.mT @ (log_A * within).exp()).real.flatten(1)[:, :T]

    def advance(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """From h as pairs, ``[..., groups, N / 2, 2]``: what it adds to the outputs of u ``[..., groups, T]``, and h
        after them."""
        T, (log_A, into, out_of) = u.shape[-1], self._discrete()
        powers = (log_A * torch.arange(T + 1, device=u.device)).exp()  # [groups, N / 2, T + 1]
        outgoing = torch.view_as_real((2 * out_of * powers[..., 1:]).conj().resolve_conj()).to(u.dtype)
        incoming = torch.view_as_real(into * powers[..., :T].flip(-1)).to(u.dtype)
        added = torch.einsum("...gnr,gntr->...gt", state, outgoing)  # Re(a b) is the dot product of a and conj(b)
        kept = torch.view_as_real(torch.view_as_complex(state.contiguous()) * powers[..., T]).to(u.dtype)
        return added, kept + torch.einsum("...gt,gntr->...gnr", u, incoming)


def _split(x: Tensor, chunks: int, length: int) -> Tensor:
    """``[B, T, groups, p] -> [groups, chunks, B, C, p]``; zeros fill up the last."""
    if chunks * length > x.shape[1]:
        x = F.pad(x, (0, 0, 0, 0, 0, chunks * length - x.shape[1]))
    return x.unflatten(1, (chunks, length)).permute(3, 1, 0, 2, 4).contiguous()


def _join(x: Tensor, T: int) -> Tensor:
    """``[groups, chunks, B, C, p] -> [B, T, p, groups]``."""
    return x.permute(2, 1, 3, 4, 0).flatten(1, 2)[:, :T]


def _pairs(x: Tensor) -> Tensor:
    """Complex ``[groups, N / 2, C]`` as reals, ``[groups, C, N]``."""
    return torch.view_as_real(x.mT.resolve_conj().contiguous()).flatten(-2)


def _spread(x: Tensor, factors: Tensor) -> Tensor:
    """``[groups, chunks, B, C, p]`` times ``[groups, C, N]`` -> ``[groups, chunks, B, C, N p]``."""
    N, p = factors.shape[-1], x.shape[-1]
    if p == 1:
        return x * factors[:, None, None]
    factors = factors.unsqueeze(-1).expand(-1, -1, -1, p).flatten(-2)  # with copies both sides have long rows
    return torch.cat([x] * N, -1) * factors[:, None, None]


def _turned(h: Tensor, factors: Tensor) -> Tensor:
    """Complex states ``[groups, B, N / 2, 2, p, p]`` times factors ``[groups, 1, N]``."""
    real, imag = factors.view(len(factors), 1, -1, 2, 1, 1).split(1, 3)
    return torch.addcmul(real * h, torch.cat([-imag, imag], 3), h.flip(3))


def with_direct(taps: Tensor, D: Tensor) -> Tensor:
    """Taps ``[C, N]`` of an SSM, to which the input itself is added D times, ``[C]``."""
    return torch.cat([taps[:, :1] + D.unsqueeze(-1), taps[:, 1:]], 1)


def causal_convolution(u: Tensor, taps: Tensor, outputs: int) -> Tensor:
    """The last ``outputs`` of ``sum_j taps[j] u_{t-j}`` over ``[B, T, C]``; taps ``[C, N]``."""
    length, N = u.shape[1], min(u.shape[1], taps.shape[-1])
    if N > FEW_TAPS:
        return fft_convolution(u.transpose(1, 2), taps, outputs).transpose(1, 2)
    missing = N - 1 + outputs - length
    u = F.pad(u, (0, 0, max(missing, 0), 0))[:, max(-missing, 0) :]
    y = u[:, N - 1 :] * taps[:, 0]
    for j in range(1, N):
        y = torch.addcmul(y, u[:, N - 1 - j : u.shape[1] - j], taps[:, j])
    return y


def fft_convolution(u: Tensor, taps: Tensor, outputs: int) -> Tensor:
    """The last ``outputs`` of ``sum_j taps[j] u_{t-j}`` along the last dimension."""
    length = u.shape[-1]
    taps = taps[..., :length]
    if outputs == 1:
        return (u[..., length - taps.shape[-1] :] * taps.flip(-1)).sum(-1, keepdim=True)
    n = max(length, taps.shape[-1] + outputs - 1)  # what wraps around falls on outputs that are not wanted
    n = 1 << (n - 1).bit_length()
    return torch.fft.irfft(torch.fft.rfft(u, n) * torch.fft.rfft(taps, n), n)[..., length - outputs : length]
