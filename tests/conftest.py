"""Without a GPU, Triton kernels are interpreted: its variable must be set before triton is imported."""

import os
import signal

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so a shell starts jobs in the background; tests press Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Those that mostly wait, for Ray, begin first: others then run beside them, in the other processes."""
    items.sort(key=lambda item: "launching" not in item.path.parts)
