"""Without a GPU, Triton kernels are interpreted: its variable must be set before triton is imported."""

import fcntl
import gc
import os
import signal
from pathlib import Path

import pytest
import torch
from numba.core.dispatcher import Dispatcher

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so a shell starts jobs in the background; tests press Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Those that mostly wait, for Ray, begin first: others then run beside them, in the other processes."""
    items.sort(key=lambda item: "launching" not in item.path.parts)


@pytest.fixture(scope="module", autouse=True)
def _what_stays_is_not_searched():
    """Every run collects garbage before it measures its memory: half a second each time among all that tests import."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish():
    gc.unfreeze()  # what is left at the end is searched again: extension modules complain of what they cannot free


@pytest.fixture(scope="session", autouse=True)
def _compiled_by_one(tmp_path_factory):
    """Of the processes that run tests one at a time compiles for numba, and the others load what it has compiled."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    path = Path(tmp_path_factory.getbasetemp().parent, "numba.lock")
    compile_alone, depth = Dispatcher.compile, 0

    def compile_in_turn(self, signature):
        nonlocal depth
        if not depth:  # what is compiled may compile what it calls
            fcntl.flock(lock, fcntl.LOCK_EX)
        depth += 1
        try:
            return compile_alone(self, signature)
        finally:
            depth -= 1
            if not depth:
                fcntl.flock(lock, fcntl.LOCK_UN)

    with path.open("w") as lock, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dispatcher, "compile", compile_in_turn)
        yield
