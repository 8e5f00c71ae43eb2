"""The command that lists the tasks."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mqar_bench.basics.errors import hint
from mqar_bench.cli.app import app
from mqar_bench.cli.complete import complete_task
from mqar_bench.cli.output import Format, Json, ListFormat, print_json


@app.command(
    name="tasks",
    epilog="**Examples**\n\nmqar-bench tasks\n\nmqar-bench tasks forgetting\n\nmqar-bench tasks my_tasks.Mine",
)
def list_tasks(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="A task, or a dotted path to a class.",
            show_default=False,
            autocompletion=complete_task,
        ),
    ] = None,
    as_json: Json = False,
    format: Format = ListFormat.table,
) -> None:
    """List the tasks, or what one is and its options."""
    from mqar_bench.basics.console import print_table
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.cli.show import describe_task, plain, show_json
    from mqar_bench.tasks import TASKS
    from mqar_bench.tasks.own import is_path

    if name is not None and name not in TASKS and not is_path(name):
        raise UsageError(f"no task named {name!r}{hint(name, list(TASKS))}")
    try:
        described = [describe_task(task) for task in ([name] if name else TASKS)]
    except ValueError as error:
        raise UsageError(str(error)) from None
    if as_json or format is ListFormat.json:
        print_json(described if name is None else described[0])
    elif name is None:
        rows = []
        for task in described:
            options = ", ".join(f"{o['name']}={show_json(o['default'])}" for o in task["options"])
            rows.append([task["name"], f"{plain(task['summary'])}\n  {options}"])
        print_table(["task", "what it is, and its options with their defaults"], rows)
        print("\nTrain on one: mqar-bench run --data.train.0.name NAME --data.test.0.name NAME")
    else:
        (task,) = described
        sys.stdout.write(f"{plain(task['description'])}\n\n")
        rows = [[o["name"], o["type"], show_json(o["default"]), plain(o["description"])] for o in task["options"]]
        print_table(["option", "type", "default", "what it is"], rows)
