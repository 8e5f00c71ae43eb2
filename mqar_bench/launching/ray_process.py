"""The process that drives Ray, as the one that has started it sees it: what to ask, and how it can be lost."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from mqar_bench.basics.machine.processes import kill_session
from mqar_bench.launching.executor import Tell
from mqar_bench.launching.ray_child import Answer, Died, Ready, Refused
from mqar_bench.launching.ray_start import describe_end
from mqar_bench.launching.ray_trouble import dead_agent

#: Ray waits up to two minutes for its own processes to start, and one for a cluster's head that is gone.
START_SECONDS, ANSWER_SECONDS = 180.0, 120.0
#: How long it may take to leave Ray in good order.
CLOSE_SECONDS = 10.0
#: Run in a process of its own, which finds the code where this one does.
PROGRAM = """
import json, sys
descriptor, parent, sys.path[:] = json.loads(sys.argv[1])
from mqar_bench.launching.ray_child import main
main(descriptor, parent)
"""
#: Lines kept of what Ray prints.
LINES = 40


class ChildLost(RuntimeError):
    """The process has ended, or does not answer; one line that says why."""


class StartRefused(ChildLost):
    """Ray cannot be had: a ``UsageError`` of the process."""


class Child:
    """A process that drives Ray, in a session of its own, so that nothing that it starts can get lost.

    Nor does Ctrl-C reach it there. It ends with this process, however that ends.

    Args:
        settings: the arguments of its ``RayExecutor``.

    Raises:
        ChildLost: the system has no process for it.
    """

    def __init__(self, settings: Sequence[Any]) -> None:
        ours, theirs = socket.socketpair()
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):  # in the middle of a message, too
            ours.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(ANSWER_SECONDS), 0))
        self._pipe = Connection(ours.detach())
        self._began = time.monotonic()
        self._lines: deque[str] = deque(maxlen=LINES)
        given = json.dumps([theirs.fileno(), os.getpid(), [os.path.abspath(path) for path in sys.path]])
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", PROGRAM, given],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    text=True,
                    errors="replace",
                )
            except OSError as error:
                self._pipe.close()
                raise ChildLost(f"no process can be started for it: {error.strerror or error}") from error
        self.ready: Ready | None = None
        try:
            # what Ray prints is not for people; read all the same, as a full pipe would stop it
            self._reader = threading.Thread(target=self._lines.extend, args=(self._process.stdout,), daemon=True)
            self._reader.start()
            with contextlib.suppress(OSError):  # found out when it is waited for
                self._pipe.send(settings)
        except BaseException:  # Ctrl-C, say: nobody has this to end it
            self.end(politely=False)
            raise

    def wait(self, seconds: float) -> bool:
        """Whether Ray is there after so long at most; then ``ready`` says more.

        Raises:
            ChildLost: it will not be; ``StartRefused`` where the user has to do something.
        """
        if self.ready is None and self._is_heard(min(seconds, self._began + START_SECONDS - time.monotonic())):
            answer = self._hear()
            assert isinstance(answer, Ready)
            self.ready = answer
        if self.ready is None and time.monotonic() > self._began + START_SECONDS:
            raise ChildLost(f"it did not start within {START_SECONDS:.0f} s")
        return self.ready is not None

    def ask(self, tell: Tell, *request: Any, patiently: bool = False) -> int:
        """Have a method of the executor called, and tell of the events that come of it: the slots by then.

        Patiently where it is not Ray that takes its time.

        Raises:
            ChildLost: it does not answer, or has ended.
        """
        try:
            self._pipe.send(request)
        except OSError as error:
            raise self._lost(error) from error
        while True:
            if not self._is_heard(None if patiently else ANSWER_SECONDS):
                raise ChildLost(f"no answer within {ANSWER_SECONDS:.0f} s")
            answer = self._hear()
            if isinstance(answer, int):
                return answer
            assert isinstance(answer, tuple)
            tell(*answer)

    def _is_heard(self, seconds: float | None) -> bool:
        return self._pipe.poll(seconds if seconds is None else max(0.0, seconds))

    def _hear(self) -> Answer:
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise self._lost(error) from error
        match answer:
            case Refused(reason):
                raise StartRefused(reason)
            case Died(reason):
                raise ChildLost(self._blame_agent() or reason)
        return answer

    def _lost(self, error: Exception) -> ChildLost:
        """How it has ended, or that it has not."""
        if isinstance(error, BlockingIOError):
            return ChildLost(f"no answer within {ANSWER_SECONDS:.0f} s")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        if why := self._blame_agent():
            return ChildLost(why)
        if self._process.returncode == 1:  # an exception, or Ray, which then has other things to say
            self._reader.join(1.0)
            printed = [line.strip() for line in self._lines if line.strip()]
            if any(line.startswith("Traceback") for line in printed):
                return ChildLost(printed[-1])
        return ChildLost(f"the process that drives it {describe_end(self._process.returncode)}")

    def _blame_agent(self) -> str:
        agent = dead_agent(self.ready.logs) if self.ready and self.ready.logs else ""
        return f"its {agent} ended, and with it all the rest" if agent else ""

    def end(self, politely: bool) -> None:
        """End it, and whatever it has started; politely, it may leave Ray in good order first."""
        self._pipe.close()
        try:
            if politely and self.ready:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(CLOSE_SECONDS)
        finally:
            kill_session(self._process)
