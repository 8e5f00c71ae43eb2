"""Processes and those they start, through /proc."""

import os
import signal
import time
from pathlib import Path

from mqar_bench.basics.machine.processes import processes, stat_fields

CAN_WATCH = Path("/proc/self/stat").exists()


def descendants(pid):
    """Processes started by this one, by those, and so on."""
    parents = {other: int(fields[1]) for other, fields in processes()}
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def session(leader):
    """Processes of a session, whoever their parents are by now; its leader was started with ``start_new_session``."""
    return {pid for pid, fields in processes() if int(fields[3]) == leader and fields[0] != "Z"}


def sessions(pids):
    """The sessions that these processes are in, by their leaders."""
    return {int(fields[3]) for pid, fields in processes() if pid in pids}


def is_running(pid):
    fields = stat_fields(pid)
    return bool(fields) and fields[0] != "Z"


def command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


#: Of Ray's processes by the end of a word in their command lines.
SCRIPTS = "gcs_server", "raylet", "monitor.py", "dashboard.py", "log_monitor.py"


def part(pid):
    """Which part of a sweep with Ray a process is: its name of Ray's or among ``SCRIPTS``, the ``driver`` of Ray, or
    the empty text."""
    words = command(pid).split()
    if not words or words[0].startswith("ray::"):
        return words[0] if words else ""
    if any("ray_child" in word for word in words):
        return "driver"
    names = [Path(word).name for word in words[:4]]
    return next((name for name in names if name in SCRIPTS), "")


def workers(pids):
    """Those that are Ray's workers with a run in them."""
    return {pid for pid in pids if part(pid) == "ray::task"}


def wait_until(condition, seconds, what):
    """Poll until a condition holds; the number of seconds that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"not within {seconds} s: {what() if callable(what) else what}"
        time.sleep(0.05)
    return time.monotonic() - began


def wait_for_the_end_of(pids, seconds=30):
    """Wait until none of these processes runs; ``pids`` may be a function, asked again and again."""

    def left():
        return {pid for pid in (pids() if callable(pids) else pids) if is_running(pid)}

    return wait_until(lambda: not left(), seconds, lambda: {pid: command(pid) for pid in left()})


def kill(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
