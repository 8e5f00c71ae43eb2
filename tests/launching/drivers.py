"""Drivers: processes that launch runs and can be ended in any way, with the folder they share."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from mqar_bench.config import RunConfig
from mqar_bench.launching.checkpoints import Checkpoints
from mqar_bench.records.store import Store
from tests.launching.family import descendants, kill, session, sessions, wait_for_the_end_of, wait_until

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TASK = {"vocab_size": 64, "input_seq_len": 16, "num_kv_pairs": 2, "num_examples": 64}
#: How long anything may take that happens at once on a machine with nothing else to do.
PATIENCE = 180


def run_of(mixer="faulty.Slow", *, epochs=1, rate=1e-2, **options) -> RunConfig:
    """A run of ``2 * epochs`` steps, each of a few milliseconds."""
    return RunConfig.model_validate(
        {
            "sweep": "faults",
            "data": {"train": [TASK], "test": [TASK]},
            "model": {"vocab_size": 64, "d_model": 8, "n_layers": 1, "mixers": [{"name": mixer, "options": options}]},
            "train": {
                "max_epochs": epochs,
                "batch_size": 32,
                "learning_rate": rate,
                "device": "cpu",
                "early_stopping_threshold": None,
            },
        }
    )


class Folder:
    """Records, a file with the user's mixers, and a log of which runs were begun."""

    def __init__(self, path):
        self.path, self.log, self.brake = path, path / "begun", path / "brake"
        self.brake.touch()
        self.store = Store(path / "results")
        self.checkpoints = Checkpoints(self.store)
        shutil.copy(HERE / "faulty.py", path)

    def slow(self, tag, **settings) -> RunConfig:
        """A run that leaves a line in the log when it begins, and again when it begins anew or goes on.

        With a ``pause`` it takes so many seconds a step until the brake is let go.
        """
        return run_of(tag=tag, log=str(self.log), **settings)

    def begun(self) -> list[tuple[int, int, int]]:
        """Tag, process and driver of every beginning."""
        text = self.log.read_text() if self.log.exists() else ""
        return [tuple(map(int, line.split())) for line in text.splitlines()]

    def begins(self) -> Counter:
        return Counter(tag for tag, _, _ in self.begun())

    def done(self) -> set[int]:
        """Tags of what is done, read from every file there is; none may be torn."""
        results, problems = self.store.results()
        assert problems == []
        return {r.config.model.mixers[0].options["tag"] for r in results if r.status == "done"}

    def leftovers(self) -> list[Path]:
        return list(self.path.rglob("*.tmp"))


class Driver:
    """``mqar-bench sweep`` over some runs, as the leader of a session of its own, as in a terminal of its own."""

    def __init__(self, folder, configs, *arguments, save_every=30.0, rejoin=300.0, environment=None):
        self.folder, self.configs = folder, configs
        file = folder.path / f"configs-{len(list(folder.path.glob('configs-*')))}.json"
        file.write_text("[" + ",".join(config.model_dump_json() for config in configs) + "]")
        settings = json.dumps({"save_every": save_every, "rejoin": rejoin})
        command = [sys.executable, str(HERE / "driver.py"), str(file), settings, "sweep", "faults"]
        command += ["--scale", "custom", "--results", str(folder.store.root), *map(str, arguments)]
        variables = os.environ | {"PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "passive"} | (environment or {})
        self.began_ns = time.time_ns()
        self.process = subprocess.Popen(
            command,
            cwd=folder.path,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self.process.pid
        self.sessions = {self.pid}
        self.out = self.err = ""

    def family(self):
        """The driver and everything it has started, as far as it was seen here once: a Ray has a session of its own."""
        self.sessions |= sessions(descendants(self.pid))
        return set().union(*map(session, self.sessions))

    def interrupt(self, *signals, pause=0.0):
        """What Ctrl-C does: the signal to the whole group in the foreground."""
        for i, number in enumerate(signals):
            if i:
                time.sleep(pause)
            os.killpg(self.pid, number)

    def until(self, condition, what="it is so far"):
        """Wait for something to be so, as long as the driver runs."""

        def holds():
            assert self.process.poll() is None, (self.process.returncode, *self.process.communicate())
            self.family()
            return condition()

        return wait_until(holds, PATIENCE, what)

    def end(self, seconds=PATIENCE):
        """Wait for it to end and for everything it has started: the exit code."""
        until = time.monotonic() + seconds
        while True:
            self.family()
            try:
                self.out, self.err = self.process.communicate(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                assert time.monotonic() < until, f"it has not ended within {seconds} s"
        wait_for_the_end_of(self.family)
        return self.process.returncode

    def kill(self):
        """SIGKILL to the driver alone: the number of seconds until everything it has started is gone too."""
        self.family()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        return wait_for_the_end_of(self.family)

    def destroy(self):
        kill(self.family())
        self.process.kill()
        self.process.communicate()
