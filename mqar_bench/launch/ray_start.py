"""Starting Ray, or joining a cluster, without what Ray would do to the process around it: signals and output."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mqar_bench.config import RunConfig
from mqar_bench.errors import UsageError
from mqar_bench.launch.share import data_bytes
from mqar_bench.launch.ship import gather
from mqar_bench.launch.worker import describe

#: For configs, events and checkpoints, besides the task data: about the least that Ray takes.
OBJECT_STORE_BYTES = 80 * 2**20
#: How long a cluster may take to be reached, and to answer.
CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 30.0

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


def start(ray: Any, configs: Sequence[RunConfig] = ()) -> None:
    """Start a Ray of our own on this machine, which ends with this process, however that ends.

    Raises:
        UsageError: it does not start.
    """
    import psutil  # comes with Ray

    largest = max((data_bytes(config.data) for config in configs), default=0)
    # no address would join whatever cluster runs on this machine
    own = {"address": "local", "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES + 3 * largest}
    before = set(psutil.Process().children())
    with _our_signals(ray):
        try:
            ray.init(**QUIET, **own)
        except BaseException as error:
            for child in set(psutil.Process().children()) - before:  # what ray.shutdown does not know of yet
                for process in (*child.children(recursive=True), child):
                    with contextlib.suppress(psutil.Error):
                        process.kill()
            if not isinstance(error, Exception):
                raise
            # Ray raises anything, Exception itself too
            raise UsageError(f"cannot start Ray on this machine: {describe(error)}") from error
        ray._private.worker._worker_logs_enabled = False  # log_to_driver is not about what is said of dead workers
        _let_agents_go(ray)


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
        raise UsageError(f"cannot join the Ray cluster at {address}: {reason}; {TOKEN_HINT}")
    with tempfile.TemporaryDirectory(prefix="mqar-bench-") as folder, _our_signals(ray):
        shipped = gather(configs, Path(folder))
        try:
            ray.init(**QUIET, address=address, runtime_env={"working_dir": str(shipped)})
        except Exception as error:
            raise UsageError(f"cannot join the Ray cluster at {address}: {describe(error)}; {TOKEN_HINT}") from error
    ray._private.worker._worker_logs_enabled = False


def stop(ray: Any) -> None:
    """End the Ray that was started, or leave the cluster that was joined."""
    with _our_signals(ray):
        ray.shutdown()
    ray._private.worker._worker_logs_enabled = True


def dead_part(ray: Any) -> str:
    """What has died of the Ray that was started; it will soon take this process along. Empty if nothing has."""
    node = ray._private.worker._global_node
    dead = {name for name, _ in node.dead_processes()} & {"raylet", "gcs_server"} if node else ()
    return " and ".join(sorted(dead))


def _refusal(address: str) -> str:
    """Why the cluster cannot be joined, in one line, found out in another process; empty if it can be."""
    host, _, port = address.rpartition(":")
    if port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            return str(getattr(error, "strerror", None) or error).lower()
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


def _let_agents_go(ray: Any) -> None:
    """Two helpers of Ray's outlive a killed driver by a minute, in which they try to report that the raylet was killed
    too. They leave that if its log says that it was asked to end."""
    log = Path(ray._private.worker._global_node.get_logs_dir_path(), "raylet.out")
    with contextlib.suppress(OSError), open(log, "a") as file:
        file.write("(Written by mqar-bench, for the agents) Raylet received SIGTERM\n")


@contextlib.contextmanager
def _our_signals(ray: Any) -> Iterator[None]:
    """Put off SIGINT and SIGTERM, at which a Ray that is not whole can crash or hang; a second one is let through.

    And keep their handlers: Ray puts its own for SIGTERM.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ours = {int(number): handler for number, handler in handlers.items() if handler is not None}  # set from Python
    came: list[int] = []

    def pass_on(number: int, frame: Any = None) -> None:
        handler = ours[number]
        if callable(handler):
            handler(number, frame)
        elif handler == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def put_off(number: int, frame: Any) -> None:
        came.append(number)
        if len(came) > 1:
            pass_on(number, frame)

    theirs, ray._private.utils.set_sigterm_handler = ray._private.utils.set_sigterm_handler, lambda handler: None
    for number in ours:
        signal.signal(number, put_off)
    try:
        yield
    finally:
        ray._private.utils.set_sigterm_handler = theirs
        for number, handler in ours.items():
            signal.signal(number, handler)
        if came:  # rather than whatever they have led to
            pass_on(came[0])
