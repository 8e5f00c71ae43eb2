"""Commands that may hang, or leave processes behind, and must do neither."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

#: How long a process has to end when it is asked to.
GRACE_SECONDS = 5.0


#: Of what could not be started, as in a shell.
NOT_STARTED = 127


@dataclass(frozen=True)
class Ended:
    """A command that ended, or was ended: then ``code`` is None."""

    code: int | None
    stdout: str
    stderr: str


def run_bounded(command: Sequence[str], seconds: float, environment: dict[str, str] | None = None) -> Ended:
    """Run a command for so long at most, in a session of its own of which no process stays."""
    try:
        # files, not pipes: a process that outlives the command would keep a pipe open
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=environment, start_new_session=True
            )
            code = None
            try:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = process.wait(seconds)
            finally:
                _end(process)
            return Ended(code, _text(stdout), _text(stderr))
    except OSError as error:
        return Ended(NOT_STARTED, "", str(error))


def _end(process: subprocess.Popen) -> None:
    """The command if it runs, asked first, then whatever is left of its session."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
    if not Path("/proc/self/stat").exists():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + GRACE_SECONDS
    while (left := session(process.pid)) and time.monotonic() < deadline:  # one may be in the kernel's hands
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    process.poll()


def session(leader: int) -> list[int]:
    """The live processes of a session by its leader's id, also those whose parent is gone; none without /proc."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            state, _, _, its_session = path.read_text().rpartition(")")[2].split()[:4]  # the name may hold anything
            if int(its_session) == leader and state != "Z":
                found.append(int(path.parent.name))
    return found


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
