"""The file system that a path lies on, where the system lists its mounts (Linux)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

MOUNTS = Path("/proc/mounts")

#: Types of file systems that other machines see, with and without ``fuse.`` before them.
NETWORK = {
    "9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "juicefs", "lustre", "ncpfs", "nfs", "nfs4", "orangefs",
    "panfs", "pvfs2", "smb3", "smbfs", "sshfs", "virtiofs", "wekafs",
}  # fmt: skip

#: Options with which locks stay on this machine, or are none.
LOCAL_LOCKS = {"nolock", "local_lock=all", "local_lock=posix", "localflock"}


class Mount(NamedTuple):
    """As listed: what is mounted, where, its type and options."""

    source: str
    place: Path
    type: str
    options: tuple[str, ...]

    @property
    def is_network(self) -> bool:
        return self.type.removeprefix("fuse.") in NETWORK

    @property
    def keeps_locks_local(self) -> bool:
        return self.is_network and not LOCAL_LOCKS.isdisjoint(self.options)


def find_mount(path: Path, mounts: Path = MOUNTS) -> Mount | None:
    """The one that holds a path, which exists; None where nothing is listed."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    path, found = path.resolve(), None
    for line in lines:
        source, place, kind, options = (_unescape(word) for word in line.split()[:4])
        if path.is_relative_to(place) and (found is None or len(Path(place).parts) >= len(found.place.parts)):
            found = Mount(source, Path(place), kind, tuple(options.split(",")))  # of two at one place the later counts
    return found


def _unescape(word: str) -> str:
    """Spaces and the like are listed as ``\\040``."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), word)
