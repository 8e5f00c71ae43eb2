"""The disk that a path lies on: its free space, and how it is mounted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import NamedTuple

from mqar_bench.basics.machine.processes import run_bounded

#: Options of network file systems with which locks stay on this machine, or are none.
LOCAL_LOCKS = {"nolock", "local_lock=all", "local_lock=posix", "localflock"}
#: A file server that does not answer keeps whoever asks waiting.
ANSWER_SECONDS = 20.0


class Mount(NamedTuple):
    """What is mounted, and as what."""

    source: str
    type: str
    options: str

    @property
    def keeps_locks_local(self) -> bool:
        return not LOCAL_LOCKS.isdisjoint(self.options.split(","))


def nearest_existing(path: Path) -> Path:
    """``path``, or the folder around it that is there."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def free_space(path: Path) -> int:
    """Bytes, where ``path`` is or would be made."""
    return shutil.disk_usage(nearest_existing(path)).free


def find_mount(path: Path) -> Mount | None:
    """The one that holds a path, which exists; None where nobody knows (there is no util-linux)."""
    command = ["findmnt", "--json", "--output", "SOURCE,FSTYPE,OPTIONS", "--target", str(path)]
    asked = run_bounded(command, ANSWER_SECONDS)
    return Mount(*json.loads(asked.stdout)["filesystems"][0].values()) if asked.code == 0 else None
