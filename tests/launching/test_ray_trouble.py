"""What is said of Ray's troubles: where it cannot start, where its folder is full, where no machine is there."""

import json
import shutil
import sys
import time
from types import SimpleNamespace

import pytest

from mqar_bench.basics.errors import UsageError
from mqar_bench.basics.machine.processes import Ended
from mqar_bench.doctor import ray_check
from mqar_bench.launching import ray_core, ray_parent, ray_start, ray_trouble, silence

#: An error of each kind that is known, as Ray says it.
ERRORS = {
    "af_unix path": "validate_socket_filename failed: AF_UNIX path length cannot exceed 107 bytes: /x",
    "no space left": "[Errno 28] No space left on device",
    "version mismatch": "Version mismatch: The cluster was started with Ray: 1.0",
    "no node info found": "No node info found matching attributes",
    "local raylet": "Can't find the local raylet",
    "could not find any running ray": "Could not find any running Ray instance",
    "authentication": "Authentication is enabled but no token was found",
    "permission denied": "[Errno 13] Permission denied: '/root/.ray'",
    "read-only file system": "[Errno 30] Read-only file system",
    "no such file": "[Errno 2] No such file or directory",
}
assert set(ERRORS) == set(ray_trouble.HINTS)


class BrokenRay:
    """A Ray whose start raises an error, because of another one where it is said so."""

    def __init__(self, text, has_cause):
        self.text, self.has_cause = text, has_cause

    def init(self, **options):
        if self.has_cause:
            raise ConnectionError("it went wrong") from OSError(self.text)
        raise OSError(self.text)


@pytest.mark.parametrize("has_cause", [False, True], ids=["itself", "its cause"])
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("address", [None, "127.0.0.1:1"], ids=["private", "cluster"])
def test_a_sweep_and_the_doctor_know_the_same_remedies(monkeypatch, address, error, has_cause):
    monkeypatch.setattr(ray_start, "_refusal", lambda address: "")
    monkeypatch.setattr(ray_start, "gather", lambda configs, folder: folder)
    answer = json.dumps({"error": error, "kind": "OSError"})
    remedy = ray_check.judge(Ended(0, answer, ""), address, False, 60).fix
    ray = BrokenRay(error, has_cause)
    with pytest.raises(UsageError) as told:
        ray_start.start(ray) if address is None else ray_start.join(ray, (), address)
    what = "cannot start Ray on this machine" if address is None else f"cannot join the Ray cluster at {address}"
    assert str(told.value).startswith(f"{what}: {'ConnectionError: it' if has_cause else f'OSError: {error[:20]}'}")
    assert str(told.value).endswith(f"; {remedy}") and "\n" not in str(told.value)


def test_ray_is_not_started_in_a_folder_that_is_full(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "none" / "yet"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=3 * 2**20))
    with pytest.raises(UsageError) as told:
        ray_start.start(None)
    folder = f"Ray's temporary folder {tmp_path / 'none' / 'yet'} has 3 MiB free"
    advice = "free some, or export RAY_TMPDIR=A_SHORT_PATH, on a disk with room"
    assert str(told.value) == f"cannot start Ray on this machine: {folder}; {advice}"


def test_what_fills_up_while_ray_starts_is_named(monkeypatch, tmp_path):
    free = iter([2**30])
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=next(free, 0)))
    with pytest.raises(UsageError, match=f"timed out; Ray's temporary folder {tmp_path} has 0 MiB free; free some"):
        ray_start.start(BrokenRay("timed out", False))


def test_the_agent_that_took_the_raylet_along_is_found(tmp_path):
    assert ray_trouble.dead_agent(tmp_path) == ""
    (tmp_path / "raylet.err").write_text("something else\n")
    assert ray_trouble.dead_agent(tmp_path) == ""
    (tmp_path / "raylet.err").write_text(
        "exited immediately, agent_name = dashboard_agent.\nThe raylet fate shares ..."
    )
    assert ray_trouble.dead_agent(tmp_path) == "dashboard_agent"


def test_silence_is_broken_ever_more_seldom(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    wait, spoken = silence.Silence(), []
    for second in range(2 * 3600 + 1):
        clock[0] = float(second)
        if word := wait.word():
            spoken.append(word)
    assert spoken == ["10 s", "60 s", "5 min", "30 min", "60 min", "90 min", "2 h"]


class EmptyCluster:
    """A Ray of others, whose machines come and go."""

    def __init__(self):
        self.machines = 1

    def is_initialized(self):
        return True

    def nodes(self):
        return [{"Alive": i < self.machines, "Resources": {"CPU": 1.0}} for i in range(3)]

    def remote(self, function):
        return SimpleNamespace(options=lambda **options: None)


def test_a_cluster_without_machines_is_spoken_of(monkeypatch):
    clock, told = [0.0], []
    ray = EmptyCluster()
    monkeypatch.setattr(ray_core, "import_ray", lambda: ray)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    workers = ray_core.RayExecutor()
    for second in range(400):
        clock[0] = float(second)
        ray.machines = int(second < 100 or second >= 380)  # 5 seconds until it is seen
        workers.poll(lambda run_id, event: told.append((run_id, event.text)))
    lines = [
        f"no machine of the cluster can take a run: waiting for one, for {since} so far" for since in ("10 s", "60 s")
    ]
    assert told == [("", line) for line in lines]


def test_a_ray_that_the_program_has_started_is_used_here(monkeypatch):
    ray = EmptyCluster()
    monkeypatch.setattr(ray_core, "import_ray", lambda: ray)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(ray_parent.importlib.util, "find_spec", lambda name: name)
    assert isinstance(ray_parent.make_ray((), None, None, 1, 0.0), ray_core.RayExecutor)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    assert isinstance(ray_parent.make_ray((), None, None, 1, 0.0), ray_parent.RayParent)
