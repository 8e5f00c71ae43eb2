"""The command line with a sweep from a file: ``driver.py CONFIGS.json SETTINGS sweep faults --scale ...``.

The settings, in JSON: ``save_every`` seconds, and for so many a cluster that was lost is tried again (``rejoin``).
"""

import json
import sys
from functools import partial

import mqar_bench.cli.app  # noqa: F401  # first, as the command does: a budget counts from here
import sweeps
from mqar_bench.cli import main
from mqar_bench.config import RunConfig
from mqar_bench.launching import loop, ray_parent
from mqar_bench.launching.executor import Task

file, settings, *sys.argv[1:] = sys.argv[1:]
with open(file) as text:
    configs = [RunConfig.model_validate(each) for each in json.load(text)]
sweeps.load = lambda *_: configs
settings = json.loads(settings)
loop.Task = partial(Task, save_every=settings["save_every"])
ray_parent.REJOIN_SECONDS = settings["rejoin"]
main()
