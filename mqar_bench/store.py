"""Where records live: one JSON file a run, ``root/<sweep>-<scale>/<run_id>.json``.

One writer per file and no locks, so many processes and machines can share a folder. Readers take records from
anywhere below the root: a folder copied in by hand, or a packed sweep (``*.jsonl``, one record a line).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from mqar_bench.config import RunConfig, content_id
from mqar_bench.result import SCHEMA_VERSION, RunResult


class StoreError(RuntimeError):
    """The folder of records cannot be read or written; one line that says why."""


class Store:
    """The records below ``root``; nothing is created before the first write."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def path(self, config: RunConfig) -> Path:
        """Where the record of a run is written."""
        return self.folder(config) / f"{config.run_id}.json"

    def folder(self, config: RunConfig) -> Path:
        return self.root / f"{config.sweep}-{config.scale}"

    def read(self, config: RunConfig) -> RunResult | None:
        """The record of a run, wherever below the root it lies; a done one rather than a failed one."""
        return self.find([config]).get(config.run_id)

    def is_done(self, config: RunConfig) -> bool:
        """Whether the run has finished; a failed one has not."""
        result = self.read(config)
        return result is not None and result.status == "done"

    def find(self, configs: Iterable[RunConfig]) -> dict[str, RunResult]:
        """The records there are of these runs, under the sweep and scale that each config names, by run id."""
        wanted = {(c.sweep, c.scale, c.run_id): c for c in configs}
        found: dict[str, RunResult] = {}
        for config in wanted.values():
            with contextlib.suppress(_NotARecord, OSError):  # results() is where problems are told
                result = _parse(self.path(config).read_bytes())
                if _key(result) in wanted and result.status == "done":
                    found[result.run_id] = result
        if len(found) < len(wanted):  # one look at everything else, not one for each run
            for result in self.results()[0]:
                if _key(result) in wanted:
                    found.setdefault(result.run_id, result)
        return found

    def results(self, sweep: str | None = None, scale: str | None = None) -> tuple[list[RunResult], list[str]]:
        """All records, and one line for each file or line that is none.

        Of several records of one run a done one wins, then a file of its own over a line of a packed sweep,
        then the file at its proper place, then the later start.

        Returns:
            the records sorted by sweep, scale, mixer, state size, learning rate and seed; the problems.
        """
        best: dict[tuple[str, str, str], tuple[tuple, RunResult]] = {}
        problems: list[str] = []
        for path, line, text in self._texts(problems):
            try:
                result = _parse(text)
            except _Measurement:
                continue
            except _NotARecord as error:
                problems.append(f"{path}{f':{line}' if line else ''}: {error}")
                continue
            if sweep not in (None, result.config.sweep) or scale not in (None, result.config.scale):
                continue
            proper = path == self.path(result.config)
            rank = (result.status == "done", line == 0, proper, result.provenance.started_at)
            key = _key(result)
            if key not in best or rank > best[key][0]:
                best[key] = (rank, result)
        return sorted((result for _, result in best.values()), key=_order), problems

    def with_id(self, start: str) -> list[RunResult]:
        """A record of each run whose id starts like this."""
        found = {result.run_id: result for result in self.results()[0] if result.run_id.startswith(start)}
        return list(found.values())

    def write(self, result: RunResult) -> Path:
        """Write a record so that a reader sees all of it or none, whatever happens meanwhile.

        Raises:
            StoreError: the folder cannot be written, or the disk is full.
        """
        path = self.path(result.config)
        temporary = path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "w", encoding="utf-8") as file:
                file.write(result.model_dump_json(indent=1) + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
        return path

    def check_writable(self, config: RunConfig) -> None:
        """Find out before training, not after it, that a record of this run could not be written.

        Raises:
            StoreError: it could not.
        """
        folder = self.folder(config)
        probe = folder / f"probe.{socket.gethostname()}-{os.getpid()}.tmp"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise StoreError(f"cannot write to {folder}: {error.strerror or error}") from error

    def _texts(self, problems: list[str]) -> Iterator[tuple[Path, int, bytes]]:
        """Every text that should be a record, with its file and, in a packed sweep, its line."""
        for path in sorted(self.root.rglob("*.json")) + sorted(self.root.rglob("*.jsonl")):
            try:
                text = path.read_bytes()
            except OSError as error:
                problems.append(f"{path}: cannot be read: {error.strerror or error}")
                continue
            if path.suffix == ".json":
                yield path, 0, text
            else:
                yield from ((path, n, line) for n, line in enumerate(text.split(b"\n"), 1) if line.strip())


class _NotARecord(ValueError):
    """Why a text is no record."""


class _Measurement(_NotARecord):
    """What `mqar-bench perf` wrote: no run's record, and at home here all the same."""


def _parse(text: bytes) -> RunResult:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _NotARecord(f"not JSON, or cut off ({error})" if text.strip() else "empty") from None
    if isinstance(values, dict) and "perf_schema_version" in values:
        raise _Measurement("a record of `mqar-bench perf`")
    if not isinstance(values, dict) or "schema_version" not in values:
        raise _NotARecord("not a record of a run (no schema_version)")
    if values["schema_version"] != SCHEMA_VERSION:
        version = values["schema_version"]
        raise _NotARecord(f"a record of schema version {version!r}; this program reads {SCHEMA_VERSION}")
    try:
        result = RunResult.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise _NotARecord(f"not a record of a run ({where}: {first['msg']})") from None
    if content_id(values["config"]) != result.run_id:
        raise _NotARecord(f"its config does not give its run_id {result.run_id} (edited?)")
    # A setting added since the record was written has its default in it: same run, another hash today.
    return result.model_copy(update={"run_id": result.config.run_id})


def _key(result: RunResult) -> tuple[str, str, str]:
    return result.config.sweep, result.config.scale, result.run_id


def _order(result: RunResult) -> tuple:
    config = result.config
    size = result.state_size or 0
    return config.sweep, config.scale, config.mixer, size, config.train.learning_rate, config.train.seed, result.run_id
