"""Processors and memory: what there is, what this process may use of it (Linux: its control groups), what it used."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import platform
import re
import resource
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

SYSTEM = Path("/")


class Cores(NamedTuple):
    """``usable`` is what affinity and limit leave, at least 1; ``limit`` is the control group's, in cores."""

    usable: int
    there: int
    limit: float | None


class Memory(NamedTuple):
    """Bytes, None where the system does not tell; ``limited`` if the control group allows less than there is."""

    total: int
    available: int | None
    limited: bool


@cache
def cpu_name() -> str:
    names = re.findall(r"^model name\s*:\s*(.*\S)", _read(SYSTEM / "proc/cpuinfo"), re.MULTILINE)
    return names[0] if names else platform.processor() or platform.machine()


def device_name(device: torch.device) -> str:
    """Of the GPU, or of the CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


def count_cores(system: Path = SYSTEM) -> Cores:
    there = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else there
    limit = min(_cpu_limits(system), default=None)
    usable = allowed if limit is None else max(1, min(allowed, int(limit)))
    return Cores(usable, there, limit)


def measure_memory(system: Path = SYSTEM) -> Memory:
    known = {name: int(kib) * 1024 for name, kib in re.findall(r"(\w+): *(\d+)", _read(system / "proc/meminfo"))}
    total = known.get("MemTotal") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    available, limited = known.get("MemAvailable"), False
    for limit, used in _memory_limits(system):
        if limit < total:
            total, limited = limit, True
        if available is not None:
            available = min(available, max(0, limit - used))
    return Memory(total, available, limited)


def device_memory(device: torch.device) -> int:
    """Bytes that the GPU has, or that this process may have."""
    on_gpu = device.type == "cuda"
    return torch.cuda.get_device_properties(device).total_memory if on_gpu else measure_memory().total


def reset_peak_memory(device: torch.device) -> None:
    """Start a new peak, where the system can, without what earlier work in this process has freed."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError, AttributeError):  # glibc keeps what was freed, for each thread apart
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):  # where it fails, the peak is that of the process so far
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int:
    """Bytes: allocated on the GPU, or resident in this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if found := re.search(r"VmHWM:\s*(\d+)", _read(SYSTEM / "proc/self/status")):
        return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def show_bytes(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _cpu_limits(system: Path) -> Iterator[float]:
    """In cores, of each group that has a limit."""
    for folder in _groups(system, "cpu"):
        version_1 = " ".join(_read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        words = (_read(folder / "cpu.max") or version_1).split()
        if len(words) == 2 and words[0] not in ("max", "-1"):
            yield int(words[0]) / int(words[1])


def _memory_limits(system: Path) -> Iterator[tuple[int, int]]:
    """Limit and use of each group that has a limit; what caches would give back is not in use."""
    for folder in _groups(system, "memory"):
        for limit_name, used_name, cached in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit = _read(folder / limit_name)
            if limit and limit != "max":
                caches = dict(line.split() for line in _read(folder / "memory.stat").splitlines())
                used = int(_read(folder / used_name) or 0) - int(caches.get(cached, 0))
                yield int(limit), max(0, used)


def _groups(system: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's control group and of those around it, in either version of them."""
    for line in _read(system / "proc/self/cgroup").splitlines():
        _, controllers, inner = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = system / "sys/fs/cgroup" / controllers
        folder = root / inner.strip("/")
        while folder != root:
            yield folder
            folder = folder.parent
        yield root


def _read(path: Path) -> str:
    """The text of a file, empty where there is none."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
