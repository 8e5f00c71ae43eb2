"""Ray: whether it starts here, or whether this machine can join a cluster; and if not, what to look at."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import textwrap
from typing import Any

from mqar_bench.basics.machine.disk import free_space, nearest_existing
from mqar_bench.basics.machine.hardware import show_bytes
from mqar_bench.basics.machine.processes import Ended, run_bounded
from mqar_bench.basics.machine.software import ROOT
from mqar_bench.doctor.sections import Check
from mqar_bench.launching.ray_trouble import (
    ELSEWHERE,
    LITTLE_DISK,
    ROOM,
    TOKEN,
    find_hint,
    temporary_folder,
    unreachable,
)

#: A private Ray starts in about ten seconds on two cores.
START_SECONDS = 60.0
#: An error is told up to here; JSON has it all.
LONGEST = 240


def check_ray(address: str | None, sees_gpu: bool, seconds: float = START_SECONDS) -> list[Check]:
    """Start a private Ray and run a task in it, or join the cluster at ``address`` instead.

    Args:
        address: ``host:port``, or ``auto``; None for a private Ray.
        sees_gpu: torch sees a GPU, so Ray should.
        seconds: for all of it; what takes longer hangs.
    """
    if importlib.util.find_spec("ray") is None:
        return [Check("ray", "not tried: it is not installed", "note", "pip install ray")]
    before = [check_temporary_folder()] if address is None else check_address(address)
    if any(check.mark == "FIX" for check in before):
        return before
    # -P: the user's folder is no place to import from, whatever is called ray.py there
    command = [sys.executable, "-P", "-m", "mqar_bench.doctor.ray_probe", *([address] if address else [])]
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
    ended = run_bounded(command, seconds, {**os.environ, "PYTHONPATH": path})
    return [*before, judge(ended, address, sees_gpu, seconds)]


def judge(ended: Ended, address: str | None, sees_gpu: bool, seconds: float) -> Check:
    """What the probe's end says."""
    name = "private Ray" if address is None else f"cluster at {address}"
    logs = temporary_folder() / "ray/session_latest/logs"
    fix = (
        "a firewall, sandbox or proxy may keep its processes from one another: they talk over this machine's addresses;"
        f" its logs are in {logs}"
    )
    if address is not None:
        fix = f"see that it runs, and that no firewall is between: Ray needs more ports than this, both ways; {TOKEN}"
    answer = _answer(ended.stdout)
    if answer is None:
        last = (ended.stderr.strip().splitlines() or ["it said nothing"])[-1]
        text = f"the process that tried it ended with code {ended.code}: {last}"
        return Check(name, f"no answer within {seconds:.0f} s" if ended.code is None else text, "FIX", fix)
    if "error" in answer:
        text = textwrap.shorten(f"{answer['kind']}: {answer['error']}", LONGEST, placeholder=" ...")
        return Check(name, text, "FIX", find_hint(answer["error"], address) or fix, answer)
    did = "started and ran a task: "
    if address is not None:
        did = f"joined it and ran a task on {answer['host']}: {answer['nodes']} node{'s' * (answer['nodes'] != 1)}, "
    text = f"{answer['version']} {did}{answer['cpus']:g} CPUs, {answer['gpus']:g} GPUs"
    if sees_gpu and not answer["gpus"]:
        fix = "look for CUDA_VISIBLE_DEVICES, or train on CPUs with --gpus-per-run 0"
        return Check(name, f"{text}, though torch sees a GPU", "FIX", fix, answer)
    return Check(name, text, values=answer)


def check_address(address: str) -> list[Check]:
    """Whether anything listens there: Ray itself takes minutes to say that nothing does."""
    name = f"cluster at {address}"
    if address == "auto":
        return []
    if address.startswith("ray://"):
        fix = "run on a machine of the cluster, and give HOST:PORT, as `ray start` there prints it"
        return [Check(name, "Ray's client is not supported", "FIX", fix)]
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return [Check(name, "is no address", "FIX", "give HOST:PORT, as `ray start` prints it, or auto")]
    if reason := unreachable(address):
        fix = "see that `ray start --head` runs there with this address and port, and that no firewall is between"
        return [Check(name, f"cannot be reached: {reason}", "FIX", fix)]
    return []


def check_temporary_folder() -> Check:
    """Whether Ray can write to it, and has room."""
    folder = temporary_folder()
    free, there = free_space(folder / "ray"), nearest_existing(folder / "ray")
    values, fix = {"folder": str(folder), "free": free}, ELSEWHERE
    if not os.access(there, os.W_OK | os.X_OK):
        return Check("temporary folder", f"{folder} cannot be written", "FIX", fix, values)
    text = f"{folder}, {show_bytes(free)} free"
    if free < LITTLE_DISK:
        return Check("temporary folder", text, "FIX", ROOM, values)
    return Check("temporary folder", text, values=values)


def _answer(stdout: str) -> dict[str, Any] | None:
    """The probe's line; others may have printed before it."""
    return next((json.loads(line) for line in reversed(stdout.splitlines()) if line.startswith("{")), None)
