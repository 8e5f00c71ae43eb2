"""Trackers of a user's own: one that keeps what it is told, and some that fail."""

import sys
import threading


class Keeps:
    """What was told, of all runs: ``started`` and ``ended`` by run id, ``points`` in order."""

    started, points, ended = {}, {}, {}

    @classmethod
    def forget(cls):
        for kept in (cls.started, cls.points, cls.ended):
            kept.clear()

    def start(self, run):
        self.id = run.config.run_id
        assert self.id not in self.points
        self.started[self.id], self.points[self.id] = run, []

    def log(self, point):
        self.points[self.id].append(point)

    def finish(self, ending):
        self.ended[self.id] = ending


class FailsToBeMade(Keeps):
    def __init__(self):
        raise ImportError("a part of it\nis missing")


class FailsToStart(Keeps):
    def start(self, run):
        raise ConnectionError("no network")


class FailsToLog(Keeps):
    def log(self, point):
        raise OSError(28, "No space left on device")


class FailsToFinish(Keeps):
    def finish(self, ending):
        raise RuntimeError("bad key")


class Exits(Keeps):
    def log(self, point):
        sys.exit("that is it")


class Hangs(Keeps):
    ends = threading.Event()

    def start(self, run):
        self.ends.wait(30)
