"""TensorBoard: event files in a folder a run, ``<sweep>-<scale>/tensorboard/<run_id>`` beside the records."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.metadata import NULL_TENSOR, SESSION_END_INFO_TAG, create_summary_metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from mqar_bench.tracking.base import Ending, Point, TrackedRun

#: Hyperparameters are all settings but those of each segment of the data.
SEGMENTS = ("data.train.", "data.validation.", "data.test.")


class TensorBoard:
    """A tracker; see ``Tracker``. What is in the folder already stays, but for what is of steps after those done: it
    is taken back (``SessionLog.START``, as ``purge_step`` does), to be written again."""

    def start(self, run: TrackedRun) -> None:
        folder = run.folder / "tensorboard" / run.config.run_id
        self._there = _read(folder)
        self._file = _EventFile(folder)
        self._purge = run.step
        if self._there:
            self._file.write(Event(step=run.step, session_log=SessionLog(status=SessionLog.START)))
        settings = {name: value for name, value in run.settings.items() if not name.startswith(SEGMENTS)}
        plain = {name: value for name, value in settings.items() if value is not None}
        self._add(hparams_pb(plain, trial_id=run.config.run_id), 0)
        self._add(text_pb("config", _as_code(run.config.model_dump_json(indent=1))), 0)

    def log(self, point: Point) -> None:
        if point.step < self._purge and {(name, point.step) for name in point.values} <= self._there:
            return
        self._add_scalars(point.values, point.step)

    def finish(self, ending: Ending) -> None:
        numbers = {f"summary/{k}": float(v) for k, v in ending.summary.items() if isinstance(v, int | float)}
        self._add_scalars(numbers, ending.step)
        if ending.record:
            self._add(text_pb("record", _as_code(ending.record)), ending.step)
        if ending.status != "paused":
            done = ending.status == "done"
            self._add(_end(Status.STATUS_SUCCESS if done else Status.STATUS_FAILURE), ending.step)
        self._file.close()

    def _add_scalars(self, values: dict[str, float], step: int) -> None:
        if values:
            self._add(Summary(value=[Summary.Value(tag=k, simple_value=v) for k, v in values.items()]), step)

    def _add(self, summary: Summary, step: int) -> None:
        self._file.write(Event(step=step, summary=summary))


class _EventFile:
    """Written as it comes, so that what a killed process leaves is all that it was told. Files of a folder are read in
    the order of their names."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._writer = RecordWriter((folder / name).open("xb"))
        self.write(Event(file_version="brain.Event:2"))

    def write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._writer.write(event.SerializeToString())
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def _read(folder: Path) -> set[tuple[str, int]]:
    """The scalars that a folder has, by name and step."""
    if not folder.is_dir():
        return set()
    found = EventAccumulator(str(folder), size_guidance={SCALARS: 0}).Reload()
    return {(name, event.step) for name in found.Tags()[SCALARS] for event in found.Scalars(name)}


def _end(status: int) -> Summary:
    """That of the plugin itself (``hparams.summary``) needs TensorFlow."""
    about = HParamsPluginData(session_end_info=SessionEndInfo(status=status, end_time_secs=time.time()))
    return Summary(
        value=[Summary.Value(tag=SESSION_END_INFO_TAG, metadata=create_summary_metadata(about), tensor=NULL_TENSOR)]
    )


def _as_code(text: str) -> str:
    return "\n".join(f"    {line}" for line in json.dumps(json.loads(text), indent=1).splitlines())
