"""A Ray cluster of several machines on this one: ``ray start`` for each, with a token asked for."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mqar_bench.basics.machine.software import git_state
from tests.launching.drivers import PATIENCE, run_of
from tests.launching.family import CAN_WATCH, is_running, kill, session, wait_for_the_end_of, wait_until, workers

pytest.importorskip("ray")
pytestmark = pytest.mark.skipif(not CAN_WATCH, reason="watches processes through /proc")

TOKEN = "0123456789abcdef" * 4
AUTH = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
#: What a cluster's machine needs besides: about the least memory for objects that Ray takes.
NODE = ("--num-cpus", "1", "--num-gpus", "0", "--object-store-memory", "90000000", "--disable-usage-stats", "--block")

#: A user's own mixer, which imports another file of his. Tells what it runs on: the machine, the files its code came
#: from, and where in that machine's shared memory the task data are.
MINE = """
import gc
import json
import os
import sys
from pathlib import Path

import parts
import mqar_bench
from mqar_bench.tasks import Segment


class Mine(parts.SharesData):
    def __init__(self, d_model, layer_idx=None, seen: str = "", **options):
        super().__init__(d_model, layer_idx, **options)
        self.seen = seen

    def forward(self, x):
        x = super().forward(x)
        if self.seen:
            files = [module.__file__ for module in (sys.modules[__name__], parts, mqar_bench)]
            with open(self.seen, "a") as file:
                file.write(json.dumps({"machine": os.getsid(0), "files": files, "data": places()}) + "\\n")
            self.seen = ""
        return x


def places():
    addresses = [each.tokens.data_ptr() for each in gc.get_objects() if isinstance(each, Segment)]
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, offset, _, inode, *_ = line.split()
        first, end = (int(number, 16) for number in span.split("-"))
        found += [(int(inode), int(offset, 16) + address - first) for address in addresses if first <= address < end]
    return sorted(found)
"""


class Cluster:
    """Machines, each the leader of a session of its own; the first one is the head."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="ray-"))  # a short name: sockets are in it
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        self.processes = []

    def start_head(self):
        port, folder = self.address.rpartition(":")[2], str(self.folder)
        return self._start("--head", "--port", port, "--temp-dir", folder, "--include-dashboard", "false")

    def add_machine(self):
        return self._start("--address", self.address)

    def _start(self, *arguments):
        """A machine's session, once it is up."""
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        out = self.folder / f"out-{len(self.processes)}"
        with open(out, "w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", "start", *arguments, *NODE],
                cwd=self.folder,
                env=variables | AUTH,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        self.processes.append(process)

        def is_up():
            assert process.poll() is None, out.read_text()
            return "Ray runtime started" in out.read_text()

        wait_until(is_up, PATIENCE, "a machine is up")
        return process.pid

    def lose(self, machine):
        """As when its power fails."""
        kill(session(machine))
        wait_for_the_end_of(lambda: session(machine))

    def runs(self):
        """Processes with a run in them, of all machines."""
        return workers(pid for process in self.processes for pid in session(process.pid))

    def close(self):
        for process in self.processes:
            self.lose(process.pid)
            process.wait()
        shutil.rmtree(self.folder)


@pytest.fixture(scope="module")
def cluster():
    cluster = Cluster()
    try:
        cluster.head = cluster.start_head()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def join(folder, drive, cluster, monkeypatch):
    """Starts drivers on the cluster, with the token or with what is given in its place."""
    (folder.path / "mine.py").write_text(MINE)
    (folder.path / "faulty.py").rename(folder.path / "parts.py")  # the driver has another one of that name
    home = {"HOME": str(folder.path)}
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)

    def start(configs, address=cluster.address, token=AUTH):
        return drive(configs, "--address", address, save_every=0.5, environment=token | home)

    return start


def mine(folder, tag, **settings):
    """A run of more than a minute as long as the brake is on, then of less than a second."""
    return run_of("mine.Mine", epochs=20, tag=tag, pause=1.0, log=str(folder.log), **settings)


@pytest.mark.slow
def test_machines_come_and_go_and_every_run_ends(cluster, folder, join):
    configs = [mine(folder, tag, seen=str(folder.path / "seen")) for tag in range(4)]

    def begun_on(machine):
        return [tag for tag, _, where in folder.begun() if where == machine]

    torn = folder.checkpoints.path(configs[0]).with_suffix(".ckpt.elsewhere-1.tmp")
    torn.parent.mkdir(parents=True)
    torn.touch()  # by a driver that was killed as it wrote
    driver = join(configs)
    driver.until(lambda: begun_on(cluster.head))
    other = cluster.add_machine()
    driver.until(lambda: any(folder.checkpoints.exists(configs[tag]) for tag in begun_on(other)))
    lost = begun_on(other)[-1]
    cluster.lose(other)
    folder.brake.unlink()
    assert driver.end() == 0, driver.err

    assert folder.done() == set(range(4)) and folder.leftovers() == list(folder.store.root.rglob("*.ckpt")) == []
    assert folder.begins() == {tag: 1 + (tag == lost) for tag in range(4)}
    records = [folder.store.read(config) for config in configs]
    assert [record.resumed for record in records] == [int(tag == lost) for tag in range(4)]
    assert [len(record.retries) for record in records] == [int(tag == lost) for tag in range(4)]
    assert records[lost].retries[0].endswith("NodeDiedError: the machine that ran it was lost")
    assert {record.steps for record in records} == {40}
    assert {record.provenance.git_commit for record in records} == {git_state()[0]}  # of the code that was sent

    seen = [json.loads(line) for line in (folder.path / "seen").read_text().splitlines()]
    assert {each["machine"] for each in seen} == {cluster.head, other}
    assert all(Path(file).is_relative_to(cluster.folder) for each in seen for file in each["files"])  # all was sent
    data = {(each["machine"], tuple(map(tuple, each["data"]))) for each in seen}
    assert len(seen) == 2 * 5  # a run tries a copy of its mixer first
    assert len(data) == 2  # once on a machine, and read in place by every run there
    wait_for_the_end_of(cluster.runs)


def test_a_mixer_that_cannot_be_imported_fails_alone(cluster, folder, join):
    (folder.path / "raises.py").write_text("import parts\n\nraise RuntimeError('no such day')\n")
    (folder.path / "exits.py").write_text("raise SystemExit('enough')\n")
    folder.brake.unlink()
    failing = {
        "raises.Mixer": "RuntimeError: no such day",
        "exits.Mixer": "SystemExit: enough",
        "missing.Mixer": "MixerError: mixer 'missing.Mixer': there is no module 'missing'",
    }
    configs = [run_of(name) for name in failing]
    driver = join([*configs, mine(folder, 0)])
    assert driver.end() == 1, driver.err
    assert {config.mixer: folder.store.read(config).error for config in configs} == failing
    assert folder.done() == {0}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_a_driver_leaves_nothing_running_on_a_cluster(cluster, folder, join, number):
    driver = join([mine(folder, 0)])
    driver.until(lambda: folder.begun() and cluster.runs())
    driver.process.send_signal(number)
    assert driver.end() == (130 if number == signal.SIGINT else -number)
    wait_for_the_end_of(cluster.runs)
    if number == signal.SIGINT:
        assert driver.err.startswith(f"interrupted: 0 of 1 runs are done, in {folder.store.root}")
        assert driver.err.count("\n") == 1
    assert is_running(cluster.head) and folder.done() == set() and folder.leftovers() == []


def test_a_cluster_that_cannot_be_joined_is_one_line(cluster, folder, join):
    with socket.socket() as nobody:  # bound, but not listening
        nobody.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{nobody.getsockname()[1]}"
        wrong = AUTH | {"RAY_AUTH_TOKEN": TOKEN[::-1]}
        cases = [(closed, AUTH), *((cluster.address, token) for token in (wrong, {"RAY_AUTH_MODE": "token"}, {}))]
        drivers = [join([mine(folder, 0)], address, token) for address, token in cases]
        for (address, _), driver in zip(cases, drivers, strict=True):
            assert driver.end() == 2, driver.err
            reason = "connection refused" if address == closed else "the token is missing or wrong"
            assert driver.err.startswith(
                f"error: cannot join the Ray cluster at {address}: {reason}; check the address"
            )
            assert driver.err.count("\n") == 1 and driver.out == ""
    assert folder.begun() == []
