"""Output for programs: with ``--json`` a command prints one JSON value on standard output, and nothing else there."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import pandas as pd

    from mqar_bench.config import RunConfig
    from mqar_bench.launching import Summary
    from mqar_bench.records.result import RunResult
    from mqar_bench.records.store import Store


class ListFormat(StrEnum):
    table = "table"
    json = "json"


Json = Annotated[bool, typer.Option("--json", help="Print JSON instead, and nothing else.")]
#: How JSON was asked for before; still taken.
Format = Annotated[ListFormat, typer.Option(hidden=True, help="A table, or JSON.")]


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=1))


def frame_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them: what is missing is null."""
    from mqar_bench.cli.show import to_json

    return [{str(name): to_json(value) for name, value in row.items()} for row in frame.to_dict("records")]


def summary_values(summary: Summary, store: Store, code: int) -> dict[str, Any]:
    """What a launch came to: each run with what became of it, in the order of the table's counts."""
    from mqar_bench.launching.progress import label_runs

    ended = {"done": summary.done, "done before": summary.skipped, "failed": summary.failed}
    results = [(what, result) for what, those in ended.items() for result in those]
    labels = label_runs([*(result.config for _, result in results), *summary.left])

    def describe(what: str, config: RunConfig, result: RunResult | None) -> dict[str, Any]:
        return {
            "run_id": config.run_id,
            "label": labels[config.run_id],
            "outcome": what,
            "accuracy": result and result.accuracy,
            "error": result and result.error,
            "record": str(store.path(config)) if result else None,
        }

    runs = [describe(what, result.config, result) for what, result in results]
    runs += [describe("left", config, None) for config in summary.left]
    return {"results": str(store.root), "exit_code": code, "stopped": summary.stopped or None, "runs": runs}
