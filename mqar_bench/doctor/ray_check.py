"""Ray: whether it starts here, or whether this machine can join a cluster; and if not, what to look at."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import sys
import textwrap
from pathlib import Path
from typing import Any

from mqar_bench.doctor.check import Check
from mqar_bench.doctor.processes import Ended, run_bounded

#: A private Ray starts in about ten seconds on two cores.
START_SECONDS = 60.0
CONNECT_SECONDS = 5.0

#: Ray keeps logs and sockets there, and warns of a disk that is almost full.
LITTLE_DISK = 500 * 2**20

TOKEN = "RAY_AUTH_MODE, and RAY_AUTH_TOKEN or ~/.ray/auth_token, must be the same here and on all nodes of the cluster"
BLOCKED = (
    "a firewall, sandbox or proxy may keep its processes from one another: they talk over this machine's addresses"
)

NODE = "this machine must be a node of the cluster: ray start --address=ADDR"
FOLDERS = (
    "Ray writes to its temporary folder, see RAY_TMPDIR, and a token to ~/.ray: make both writable, or do without a"
    " token: export RAY_AUTH_MODE=disabled"
)

#: What to do about errors, by a part of their text in lower case; the first that occurs counts.
HINTS = {
    "af_unix path": "the path of Ray's sockets is too long: export RAY_TMPDIR=/tmp, or another short one",
    "no space left": "the disk of Ray's temporary folder is full: free some, or export RAY_TMPDIR=A_SHORT_PATH",
    "version mismatch": "use the Ray and the Python of the cluster here",
    "no node info found": NODE,
    "local raylet": NODE,
    "could not find any running ray": "no cluster runs here: start one with ray start --head, or give HOST:PORT",
    "authentication": TOKEN,
    "permission denied": FOLDERS,
    "read-only file system": FOLDERS,
    "no such file": FOLDERS,
}
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
    before = [check_temporary_folder(), *check_loopback()] if address is None else check_address(address)
    if any(check.mark == "FIX" for check in before):
        return before
    ended = run_bounded(_command(address), seconds, _environment())
    return [*before, judge(ended, address, sees_gpu, seconds)]


def judge(ended: Ended, address: str | None, sees_gpu: bool, seconds: float) -> Check:
    """What the probe's end says."""
    name = "private Ray" if address is None else f"cluster at {address}"
    answer = _answer(ended.stdout)
    if answer is None or "error" in answer:
        text, fix = _explain(ended, answer, address, seconds)
        return Check(name, text, "FIX", fix, answer or {})
    text = f"{answer['version']} started and ran a task: "
    if address is not None:
        nodes = f"{answer['nodes']} node{'s' * (answer['nodes'] != 1)}"
        text = f"{answer['version']} joined it and ran a task on {answer['host']}: {nodes}, "
    text += f"{answer['cpus']:g} CPUs, {answer['gpus']:g} GPUs"
    if sees_gpu and not answer["gpus"]:
        fix = "look for CUDA_VISIBLE_DEVICES, or train on CPUs with --gpus-per-run 0"
        return Check(name, f"{text}, though torch sees a GPU", "FIX", fix, answer)
    return Check(name, text, values=answer)


def _explain(ended: Ended, answer: dict[str, Any] | None, address: str | None, seconds: float) -> tuple[str, str]:
    """What went wrong, and what to do about it."""
    fix = f"{BLOCKED}; its logs are in {temporary_folder() / 'ray/session_latest/logs'}"
    if address is not None:
        fix = f"see that it runs, and that no firewall is between: Ray needs more ports than this, both ways; {TOKEN}"
    if answer is not None:
        known = next((hint for part, hint in HINTS.items() if part in answer["error"].lower()), fix)
        text = textwrap.shorten(f"{answer['kind']}: {answer['error']}", LONGEST, placeholder=" ...")
        return text, known.replace("ADDR", address or "ADDR")
    if ended.code is None:
        return f"no answer within {seconds:.0f} s", fix
    last = (ended.stderr.strip().splitlines() or ["it said nothing"])[-1]
    return f"the process that tried it ended with code {ended.code}: {last}", fix


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
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        fix = "see that `ray start --head` runs there with this address and port, and that no firewall is between"
        return [Check(name, f"cannot be reached: {reason}", "FIX", fix)]
    return []


def check_loopback() -> list[Check]:
    """Whether this machine reaches itself: without, Ray waits for its own processes for ever."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), CONNECT_SECONDS).close()
    except OSError as error:
        text = f"127.0.0.1 cannot be reached: {error.strerror or error}"
        return [Check("loopback", text, "FIX", "Ray needs it: ip link set lo up, or allow it in the sandbox")]
    return []


def check_temporary_folder() -> Check:
    """Where Ray keeps its sessions: their sockets, logs, and what does not fit into memory."""
    folder = temporary_folder()
    there = next(path for path in (folder / "ray", folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    values, fix = {"folder": str(folder), "free": free}, "export RAY_TMPDIR=A_SHORT_PATH, on a disk with room"
    if not os.access(there, os.W_OK | os.X_OK):
        return Check("temporary folder", f"{folder} cannot be written", "FIX", fix, values)
    text = f"{folder}, {free / 2**30:.1f} GiB free"
    if free < LITTLE_DISK:
        return Check("temporary folder", text, "FIX", f"free some, or {fix}", values)
    return Check("temporary folder", text, values=values)


def temporary_folder() -> Path:
    """As Ray chooses it."""
    names = ["RAY_TMPDIR", *(["TMPDIR"] if sys.platform == "linux" else [])]
    return Path(next((os.environ[name] for name in names if name in os.environ), "/tmp"))


def _command(address: str | None) -> list[str]:
    # -P: the user's folder is no place to import from, whatever is called ray.py there
    return [sys.executable, "-P", "-m", "mqar_bench.doctor.ray_probe", *([address] if address else [])]


def _environment() -> dict[str, str]:
    ours = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), ours]))}


def _answer(stdout: str) -> dict[str, Any] | None:
    """The probe's line; others may have printed before it."""
    for line in reversed(stdout.splitlines()):
        if line.startswith("{"):
            return json.loads(line)
    return None
