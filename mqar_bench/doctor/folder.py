"""The folder of records: whether records, and the locks between sweeps that share it, will work there."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mqar_bench.doctor.check import Check
from mqar_bench.doctor.mounts import find_mount
from mqar_bench.doctor.processes import run_bounded
from mqar_bench.files import write_atomically
from mqar_bench.perf.report import show_bytes
from mqar_bench.store import Store

#: A record is some kilobytes, a checkpoint up to some hundred megabytes.
LITTLE_DISK, FULL_DISK = 2**30, 10 * 2**20
#: A file server that does not answer would keep a lock waiting for ever.
LOCK_SECONDS = 20.0
ANOTHER = "choose another folder with --results DIR"

#: Locks a byte, far beyond the end as `mqar_bench.launch.claims` does, and has another process try it: prints what is
#: wrong. Record locks are not inherited, so a fork is another process.
LOCKS = """
import fcntl, os, sys

def try_lock():
    child = os.fork()
    if child == 0:
        try:
            fcntl.lockf(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 1 << 40)
        except (BlockingIOError, PermissionError):
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0

file = os.open(sys.argv[1], os.O_RDWR)
try:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 1 << 40)
    if try_lock():
        sys.exit("two processes get the same lock")
    fcntl.lockf(file, fcntl.LOCK_UN, 1, 1 << 40)
    if not try_lock():
        sys.exit("a lock that was released is not given to another process")
except OSError as error:
    sys.exit(f"files cannot be locked: {error.strerror}")
"""


def check_folder(root: Path) -> list[Check]:
    """Nothing that was not there before is there afterwards."""
    existing = next(path for path in (root, *root.absolute().parents) if path.exists())
    checks = []
    try:
        with scratch(root) as folder:
            whole, locks = _check_writing(folder), _check_locks(folder)
        state = "can be written" if existing == root else "does not exist yet, and can be made"
        checks = [Check("folder", f"{root} {state}", values={"exists": existing == root}), whole, locks]
    except OSError as error:
        text = f"{root} cannot be written: {error.strerror or error}"
        checks = [Check("folder", text, "FIX", ANOTHER, {"exists": existing == root})]
    return [*checks, _check_space(existing), *_check_mount(existing), *_check_records(root)]


@contextlib.contextmanager
def scratch(root: Path) -> Iterator[Path]:
    """An empty folder below ``root``; it goes, and so do the folders above it that had to be made.

    Raises:
        OSError: it cannot be made.
    """
    made, path = [], None
    try:
        for folder in reversed((root, *root.parents)):
            if not folder.exists():
                folder.mkdir()
                made.append(folder)
        path = Path(tempfile.mkdtemp(prefix=".doctor-", dir=root))
        yield path
    finally:
        if path is not None:
            shutil.rmtree(path, ignore_errors=True)
        for folder in reversed(made):
            with contextlib.suppress(OSError):  # others may have put something there meanwhile
                folder.rmdir()


def _check_writing(folder: Path) -> Check:
    """As a record is written: a new file takes the place of an old one, whole."""
    path = folder / "record"
    for text in (b"old", b"new"):
        write_atomically(path, text)
    if path.read_bytes() != b"new" or [*folder.iterdir()] != [path]:
        return Check("replacing a file", "does not work: the old one is still there", "FIX", ANOTHER)
    return Check("replacing a file", "works, whole or not at all")


def _check_locks(folder: Path) -> Check:
    path = folder / "locks"
    path.touch()
    ended = run_bounded([sys.executable, "-c", LOCKS, str(path)], LOCK_SECONDS)
    if ended.code == 0:
        return Check("locks", "work between two processes")
    text = "they hang" if ended.code is None else (ended.stderr.strip().splitlines() or ["they do not work"])[-1]
    fix = f"mount it with locks (NFS: lockd, and not nolock; Lustre: flock), or {ANOTHER}"
    return Check("locks", text, "FIX", fix)


def _check_space(existing: Path) -> Check:
    free = shutil.disk_usage(existing).free
    text, values = f"{show_bytes(free)} free", {"free": free}
    if free < FULL_DISK:
        return Check("space", text, "FIX", f"free some, or {ANOTHER}", values)
    if free < LITTLE_DISK:
        return Check("space", text, "note", "checkpoints of large models may not fit", values)
    return Check("space", text, values=values)


def _check_mount(existing: Path) -> list[Check]:
    mount = find_mount(existing)
    if mount is None:
        return []
    values = {"type": mount.type, "source": mount.source, "network": mount.is_network}
    if not mount.is_network:
        return [Check("file system", f"{mount.type}, of this machine", values=values)]
    text = f"{mount.type} of {mount.source}, over the network"
    if mount.keeps_locks_local:
        fix = "mounted so, locks are not seen by other machines: run sweeps that share this folder on one machine"
        return [Check("file system", text, "note", fix, values)]
    return [Check("file system", text, values=values)]


def _check_records(root: Path) -> list[Check]:
    records, problems = Store(root).results()
    done = sum(record.status == "done" for record in records)
    values = {"done": done, "failed": len(records) - done, "unreadable": len(problems)}
    text = f"{done} done, {len(records) - done} failed" if records else "none"
    if not problems:
        return [Check("records", text, values=values)]
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    return [Check("records", f"{text}; not read: {problems[0]}{more}", "note", values=values)]
