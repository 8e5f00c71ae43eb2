"""What of the machine this process may use: its CPU affinity, and the limits of its control group (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

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


def count_cores(system: Path = SYSTEM) -> Cores:
    there = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else there
    limit = min(_cpu_limits(system), default=None)
    usable = allowed if limit is None else max(1, min(allowed, int(limit)))
    return Cores(usable, there, limit)


def measure_memory(system: Path = SYSTEM) -> Memory:
    total, available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), None
    for line in _read(system / "proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        if name == "MemTotal":
            total = int(value.split()[0]) * 1024
        elif name == "MemAvailable":
            available = int(value.split()[0]) * 1024
    limited = False
    for limit, used in _memory_limits(system):
        if limit < total:
            total, limited = limit, True
        if available is not None:
            available = min(available, max(0, limit - used))
    return Memory(total, available, limited)


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
        for limit_name, used_name, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit = _read(folder / limit_name)
            if limit and limit != "max":
                caches = dict(line.split() for line in _read(folder / "memory.stat").splitlines())
                used = int(_read(folder / used_name) or 0) - int(caches.get(cache, 0))
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
