"""The command ``evaluate``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mqar_bench.cli.app import Results, app
from mqar_bench.cli.complete import complete_run
from mqar_bench.cli.configs import run_of_sweep, start_config
from mqar_bench.cli.launching import INTERRUPTED
from mqar_bench.cli.output import Json

if TYPE_CHECKING:
    import torch

    from mqar_bench.analysis.evaluation import Evaluation
    from mqar_bench.config import RunConfig
    from mqar_bench.records.store import Store
    from mqar_bench.records.weights import Weights


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


#: A trained run, and the settings that change it.
Trained = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN",
        help="A run id or its start, SWEEP/SCALE/I as for run --base, or a .safetensors file.",
        show_default=False,
        autocompletion=complete_run,
    ),
]


@app.command(
    options_metavar="[OPTIONS] [--SETTING VALUE]...",
    context_settings={"ignore_unknown_options": True},
    epilog="**Examples**\n\n"
    "mqar-bench evaluate fig3/demo/22\n\n"
    "mqar-bench evaluate 13382cc7 --data.test.0.input_seq_len 512 --out longer.jsonl\n\n"
    "mqar-bench evaluate results/fig3-demo/13382cc7fcfe.safetensors --data.seed 7 --json",
)
def evaluate(
    context: typer.Context,
    words: Trained = None,
    results: Results = Path("results"),
    device: Annotated[Device | None, typer.Option(help="Where to score. Default: as the run's config has it.")] = None,
    as_json: Json = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep it too: in a .json, or as one more line of a .jsonl.")
    ] = None,
) -> None:
    """Score a trained model again, on its own test settings or on other lengths and tasks, without training.

    It needs the weights of the run, which `mqar-bench run` and `sweep` keep with --save-weights. What is scored is
    changed as `mqar-bench run` takes it: --data.test and what is below it, --data.seed, --data.sampler, and
    --train.test_batch_size and --train.test_batch_tokens, the most at a time. Examples follow from the data seed and a
    setting's place in the list.
    """
    from mqar_bench.analysis.evaluation import SCORED, evaluate_weights, keep_evaluation, read_evaluations
    from mqar_bench.records.store import Store

    store = Store(results)
    weights, config = find_trained(context, words, store, SCORED)
    if out is not None:
        read_evaluations(out)
    where = choose_device(weights.config, config, device)
    try:
        evaluation = evaluate_weights(weights, config, where)
    except KeyboardInterrupt:
        print("interrupted: nothing is kept", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    _compare(weights, store)
    if out is not None:
        keep_evaluation(out, evaluation)
    if as_json:
        print(evaluation.model_dump_json(indent=1))
    else:
        _print(evaluation, weights, out)


def find_trained(
    context: typer.Context, words: list[str] | None, store: Store, settings: Sequence[str]
) -> tuple[Weights, RunConfig]:
    """What a command's words name and change: the weights of a run, and its config with these ``settings`` changed.

    Raises:
        UsageError: no run is named, it has no weights here, or what is to be changed is none of the settings.
    """
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.config.overrides import apply_overrides, parse_pairs
    from mqar_bench.records.weights import read_header

    named, *changes = words or [""]
    if not named or named.startswith("-"):
        raise UsageError("which run? Give its id, SWEEP/SCALE/I or its .safetensors file first")
    pairs = parse_pairs(changes, [name for parameter in context.command.params for name in parameter.opts])
    weights = read_header(_find_file(named, store))
    _refuse_others(pairs, settings)
    return weights, apply_overrides(weights.config, pairs)


def _find_file(named: str, store: Store) -> Path:
    """The file of weights that is meant."""
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.records.store import WEIGHTS
    from mqar_bench.records.weights import find_weights

    if named.endswith(WEIGHTS):
        return Path(named)
    is_base = "/" in named and not (named.endswith(".json") or Path(named).exists())
    config = run_of_sweep(named) if is_base else start_config(None, None, named, store)
    found = find_weights(store, [config])
    if not found:
        start = f"--base {named}" if is_base else f"--from-record {named}"
        start += "" if store.root == Path("results") else f" --results {store.root}"
        again = "--retrain-without-weights" if store.is_done(config) else "--save-weights"
        raise UsageError(
            f"the weights of run {config.run_id} are not in {store.root}: `mqar-bench run {start} {again}` trains it"
            f"{' again' if store.is_done(config) else ''} and keeps them"
        )
    return found[config.run_id]


def choose_device(trained: RunConfig, config: RunConfig, device: Device | None) -> torch.device:
    """Where to score the run's model.

    Raises:
        UsageError: it is not here.
    """
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.training.device import pick_device

    wanted = config.train.device if device is None else device.value
    try:
        return pick_device(wanted)
    except ValueError:
        raise UsageError(f"run {trained.run_id} is to be scored on {wanted}, which is not here: --device cpu") from None


def _refuse_others(pairs: list[tuple[str, str]], settings: Sequence[str]) -> None:
    """All but these settings have no part in scoring: the model is trained, and stays what it is."""
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.config import RunConfig

    for path, _ in pairs:
        known = path.split(".")[0] in RunConfig.model_fields
        if known and not any(path == scored or path.startswith(f"{scored}.") for scored in settings):
            raise UsageError(f"--{path}: the model is trained already; what can be set is --{', --'.join(settings)}")


def _compare(weights: Weights, store: Store) -> None:
    """Say where the run's record is one of another training than the weights."""
    from mqar_bench.records.differ import find_difference, origin

    record = store.read(weights.config)
    if record is None or record.status != "done":
        return
    if difference := find_difference(record, weights.result):
        print(
            f"note: the weights are of another training than the record in {store.root}: {difference.what}"
            f" {difference.there} ({origin(weights.result.provenance)}), {difference.here} in the record"
            f" ({origin(record.provenance)})",
            file=sys.stderr,
        )


def _print(evaluation: Evaluation, weights: Weights, out: Path | None) -> None:
    from mqar_bench.analysis.evaluation import scored_in_training
    from mqar_bench.basics.console import print_table

    config, before = evaluation.config, scored_in_training(weights, evaluation.config)
    header = ["setting", "examples", "tokens", "pairs", "accuracy", *(["in training"] if before else [])]
    rows = []
    for (name, accuracy), task in zip(evaluation.settings.items(), config.data.test, strict=True):
        sizes = map(str, (task.num_examples, task.input_seq_len, task.num_kv_pairs))
        known = f"{before[name]:.4f}" if name in before else "-"
        rows.append([name, *sizes, f"{accuracy:.4f}", *([known] if before else [])])
    print_table(header, rows, header[1:])
    print(f"accuracy {evaluation.accuracy:.4f}, the mean over {len(rows)} setting{'s' if len(rows) > 1 else ''}")
    print(f"weights: {evaluation.weights} of run {evaluation.run_id}, {_describe(weights.config)}")
    if out is not None:
        print(f"kept: {out}")


def _describe(config: RunConfig) -> str:
    from mqar_bench.launching.progress import label_runs

    return label_runs([config])[config.run_id]
