"""The command ``stream``."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mqar_bench.cli.app import STARTED, Results, app
from mqar_bench.cli.evaluate import Device, Trained, choose_device, find_trained
from mqar_bench.cli.launching import INTERRUPTED, RUNS_LEFT, Quiet, terminate_as_interrupt
from mqar_bench.cli.output import Json

if TYPE_CHECKING:
    from mqar_bench.analysis.stream_record import StreamEvaluation

#: What of a config decides what is streamed.
STREAMED = ("data.test", "data.seed")


@app.command(
    options_metavar="[OPTIONS] [--SETTING VALUE]...",
    context_settings={"ignore_unknown_options": True},
    epilog="**Examples**\n\n"
    "mqar-bench stream long_context/laptop/0 --to 1M\n\n"
    "mqar-bench stream 13382cc7 --data.test.0.name distant_mqar --data.test.0.filler any --to 64k\n\n"
    "mqar-bench stream 13382cc7 --to 10M --rows 4 --examples 16 --time-budget 55m --json",
)
def stream(
    context: typer.Context,
    words: Trained = None,
    to: Annotated[str, typer.Option(metavar="TOKENS", help="The longest context: 4096, 64k, 10M (k is 1024).")] = "64k",
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="TOKENS", help="The shortest, then four times that. Default: 1k, or as --to."),
    ] = None,
    examples: Annotated[int, typer.Option(min=1, metavar="N", help="Examples at each context.")] = 64,
    rows: Annotated[int, typer.Option(min=1, metavar="N", help="Of them read side by side.")] = 8,
    piece: Annotated[str, typer.Option(metavar="TOKENS", help="Tokens that are read at a time.")] = "1k",
    memory: Annotated[
        str, typer.Option(metavar="BYTES", help="What reading may take, such as 512M; a context that needs more ends.")
    ] = "2G",
    time_budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop before so long, such as 9m or 1h30m. Exit code 3.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where it is kept. Default: RUN_ID.stream.json by the weights.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Begin anew, whatever is there.")] = False,
    results: Results = Path("results"),
    device: Annotated[Device | None, typer.Option(help="Where to read. Default: as the run's config has it.")] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Score a trained model at contexts of any length, in pieces: its state is carried, and nothing else is kept.

    It needs the weights of the run, which `mqar-bench run` and `sweep` keep with --save-weights, and a task of any
    length: the first of its test settings that is distant_mqar or story_qa, at each context in place of its own. It is
    changed as for `mqar-bench evaluate`, by --data.test and --data.seed. A model whose state grows ends where --memory
    does, and it is said so. The same command goes on with what is left: what is read is kept after every batch of rows.
    """
    from mqar_bench.analysis.stream_record import ENDING
    from mqar_bench.analysis.streaming import StreamSettings, stream_weights
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.cli.streamed import StreamLines, print_stream
    from mqar_bench.launching.budget import Budget, parse_duration
    from mqar_bench.records.store import Store

    last = parse_count("--to", to)
    try:
        settings = StreamSettings(
            last=last,
            first=min(1024, last) if start is None else parse_count("--from", start),
            examples=examples,
            rows=rows,
            piece=parse_count("--piece", piece),
            memory=parse_count("--memory", memory),
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    budget = None if time_budget is None else Budget(parse_duration(time_budget), STARTED)
    weights, config = find_trained(context, words, Store(results), STREAMED)
    where = choose_device(weights.config, config, device)
    path = weights.path.with_suffix(ENDING) if out is None else out
    if path.suffix != ".json":
        raise UsageError(f"--out {path}: the file must end in .json")
    watcher = StreamLines(quiet, budget)
    try:
        with terminate_as_interrupt():
            evaluation = stream_weights(weights, config, where, settings, path, watcher, force)
    except KeyboardInterrupt:
        kept = f"what is read is in {path}; the same command goes on" if path.exists() else "nothing is read yet"
        print(f"interrupted: {kept.replace(' --force', '')}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        watcher.close()
    if as_json:
        print(evaluation.model_dump_json(indent=1))
    else:
        print_stream(evaluation, path)
    left = count_left(evaluation, settings.contexts)
    if left:
        again = "without --force " if force else ""
        print(f"the time is over: {left} left; the same command {again}goes on", file=sys.stderr)
        raise typer.Exit(RUNS_LEFT)


def count_left(evaluation: StreamEvaluation, contexts: list[int]) -> str:
    """Words on the contexts that are not read; empty if there are none."""
    left = sum(evaluation.at(context).status == "partial" for context in contexts)
    return f"{left} context{' is' if left == 1 else 's are'}" if left else ""


def parse_count(option: str, text: str) -> int:
    """A number of tokens or bytes, of ``4096``, ``64k``, ``1.5M`` or ``2G``: k is 1024, M its square, G its cube.

    Raises:
        UsageError: it is no such thing, or not a whole number from 1.
    """
    from mqar_bench.basics.errors import UsageError

    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?)([kKMG]?)", text)
    count = float(found[1]) * 1024 ** " kMG".index(found[2].replace("K", "k") or " ") if found else 0.0
    if count < 1 or count != int(count):
        raise UsageError(f"{option} {text!r} is no size: give one such as 4096, 64k or 10M")
    return int(count)
