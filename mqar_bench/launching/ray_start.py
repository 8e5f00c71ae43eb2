"""Starting Ray, or joining a cluster, in a process that may be lost with it."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mqar_bench.basics.errors import UsageError, describe
from mqar_bench.config import RunConfig
from mqar_bench.launching.ray_trouble import ROOM, find_hint, lack_of_space, unreachable
from mqar_bench.launching.share import data_bytes
from mqar_bench.launching.ship import gather

#: For configs, events and checkpoints, besides the task data: about the least that Ray takes.
OBJECT_STORE_BYTES = 80 * 2**20
#: How long a cluster may take to answer.
ANSWER_SECONDS = 30.0

QUIET = {"namespace": "mqar-bench", "log_to_driver": False, "logging_level": logging.ERROR}
TOKEN_HINT = (
    "check the address and, if the cluster asks for a token, that RAY_AUTH_MODE=token is set"
    " and that RAY_AUTH_TOKEN or ~/.ray/auth_token is the same here as there"
)
#: Ray itself asks an address that does not answer for minutes, and for want of a token it aborts the process.
ASK = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False)"


def import_ray() -> Any:
    """
    Raises:
        UsageError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray starts: no reports to its makers
    os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")  # SIGTERM is ours, and no failure
    try:
        import ray
    except ImportError:
        raise UsageError("ray is not installed: pip install ray, or use --executor inline") from None
    return ray


def start(ray: Any, configs: Sequence[RunConfig] = ()) -> Path:
    """Start a Ray of our own on this machine, which ends with this process, however that ends: the folder of its logs.

    Raises:
        UsageError: it does not start.
    """
    if lack := lack_of_space():
        raise UsageError(f"cannot start Ray on this machine: {lack}; {ROOM}")
    largest = max((data_bytes(config.data) for config in configs), default=0)
    # no address would join whatever cluster runs on this machine
    own = {"address": "local", "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES + 3 * largest}
    try:
        ray.init(**QUIET, **own)
    except Exception as error:  # Ray raises anything, Exception itself too
        advice = f"{lack}; {ROOM}" if (lack := lack_of_space()) else find_hint(_all_of(error), None)
        text = f"cannot start Ray on this machine: {describe(error)}"
        raise UsageError(f"{text}; {advice}" if advice else text) from error
    logs = Path(ray._private.worker._global_node.get_logs_dir_path())
    _let_agents_go(logs)
    return logs


def join(ray: Any, configs: Sequence[RunConfig], address: str) -> None:
    """Join a cluster and send it the code.

    Raises:
        UsageError: it cannot be reached.
    """
    if address.startswith("ray://"):
        raise UsageError(
            f"--address {address}: Ray's client is not supported; run on a machine of the cluster, host:port"
        )
    if reason := _refusal(address):
        advice = find_hint(reason, address) or TOKEN_HINT
        raise UsageError(f"cannot join the Ray cluster at {address}: {reason}; {advice}")
    with tempfile.TemporaryDirectory(prefix="mqar-bench-") as folder:
        shipped = gather(configs, Path(folder))
        try:
            ray.init(**QUIET, address=address, runtime_env={"working_dir": str(shipped)})
        except Exception as error:
            advice = find_hint(_all_of(error), address) or TOKEN_HINT
            raise UsageError(f"cannot join the Ray cluster at {address}: {describe(error)}; {advice}") from error


def dead_part(ray: Any) -> str:
    """What has died of the Ray that was started; it will soon take this process along. Empty if nothing has."""
    node = ray._private.worker._global_node
    dead = {name: process.returncode for name, process in node.dead_processes()} if node else {}
    parts = {"raylet", "gcs_server"} & dead.keys()  # it goes on without the others
    return " and ".join(f"its {name} {describe_end(dead[name])}" for name in sorted(parts))


def describe_end(code: int | None) -> str:
    """How a process ended, by its exit code as ``subprocess`` has it."""
    if code is None:
        return "does not answer"
    return f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"


def _refusal(address: str) -> str:
    """Why the cluster cannot be joined, in one line, found out in another process; empty if it can be."""
    if reason := unreachable(address).lower():
        return reason
    command = [sys.executable, "-c", ASK, address]
    tries = os.environ | {"RAY_NUM_REDIS_GET_RETRIES": "3"}
    try:
        asked = subprocess.run(command, env=tries, capture_output=True, text=True, timeout=ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        return f"no answer within {ANSWER_SECONDS:g} s"
    if asked.returncode == 0:
        return ""
    lines = asked.stderr.strip().splitlines()
    if any("Unauthenticated" in line or "authentication token" in line for line in lines):
        return "the token is missing or wrong"
    return lines[-1] if lines else f"exit code {asked.returncode}"


def _let_agents_go(logs: Path) -> None:
    """Two helpers of Ray's outlive a killed driver by a minute, in which they try to report that the raylet was killed
    too. They leave that if its log says that it was asked to end."""
    with contextlib.suppress(OSError), open(logs / "raylet.out", "a") as file:
        file.write("(Written by mqar-bench, for the agents) Raylet received SIGTERM\n")


def _all_of(error: BaseException | None) -> str:
    """The text of an error and of those that it was raised for: Ray says the reason there."""
    return "" if error is None else f"{error} {_all_of(error.__cause__)}"
