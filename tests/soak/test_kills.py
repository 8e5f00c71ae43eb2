"""A sweep whose workers and drivers are killed at random."""

import random
import threading
import time

from tests.launching.family import kill, wait_for_the_end_of, workers

RUNS, JOBS, DRIVER_KILLS = 200, 2, 5
#: Seconds from one worker's end to the next one's.
PEACE = 2.0, 8.0
#: Within which a driver that starts is killed.
START_SECONDS = 6.0
#: How long what a driver killed so leaves may take to end.
HELPERS_SECONDS = 90


class Killer(threading.Thread):
    """SIGKILL to one of the driver's workers with a run in them, every few seconds, as a context."""

    def __init__(self, seed):
        super().__init__(daemon=True)
        self.random, self.driver, self.kills, self.over = random.Random(seed), None, 0, threading.Event()

    def run(self):
        while not self.over.wait(self.random.uniform(*PEACE)):
            if found := sorted(workers(self.driver.family())):
                kill([self.random.choice(found)])
                self.kills += 1

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self.over.set()
        self.join()


def test_whatever_is_killed_every_run_is_done_once(folder, drive, scaled, report):
    runs, driver_kills = scaled(RUNS, 10), scaled(DRIVER_KILLS)
    configs = [folder.slow(tag, epochs=5, pause=0.05) for tag in range(runs)]  # a second each
    chance, killer, killed, gone, began = random.Random(1), Killer(2), [], [], time.monotonic()

    def start():
        killer.driver = drive(configs, "--jobs", JOBS, "--retries", 1000, save_every=0.1)
        return killer.driver

    def count():
        return len(list(folder.store.root.rglob("*.json")))

    driver = start()
    with killer:
        for i in range(driver_kills):
            if i % 2:  # as it starts; helpers of Ray may then stay for a minute, and are waited for at the end
                time.sleep(chance.uniform(0, START_SECONDS))
                driver.family()  # seen while there is one
                driver.process.kill()
            else:  # in the middle of it
                enough = count() + runs // 10
                driver.until(lambda enough=enough: count() >= enough)
                time.sleep(chance.uniform(0, 1))
                gone.append(driver.kill())
            killed.append(driver)
            driver = start()
        assert driver.end(1800) == 0, driver.err
    wall = time.monotonic() - began
    wait_for_the_end_of(lambda: {pid for driver in killed for pid in driver.family()}, HELPERS_SECONDS)

    problems = []
    records = [entry.result for entry in folder.store.entries(problems)]
    assert problems == [] and sorted(record.run_id for record in records) == sorted(c.run_id for c in configs)
    assert {(record.status, record.steps) for record in records} == {("done", 10)}
    left = [path.name for path in folder.store.root.rglob("*") if path.is_file() and path.suffix != ".json"]
    assert left == [".claims"]
    begins, retries = sum(folder.begins().values()), sum(len(record.retries) for record in records)
    # nothing is begun again without need: a killed worker costs a run, a killed driver those that were under way
    assert runs <= begins <= runs + killer.kills + JOBS * driver_kills and retries <= killer.kills
    figures = {
        "runs": runs,
        "worker kills": killer.kills,
        "driver kills": driver_kills,
        "begins": begins,
        "retries": retries,
        "resumed from a checkpoint": sum(record.resumed for record in records),
        "runs lost": runs - len(records),
        "seconds in all": round(wall),
        "until a killed driver's processes were gone, at most": round(max(gone), 1),
    }
    report("kills", figures)
