"""What the launcher adds to runs that take no time."""

import statistics
import time
from itertools import pairwise

RUNS = 40


def test_time_between_runs(folder, drive, scaled, report):
    runs, rows = scaled(RUNS, 5), []
    for name, arguments in {"inline": ("--cpus-per-run", 1), "ray": ("--jobs", 1)}.items():
        configs = [folder.slow(tag) for tag in range(runs)]
        configs = [config.model_copy(update={"scale": name}) for config in configs]
        began = time.time()
        driver = drive(configs, "--executor", name, *arguments)
        assert driver.end() == 0, driver.err
        ended = time.time()
        written = sorted(folder.store.path(config).stat().st_mtime for config in configs)
        training = statistics.median(folder.store.read(config).seconds for config in configs)
        # the worst is seconds where Ray takes another process for it, which must import torch first
        gaps = [later - before for before, later in pairwise(written)]
        each = statistics.median(gaps)
        rows.append(
            {
                "executor": name,
                "runs": runs,
                "ms from record to record: median": round(1000 * each),
                "of which training": round(1000 * training),
                "added by the launcher": round(1000 * (each - training)),
                "worst": round(1000 * max(gaps)),
                "seconds until the first record": round(written[0] - began, 1),
                "from the last one to the end": round(ended - written[-1], 1),
            }
        )
        assert each < 1
    report("overhead", *rows)
