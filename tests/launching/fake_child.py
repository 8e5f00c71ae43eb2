"""Stands in for the process that drives Ray: reads its part from a file, says it, and is lost in the way it names.

``fake_child.py PIPE FOLDER``. In the folder, ``lives`` has for each process that is started what it says, pickled by
those who know the classes: at first, then to each poll. After that it is lost: see ``LOSSES``. What it is asked goes
to ``heard-0``, ``heard-1``, ...
"""

import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path


def exits(pipe):
    os._exit(3)


def aborts(pipe):
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.abort()


def is_terminated(pipe):
    os.kill(os.getpid(), signal.SIGTERM)


def is_killed(pipe):
    os.kill(os.getpid(), signal.SIGKILL)


def raises(pipe):
    raise RuntimeError("no such day")


def hangs(pipe):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(3600)


def closes_the_pipe(pipe):
    pipe.close()
    time.sleep(3600)


def stops_in_the_middle(pipe):
    os.write(pipe.fileno(), b"\0\0\1")
    os._exit(3)


def hangs_in_the_middle(pipe):
    os.write(pipe.fileno(), b"\0\0\1\0half")
    time.sleep(3600)


LOSSES = (
    exits, aborts, is_terminated, is_killed, raises, hangs, closes_the_pipe, stops_in_the_middle, hangs_in_the_middle
)  # fmt: skip


def main(pipe, folder):
    with open(folder / "started", "a") as started:
        started.write(f"{os.getpid()}\n")
    lives = pickle.loads((folder / "lives").read_bytes())
    life = len((folder / "started").read_text().split()) - 1
    first, slots, polls, loss = lives[life]
    # a helper in a group of its own, as Ray's workers are
    subprocess.Popen(["sleep", "3600"], process_group=0, stdin=subprocess.DEVNULL)
    pipe.recv_bytes()  # the settings
    if first is None:
        globals()[loss](pipe)
    pipe.send_bytes(first)
    while True:
        request = pipe.recv_bytes()
        with open(folder / f"heard-{life}", "ab") as heard:
            heard.write(request)
        if b"poll" in request:
            if not polls:
                globals()[loss](pipe)
            for event in polls.pop(0):
                pipe.send_bytes(event)
        pipe.send_bytes(slots)


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])), Path(sys.argv[2]))
