"""The generators of random numbers that all of a process shares, and who draws from them."""

from __future__ import annotations

import pickle
import random

import numpy as np
import torch
from torch import Tensor, nn


def states() -> dict[str, bytes]:
    """The states of the generators, by whose they are."""
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": pickle.dumps(np.random.get_state()),
        "Python": repr(random.getstate()).encode(),
    }


def drawn_since(before: dict[str, bytes]) -> list[str]:
    """Whose generators have been drawn from since ``states`` was called."""
    now = states()
    return [name for name in now if now[name] != before[name]]


def draws(mixer: nn.Module, x: Tensor) -> list[str]:
    """Whose generators ``forward`` draws from; they are left where they are."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        before = states()
        mixer(x.clone())
        return drawn_since(before)
