"""The mixers: which engine computes each on this machine, and whether it does."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch

import mixers
from mqar_bench.basics.errors import describe
from mqar_bench.doctor.sections import Check

D_MODEL = 64
SHAPE = (2, 16, D_MODEL)

#: What the names of engines mean.
ENGINES = {
    "torch": "plain PyTorch",
    "chunk": "PyTorch, in chunks of the sequence",
    "step": "PyTorch, a token at a time",
    "cpu": "compiled with numba",
    "fla": "flash-linear-attention's Triton kernels",
    "triton": "Triton kernels",
    "reference": "dense PyTorch, slow",
    "dense": "PyTorch, over all slots",
}

#: Those that a first call waits for.
COMPILED = {"cpu", "fla", "triton"}

#: What to do about errors that say too little, by a part of their text.
HINTS = {
    "no locator available": "numba has nowhere to keep what it compiled: export NUMBA_CACHE_DIR=A_FOLDER_TO_WRITE_IN",
    "Failed to find C compiler": "Triton needs a C compiler: install gcc, or export CC=ITS_PATH",
    "Python.h": "Triton needs Python's headers: install python3-dev, or its like",
    "no kernel image": "this torch is not built for this GPU: install one that is",
    "out of memory": "the GPU is full: see who uses it with nvidia-smi",
}


def check_engines(device: torch.device, tell: Callable[[str], None]) -> list[Check]:
    """Every registered mixer with its defaults, in the order of their names; ``tell`` hears what takes a while."""
    return [check_mixer(name, device, tell) for name in mixers.names()]


def check_mixer(name: str, device: torch.device, tell: Callable[[str], None]) -> Check:
    """One mixer: its engines, and a forward and backward pass."""
    tell(name)
    engines, values = "", {"works": False}
    try:
        with torch.random.fork_rng(devices=[0] if device.type == "cuda" else []):
            torch.manual_seed(0)
            mixer = mixers.build(name, D_MODEL)
        training, decoding = mixer.engine(device), mixer.engine(device, decoding=True)
        engines = f"{training.name:<9} {decoding.name:<9} "
        values = {"training": training.name, "decoding": decoding.name, "works": False}
        if {training.name, decoding.name} & COMPILED:
            tell(f"{name}, which is compiled the first time: it may take a while")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            finite = _passes(mixer.to(device), device)
    except Exception as error:  # whatever a library or its compiler raises on this machine
        fix = next((hint for part, hint in HINTS.items() if part in str(error)), None)
        return Check(name, f"{engines}{describe(error)}", "FIX", fix, values)
    if not finite:
        return Check(name, f"{engines}gives numbers that are not finite", "FIX", values=values)
    values["works"] = True
    if reason := training.reason or decoding.reason:
        return Check(name, f"{engines}works, but not at its fastest: {reason}", "note", values=values)
    return Check(name, f"{engines}works", values=values)


def explain(checks: list[Check]) -> str:
    """The legend: the engines that occur."""
    named = {check.values.get(use) for check in checks for use in ("training", "decoding")}
    return "; ".join(f"{name}: {meaning}" for name, meaning in ENGINES.items() if name in named)


def _passes(mixer: mixers.SequenceMixer, device: torch.device) -> bool:
    """Whether a forward and a backward pass give finite numbers."""
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)).to(device).requires_grad_()
    y = mixer(x)
    y.square().mean().backward()
    gradients = [p.grad for p in (x, *mixer.parameters()) if p.grad is not None]
    return all(bool(tensor.isfinite().all()) for tensor in (y, *gradients))
