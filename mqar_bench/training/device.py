"""Where a run is computed, with how many threads, and the random numbers that it draws there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def pick_device(device: str) -> torch.device:
    """The device that a config means.

    Raises:
        ValueError: it is not there.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("train.device is cuda, but torch sees no CUDA device; use cpu or auto")
    return torch.device(device)


@contextmanager
def with_threads(count: int | None) -> Iterator[None]:
    """Within, torch has so many threads; None for as many as there are. Then there are as many as before."""
    before = torch.get_num_threads()
    try:
        if count is not None:
            torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Within, torch's generators start from ``seed``; weights and dropout draw from them. Then they are as before."""
    with torch.random.fork_rng(devices=[0] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
