"""Commands that may hang, or leave processes behind, and must do neither."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

#: How long to go on ending what a command has left: some of it may be in the kernel's hands.
GRACE_SECONDS = 5.0

#: Whether the system tells which processes a session has.
SEES_SESSIONS = Path("/proc/self/stat").exists()

#: The code of what could not be started, as in a shell.
NOT_STARTED = 127


class Ended(NamedTuple):
    """A command that ended, or was ended: then ``code`` is None."""

    code: int | None
    stdout: str
    stderr: str


def run_bounded(command: Sequence[str], seconds: float, environment: dict[str, str] | None = None) -> Ended:
    """Run a command for so long at most, in a session of its own of which no process stays."""
    # files, not pipes: a process that outlives the command would keep a pipe open
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=environment, start_new_session=True
            )
        except OSError as error:
            return Ended(NOT_STARTED, "", str(error))
        code = None
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(seconds)
        finally:
            kill_session(process)
        texts = []
        for file in (stdout, stderr):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
        return Ended(code, *texts)


def session(leader: int) -> list[int]:
    """The live processes of a session by its leader's id, also those whose parent is gone; none without /proc."""
    return [pid for pid, fields in processes() if int(fields[3]) == leader and fields[0] != "Z"]


def processes() -> Iterator[tuple[int, list[str]]]:
    """Each process's id with its ``stat_fields``; none without /proc."""
    # not a glob, which fails where a process ends while it looks
    for name in os.listdir("/proc") if SEES_SESSIONS else []:
        if name.isdecimal() and (fields := stat_fields(int(name))):
            yield int(name), fields


def stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; nothing where there is no such process, or no /proc."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()  # the name before it may hold anything


def kill_session(process: subprocess.Popen) -> None:
    """Kill a process that was started in a session of its own, and all that it has started there and left.

    Ctrl-C waits until that is done. Without /proc those alone that are in its group, which is as far as one can see.
    """
    try:
        _kill_session(process)
    except KeyboardInterrupt:
        _kill_session(process)
        raise


def _kill_session(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + GRACE_SECONDS
    while (left := session(process.pid)) and time.monotonic() < deadline:  # one may be in the kernel's hands
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    process.poll()
