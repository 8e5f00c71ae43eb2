"""The process that drives Ray: a ``RayExecutor`` at the end of a pipe, told what to do by ``ray_parent``.

Ray takes the process that drives it along when it dies itself: this one, then, which can be started again. It is sent
a ``RayExecutor``'s arguments, says ``Ready`` or ``Refused``, and then is sent one request after another: the name of a
method and its arguments. To each it says the events that come of it and, last, the number of slots. The end of the
pipe asks it to end.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mqar_bench.basics.errors import UsageError, describe
from mqar_bench.launching.executor import Event
from mqar_bench.launching.ray_core import RayDied, RayExecutor

#: Of Linux's prctl: the signal that comes when the parent dies.
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Ready:
    """Ray is there; ``logs`` is the folder of its logs, if it was started here."""

    slots: int
    logs: Path | None


@dataclass(frozen=True)
class Refused:
    """Ray cannot be had, or not what is asked of it: a ``UsageError``'s line."""

    reason: str


@dataclass(frozen=True)
class Died:
    """Ray has died, or nothing can be had of it any more; one line."""

    reason: str


#: An event has the run's id with it.
Answer = Ready | Refused | Died | tuple[str, Event] | int


def main(descriptor: int, parent: int) -> None:
    """Serve the process ``parent`` on its pipe, until that ends or Ray does."""
    os.set_inheritable(descriptor, False)  # Ray's processes have no part in it
    _die_with(parent)
    pipe = Connection(descriptor)
    try:
        executor = RayExecutor(*pipe.recv())
    except UsageError as error:
        _say(pipe, Refused(str(error)))
        return
    with closing(executor), suppress(_ParentIsGone):
        _say(pipe, Ready(executor.slots, executor.logs))
        for request, *arguments in _requests(pipe):
            try:
                _serve(executor, pipe, request, arguments)
            except Exception as error:
                if isinstance(error, _ParentIsGone):
                    raise
                _say(pipe, Died(str(error) if isinstance(error, RayDied) else describe(error)))
                os._exit(1)  # without a word to Ray, which might not answer


def _serve(executor: RayExecutor, pipe: Connection, request: str, arguments: list[Any]) -> None:
    if request == "poll":
        executor.poll(lambda run_id, event: _say(pipe, (run_id, event)))
    else:
        getattr(executor, request)(*arguments)
    _say(pipe, executor.slots)


class _ParentIsGone(Exception):
    """It does not listen any more."""


def _say(pipe: Connection, answer: Answer) -> None:
    try:
        pipe.send(answer)
    except OSError as error:
        raise _ParentIsGone from error


def _requests(pipe: Connection) -> Iterator[tuple[Any, ...]]:
    while True:
        try:
            request = pipe.recv()
        except (EOFError, OSError):  # at the end, or in the middle of one
            return
        yield request


def _die_with(parent: int) -> None:
    """End with the parent, also while Ray keeps this process from noticing; where that cannot be, the pipe must do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it has ended before
            os._exit(1)
