import contextlib
import os
from types import SimpleNamespace

import pytest
import torch

from mqar_bench.basics.machine.hardware import Cores
from mqar_bench.doctor import hardware
from tests.doctor.checks import by_name

GIB = 2**30


def test_more_threads_than_cores_and_threads_that_spin_are_noted(monkeypatch):
    monkeypatch.setattr(hardware, "count_cores", lambda: Cores(2, 64, 2.5))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    checks = by_name(hardware.check_hardware())
    assert "2 usable cores of 64 (control group: 2.5)" in checks["CPU"].text
    assert checks["threads"].mark == "note" and checks["threads"].fix.endswith("export OMP_NUM_THREADS=2")
    assert checks["OMP_WAIT_POLICY"].mark == "note"


@pytest.mark.parametrize(
    "built_for, visible, mark, fix",
    [
        (None, None, "FIX", "pip uninstall -y torch && pip install torch"),
        ("12.8", "", "note", "unset CUDA_VISIBLE_DEVICES"),
        ("12.8", None, "FIX", "the driver must support CUDA 12.8"),
    ],
    ids=["cpu-build", "hidden", "driver"],
)
def test_a_gpu_that_torch_does_not_see(built_for, visible, mark, fix, monkeypatch, tmp_path):
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho NVIDIA H200\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built_for)
    (check,) = hardware.check_gpus()
    assert check.text.startswith("NVIDIA H200, which torch does not see: ")
    assert check.mark == mark and check.fix.startswith(fix)


def test_a_gpu_is_described(monkeypatch):
    stand_ins = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "get_device_properties": lambda index: SimpleNamespace(name="Tesla T4", major=7, minor=5),
        "device": contextlib.nullcontext,
        "is_bf16_supported": lambda including_emulation: False,
        "mem_get_info": lambda: (12 * GIB, 15 * GIB),
    }
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    checks = by_name(hardware.check_hardware())
    assert checks["GPU 0"].text == "Tesla T4, 12.00 GiB available of 15.00 GiB, compute capability 7.5, no bf16"
    assert checks["--gpus-per-run"].values == {"default": 1}
