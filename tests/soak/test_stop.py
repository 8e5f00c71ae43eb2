"""Ctrl-C: how long until nothing runs any more."""

import signal
import statistics
import time

TIMES, JOBS = 5, 2
#: Seconds until all is gone: on a machine with nothing else to do, and on a busy one.
QUIET, BUSY = 5, 30


def test_an_interrupted_driver_is_gone_soon(folder, drive, scaled, is_quiet, report):
    configs = [folder.slow(tag, epochs=1000, pause=0.2) for tag in range(JOBS)]
    exits, gone = [], []

    def under_way():
        """Whether this driver has written a checkpoint of every run."""
        paths = [folder.checkpoints.path(config) for config in configs]
        return all(path.exists() and path.stat().st_mtime_ns > driver.began_ns for path in paths)

    for _ in range(scaled(TIMES)):
        driver = drive(configs, "--jobs", JOBS, save_every=1.0)
        driver.until(under_way)
        asked = time.monotonic()
        driver.interrupt(signal.SIGINT)
        code = driver.process.wait(BUSY)
        exits.append(time.monotonic() - asked)
        assert driver.end() == code == 130, driver.err
        gone.append(time.monotonic() - asked)
        assert under_way() and folder.leftovers() == []
    figures = {
        "interrupts": len(gone),
        "seconds to the exit: median": round(statistics.median(exits), 2),
        "worst": round(max(exits), 2),
        "seconds until all is gone: median": round(statistics.median(gone), 2),
        "worst of these": round(max(gone), 2),
    }
    report("stop", figures)
    assert max(gone) < (QUIET if is_quiet else BUSY)
