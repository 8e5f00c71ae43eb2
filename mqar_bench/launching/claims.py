"""Which process executes a run: locks, so that two drivers on one folder never execute the same one."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from mqar_bench.config import RunConfig
from mqar_bench.records.store import Store, StoreError

#: Empty, beside the records; each run's claim is a lock on one byte of it, far beyond its end.
CLAIMS = ".claims"


class Claims:
    """The runs that this process has claimed. A claim ends with the process, however that ends.

    POSIX record locks: the system gives them back, also after SIGKILL, and file servers know them (NFS through lockd).
    They are per process, so two launches in one process do not see each other.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._files: dict[Path, int] = {}

    def take(self, config: RunConfig) -> bool:
        """Claim a run; False if another process has it.

        Raises:
            StoreError: the file system has no locks, or the folder cannot be written.
        """
        try:
            fcntl.lockf(self._file(config), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _offset(config))
        except (BlockingIOError, PermissionError):  # either is said of a lock that is held
            return False
        except OSError as error:
            folder = self._store.folder(config)
            raise StoreError(f"cannot lock a file in {folder}: {error.strerror or error}") from error
        return True

    def release(self, config: RunConfig) -> None:
        """Let others have it: its record is written."""
        fcntl.lockf(self._file(config), fcntl.LOCK_UN, 1, _offset(config))

    def close(self) -> None:
        """Release everything."""
        for file in self._files.values():
            os.close(file)
        self._files.clear()

    def _file(self, config: RunConfig) -> int:
        # opened once: closing any file of the same name would release all its locks
        folder = self._store.folder(config)
        if folder not in self._files:
            self._files[folder] = os.open(folder / CLAIMS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        return self._files[folder]


def _offset(config: RunConfig) -> int:
    return int(config.run_id, 16)
