"""``--time-budget``: how far before the limit a driver ends, and whether its successors get to the end."""

import statistics
import time

import pytest

#: Lengths of the runs, as shares of the budget: of each one as many as there are jobs, but of the last.
LENGTHS = 0.1, 0.2, 0.5, 1.5
JOBS, MOST_SLICES = 2, 30
#: How late, in seconds, all may be gone on a machine that has other things to do.
BUSY = 10


@pytest.mark.parametrize("budget", [30, 40])
def test_slices_end_in_time_and_lead_to_the_end(folder, drive, is_quiet, report, budget):
    lengths = [budget * share for share in LENGTHS[:-1] for _ in range(JOBS)] + [budget * LENGTHS[-1]]
    # two steps and two batches of scoring an epoch
    configs = [folder.slow(tag, epochs=round(length), pause=0.25) for tag, length in enumerate(lengths)]
    began, codes, early, gone = time.monotonic(), [], [], []
    while 0 not in codes and len(codes) < MOST_SLICES:
        driver = drive(configs, "--jobs", JOBS, "--time-budget", f"{budget}s")
        started = time.monotonic()
        codes.append(driver.process.wait(3 * budget))
        early.append(budget - (time.monotonic() - started))
        driver.end()
        gone.append(budget - (time.monotonic() - started))
        assert codes[-1] in (0, 3), driver.err
    wall = time.monotonic() - began
    assert codes == [3] * (len(codes) - 1) + [0] and len(codes) > 1
    assert folder.done() == set(range(len(configs))) and folder.leftovers() == list(folder.path.rglob("*.ckpt")) == []
    resumed = sum(folder.store.read(config).resumed for config in configs)
    assert sum(folder.begins().values()) == len(configs) + resumed
    early, gone = early[:-1], gone[:-1]  # of those that ended for lack of time
    figures = {
        "budget, s": budget,
        "runs": len(configs),
        "slices": len(codes),
        "resumed from a checkpoint": resumed,
        "seconds in all": round(wall),
        "exit, seconds before the limit: median": round(statistics.median(early), 1),
        "least": round(min(early), 1),
        "all gone, seconds before the limit: least": round(min(gone), 1),
    }
    report(f"budget-{budget}", figures)
    assert min(gone) > (0 if is_quiet else -BUSY)
