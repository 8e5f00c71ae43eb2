"""Which runs a figure lacks: those that are not done, by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mqar_bench.records.result import RunResult
    from mqar_bench.records.store import Store


def left_out(store: Store, records: Iterable[RunResult], sweep: str, scale: str, most: int | None = None) -> list[str]:
    """Lines that name the runs of a sweep at a scale that failed, were stopped on the way or not begun; none if all are
    done. A model of which a screening has chosen a rate, or of which other seeds are done than the sweep's own, lacks
    nothing. Of a sweep that is none of ours (``sweeps``) only those are known that have left a record or a checkpoint.

    Args:
        store: where checkpoints lie.
        records: there may be others among them.
        sweep: its name.
        scale: its scale.
        most: lines that name runs, at most.
    """
    import sweeps
    from mqar_bench.launching.progress import list_runs

    there = {r.run_id: r for r in records if (r.config.sweep, r.config.scale) == (sweep, scale)}
    ours = sweep in sweeps.names() and scale in sweeps.scales(sweep)
    planned = sweeps.load(sweep, scale) if ours else []
    seeds = {config.train.seed for config in planned}
    chosen = {
        r.config.variant
        for r in there.values()
        if r.status == "done" and (r.screen or r.config.train.seed not in seeds)
    }
    wanted = {config.run_id: config for config in planned if config.variant not in chosen}
    failed = {run_id: result for run_id, result in there.items() if result.status == "failed"}
    stopped = {path.stem for path in (store.root / f"{sweep}-{scale}").glob("*.ckpt")} - (set(there) - set(failed))
    remarks = dict.fromkeys((run_id for run_id in wanted if run_id not in there), "")
    remarks |= {run_id: f"failed: {(result.error or '').partition(chr(10))[0]}" for run_id, result in failed.items()}
    remarks |= dict.fromkeys(stopped & (set(wanted) | set(failed)), "stopped on the way, its checkpoint is there")
    known = wanted | {run_id: result.config for run_id, result in there.items()}
    strangers = sorted(stopped - set(known))
    count, total = (
        len(remarks) + len(strangers),
        len({c.run_id for c in planned} | failed.keys() if ours else there) + len(strangers),
    )
    if not count:
        return []
    lines = list_runs(list(known.values()), remarks)
    lines += [f"run {run_id}: stopped on the way, its checkpoint is there" for run_id in strangers]
    if most is not None and len(lines) > most:
        more = f"and so on: `mqar-bench sweep {sweep} --scale {scale} --dry-run` names them all"
        lines[most - 1 :] = [more if ours else f"and {len(lines) - most + 1} lines more"]
    return [f"{count} of {total} runs of {sweep} at {scale} are not done", *lines]
