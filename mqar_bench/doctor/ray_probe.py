"""Whether a Ray starts here, or a cluster takes this machine in: run in a process of its own, which may be ended.

``python -m mqar_bench.doctor.ray_probe [ADDRESS]`` prints what it found as a line of JSON: what ``probe_ray`` returns,
or the error and its kind.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import signal
import sys
from typing import Any

#: A task that needs no core starts at once, on a busy cluster too.
TASK_SECONDS = 45
#: The end of this process if nobody is left to end it.
LIFETIME_SECONDS = 180
#: About the least that Ray takes.
OBJECT_STORE_BYTES = 80 * 2**20


def probe_ray(address: str | None) -> dict[str, Any]:
    """Start a private Ray, or join the cluster at ``address``; run a task; leave.

    Returns:
        ``version`` of Ray, the ``nodes`` that are alive, their ``cpus`` and ``gpus``, and the ``host`` of the task.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray starts
    import ray

    options: dict[str, Any] = {"namespace": "mqar-bench", "log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        options |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    ray.init(address=address or "local", **options)
    try:
        host = ray.get(ray.remote(platform.node).options(num_cpus=0).remote(), timeout=TASK_SECONDS)
        nodes = sum(node["Alive"] for node in ray.nodes())
        there = ray.cluster_resources()
    finally:
        ray.shutdown()
    resources = {"cpus": there.get("CPU", 0.0), "gpus": there.get("GPU", 0.0)}
    return {"version": ray.__version__, "nodes": nodes, **resources, "host": host}


def _explain(error: BaseException) -> str:
    """On one line, with what it was raised for: Ray says the reason there."""
    text = " ".join(str(error).split())
    return f"{text}, because of {_explain(error.__cause__)}" if error.__cause__ is not None else text


if __name__ == "__main__":
    signal.alarm(LIFETIME_SECONDS)
    try:
        answer = probe_ray(sys.argv[1] if len(sys.argv) > 1 else None)
    except Exception as error:
        answer = {"error": _explain(error), "kind": type(error).__name__}
    print(json.dumps(answer), flush=True)
