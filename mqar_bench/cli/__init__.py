"""The command line. Commands import what they need when they run, so that help comes at once."""

# each adds its commands
from mqar_bench.cli import check, doctor, look, perf, reproduce, results, run, size, sweep, tasks, trace, zoology  # noqa: F401
from mqar_bench.cli.app import app, main

__all__ = ["app", "main"]
