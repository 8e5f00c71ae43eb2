"""Task data in Ray's shared memory: drawn once, and read in place by every run of a machine."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch

from mqar_bench.config import DataConfig
from mqar_bench.tasks import Segment
from mqar_bench.training.data import TaskData, shared_data

Arrays = dict[str, Any]
#: Of ``TaskData``, in its order.
PARTS = ("train", "validation", "test")


def data_bytes(config: DataConfig) -> int:
    """What the task data of a run takes: int32 tokens, positions and answers."""
    tasks = config.tasks
    return sum(4 * t.num_examples * (t.input_seq_len + 2 * t.num_answers) for t in tasks)


def to_arrays(config: DataConfig) -> Arrays:
    """The task data of a config as numpy arrays, which Ray's workers map instead of copying."""
    data = shared_data(config)
    return {part: [_plain(segment) for segment in getattr(data, part)] for part in PARTS}


def from_arrays(config: DataConfig, arrays: Arrays) -> TaskData:
    """The other way, without copying; nothing writes to a segment."""
    return TaskData(config, *(tuple(map(_segment, arrays[part])) for part in PARTS))


def _plain(segment: Segment) -> dict[str, Any]:
    return {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in vars(segment).items()}


def _segment(fields: dict[str, Any]) -> Segment:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")
        values: dict[str, Any] = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in fields.items()}
    return Segment(**values)
