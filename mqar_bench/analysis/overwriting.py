"""What filler takes of the slots in which a RAM-Net stores: followed while a context is read, at constant memory."""

# B - rows, T - tokens of a piece, H - heads, K - slots a token writes to, M - slots

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from mixers.ramnet import Access, RAMNet
from mqar_bench.analysis.stream_record import HeadSlots
from mqar_bench.tasks.stream import Plan
from mqar_bench.training.model import LanguageModel

Array = NDArray[Any]

#: What a token is: between what is to be recalled, of that, or of the question, which is no longer followed.
FILLER, STORED, ASKING = 0, 1, 2


class _Layer(NamedTuple):
    """A RAM-Net, and of each of its slots ``[B, H, M]``, float64, what ``Overwriting`` says."""

    mixer: RAMNet
    held: Array
    kept: Array
    taken: Array


class Overwriting:
    """The share of what is stored in slots that filler has overwritten, by the time of the question.

    A read of slot m divides by the weight z(m) of all writes to it, so that what it gives back is their mean, by the
    weights that later writes have left them, each w of which multiplies what was there with ``(1 - w) ** gamma``
    (equation 7 of the paper). With w_t(m) the weight with which token t writes to it, and a_t(m) that decay, there are
    of each slot

        kept(m) = sum over tokens s to be recalled of  w_s(m) prod_{t > s} a_t(m)
        taken(m) = the same sum over tokens s of filler
        held(m) = as kept(m), but for the decays of filler, which are left out

    and what is overwritten is the share of filler in the slots, of each as much as is stored in it:

        overwritten = sum_m held(m) taken(m) / (kept(m) + taken(m))  /  sum_m held(m)

    It is 0 where filler writes to no slot that holds anything, 1 where nothing is left, and for gamma 0, where nothing
    decays, what filler has added to the mean. The first state's weight 1 / M is no write and is left out. What counts
    is all of the context before the question, not the question nor what comes after.

    Args:
        model: in evaluation mode.
        plan: of the rows that are read.
        num_stored: how many tokens of the plan, the first, are to be recalled.
    """

    def __init__(self, model: LanguageModel, plan: Plan, num_stored: int) -> None:
        self.stored, self.asked = plan.places[:, :num_stored], plan.places[:, num_stored:].min(1)
        mixers = {i: mixer for i, mixer in enumerate(model.sequence_mixers) if isinstance(mixer, RAMNet)}
        shapes = {i: (len(self.asked), mixer.num_heads, mixer.num_slots) for i, mixer in mixers.items()}
        self.layers = {i: _Layer(mixer, *(np.zeros(shapes[i]) for _ in range(3))) for i, mixer in mixers.items()}

    def add(self, accesses: Mapping[str, Sequence[Access]], seen: int) -> None:
        """Go on with a piece of the context, after ``seen`` tokens, as ``record_access`` has recorded it."""
        for i, layer in self.layers.items():
            for access in accesses[f"layers.{i}.sequence_mixer"]:
                w = np.ascontiguousarray(access.w.float().cpu().numpy())
                slots = np.ascontiguousarray(access.w_idx.cpu().numpy(), np.int64)
                kinds = self._kinds(seen, w.shape[1])
                _follow(w, slots, kinds, float(layer.mixer.gamma), layer.held, layer.kept, layer.taken)

    def heads(self) -> tuple[HeadSlots, ...]:
        """What has come of it, a value a row."""
        found = []
        for i, (mixer, held, kept, taken) in self.layers.items():
            there = np.where(held > 0, kept + taken, 1)  # what is held has weight, or filler has taken it
            shares = (held * taken / there).sum(-1) / held.sum(-1)
            found += [
                HeadSlots(
                    layer=i,
                    head=h,
                    cape=bool(mixer.cape[h]),
                    num_slots=mixer.num_slots,
                    top_k=mixer.top_k,
                    gamma=float(mixer.gamma),
                    overwritten=tuple(shares[:, h].tolist()),
                )
                for h in range(mixer.num_heads)
            ]
        return tuple(found)

    def _kinds(self, seen: int, length: int) -> Array:
        """Of the tokens of a piece, int8 ``[B, T]``."""
        kinds = np.zeros((len(self.asked), length), np.int8)
        row, column = np.nonzero((self.stored >= seen) & (self.stored < seen + length))
        kinds[row, self.stored[row, column] - seen] = STORED
        kinds[np.arange(seen, seen + length) >= self.asked[:, None]] = ASKING
        return kinds


# compiled when this is imported, so that it counts neither as time nor as memory of reading
@numba.njit("void(f4[:,:,:,::1], i8[:,:,:,::1], i1[:,::1], f8, f8[:,:,::1], f8[:,:,::1], f8[:,:,::1])", cache=True)
def _follow(w, slots, kinds, gamma, held, kept, taken):
    """Let the tokens of a piece write: w and slots ``[B, T, H, K]``, kinds ``[B, T]``, the others ``[B, H, M]``."""
    B, T, H, K = w.shape
    for b in range(B):
        for t in range(T):
            kind = kinds[b, t]
            if kind == ASKING:
                break
            for h in range(H):
                for k in range(K):
                    weight, m = float(w[b, t, h, k]), slots[b, t, h, k]
                    left = max(0.0, 1.0 - weight)
                    decay = left if gamma == 1.0 else left**gamma
                    kept[b, h, m] *= decay
                    taken[b, h, m] *= decay
                    if kind == STORED:
                        held[b, h, m] = held[b, h, m] * decay + weight
                        kept[b, h, m] += weight
                    else:
                        taken[b, h, m] += weight
