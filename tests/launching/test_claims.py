import subprocess
import sys
import time

import pytest

from mqar_bench.config import RunConfig
from mqar_bench.launching.claims import CLAIMS, Claims
from mqar_bench.records.store import Store, StoreError

OTHER = """
import sys
from mqar_bench.config import RunConfig
from mqar_bench.launching.claims import Claims
from mqar_bench.records.store import Store

claims = Claims(Store(sys.argv[1]))
for seed in sys.argv[2:]:
    print(claims.take(RunConfig(train={"seed": int(seed)})), flush=True)
sys.stdin.readline()
"""


def run_of(seed) -> RunConfig:
    return RunConfig(train={"seed": seed})


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    store.check_writable(run_of(1))
    return store


@pytest.fixture
def other(store, monkeypatch):
    """Starts a process that claims runs by their seeds and keeps them; gives it and what it got."""
    started = []

    def start(*seeds):
        words = [sys.executable, "-c", OTHER, str(store.root), *map(str, seeds)]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process, [process.stdout.readline().strip() == "True" for _ in seeds]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_run_has_one_owner_and_others_are_free(store, other):
    claims = Claims(store)
    assert claims.take(run_of(1)) and claims.take(run_of(2))
    _, got = other(1, 2, 3)
    assert got == [False, False, True]
    assert not claims.take(run_of(3)) and claims.take(run_of(1))  # taking again what is one's own


def test_what_is_released_or_closed_is_free(store, other):
    claims = Claims(store)
    assert claims.take(run_of(1)) and claims.take(run_of(2))
    claims.release(run_of(1))
    _, got = other(1, 2)
    assert got == [True, False]
    claims.close()
    assert other(2)[1] == [True]


def test_a_killed_owner_leaves_no_claim(store, other):
    process, got = other(1)
    claims = Claims(store)
    assert got == [True] and not claims.take(run_of(1))
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while not claims.take(run_of(1)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_claims_take_no_space_and_are_no_records(store):
    claims = Claims(store)
    claims.take(run_of(1))
    assert (store.folder(run_of(1)) / CLAIMS).stat().st_size == 0
    assert store.results() == ([], [])


def test_a_file_system_without_locks_is_told(store, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.lockf", refuse)
    with pytest.raises(StoreError, match="cannot lock a file in .*: No locks available"):
        Claims(store).take(run_of(1))
