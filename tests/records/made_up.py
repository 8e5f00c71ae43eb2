"""Records that no run has left, and what is in a folder of them."""

from pathlib import Path

from mqar_bench.config import RunConfig
from mqar_bench.records.result import Provenance, RunResult

RATES = (1e-3, 2e-3, 3e-3)


def config(rate=1e-3, **names) -> RunConfig:
    return RunConfig.model_validate({"train": {"learning_rate": rate}, "sweep": "s", "scale": "demo", **names})


def record(rate=1e-3, status="done", device="cpu", started_at="2026-01-01", **changes) -> RunResult:
    run = changes.pop("config", config(rate))
    values = (
        {"accuracy": 0.5, "settings": {"L64-kv8": 1 / 3}, "state_size": 10} if status == "done" else {"error": "ä\n"}
    )
    provenance = Provenance(
        device=device, threads=1, python="3", versions={}, git_commit=None, git_dirty=None, started_at=started_at
    )
    return RunResult(run_id=run.run_id, status=status, config=run, provenance=provenance, **{**values, **changes})


def line(result: RunResult) -> str:
    return result.model_dump_json() + "\n"


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def contents(root: Path) -> dict[str, bytes]:
    return {name: (root / name).read_bytes() for name in files(root)}
