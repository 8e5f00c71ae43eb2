"""The weights that come with the records of an import."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from mqar_bench.basics.errors import UsageError
from mqar_bench.records.differ import find_difference
from mqar_bench.records.result import RunResult
from mqar_bench.records.store import WEIGHTS, Entry, Store, StoreError
from mqar_bench.records.weights import Weights, find_weights, read_header, read_weights


class Carrier:
    """Copies weights into a store, each beside the record of the training that they come from.

    Args:
        store: where to.
        here: the records that are in there already.
        problems: gets a line for every file that is not what it should be.
        dry_run: find out everything, and write nothing.
    """

    def __init__(self, store: Store, here: Iterable[RunResult], problems: list[str], dry_run: bool) -> None:
        self._store, self._problems, self._dry_run = store, problems, dry_run
        self._here = set(find_weights(store, (result.config for result in here)))
        self._there: dict[str, Path] = {}
        #: How many have been copied.
        self.count = 0

    def open(self, source: Path, entries: Sequence[Entry]) -> None:
        """Look for the weights of these records: anywhere in a folder, or where those of a file's belong."""
        if source.is_dir():
            self._there = find_weights(Store(source), (entry.result.config for entry in entries))
            return
        store, self._there = Store(source.parent), {}
        for entry in entries:
            places = [store.weights(entry.result.config)] + [source.with_suffix(WEIGHTS)] * (not entry.line)
            for path in filter(Path.is_file, places):
                self._there[entry.result.run_id] = path

    def bring(self, result: RunResult, replaces: bool) -> None:
        """Copy those of a record that is about to be written, or remove those of the one that it replaces.

        Raises:
            StoreError: they cannot be written, or removed.
        """
        path = self._store.weights(result.config)
        if not self._copy(result) and replaces and path.is_file() and not self._dry_run:
            try:
                if _is_of(read_header(path), result):
                    return
            except UsageError:
                pass
            try:
                path.unlink()
            except OSError as error:
                raise StoreError(f"cannot remove {path}: {error.strerror or error}") from error

    def fill(self, result: RunResult) -> None:
        """Copy those of a record that is here and has none.

        Raises:
            StoreError: they cannot be written.
        """
        if result.run_id not in self._here:
            self._copy(result)

    def _copy(self, result: RunResult) -> bool:
        source = self._there.get(result.run_id)
        if source is None or result.status != "done":
            return False
        try:
            weights, data = read_weights(source)
        except UsageError as error:
            self._problems.append(str(error))
            return False
        if not _is_of(weights, result):
            self._problems.append(f"{source}: not of the training that the record of run {result.run_id} tells of")
            return False
        if not self._dry_run:
            self._store.write_weights(result.config, data)
        self._here.add(result.run_id)
        self.count += 1
        return True


def _is_of(weights: Weights, result: RunResult) -> bool:
    """Whether a record tells of the training that weights come from, or of one that came to the same."""
    return weights.result.run_id == result.run_id and find_difference(weights.result, result) is None
