"""What the command line prints: tables for people, and plain values for JSON."""

from __future__ import annotations

import inspect
import json
import math
import os
import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import mixers
from mqar_bench.basics.console import print_table
from mqar_bench.config.settings import argument_docs, settings_of
from mqar_bench.tasks import Task, find_task

if TYPE_CHECKING:
    import pandas as pd

    from mqar_bench.launching import Summary
    from mqar_bench.records.result import RunResult
    from mqar_bench.records.store import Store

#: What `mqar-bench results` shows of a run when it is not asked for more: some only where they differ.
KEY_COLUMNS = (
    "run_id", "sweep", "scale", "data", "mixer", "d_model", "state_size", "learning_rate", "seed", "accuracy",
    "seconds", "status",
)  # fmt: skip


#: Characters of a line of an example.
EXAMPLE_WIDTH = 100


def print_frame(frame: pd.DataFrame, columns: list[str] | None = None) -> None:
    """Rows of ``to_frame``: the given columns, or those that matter most."""
    if columns is None:
        varying = {c for c in ("sweep", "scale", "seed") if frame[c].nunique() > 1}
        if frame.groupby(["sweep", "scale"])["data"].nunique().gt(1).any():
            varying.add("data")
        columns = [c for c in KEY_COLUMNS if c in varying or c not in ("sweep", "scale", "seed", "data")]
    shown = frame[columns].assign(run_id=frame["run_id"].str[:8]) if "run_id" in columns else frame[columns]
    rows = [[show_number(value) for value in row] for row in shown.itertuples(index=False)]
    header = [name.replace("_", " ") for name in columns]  # which may break at a space where it is narrow
    print_table(header, rows, [h for h, name in zip(header, columns, strict=True) if frame[name].dtype.kind in "iuf"])


def print_summary(summary: Summary, store: Store) -> None:
    """The best learning rate and its accuracy for every mixer and state size, then the counts, and what is not done.

    Where a task keeps the loss there is the perplexity on each test setting, too. As in the figures, models of one
    mixer and state size compete where their data are the same, on what guides training; accuracies are means over
    seeds, perplexities their geometric means.
    """
    points: dict[tuple[str, str, int], dict[tuple[str, float], list[RunResult]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for result in (*summary.done, *summary.skipped):
        config = result.config
        rival = config.variant, config.train.learning_rate
        points[config.data_name, config.mixer, result.state_size or 0][rival].append(result)
    rows, perplexities = [], []
    for (data, mixer, state_size), rivals in sorted(points.items()):
        (_, rate), best = max(rivals.items(), key=lambda rival: _mean([_guide(result) for result in rival[1]]))
        accuracies = [result.accuracy or 0.0 for result in best]
        runs = sum(len(each) for each in rivals.values())
        lost = {name: _mean([result.losses[name] for result in best]) for name in best[0].losses}
        perplexities.append({name: f"{math.exp(loss):.4g}" for name, loss in lost.items()})
        rows.append([data, mixer, str(state_size), f"{rate:g}", f"{_mean(accuracies):.3f}", str(runs)])
    header = ["data", "mixer", "state size", "best learning rate", "accuracy", "runs"]
    more = list(dict.fromkeys(name for each in perplexities for name in each))
    shared = (os.path.commonprefix(more), os.path.commonprefix([name[::-1] for name in more])[::-1])
    short = [name.removeprefix(shared[0]).removesuffix(shared[1]).replace("_", " ") or name for name in more]
    header += [f"perplexity {name}" for name in short]
    rows = [row + [each.get(name, "") for name in more] for row, each in zip(rows, perplexities, strict=True)]
    if rows:
        first = 1 if len({data for data, *_ in rows}) == 1 else 0
        print_table(header[first:], [row[first:] for row in rows], header[2:])
    left = f", {len(summary.left)} left" if summary.left else ""
    counts = f"{len(summary.done)} done, {len(summary.skipped)} done before, {len(summary.failed)} failed{left}"
    print(f"{counts}: {store.root}")
    print_undone(summary, store)


def _guide(result: RunResult) -> float:
    """The accuracy by which it was chosen; that of the test settings in a record without epochs."""
    return result.epochs[-1].accuracy if result.epochs else result.accuracy or 0.0


def print_undone(summary: Summary, store: Store) -> None:
    """The runs that are left or failed, and where the first of the latter has its traceback."""
    from mqar_bench.launching.progress import list_runs

    ended = (*summary.done, *summary.skipped, *summary.failed)
    configs = [*(result.config for result in ended), *summary.left]
    for line in list_runs(configs, {config.run_id: "" for config in summary.left}):
        print(f"left: {line}")
    for line in list_runs(configs, {r.run_id: (r.error or "").partition("\n")[0] for r in summary.failed}):
        print(f"failed: {line}")
    if summary.failed:
        print(f"what failed, with its traceback: {store.path(summary.failed[0].config)}")


def print_run(result: RunResult, store: Store, skipped: bool) -> None:
    """How one run ended, and where its record is; a traceback goes to standard error."""
    if result.status == "failed":
        print(result.traceback, file=sys.stderr)
        print(f"failed: {result.error}")
    else:
        settings = ", ".join(f"{name} {accuracy:.3f}" for name, accuracy in result.settings.items())
        before = " (done before; --force runs it again)" if skipped else ""
        print(f"accuracy {result.accuracy:.3f} ({settings}){before}")
        print(f"state size {result.state_size}, {result.num_parameters} parameters, {result.seconds:.0f} s")
    kept = " (of an earlier run, which was done)" if result.status == "failed" and store.is_done(result.config) else ""
    print(f"record: {store.path(result.config)}{kept}")
    if store.weights(result.config).is_file():
        print(f"weights: {store.weights(result.config)}")


def describe_mixer(name: str) -> dict[str, Any]:
    """A mixer's name, summary, source, state and options, as its docstring has them.

    The summary is its first line, source and state are the paragraphs that begin ``Source:`` and ``State:``; options
    have name, type, default and description.
    """
    cls = mixers.load(name)
    documented = argument_docs(cls)
    options = [
        {
            "name": option.name,
            "type": option.type,
            "default": "required" if option.default is inspect.Parameter.empty else option.default,
            "description": documented.get(option.name, ""),
        }
        for option in mixers.describe(name)
    ]
    text = inspect.getdoc(cls) or ""
    return {
        "name": name,
        "summary": text.partition("\n")[0],
        "source": _paragraph(text, "Source"),
        "state": _paragraph(text, "State"),
        "options": options,
    }


def describe_task(name: str) -> dict[str, Any]:
    """A task's name, what its module says of it, the first line of that, and its options like a mixer's.

    Of one of the user's own, at a dotted path, the class says it, and an example is drawn.

    Raises:
        ValueError: there is no such task.
    """
    cls = find_task(name)
    if cls is None:
        raise ValueError(f"no task named {name!r}")
    if cls.own:
        text = re.sub(r"^Args:\n(?:[ ]+.*(?:\n|$)|\n)*", "", own_doc(cls), flags=re.MULTILINE).strip()
        text = f"{text}\n\n{_draw_example(cls)}".strip()
    else:
        text = inspect.getdoc(inspect.getmodule(cls)) or ""
    own = [setting for setting in settings_of(cls) if setting.path != "name"]
    options = [{"name": s.path, "type": s.type, "default": s.default, "description": s.description} for s in own]
    return {"name": name, "summary": text.partition("\n")[0], "description": text, "options": options}


def own_doc(cls: type) -> str:
    """The docstring of a class itself, not of those that it is derived from."""
    return inspect.cleandoc(cls.__doc__ or "")


def _draw_example(cls: type[Task]) -> str:
    """An example of a task with its defaults, as the docstrings of ours have one, folded after so many tokens."""
    try:
        segment = cls.model_validate({}).build(0)
    except ValueError as error:
        return f"No example of its defaults can be drawn: {' '.join(str(error).split())}"
    tokens, labels = segment.tokens[0].tolist(), [""] * segment.tokens.shape[1]
    for position, answer in zip(segment.positions[0].tolist(), segment.answers[0].tolist(), strict=True):
        labels[position] = str(answer)
    width = len(str(max(*tokens, len(tokens), *map(int, filter(None, labels))))) + 2
    lines = []
    for start in range(0, len(tokens), step := max(1, (EXAMPLE_WIDTH - 12) // width)):
        places = range(start, min(start + step, len(tokens)))
        for what, row in (
            ("position", places),
            ("token", tokens[start : start + step]),
            ("label", labels[start : start + step]),
        ):
            lines.append(f"    {what:8}{''.join(f'{cell:>{width}}' for cell in row)}".rstrip())
        lines.append("")
    return "With its defaults, for instance:\n\n" + "\n".join(lines).rstrip()


def _paragraph(text: str, name: str) -> str:
    """What a docstring says after ``name:`` at the beginning of a line, until a blank line or the next such name."""
    found = re.search(rf"^{name}: (.*?)(?=\n\s*\n|\n[A-Z]\w+: |\Z)", text, re.MULTILINE | re.DOTALL)
    return " ".join(found.group(1).split()) if found else ""


def show_number(value: Any) -> str:
    """A cell for people."""
    if is_missing(value):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def to_json(value: Any) -> Any:
    """A cell as JSON has it: missing is null, and numpy's numbers are plain."""
    if is_missing(value):
        return None
    return value.item() if hasattr(value, "item") else value


def plain(text: str) -> str:
    """A docstring's text without its backticks."""
    return text.replace("``", "")


def show_json(value: Any) -> str:
    """A default: text as it is, anything else as JSON writes it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def is_missing(value: Any) -> bool:
    import pandas as pd

    return not isinstance(value, list | dict | tuple) and bool(pd.isna(value))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
