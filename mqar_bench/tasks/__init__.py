"""Synthetic tasks: a frozen config builds a `Segment`, examples of one difficulty with sparse labels."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import Discriminator, Tag, WrapSerializer, WrapValidator

from mqar_bench.tasks.associative_recall import AssociativeRecallConfig
from mqar_bench.tasks.associative_retrieval import AssociativeRetrievalConfig
from mqar_bench.tasks.circuits import CircuitsConfig
from mqar_bench.tasks.compositional import CompositionalConfig
from mqar_bench.tasks.distant_mqar import DistantMQARConfig
from mqar_bench.tasks.forgetting import ForgettingConfig
from mqar_bench.tasks.jrt import JRTConfig
from mqar_bench.tasks.k_hop import KHopConfig
from mqar_bench.tasks.mqar import MQARConfig
from mqar_bench.tasks.multi_value_mqar import MultiValueMQARConfig
from mqar_bench.tasks.own import is_path, load_task, serialize_task, validate_task
from mqar_bench.tasks.queries import QueryTask
from mqar_bench.tasks.seeds import segment_seeds
from mqar_bench.tasks.segment import Segment
from mqar_bench.tasks.stacked import StackedConfig
from mqar_bench.tasks.state_tracking import StateTrackingConfig
from mqar_bench.tasks.story_qa import StoryQAConfig
from mqar_bench.tasks.stream import Stream, StreamTask
from mqar_bench.tasks.task import Sampler, Task

__all__ = [
    "TASKS",
    "UNKNOWN_TASK",
    "AnyTask",
    "AssociativeRecallConfig",
    "AssociativeRetrievalConfig",
    "CircuitsConfig",
    "CompositionalConfig",
    "DistantMQARConfig",
    "ForgettingConfig",
    "JRTConfig",
    "KHopConfig",
    "MQARConfig",
    "MultiValueMQARConfig",
    "QueryTask",
    "Sampler",
    "Segment",
    "StackedConfig",
    "StateTrackingConfig",
    "StoryQAConfig",
    "Stream",
    "StreamTask",
    "Task",
    "find_task",
    "segment_seeds",
]

#: The type of pydantic's error about a name that no task has.
UNKNOWN_TASK = "unknown_task"


def _name_of(value: Any) -> str | None:
    """By what pydantic finds the class of a task, given as an object or as its fields; MQAR's needs no name."""
    name = value.get("name", "multiquery_ar") if isinstance(value, dict) else getattr(value, "name", "multiquery_ar")
    return name if isinstance(name, str) and name in TASKS else None


#: A config of any task. To register a task, list it here, with its name; those of the user's own need none.
AnyTask = Annotated[
    Annotated[MQARConfig, Tag("multiquery_ar")]
    | Annotated[ForgettingConfig, Tag("forgetting")]
    | Annotated[CompositionalConfig, Tag("compositional")]
    | Annotated[StackedConfig, Tag("stacked")]
    | Annotated[JRTConfig, Tag("jrt")]
    | Annotated[AssociativeRetrievalConfig, Tag("associative_retrieval")]
    | Annotated[AssociativeRecallConfig, Tag("associative_recall")]
    | Annotated[CircuitsConfig, Tag("circuits")]
    | Annotated[KHopConfig, Tag("k_hop")]
    | Annotated[MultiValueMQARConfig, Tag("multi_value_mqar")]
    | Annotated[StateTrackingConfig, Tag("state_tracking")]
    | Annotated[DistantMQARConfig, Tag("distant_mqar")]
    | Annotated[StoryQAConfig, Tag("story_qa")],
    Discriminator(_name_of, custom_error_type=UNKNOWN_TASK, custom_error_message="there is no task of this name"),
    WrapValidator(validate_task),
    WrapSerializer(serialize_task),
]

#: Every task's class by its name.
TASKS: dict[str, type[Task]] = {get_args(entry)[1].tag: get_args(entry)[0] for entry in get_args(get_args(AnyTask)[0])}


def find_task(name: Any) -> type[Task] | None:
    """The class of a task by its name, or by a dotted path.

    Raises:
        ValueError: it is a dotted path, and there is no task at it.
    """
    return load_task(name) if is_path(name) else TASKS.get(name) if isinstance(name, str) else None
