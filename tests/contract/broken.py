"""Mixers that keep the contract but for one property each, and two that keep all of it."""

import itertools
import threading
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mixers import SequenceMixer


class Plain(nn.Module):
    """A running sum that fades, from elsewhere: it says no more than it must."""

    def __init__(self, d_model, layer_idx=None):
        super().__init__()
        self.add_parameters(d_model)

    def add_parameters(self, d_model):
        self.proj = nn.Linear(d_model, d_model)
        self.decay = nn.Parameter(torch.tensor(2.0))

    def sums(self, x):
        t = torch.arange(x.shape[1])
        weights = self.decay.sigmoid() ** (t[:, None] - t).clamp(min=0)
        return weights.tril() @ x

    def forward(self, x):
        return self.proj(self.sums(x))

    def state_size(self, sequence_length):
        return self.proj.in_features


class Good(Plain, SequenceMixer):
    """The same with all that there is to a mixer."""

    def __init__(self, d_model, layer_idx=None):
        SequenceMixer.__init__(self, d_model, layer_idx)
        self.add_parameters(d_model)

    def init_state(self, batch):
        return {"sum": self._zeros(batch, self.d_model)}

    def step(self, x_t, state):
        total = self.decay.sigmoid() * state["sum"] + x_t
        return self.proj(total), {"sum": total}


class StepInPlace(Good):
    def step(self, x_t, state):
        state["sum"].mul_(self.decay.sigmoid()).add_(x_t)
        return self.proj(state["sum"]), state


class Dropout(Good):
    def forward(self, x):
        return F.dropout(super().forward(x), 0.2, self.training)


class RaisesWithoutLayer(Good):
    def __init__(self, d_model, layer_idx=None):
        super().__init__(d_model, layer_idx)
        self.depth = layer_idx + 1


class NoSize(Plain):
    state_size = None


class SizeOfText(Plain):
    def state_size(self, sequence_length):
        return "16"


class Transposed(Plain):
    def forward(self, x):
        return super().forward(x).mT


class Doubles(Plain):
    def forward(self, x):
        return super().forward(x).double()


class WholeChunks(Plain):
    def forward(self, x):
        assert x.shape[1] % 16 == 0, "chunks of 16"
        return super().forward(x)


class NotANumber(Plain):
    def forward(self, x):
        return super().forward(x).sqrt()


class NoGradient(Good):
    @torch.no_grad()
    def forward(self, x):
        return super().forward(x)


class TwoLosses(Good):
    def get_auxiliary_loss(self):
        return self.proj.weight[0]


class LeftBehind(Plain):
    """A constant that does not move with the rest."""

    def __init__(self, d_model, layer_idx=None):
        super().__init__(d_model)
        self.turn = torch.eye(d_model)

    def forward(self, x):
        return super().forward(x @ self.turn)


class InPlace(Plain):
    def forward(self, x):
        return super().forward(x.mul_(2))


class StepInputInPlace(Good):
    def step(self, x_t, state):
        y, state = super().step(x_t, state)
        x_t.zero_()
        return y, state


class NumpyWeights(Good):
    def __init__(self, d_model, layer_idx=None):
        super().__init__(d_model, layer_idx)
        self.gain = nn.Parameter(torch.from_numpy(np.random.rand(d_model)).float())


class DropoutAlways(Good):
    def forward(self, x):
        return F.dropout(super().forward(x), 0.2)


class StepDraws(Good):
    def step(self, x_t, state):
        np.random.rand()
        return super().step(x_t, state)


class CountsCalls(Good):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) * self.calls


class CountsCallsInTraining(Good):
    calls = itertools.count(1)

    def forward(self, x):
        return super().forward(x) * (next(self.calls) if self.training else 1)


def leaking(y, x, ahead=1):
    """``y`` with the input ``ahead`` tokens later added."""
    return y + F.pad(x[:, ahead:], (0, 0, 0, min(ahead, x.shape[1])))


class LeaksByOne(Plain):
    def forward(self, x):
        return leaking(super().forward(x), x)


class LeaksFar(Plain):
    def forward(self, x):
        return leaking(super().forward(x), x, 40)


class LeaksALittle(Plain):
    def forward(self, x):
        return leaking(super().forward(x), 1e-12 * x)


class LeaksInTraining(Good):
    def forward(self, x):
        y = super().forward(x)
        return leaking(y, x) if self.training else y


class LeaksByRank(Plain):
    """Only the three loudest tokens of a sequence are kept."""

    def forward(self, x):
        loud = x.detach().square().sum(-1)
        kept = loud >= loud.topk(min(3, x.shape[1]), 1).values[:, -1:]
        return self.proj(x) * kept[..., None]


class LeaksByFFT(Plain):
    """A convolution that is not padded, and so goes round."""

    def forward(self, x):
        kernel = self.decay.sigmoid() ** torch.arange(x.shape[1])
        return self.proj(torch.fft.ifft(torch.fft.fft(x, dim=1) * torch.fft.fft(kernel)[:, None], dim=1).real)


class CausalByFFT(Plain):
    """The same, padded: to rounding it is causal."""

    def forward(self, x):
        kernel, n = self.decay.sigmoid() ** torch.arange(x.shape[1]), 2 * x.shape[1]
        y = torch.fft.irfft(torch.fft.rfft(x, n, dim=1) * torch.fft.rfft(kernel, n)[:, None], n, dim=1)
        return self.proj(y[:, : x.shape[1]])


class BatchNormAToken(Good):
    """Over the batch alone."""

    def forward(self, x):
        y = super().forward(x)
        return y - y.mean(0, keepdim=True) if self.training else y


class BatchNorm(Good):
    """Torch's, over the batch and all tokens."""

    def __init__(self, d_model, layer_idx=None):
        super().__init__(d_model, layer_idx)
        self.norm = nn.BatchNorm1d(d_model, affine=False)

    def forward(self, x):
        y = super().forward(x)
        return self.norm(y.flatten(0, 1)).view_as(y) if self.training else y


class RoutesByBatch(Plain):
    """The loudest sequence of a batch is turned round, without gradient."""

    def forward(self, x):
        loud = x.detach().square().sum((1, 2))
        return super().forward(x) * torch.where(loud == loud.max(), -1, 1)[:, None, None]


class DividesByBatch(Plain):
    def forward(self, x):
        return super().forward(x) / len(x)


class StepDrifts(Good):
    """After 16 tokens."""

    def init_state(self, batch):
        return {**super().init_state(batch), "count": self._zeros(batch, 1)}

    def state_size(self, sequence_length):
        return self.d_model + 1

    def step(self, x_t, state):
        y, carried = super().step(x_t, state)
        return y + 1e-3 * (state["count"] >= 16), {**carried, "count": state["count"] + 1}


class PrefillForgets(Good):
    """What was before the piece."""

    def prefill(self, x, state=None):
        return super().prefill(x)


class NoBeginning(Plain):
    step = Good.step


class CountsTooFew(Good):
    def state_size(self, sequence_length):
        return min(sequence_length, self.d_model)


class BatchLast(Good):
    def init_state(self, batch):
        return {"sum": self._zeros(batch, self.d_model).mT}

    def step(self, x_t, state):
        y, state = super().step(x_t, {"sum": state["sum"].mT})
        return y, {"sum": state["sum"].mT}


class TouchesMore(Good):
    def active_state_size(self, sequence_length):
        return 2 * sequence_length


class SlopeOfZero(Good):
    """A parameter whose gradient is 0 times infinity, or so."""

    def __init__(self, d_model, layer_idx=None):
        super().__init__(d_model, layer_idx)
        self.floor = nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        return super().forward(x) + (0 * self.floor).sqrt()


class Overflows(Plain):
    """A gate x sigmoid(x) whose gradient is infinity over infinity where x is far below 0."""

    def forward(self, x):
        return super().forward(x / (1 + torch.exp(-x)))


class Grows(Plain):
    def forward(self, x):
        return super().forward(x) * 1.3 ** torch.arange(x.shape[1])[:, None]


class KeepsAside(Good):
    """Numbers that are drawn and not saved."""

    def __init__(self, d_model, layer_idx=None):
        super().__init__(d_model, layer_idx)
        self.signs = [float(sign) for sign in torch.randn(d_model).sign()]

    def sums(self, x):
        return super().sums(x) * torch.tensor(self.signs, dtype=x.dtype)

    def step(self, x_t, state):
        return super().step(x_t * torch.tensor(self.signs, dtype=x_t.dtype), state)


class SavesAnObject(Good):
    def get_extra_state(self):
        return Path("/")

    def set_extra_state(self, state):
        pass


class Lambda(Good):
    def __init__(self, d_model, layer_idx=None):
        super().__init__(d_model, layer_idx)
        self.act = lambda x: x


class Lock(Good):
    def __init__(self, d_model, layer_idx=None):
        super().__init__(d_model, layer_idx)
        self.lock = threading.Lock()


class Unused(Good):
    def __init__(self, d_model, layer_idx=None):
        super().__init__(d_model, layer_idx)
        self.spare = nn.Parameter(torch.ones(3))


class AnyOption(Good):
    def __init__(self, d_model, layer_idx=None, **options):
        super().__init__(d_model, layer_idx)


class SingleOnly(Plain):
    """Not in float64."""

    def forward(self, x):
        return self.proj(self.sums(x.float()))


class Delicate(Plain):
    """Whose numbers are not finite where its parameters are moved."""

    def __init__(self, d_model, layer_idx=None):
        super().__init__(d_model)
        self.zeros = nn.Parameter(torch.zeros(d_model))

    def forward(self, x):
        return super().forward(x) + self.zeros + (1e-6 - self.zeros.abs()).sqrt()


class Narrow(Good):
    def __init__(self, d_model, layer_idx=None, heads: int = 1):
        super().__init__(d_model, layer_idx)
        if d_model % heads:
            raise ValueError(f"d_model must be a multiple of heads {heads}, got {d_model}")
