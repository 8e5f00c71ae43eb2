"""The command line with a sweep from a file: ``driver.py CONFIGS.json SAVE_SECONDS sweep faults --scale ...``."""

import json
import signal
import sys
from functools import partial

import mqar_bench.cli.app  # noqa: F401  # first, as the command does: a budget counts from here
import sweeps
from mqar_bench.cli import main
from mqar_bench.config import RunConfig
from mqar_bench.launch import sweep
from mqar_bench.launch.executor import Task

file, save_every, *sys.argv[1:] = sys.argv[1:]
with open(file) as text:
    configs = [RunConfig.model_validate(each) for each in json.load(text)]
sweeps.load = lambda *_: configs
sweep.Task = partial(Task, save_every=float(save_every))
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests may run in the background, where shells ignore it
main()
