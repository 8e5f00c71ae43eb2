"""Checkpoints of runs that are not done, beside their records: ``<run_id>.ckpt``."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import json
from functools import cache
from pathlib import Path

import torch

import mixers
from mqar_bench.config import RunConfig
from mqar_bench.records.store import Store, write_file

#: What training consists of, besides the mixers; with other code a checkpoint would not lead to the same numbers.
TRAINING = ("basics/frozen.py", "config/run.py", "tasks", "training")


class Checkpoints:
    """The checkpoints of a store. Only the process that has claimed a run reads, writes or removes its checkpoint."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def path(self, config: RunConfig) -> Path:
        return self._store.path(config).with_suffix(".ckpt")

    def exists(self, config: RunConfig) -> bool:
        return self.path(config).exists()

    def read(self, config: RunConfig) -> tuple[bytes | None, str]:
        """The checkpoint of a run, or ``None`` and why there is none: one line, empty if there never was one."""
        try:
            header, _, checkpoint = self.path(config).read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None, ""
        except OSError as error:
            return None, f"its checkpoint cannot be read: {error.strerror or error}"
        try:
            made_by = json.loads(header)
        except ValueError:
            return None, "its checkpoint is none of ours, or cut off"
        if made_by != _code(config):
            return None, "its checkpoint was made by other code"
        return checkpoint, ""

    def write(self, config: RunConfig, checkpoint: bytes) -> None:
        """
        Raises:
            StoreError: it cannot be written; the one before stays.
        """
        write_file(self.path(config), json.dumps(_code(config)).encode() + b"\n" + checkpoint)

    def remove(self, config: RunConfig) -> None:
        with contextlib.suppress(OSError):
            self.path(config).unlink()

    def remove_torn(self, config: RunConfig) -> None:
        """Remove what a process that was killed while it wrote a checkpoint or the record has left of a run."""
        for path in self._store.folder(config).glob(f"{config.run_id}.*.tmp"):
            with contextlib.suppress(OSError):
                path.unlink()


def _code(config: RunConfig) -> dict[str, str]:
    """What must be the same for a run to go on: torch, and the code of training and of the mixers."""
    own = [spec.name for spec in config.model.mixers if "." in spec.name]
    return {"torch": torch.__version__, "code": _fingerprint(), "mixers": " ".join(_source(name) for name in own)}


@cache
def _fingerprint() -> str:
    package = Path(__file__).parents[1]
    roots = [package / name for name in TRAINING] + [Path(mixers.__file__).parent]
    files = [file for root in roots for file in ([root] if root.is_file() else sorted(root.rglob("*.py")))]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]


def _source(name: str) -> str:
    """A hash of the file that an own mixer comes from."""
    module = importlib.import_module(name.rpartition(".")[0])
    try:
        return hashlib.sha256(inspect.getsource(module).encode()).hexdigest()[:16]
    except (OSError, TypeError):  # not from a file
        return ""
