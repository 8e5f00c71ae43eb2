"""A sweep under which each process of Ray's is killed in turn, and one whose cluster loses its head."""

import statistics
import time
from functools import partial

from tests.launching.family import kill, part
from tests.launching.test_cluster import AUTH, Cluster

#: Ray goes on without these; the others take all of it along, and the process that drives it.
SPARED = "ray::task", "monitor.py", "dashboard.py", "log_monitor.py"
FATAL = "raylet", "gcs_server", "ray::DashboardAgent", "ray::RuntimeEnvAgent", "driver"
TIMES, EPOCHS = 2, 1500
#: How long after a kill everything that dies of it is dead, and all that it had said is heard.
DYING_SECONDS = 2.0


def are_under_way(folder, configs, since_ns=0):
    """Whether each run has left a checkpoint since then."""
    paths = [folder.checkpoints.path(config) for config in configs]
    return all(path.exists() and path.stat().st_mtime_ns > since_ns for path in paths)


def test_whichever_process_is_killed_the_sweep_ends_complete(folder, drive, scaled, report):
    long = [folder.slow(tag, epochs=EPOCHS, pause=0.2) for tag in range(2)]
    quick = [folder.slow(tag) for tag in range(2, 6)]
    driver = drive([*long, *quick], "--jobs", 2, save_every=0.5)
    driver.until(lambda: are_under_way(folder, long))
    times, seconds = scaled(TIMES), {kind: [] for kind in (*SPARED, *FATAL)}
    for _ in range(times):
        for kind in seconds:
            victims = [pid for pid in driver.family() if part(pid) == kind]
            assert victims, (kind, driver.family())
            began = time.monotonic()
            kill(victims[:1])
            time.sleep(DYING_SECONDS)
            driver.until(partial(are_under_way, folder, long, time.time_ns()), f"goes on without {kind}")
            seconds[kind].append(time.monotonic() - began)
    folder.brake.unlink()
    assert driver.end() == 0, driver.err
    assert folder.done() == set(range(6)) and list(folder.store.root.rglob("*.ckpt")) == folder.leftovers() == []
    records = [folder.store.read(config) for config in long]
    assert [record.steps for record in records] == [2 * EPOCHS] * 2
    assert sum(len(record.retries) for record in records) == times * (1 + len(FATAL) * len(long))
    lines = driver.err.splitlines()
    assert sum("Ray was lost" in line for line in lines) == times * len(FATAL)
    assert sum("RETRY" in line for line in lines) == times
    assert len(lines) == times * (1 + len(FATAL)) + len(driver.configs)  # Ray itself has nothing to say
    figures = {"killed, each so often": times}
    figures |= {
        f"{kind}: seconds until a new checkpoint": round(statistics.median(each)) for kind, each in seconds.items()
    }
    report("ray_processes", figures)


def test_a_cluster_that_loses_its_head_and_gets_another(folder, drive, monkeypatch):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    configs = [folder.slow(tag, epochs=100, pause=0.2) for tag in range(2)]
    environment = AUTH | {"HOME": str(folder.path)}
    cluster = Cluster()
    try:
        head = cluster.start_head()
        driver = drive(configs, "--address", cluster.address, save_every=0.5, environment=environment)
        driver.until(lambda: folder.checkpoints.exists(configs[0]))
        cluster.lose(head)
        driver.until(lambda: not any(part(pid) == "driver" for pid in driver.family()), "the loss is seen")
        cluster.start_head()
        folder.brake.unlink()
        assert driver.end() == 0, driver.err
        lost, joined, *rest = driver.err.splitlines()
        assert lost.startswith(f"[0/2] the Ray cluster at {cluster.address} was lost (")
        assert lost.endswith("): 1 run goes back to the last checkpoint, and it is tried again for 5 min")
        assert joined == f"[0/2] joined the Ray cluster at {cluster.address} again" and len(rest) == 2
        assert folder.done() == {0, 1} and folder.begins() == {0: 2, 1: 1}

        folder.brake.touch()
        again = [folder.slow(tag, epochs=100, pause=0.2) for tag in range(2, 4)]
        driver = drive(again, "--address", cluster.address, save_every=0.5, rejoin=5.0, environment=environment)
        driver.until(lambda: folder.checkpoints.exists(again[0]))
        for process in cluster.processes:
            cluster.lose(process.pid)
        assert driver.end() == 3, driver.err
        away = f"stopped: the Ray cluster at {cluster.address} has not come back within 5 s: connection refused"
        assert driver.err.splitlines()[-1] == f"{away}: 2 runs are left, 1 has a checkpoint; the same command goes on"
        assert folder.done() == {0, 1}
    finally:
        cluster.close()
