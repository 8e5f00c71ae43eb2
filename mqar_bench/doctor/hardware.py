"""The machine as runs will find it: cores, memory, threads, GPUs."""

from __future__ import annotations

import os

import torch

from mqar_bench.basics.machine.hardware import count_cores, cpu_name, measure_memory, show_bytes
from mqar_bench.basics.machine.processes import run_bounded
from mqar_bench.doctor.sections import Check

#: Below this a run of the default scale may be killed for memory.
LITTLE_MEMORY = 2 * 2**30


def check_hardware() -> list[Check]:
    per_run = 1 if torch.cuda.is_available() else 0
    what = "a GPU for each run of a sweep" if per_run else "runs train on the CPU"
    default = Check("--gpus-per-run", f"{per_run} by default: {what}", values={"default": per_run})
    return [_cores(), _memory(), _threads(), _waiting(), *check_gpus(), default]


def _cores() -> Check:
    usable, there, limit = count_cores()
    text = f"{cpu_name()}, {usable} usable core{'s' * (usable != 1)}"
    if usable != there:
        why = "affinity" if limit is None or limit >= usable + 1 else f"control group: {limit:g}"
        text += f" of {there} ({why})"
    return Check("CPU", text, values={"name": cpu_name(), "usable": usable, "there": there, "limit": limit})


def _memory() -> Check:
    memory = measure_memory()
    text = f"{show_bytes(memory.total)}{', the limit of the control group' if memory.limited else ''}"
    if memory.available is None:
        return Check("memory", text, values=memory._asdict())
    text = f"{show_bytes(memory.available)} available of {text}"
    if memory.available < LITTLE_MEMORY:
        fix = "runs may be killed: fewer at a time with --jobs"
        return Check("memory", text, "note", fix, memory._asdict())
    return Check("memory", text, values=memory._asdict())


def _threads() -> Check:
    """Of torch; the CPU engines compiled with numba run in as many, of their own."""
    threads, usable = torch.get_num_threads(), count_cores().usable
    text = f"{threads} of torch, and as many for numba's kernels"
    if threads > usable:
        fix = f"more than the cores usable slow one another down: export OMP_NUM_THREADS={usable}"
        return Check("threads", text, "note", fix, {"torch": threads})
    return Check("threads", text, values={"torch": threads})


def _waiting() -> Check:
    policy = os.environ.get("OMP_WAIT_POLICY", "")
    if policy.lower() == "passive":
        return Check("OMP_WAIT_POLICY", "passive", values={"value": policy})
    fix = "threads that spin while they wait slow training several times on few cores: export OMP_WAIT_POLICY=passive"
    return Check("OMP_WAIT_POLICY", policy or "not set", "note", fix, {"value": policy})


def check_gpus() -> list[Check]:
    """The GPUs that torch sees, or why it does not see those that are there."""
    if torch.cuda.is_available():
        return [_gpu(i) for i in range(torch.cuda.device_count())]
    asked = run_bounded(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], 20)
    there = [line.strip() for line in asked.stdout.splitlines() if line.strip()] if asked.code == 0 else []
    values = {"there": there}
    if not there:
        return [Check("GPU", "none", values=values)]
    text, hidden = f"{', '.join(there)}, which torch does not see", os.environ.get("CUDA_VISIBLE_DEVICES")
    if torch.version.cuda is None:
        fix = "pip uninstall -y torch && pip install torch"
        return [Check("GPU", f"{text}: torch {torch.__version__} is built for CPUs", "FIX", fix, values)]
    if hidden is not None:
        fix = "unset CUDA_VISIBLE_DEVICES, unless it is meant so"
        return [Check("GPU", f"{text}: CUDA_VISIBLE_DEVICES is {hidden!r}", "note", fix, values)]
    fix = f"the driver must support CUDA {torch.version.cuda}: update it, or install a torch built for an older CUDA"
    return [Check("GPU", f"{text}: {_why_no_cuda()}", "FIX", fix, values)]


def _gpu(index: int) -> Check:
    properties = torch.cuda.get_device_properties(index)
    capability = f"{properties.major}.{properties.minor}"
    with torch.cuda.device(index):
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        free, total = torch.cuda.mem_get_info()
    room = f"{show_bytes(free)} available of {show_bytes(total)}"
    text = f"{properties.name}, {room}, compute capability {capability}, {'bf16' if bf16 else 'no bf16'}"
    values = {"name": properties.name, "capability": capability, "bf16": bf16, "total": total, "available": free}
    return Check(f"GPU {index}", text, values=values)


def _why_no_cuda() -> str:
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return " ".join(str(error).split(". ")[0].split())
    return "no reason is given"
