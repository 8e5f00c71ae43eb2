"""Training steps here and in another checkout of this repository: what the engines have gained since.

Both checkouts' packages are in one process, and take turns to be the ones that an import finds. The losses of the first
steps must agree, so what is faster computes the same. Times are of CPU, of alternating turns: medians, and of the
ratio also the least and the largest. Where a case is not as much faster as wanted, a profile says what a step spends.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from sweeps import fig3

PACKAGES = ("mixers", "mqar_bench", "sweeps")
BATCH, VOCABULARY, WIDTH = 48, 520, 64
#: Length of the sequences: pairs in them, and steps in a turn.
LENGTHS = {32: (4, 8), 128: (32, 3)}
ROUNDS = 9


@dataclass(frozen=True)
class Case:
    """A mixer behind a short convolution, and how many times faster a step is to be than in commit 81b32d8."""

    name: str
    mixer: str
    options: dict[str, Any]
    wanted: float | None
    lengths: tuple[int, ...] = (32, 128)


def _ramnet(order: int, train_top_k: int) -> dict[str, Any]:
    return fig3.ramnet(order, head_v_dim=32, top_k=8).options | {"train_top_k": train_top_k}


def _smallest(name: str, mixer: str, wanted: float | None, lengths: tuple[int, ...] = (32, 128)) -> Case:
    """With the smallest options of the laptop sweep."""
    return Case(name, mixer, fig3.LAPTOP_MODELS[mixer][0][1], wanted, lengths)


#: RAM-Net is as it first was.
CASES = (
    Case("RAM-Net, 256 slots, K 8, training with 64", "ramnet", _ramnet(4, 64), 2.5),
    Case("RAM-Net, 1,024 slots, K 8, training with 128", "ramnet", _ramnet(5, 128), 2.5),
    Case("RAM-Net, 256 slots, K 8 throughout", "ramnet", _ramnet(4, 8), 1.4, (128,)),
    _smallest("GLA", "gla", 2.0),
    _smallest("HGRN2", "hgrn2", 2.0),
    _smallest("Gated DeltaNet", "gated_delta_net", 2.0),
    _smallest("RWKV-7", "rwkv7", 2.0),
    _smallest("Mamba2", "mamba2", 2.0),
    _smallest("DeltaNet", "delta_net", 1.5),
    _smallest("Linear attention", "linear_attention", 1.5),
    _smallest("H3", "h3", 4.0, (128,)),
    _smallest("MoM", "mom", 4.0, (128,)),
    _smallest("ARMT", "armt", None, (128,)),
    _smallest("Attention", "attention", 1.0),
)


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


def commit_of(checkout: Path) -> str:
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True, check=True)
    return found.stdout.strip()


def make_step(mixer: str, options: dict[str, Any], length: int) -> Callable[[], float]:
    """A training step, which returns its loss, of the packages that are found now."""
    import mqar_bench
    from mqar_bench.config import MixerSpec, ModelConfig, TrainConfig
    from mqar_bench.tasks import MQARConfig

    spec = MixerSpec(name=mixer, options=options)
    # asked of the folder: an installed package would answer an import that this checkout cannot
    if (Path(mqar_bench.__file__).parent / "training").exists():
        from mqar_bench.records.upgrade import first_ramnet
        from mqar_bench.training.data import Batch
        from mqar_bench.training.model import LanguageModel
        from mqar_bench.training.optimization import parameter_groups, training_loss

        spec = first_ramnet(spec)
    else:
        from mqar_bench.data import Batch
        from mqar_bench.model import LanguageModel
        from mqar_bench.train import parameter_groups, training_loss

    config = ModelConfig(vocab_size=VOCABULARY, d_model=WIDTH, mixers=(MixerSpec(name="short_conv"), spec))
    settings = TrainConfig(batch_size=BATCH)
    task = MQARConfig(vocab_size=VOCABULARY, num_examples=BATCH, input_seq_len=length, num_kv_pairs=LENGTHS[length][0])
    batch = Batch(*task.build(1).batch(0, BATCH))
    torch.manual_seed(0)
    model = LanguageModel(config)
    model.set_training_progress(0.0)
    optimizer = torch.optim.AdamW(parameter_groups(model, settings), lr=settings.learning_rate, fused=True)

    def step() -> float:
        loss = training_loss(model, batch, settings)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        value = loss.item()
        optimizer.step()
        return value

    return step


def compare_steps(other: Path) -> list[dict[str, Any]]:
    """Print a line for every case and length, and return what it says."""
    checkouts = {"before": Checkout(other), "now": Checkout(Path(__file__).parents[1])}
    header = f"{'length':>6s} {'before ms':>9s} {'now ms':>9s} {'ratio':>6s}  least to largest, wanted"
    print(f"{f'training step, batch {BATCH}, d_model {WIDTH}':46s} {header}")
    rows = []
    for length in LENGTHS:
        for case in CASES:
            if length in case.lengths:
                rows.append(_compare(case, length, checkouts))
    return rows


def _compare(case: Case, length: int, checkouts: dict[str, Checkout]) -> dict[str, Any]:
    steps, losses = {}, {}
    for key, checkout in checkouts.items():
        with checkout:
            steps[key] = make_step(case.mixer, case.options, length)
            torch.manual_seed(1)  # of the dropout
            losses[key] = torch.tensor([steps[key]() for _ in range(3)])
    torch.testing.assert_close(losses["now"], losses["before"], rtol=1e-4, atol=1e-4)
    turn = LENGTHS[length][1]
    rounds = [{key: _seconds(checkouts[key], steps[key], turn) for key in steps} for _ in range(ROUNDS)]
    ratios = [times["before"] / times["now"] for times in rounds]
    before, now = (statistics.median(times[key] for times in rounds) for key in ("before", "now"))
    ratio = statistics.median(ratios)
    print(
        f"{case.name:46s} {length:6d} {before * 1e3:9.2f} {now * 1e3:9.2f} {ratio:6.2f}"
        f"  {min(ratios):.2f} to {max(ratios):.2f}{'' if case.wanted is None else f', {case.wanted:g}'}",
        flush=True,
    )
    found: dict[str, Any] = {"before_seconds": before, "now_seconds": now}
    if case.wanted is not None and ratio < case.wanted:
        with checkouts["now"]:
            found["profile"] = profile_step(steps["now"])
        print("  " + ", ".join(f"{name} {share:.0%}" for name, share in found["profile"].items()), flush=True)
    return asdict(case) | {"length": length, **found, "ratio": ratio, "least": min(ratios), "largest": max(ratios)}


def profile_step(step: Callable[[], float], most: int = 10) -> dict[str, float]:
    """The share of a step's CPU time that each operation takes itself, without what it calls; the largest ones.

    What autograd functions compute in compiled kernels of their own is under their names.
    """
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for _ in range(3):
            step()
    events = profiler.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    largest = sorted(events, key=lambda event: -event.self_cpu_time_total)[:most]
    return {event.key: event.self_cpu_time_total / total for event in largest}


def _seconds(checkout: Checkout, step: Callable[[], float], turn: int) -> float:
    with checkout:
        start = time.process_time()
        for _ in range(turn):
            step()
        return (time.process_time() - start) / turn
