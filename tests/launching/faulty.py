"""Mixers that go wrong. Copied to where a test wants them: they are a user's own file."""

import ctypes
import gc
import os
import signal
import sys
import threading
import time
from pathlib import Path

import torch
from torch import nn


class Slow(nn.Module):
    """Leaves a line in the file ``log`` for every model that is built: ``tag``, which tells runs apart, the process,
    and its session, which is the driver's pid. Takes ``pause`` seconds a step while there is a ``brake`` beside it.
    """

    def __init__(self, d_model, layer_idx=None, tag: int = 0, pause: float = 0.0, log: str = ""):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(d_model))
        self.pause, self.brake = pause, Path(log).parent / "brake"
        if log:
            with open(log, "a") as file:
                file.write(f"{tag} {os.getpid()} {os.getsid(0)}\n")

    def forward(self, x):
        if self.pause and self.brake.exists():
            time.sleep(self.pause)
        return x * self.scale

    def state_size(self, sequence_length):
        return 1

    active_state_size = state_size


class Killed(Slow):
    def forward(self, x):
        os.kill(os.getpid(), signal.SIGKILL)


class Crashes(Slow):
    def forward(self, x):
        ctypes.string_at(0)


class Quits(Slow):
    def forward(self, x):
        os._exit(0)


class Exits(Slow):
    def forward(self, x):
        sys.exit("enough")


class Hangs(Slow):
    def forward(self, x):
        while True:
            time.sleep(3600)


class Prints(Slow):
    def forward(self, x):
        for stream in (sys.stdout, sys.stderr):
            stream.write(("much " * 1000 + "\n") * 200)
        return super().forward(x)


class LeavesThreads(Slow):
    def forward(self, x):
        threading.Thread(target=time.sleep, args=(3600,)).start()
        return super().forward(x)


class SharesData(Slow):
    """Fails unless this process has drawn no task data, and the data it trains on lie in Ray's shared memory."""

    def forward(self, x):
        from mqar_bench.tasks import Segment
        from mqar_bench.training.data import shared_data

        assert shared_data.cache_info().misses == 0, "drew the task data"
        segments = [each for each in gc.get_objects() if isinstance(each, Segment)]
        assert segments, "no task data"
        maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
        for address in (segment.tokens.data_ptr() for segment in segments):
            (where,) = [m for m in maps if int(m[0].split("-")[0], 16) <= address < int(m[0].split("-")[1], 16)]
            assert "plasma" in " ".join(where[5:]), f"copied to {where}"
        return super().forward(x)
