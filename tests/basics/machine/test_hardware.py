import os
import platform

import pytest
import torch

from mqar_bench.basics.machine import hardware
from mqar_bench.basics.machine.hardware import count_cores, measure_memory

GIB = 2**30


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_limits_of_control_groups(tmp_path):
    write(
        tmp_path,
        {
            "proc/meminfo": f"MemTotal: {16 * 2**20} kB\nMemAvailable: {8 * 2**20} kB\n",
            "proc/self/cgroup": "0::/slice/job\n",
            "sys/fs/cgroup/slice/cpu.max": "100000 100000",
            "sys/fs/cgroup/slice/job/cpu.max": "max 100000",
            "sys/fs/cgroup/slice/job/memory.max": str(4 * GIB),
            "sys/fs/cgroup/slice/job/memory.current": str(3 * GIB),
            "sys/fs/cgroup/slice/job/memory.stat": f"anon 5\ninactive_file {GIB}",
            "sys/fs/cgroup/slice/memory.max": "max",
        },
    )
    assert measure_memory(tmp_path) == (4 * GIB, 2 * GIB, True)
    cores = count_cores(tmp_path)
    assert (cores.usable, cores.limit) == (1, 1.0)


def test_limits_of_control_groups_of_version_1(tmp_path):
    write(
        tmp_path,
        {
            "proc/meminfo": f"MemTotal: {16 * 2**20} kB\nMemAvailable: {8 * 2**20} kB\n",
            # in a container the folder is not found where the host has it, only the group's own at the top
            "proc/self/cgroup": "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": str(2**63 - 4096),
            "sys/fs/cgroup/memory/memory.usage_in_bytes": str(GIB),
        },
    )
    assert measure_memory(tmp_path) == (16 * GIB, 8 * GIB, False)
    assert count_cores(tmp_path).limit == 1.5


def test_no_control_groups(tmp_path):
    memory, cores = measure_memory(tmp_path), count_cores(tmp_path)
    assert memory.total > 0 and memory.available is None and not memory.limited
    assert cores.usable == len(os.sched_getaffinity(0)) and cores.limit is None


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs an allocator that can be told to give back")
def test_a_peak_is_without_what_earlier_work_has_freed():
    cpu, size, count = torch.device("cpu"), 100_000, 3000  # small enough to come from what the allocator keeps
    blocks = [bytes([i % 256]) * size for i in range(count)]
    blocks = [block for block in blocks if block is blocks[-1]]  # the last one keeps all before it from being cut off
    before = hardware.peak_memory(cpu)
    hardware.reset_peak_memory(cpu)
    assert hardware.peak_memory(cpu) < before - 0.8 * size * count and len(blocks) == 1
