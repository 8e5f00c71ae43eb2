"""The application: its commands hang on ``app``, and what they share is here."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

#: When the command began, by time.monotonic(); time budgets count from here.
STARTED = time.monotonic()


#: As help lists them: what one does with a benchmark, in that order.
ORDER = (
    "sweep", "run", "language", "results", "show", "plot", "evaluate", "stream", "trace", "reproduce", "report",
    "mixers", "check", "compare", "state-size", "perf", "doctor",
)  # fmt: skip


class Once:
    """A command that refuses an option given twice, of which the parser would take the last in silence."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:  # of a line that is being completed
            refuse_repeated(self, ctx, args)
        return super().parse_args(ctx, args)  # type: ignore[misc]


class OneCommand(Once, TyperCommand):
    """What every command is."""


class Application(typer.Typer):
    """An application, or a group of commands within one."""

    def command(self, *args: Any, **kwargs: Any) -> Any:
        return super().command(*args, **{"cls": OneCommand, **kwargs})


class Commands(Once, TyperGroup):
    """Says a user's mistake in one line, ``error: ...`` with exit code 2; anything else keeps its traceback."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))

    def main(self, *args: Any, **kwargs: Any) -> Any:
        standalone = kwargs.pop("standalone_mode", True)
        try:
            result = super().main(*args, **{**kwargs, "standalone_mode": False})
        except Exception as error:
            if not _is_users(error):
                raise
            text = error.format_message() if hasattr(error, "format_message") else str(error)
            print("error:", " ".join(text.replace("Value error, ", "").split()), file=sys.stderr)
            sys.exit(2)
        if not standalone:
            return result
        sys.exit(result if isinstance(result, int) else 0)


def _is_users(error: Exception) -> bool:
    if hasattr(error, "format_message"):  # of the parser, whose module differs between typer's versions
        return True
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.records.store import StoreError

    return isinstance(error, UsageError | StoreError)


def refuse_repeated(command: Any, ctx: Any, args: list[str]) -> None:
    """Fail if an option that takes one value is given twice, or one of a flag and its opposite more than once."""
    try:
        order = command.make_parser(ctx).parse_args(list(args))[2]
    except Exception:  # the parser says it again
        return
    given = [each for each in order if each.param_type_name == "option"]
    if any(option.is_eager for option in given):  # help
        return
    for option in dict.fromkeys(given):
        if given.count(option) == 1 or option.multiple or option.count:
            continue
        if not option.is_flag:
            parser = command.make_parser(ctx)
            parser.add_option(option, option.opts, option.name, action="append", nargs=option.nargs)
            values = parser.parse_args(list(args))[0][option.name]
            ctx.fail(f"{option.opts[0]} is given {len(values)} times: {', '.join(map(str, values))}")
        if option.secondary_opts:  # other flags only say the same again
            ctx.fail(f"give one of {option.opts[0]} and {option.secondary_opts[0]}, and once")


app = Application(
    name="mqar-bench",
    cls=Commands,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    epilog="Exit codes: 0 done, 1 something failed, 2 a mistake, 3 runs are left, 130 interrupted.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Results = Annotated[Path, typer.Option("--results", metavar="DIR", help="Folder of the records.")]


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Recall in efficient sequence models: train, tabulate and draw.

    A sweep is a list of runs. Each leaves a record, a JSON file; a run with a record is not run again, so the
    same command resumes. Tables and figures are made from records alone.
    """
    if os.getcwd() not in sys.path:  # the user's own mixers; last, so that nothing here is hidden by them
        sys.path.append(os.getcwd())
    os.environ["MPLBACKEND"] = "Agg"  # figures go to files, also where a notebook or a screen is there
    if version:
        from mqar_bench.basics.machine.software import NAME, read_project

        print(f"{NAME} {read_project().version}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit


def main() -> None:
    """Entry point of ``mqar-bench``."""
    try:
        app(prog_name="mqar-bench")
    except SystemExit as end:
        if not isinstance(end.code, int):
            raise
        _leave(end.code)


def _leave(code: int) -> None:
    """End the process without taking torch and ray apart, which would take a second where memory is slow."""
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):  # nobody reads any more
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
