"""The folder of records: whether records, and the locks between sweeps that share it, will work there."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from mqar_bench.basics.files import write_atomically
from mqar_bench.basics.machine.disk import find_mount, free_space, nearest_existing
from mqar_bench.basics.machine.hardware import show_bytes
from mqar_bench.basics.machine.processes import run_bounded
from mqar_bench.doctor.sections import Check
from mqar_bench.records.store import Store

#: A record is some kilobytes, a checkpoint up to some hundred megabytes.
LITTLE_DISK, FULL_DISK = 2**30, 10 * 2**20
#: A file server that does not answer would keep a lock waiting for ever.
LOCK_SECONDS = 20.0
ANOTHER = "choose another folder with --results DIR"

#: Locks a byte, far beyond the end as `mqar_bench.launching.claims` does, and has another process try it: says what is
#: wrong. Record locks are not inherited, so a fork is another process.
LOCKS = """
import fcntl, os, sys

def lock():
    fcntl.lockf(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 1 << 40)

try:
    lock()
except OSError as error:
    sys.exit(f"files cannot be locked: {error.strerror}")
if os.fork() == 0:
    try:
        lock()
    except (BlockingIOError, PermissionError):
        os._exit(0)
    os._exit(1)
if os.wait()[1] != 0:
    sys.exit("two processes get the same lock")
"""


def check_folder(root: Path) -> list[Check]:
    """Nothing that was not there before is there afterwards."""
    there = nearest_existing(root)
    values = {"exists": there == root}
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=there, ignore_cleanup_errors=True) as scratch:
            for text in (b"old", b"new"):  # as a record is written: the new file takes the place of the old one
                write_atomically(Path(scratch, "record"), text)
            state = "can be written" if there == root else "does not exist yet, and can be made"
            checks = [Check("folder", f"{root} {state}", values=values), _check_locks(Path(scratch))]
    except OSError as error:
        checks = [Check("folder", f"{root} cannot be written: {error.strerror or error}", "FIX", ANOTHER, values)]
    return [*checks, _check_space(root), *_check_mount(there), _check_records(root)]


def _check_locks(folder: Path) -> Check:
    ended = run_bounded([sys.executable, "-c", LOCKS, str(folder / "locks")], LOCK_SECONDS)
    if ended.code == 0:
        return Check("locks", "work between two processes")
    text = "they hang" if ended.code is None else (ended.stderr.strip().splitlines() or ["they do not work"])[-1]
    fix = f"mount it with locks (NFS: lockd, and not nolock; Lustre: flock), or {ANOTHER}"
    return Check("locks", text, "FIX", fix)


def _check_space(root: Path) -> Check:
    free = free_space(root)
    text, values = f"{show_bytes(free)} free", {"free": free}
    if free < FULL_DISK:
        return Check("space", text, "FIX", f"free some, or {ANOTHER}", values)
    if free < LITTLE_DISK:
        return Check("space", text, "note", "checkpoints of large models may not fit", values)
    return Check("space", text, values=values)


def _check_mount(there: Path) -> list[Check]:
    mount = find_mount(there)
    if mount is None:
        return []
    text, values = f"{mount.type} of {mount.source}", {"type": mount.type, "source": mount.source}
    if mount.keeps_locks_local:
        fix = "mounted so, locks are not seen by other machines: run sweeps that share this folder on one machine"
        return [Check("file system", text, "note", fix, values)]
    return [Check("file system", text, values=values)]


def _check_records(root: Path) -> Check:
    records, problems = Store(root).results()
    done = sum(record.status == "done" for record in records)
    values = {"done": done, "failed": len(records) - done, "unreadable": len(problems)}
    text = f"{done} done, {len(records) - done} failed" if records else "none"
    if not problems:
        return Check("records", text, values=values)
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    return Check("records", f"{text}; not read: {problems[0]}{more}", "note", values=values)
