"""What a run leaves behind: ``RunResult``, with everything needed to trust or repeat it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Literal

import torch

from mqar_bench.config import Frozen, RunConfig

#: Version of the record's form. A reader refuses records of another version.
SCHEMA_VERSION = 1


class Epoch(Frozen):
    """What one epoch gave: mean training loss, then accuracy as the uniform mean over settings and for each."""

    epoch: int
    loss: float
    accuracy: float
    settings: dict[str, float]


class Provenance(Frozen):
    """What produced the numbers."""

    device: str
    threads: int
    python: str
    versions: dict[str, str]
    git_commit: str | None
    git_dirty: bool | None
    started_at: str


class ScreenRecord(Frozen):
    """How the run's learning rate was chosen: ``keep`` of several went on after ``epochs`` of training.

    ``rivals`` are all that competed, as text, with the accuracy each reached by then; None where it failed.
    """

    epochs: int
    keep: int
    rivals: dict[str, float | None]


class RunResult(Frozen):
    """The record of a run. Sizes are elements per sequence; seconds are wall time, over all pieces of the run.

    ``resumed`` is how often training went on from a checkpoint, ``retries`` has a line for every attempt that was
    lost. A failed run is ``lost`` where it did not fail itself: its process or machine died.
    """

    schema_version: Literal[1] = 1
    run_id: str
    status: Literal["done", "failed"]
    config: RunConfig
    provenance: Provenance
    epochs: tuple[Epoch, ...] = ()
    accuracy: float | None = None
    settings: dict[str, float] = {}
    state_size: int | None = None
    active_state_size: int | None = None
    num_parameters: int | None = None
    steps: int = 0
    seconds: float = 0.0
    train_seconds: float = 0.0
    tokens_per_second: float | None = None
    peak_memory_bytes: int | None = None
    error: str | None = None
    traceback: str | None = None
    lost: bool = False
    resumed: int = 0
    retries: tuple[str, ...] = ()
    screen: ScreenRecord | None = None


def provenance(device: torch.device, started_at: str) -> Provenance:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    commit, dirty = git_state()
    return Provenance(
        device=name,
        threads=torch.get_num_threads(),
        python=platform.python_version(),
        versions=dict(package_versions()),
        git_commit=commit,
        git_dirty=dirty,
        started_at=started_at,
    )


def now() -> str:
    """The time in ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@cache
def package_versions() -> tuple[tuple[str, str], ...]:
    found = []
    for package in ("mqar-bench", "torch", "numpy", "numba", "triton", "flash-linear-attention"):
        try:
            found.append((package, importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return tuple(found)


@cache
def git_state() -> tuple[str | None, bool | None]:
    """Commit of the checkout this package runs from, and whether it has changes; (None, None) outside of one."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None, None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit, bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@cache
def cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def reset_peak_memory(device: torch.device) -> None:
    """Start a new peak, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):  # where it fails, the peak is that of the process so far
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int:
    """Bytes: allocated on the GPU, or resident in this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
