"""Tasks of the user's own: a class outside this package, by its dotted path wherever a task's name is taken.

In a config and in a record such a task has, besides its fields, ``facts``: what follows from them (``FACTS``). Records
are read by these alone, whether or not the class is at hand; where it is needed, they are computed anew.
"""

from __future__ import annotations

import importlib
import inspect
import json
from functools import cached_property
from typing import Any, ClassVar, cast

from pydantic import ValidationInfo, field_validator
from pydantic_core.core_schema import SerializerFunctionWrapHandler, ValidatorFunctionWrapHandler

from mixers.checks import brief
from mixers.dotted import NotFound, find_at
from mqar_bench.basics.errors import describe
from mqar_bench.tasks.sampling import Array, Rng
from mqar_bench.tasks.task import SIZES, Task

FACTS = ("label", *SIZES)

#: Pydantic's context in which what is read is a record: no code of the user's is imported for it.
RECORDED = {"recorded": True}


def is_path(name: Any) -> bool:
    """Whether a task's name is a dotted path."""
    return isinstance(name, str) and "." in name


def load_task(path: str) -> type[Task]:
    """The class of a task at a dotted path such as ``my_tasks.Mine``, after importing its module.

    Raises:
        ValueError: there is none such; one line that says what there is.
        Exception: what the module raises, as it is, but for a ``ValueError``, which becomes an ``ImportError``.
    """
    if not all(part.isidentifier() for part in path.split(".")):
        raise ValueError(f"task {brief(path)} is no dotted path to a class, such as my_tasks.Mine")
    try:
        cls = find_at(path, "task")
    except NotFound:
        raise
    except (ValueError, AssertionError) as error:  # of the module; it would count as a mistake in the config
        raise ImportError(f"{path.rpartition('.')[0]}: {describe(error)}") from error
    if not (isinstance(cls, type) and issubclass(cls, Task)):
        raise ValueError(f"task {brief(path)} is not a class derived from mqar_bench.tasks.Task")
    if inspect.isabstract(cls):
        lacks = ", ".join(sorted(cls.__abstractmethods__))
        raise ValueError(f"task {brief(path)} cannot be drawn: it does not define {lacks}")
    if not cls.own:
        raise ValueError(f"task {brief(path)} is one of ours: give it as {cls.model_fields['name'].default!r}")
    if getattr(importlib.import_module(cls.__module__), cls.__qualname__, None) is not cls:
        raise ValueError(f"task {brief(path)} must lie at the top level of its module, for others to import it")
    return cast(type[Task], cls)


class RecordedTask(Task):
    """A task of the user's own as a record has it: to be told about, not to be drawn.

    Args:
        text: all that the record says of it, as JSON.
    """

    name: str
    text: str

    own: ClassVar[bool] = True

    @field_validator("text")
    @classmethod
    def _check_text(cls, text: str) -> str:
        facts = json.loads(text).get("facts")
        if not isinstance(facts, dict) or not set(FACTS) <= facts.keys():
            raise ValueError(f"a task of the user's own needs facts: {', '.join(FACTS)}")
        return text

    @cached_property
    def _facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(self.text)["facts"]
        return facts

    def __getattr__(self, name: str) -> Any:
        if name in SIZES:
            return self._facts[name]
        return super().__getattr__(name)  # type: ignore[misc]

    @property
    def num_answers(self) -> int:
        """As the record says."""
        return int(self._facts["num_answers"])

    @property
    def label(self) -> str:
        """As the record says."""
        label: str = self._facts["label"]
        return label

    def _draw(self, rng: Rng, filler: Rng, tokens: Array) -> tuple[Array, Array]:
        raise ValueError(f"the task {self.name!r} is known from its record alone, and cannot be drawn")


def validate_task(value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    """What pydantic does with a task: one of the user's own here, any other as ``handler`` does."""
    if isinstance(value, Task):
        return value if value.own else handler(value)
    if not (isinstance(value, dict) and is_path(value.get("name"))):
        return handler(value)
    if info.context == RECORDED:
        return RecordedTask(name=value["name"], text=json.dumps(value))
    cls = load_task(value["name"])
    fields = {name: each for name, each in value.items() if name not in ("name", "facts")}
    return cls.model_validate(fields)


def serialize_task(task: Task, handler: SerializerFunctionWrapHandler) -> Any:
    """The plain form of a task; of one of the user's own with its facts."""
    if isinstance(task, RecordedTask):
        return json.loads(task.text)
    if not task.own:
        return handler(task)
    return task.model_dump(mode="json") | {"facts": {name: getattr(task, name) for name in FACTS}}
