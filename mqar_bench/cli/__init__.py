"""The command line. Commands import what they need when they run, so that help comes at once."""

# each adds its commands
from mqar_bench.cli import (  # noqa: F401
    check,
    compare,
    doctor,
    evaluate,
    language,
    look,
    perf,
    report,
    reproduce,
    results,
    run,
    size,
    story,
    stream,
    sweep,
    tasks,
    trace,
    zoology,
)
from mqar_bench.cli.app import app, main

__all__ = ["app", "main"]
