"""Training steps of the laptop sweep's smallest models, here and in another checkout of this repository.

Both checkouts' packages are in one process, and take turns to be the ones that an import finds. The losses of the first
steps must agree, so what is faster computes the same. Ratios are of CPU time, a median over rounds of alternating
steps, with the least and the largest.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch

PACKAGES = ("mixers", "mqar_bench", "sweeps")
MIXERS = (
    "gla", "hgrn2", "gated_delta_net", "rwkv7", "mamba2", "delta_net", "linear_attention", "attention", "ramnet",
)  # fmt: skip
BATCH, VOCABULARY, WIDTH = 48, 520, 64
#: Length of the sequences: pairs in them, and steps in a turn.
LENGTHS = {32: (4, 8), 128: (32, 3)}
ROUNDS = 9


class Checkout:
    """Within it, imports are from this checkout."""

    def __init__(self, root: Path) -> None:
        self.root = str(root.resolve())
        self.modules: dict[str, ModuleType] = {}

    def __enter__(self) -> None:
        self.outside = self._take()
        sys.modules.update(self.modules)
        sys.path.insert(0, self.root)

    def __exit__(self, *_: object) -> None:
        sys.path.remove(self.root)
        self.modules = self._take()
        sys.modules.update(self.outside)

    @staticmethod
    def _take() -> dict[str, ModuleType]:
        return {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] in PACKAGES}


def make_step(name: str, length: int) -> Callable[[], float]:
    """A training step, which returns its loss, of the packages that are found now."""
    from mqar_bench.config import MixerSpec, ModelConfig, TrainConfig
    from mqar_bench.tasks import MQARConfig
    from mqar_bench.training.data import Batch
    from mqar_bench.training.model import LanguageModel
    from mqar_bench.training.optimization import find_gradients, make_optimizer, training_loss
    from sweeps.fig3 import LAPTOP_MODELS

    spec = MixerSpec(name=name, options=LAPTOP_MODELS[name][0][1])
    config = ModelConfig(vocab_size=VOCABULARY, d_model=WIDTH, mixers=(MixerSpec(name="short_conv"), spec))
    settings = TrainConfig(batch_size=BATCH)
    task = MQARConfig(vocab_size=VOCABULARY, num_examples=BATCH, input_seq_len=length, num_kv_pairs=LENGTHS[length][0])
    batch = Batch(*task.build(1).batch(0, BATCH))
    torch.manual_seed(0)
    model = LanguageModel(config)
    optimizer = make_optimizer(model, settings)

    def step() -> float:
        loss = find_gradients(training_loss(model, batch, settings), model, optimizer, None)
        optimizer.step()
        return loss

    return step


def compare_steps(other: Path) -> None:
    checkouts = {"there": Checkout(other), "here": Checkout(Path(__file__).parents[1])}
    print(f"{'training step':20s} {'length':>6s} {'there ms':>9s} {'here ms':>9s} {'ratio':>6s}  least to largest")
    for length, (_, turn) in LENGTHS.items():
        for name in MIXERS:
            steps, losses = {}, {}
            for key, checkout in checkouts.items():
                with checkout:
                    steps[key] = make_step(name, length)
                    torch.manual_seed(1)  # of the dropout
                    losses[key] = torch.tensor([steps[key]() for _ in range(3)])
            torch.testing.assert_close(losses["here"], losses["there"], rtol=1e-4, atol=1e-4)
            rounds = [{key: _seconds(checkouts[key], steps[key], turn) for key in steps} for _ in range(ROUNDS)]
            ratios = [times["there"] / times["here"] for times in rounds]
            there, here = (statistics.median(times[key] for times in rounds) * 1e3 for key in ("there", "here"))
            print(
                f"{name:20s} {length:6d} {there:9.2f} {here:9.2f} {statistics.median(ratios):6.2f}"
                f"  {min(ratios):.2f} to {max(ratios):.2f}",
                flush=True,
            )


def _seconds(checkout: Checkout, step: Callable[[], float], turn: int) -> float:
    with checkout:
        start = time.process_time()
        for _ in range(turn):
            step()
        return (time.process_time() - start) / turn
