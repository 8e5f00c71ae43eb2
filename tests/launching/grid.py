"""Runs that differ by their seeds, and their records without training."""

from mqar_bench.config import RunConfig
from mqar_bench.records.result import Provenance, RunResult

MADE = Provenance(
    device="",
    threads=1,
    python="",
    versions={},
    git_commit=None,
    git_dirty=None,
    started_at="2026-01-01T00:00:00+00:00",
)


def config(seed) -> RunConfig:
    return RunConfig(sweep="grid", train={"seed": seed})


def done(of, seconds=1.0) -> RunResult:
    return RunResult(run_id=of.run_id, status="done", config=of, provenance=MADE, accuracy=0.5, seconds=seconds)
