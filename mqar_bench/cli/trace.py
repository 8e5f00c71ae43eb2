"""The command ``trace``."""

from __future__ import annotations

import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mqar_bench.basics.errors import hint
from mqar_bench.cli.app import Results, app
from mqar_bench.cli.complete import complete_place, complete_run
from mqar_bench.cli.configs import changed_config
from mqar_bench.cli.launching import INTERRUPTED, Quiet, terminate_as_interrupt
from mqar_bench.cli.output import Json, print_json

if TYPE_CHECKING:
    from mixers.ramnet import RAMNet
    from mqar_bench.config import RunConfig
    from mqar_bench.records.result import RunResult
    from mqar_bench.records.store import Store
    from mqar_bench.training.model import LanguageModel

#: Sequences recorded where the setting has so many, unless said otherwise.
EXAMPLES = 16


@app.command(
    options_metavar="[OPTIONS] [--SETTING VALUE]...",
    context_settings={"ignore_unknown_options": True},
    epilog="**Examples**\n\n"
    "mqar-bench trace --base fig3/demo/22\n\n"
    "mqar-bench trace 13382cc7 --setting L64-kv16 --example 3 --heads 1.0,1.1\n\n"
    "mqar-bench trace 13382cc7 --model.mixers.1.options.cape 1\n\n"
    "mqar-bench plot traces --trace figures/fig3-demo/13382cc7fcfe/trace.npz",
)
def trace(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN_ID|FILE",
            help="Whose config to take: a record by run id or file, or a config in JSON.",
            show_default=False,
            autocompletion=complete_run,
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="SWEEP/SCALE/I", help="Run I of a sweep, see sweep --dry-run.", autocompletion=complete_place
        ),
    ] = None,
    setting: Annotated[
        str | None, typer.Option(metavar="NAME", help="Test setting, such as L64-kv16. Default: the longest.")
    ] = None,
    example: Annotated[
        int, typer.Option(min=0, metavar="I", help="The example of it that is drawn, the first one recorded.")
    ] = 0,
    examples: Annotated[
        int | None, typer.Option(min=1, metavar="N", help=f"Examples recorded, for the cache. Default: {EXAMPLES}.")
    ] = None,
    heads: Annotated[
        str | None,
        typer.Option(metavar="L.H,L.H", help="Layer and head of each panel. Default: up to four that differ most."),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Weights to load, or to save once trained. Default: kept ones, or in --out."),
    ] = None,
    results: Results = Path("results"),
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the files, in one of the run.")] = Path(
        "figures"
    ),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Record which slots a RAM-Net reads and writes, and draw it: the figures `traces` and `cache`.

    The model is that of the weights which the run has kept (--save-weights). Where it has not, the run is trained again
    from its config, to the same bits on the same machine, and its weights are kept beside the trace. Settings are
    changed as `mqar-bench run` takes them.
    """
    import plots
    from mqar_bench.analysis.trace import build_setting, ramnet_layers, record, save_trace
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.config.overrides import parse_pairs
    from mqar_bench.launching.checkpoints import Checkpoints
    from mqar_bench.records.store import Store
    from mqar_bench.records.weights import find_weights
    from mqar_bench.training.device import pick_device
    from mqar_bench.training.weights import load_weights, save_weights

    words, store, kept = list(words or []), Store(results), Store(out)
    named = words.pop(0) if words and not words[0].startswith("-") else None
    if base is not None and named is not None:
        raise UsageError(f"--base and {named!r} exclude each other")
    pairs = parse_pairs(words, [name for parameter in context.command.params for name in parameter.opts])
    config = changed_config(pairs, base, None, named, store)
    ramnets = ramnet_layers(config)
    if not ramnets:
        names = ", ".join(spec.name for spec in config.model.mixers)
        raise UsageError(f"run {config.run_id} has no RAM-Net to trace: its mixers are {names}")
    shown = None if heads is None else _parse_heads(heads, ramnets)
    setting = _choose_setting(config, setting)
    there = len(build_setting(config.data, setting))
    count = min(EXAMPLES, max(1, there - example)) if examples is None else examples
    if example + count > there:
        raise UsageError(f"{setting} has examples 0 to {there - 1}: there are no {count} from {example} on")
    try:
        device = pick_device(config.train.device)
    except ValueError as error:
        raise UsageError(str(error)) from error
    kept.check_writable(config)
    folder = kept.folder(config) / config.run_id
    path = folder / "trace.npz"
    weights = weights or find_weights(store, [config]).get(config.run_id, folder / "weights.safetensors")
    try:
        if weights.exists():
            model, loaded = load_weights(weights, device, config)
            provenance = loaded.result.provenance
        else:
            with terminate_as_interrupt():
                model, result = _train(config, store, kept, quiet)
                save_weights(weights, model, result)
            provenance = result.provenance
        recorded = record(model, config, provenance, setting, example, count, shown)
        save_trace(recorded, path)
        drawn = [drawing for figure in ("traces", "cache") for drawing in plots.draw(figure, [recorded], folder)]
    except KeyboardInterrupt:
        can_resume = weights.exists() or Checkpoints(kept).exists(config)
        print(f"interrupted: {'the same command resumes' if can_resume else 'nothing is kept'}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    except OSError as error:
        raise UsageError(f"cannot write {error.filename or folder}: {error.strerror or error}") from error
    files = (weights, path, *drawn)
    if as_json:
        about = {"run_id": config.run_id, "setting": setting, "first_example": example, "examples": count}
        print_json(about | {"accuracy": recorded.accuracy, "files": list(map(str, files))})
        return
    print(f"accuracy {recorded.accuracy:.3f} on examples {example} to {example + count - 1} of {setting}")
    for file in files:
        print(file)


def _choose_setting(config: RunConfig, setting: str | None) -> str:
    from mqar_bench.analysis.trace import longest_setting
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.config import setting_names

    names = setting_names(config.data.test)
    if setting is None:
        return longest_setting(config.data)
    if setting not in names:
        raise UsageError(f"no test setting {setting!r}{hint(setting, names)}")
    return setting


def _parse_heads(text: str, ramnets: dict[int, RAMNet]) -> tuple[tuple[int, int], ...]:
    """``1.0,1.1`` as pairs of layer and head."""
    from mqar_bench.basics.errors import UsageError

    there = [f"{i}.{h}" for i, mixer in ramnets.items() for h in range(mixer.num_heads)]
    chosen = [part.strip() for part in text.split(",")]
    for name in chosen:
        if name not in there:
            raise UsageError(f"--heads: no RAM-Net head {name!r}, as layer.head: there is {', '.join(there)}")
    return tuple((int(i), int(h)) for i, _, h in (name.partition(".") for name in dict.fromkeys(chosen)))


def _train(config: RunConfig, store: Store, kept: Store, quiet: bool) -> tuple[LanguageModel, RunResult]:
    """Train under somebody's eyes, from the checkpoint of an interrupted try if there is one.

    Args:
        config: the run.
        store: where it may have a record, for what is to be expected.
        kept: where checkpoints are kept meanwhile.
        quiet: show no progress.
    """
    import torch

    from mqar_bench.launching.checkpoints import Checkpoints
    from mqar_bench.launching.progress import make_watcher
    from mqar_bench.launching.worker import SAVE_SECONDS
    from mqar_bench.records.differ import find_difference, origin
    from mqar_bench.training.checkpoint import CheckpointError
    from mqar_bench.training.device import with_threads
    from mqar_bench.training.loop import fit
    from mqar_bench.training.session import Divergence

    known, checkpoints = store.read(config), Checkpoints(kept)
    if not quiet:
        print(_announce(config, known, store), file=sys.stderr)
    checkpoint, problem = checkpoints.read(config)
    # sums over other numbers of threads have other bits
    threads = None if known is None else min(known.provenance.threads, torch.get_num_threads())
    watcher = make_watcher(quiet=quiet)
    try:
        with with_threads(threads), closing(watcher):
            watcher.start((config,), 0)
            train = partial(
                fit,
                config,
                partial(watcher.progress, config.run_id),
                save=partial(checkpoints.write, config),
                save_every=SAVE_SECONDS,
                keep=True,
            )
            if problem:
                watcher.note(config.run_id, f"starts from scratch: {problem}")
            try:
                model, result = train(checkpoint=checkpoint)
            except CheckpointError as error:
                watcher.note(config.run_id, f"starts from scratch: {error}")
                model, result = train()
            watcher.finish(result)
    except Divergence as error:
        print(f"the run failed: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    checkpoints.remove(config)
    if known is not None and known.status == "done" and (difference := find_difference(known, result)) is not None:
        print(
            f"note: {difference.what} {difference.there} here ({origin(result.provenance)}), {difference.here} in the"
            f" record ({origin(known.provenance)}): it comes from another machine, number of threads or version",
            file=sys.stderr,
        )
    return model, result


def _announce(config: RunConfig, known: RunResult | None, store: Store) -> str:
    """A line on what is about to be trained, why, and how long that took before."""
    from mqar_bench.launching.budget import Durations

    seconds, again = Durations(store.results()[0]).expect(config), ""
    if known is not None and known.status == "done":
        seconds, again = known.seconds, " again from its config, as its weights were not kept"
    expected = "" if seconds is None else f"; it takes about {seconds:.0f} s, by the records"
    return f"training run {config.run_id}{again}{expected}"
