"""Where records live: one JSON file a run, ``root/<sweep>-<scale>/<run_id>.json``.

One writer per file and no locks, so many processes and machines can share a folder. Readers take records from
anywhere below the root: a folder copied in by hand, or a packed sweep (``*.jsonl``, one record a line; the proper
place of one is ``root/<sweep>-<scale>.jsonl``). Symbolic links to folders are not followed.
"""

from __future__ import annotations

import json
import os
import reprlib
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mqar_bench.basics.files import write_atomically
from mqar_bench.config import RunConfig, content_id
from mqar_bench.records.result import SCHEMA_VERSION, RunResult
from mqar_bench.records.upgrade import STEPS, upgrade
from mqar_bench.tasks.own import RECORDED

#: What the file of a run's weights ends in.
WEIGHTS = ".safetensors"
#: Which run a record is of: sweep, scale and run id.
Key = tuple[str, str, str]


class StoreError(RuntimeError):
    """The folder of records cannot be read or written; one line that says why."""


@dataclass(frozen=True)
class Entry:
    """A record and where it lies: in a file of its own (line 0), or on a line of a packed sweep, counted from 1."""

    result: RunResult
    path: Path
    line: int
    text: bytes

    @property
    def key(self) -> Key:
        return _key(self.result)


class Store:
    """The records below ``root``; nothing is created before the first write."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def path(self, config: RunConfig) -> Path:
        """Where the record of a run is written."""
        return self.folder(config) / f"{config.run_id}.json"

    def folder(self, config: RunConfig) -> Path:
        return self.root / f"{config.sweep}-{config.scale}"

    def weights(self, config: RunConfig) -> Path:
        """Where the trained weights of a run are written, if they are kept; ``records.weights`` finds them."""
        return self.folder(config) / f"{config.run_id}{WEIGHTS}"

    def packed(self, config: RunConfig) -> Path:
        """Where the record of a run lies once its sweep is packed."""
        return self.root / f"{config.sweep}-{config.scale}.jsonl"

    def read(self, config: RunConfig) -> RunResult | None:
        """The record of a run, wherever below the root it lies; a done one rather than a failed one."""
        return self.find([config]).get(config.run_id)

    def own(self, config: RunConfig) -> RunResult | None:
        """The record at the place where this run's is written: one file read, nothing else looked at."""
        try:
            result = parse_record(self.path(config).read_bytes())
        except (NotARecord, OSError):
            return None
        return result if _key(result) == (config.sweep, config.scale, config.run_id) else None

    def is_done(self, config: RunConfig) -> bool:
        """Whether the run has finished; a failed one has not."""
        result = self.read(config)
        return result is not None and result.status == "done"

    def find(self, configs: Iterable[RunConfig]) -> dict[str, RunResult]:
        """The records there are of these runs, under the sweep and scale that each config names, by run id."""
        wanted = {(c.sweep, c.scale, c.run_id): c for c in configs}
        found: dict[str, RunResult] = {}
        for config in wanted.values():
            result = self.own(config)
            if result is not None and result.status == "done":
                found[result.run_id] = result
        if len(found) < len(wanted):  # one look at everything else, not one for each run
            for result in self.results()[0]:
                if _key(result) in wanted:
                    found.setdefault(result.run_id, result)
        return found

    def same(self, configs: Iterable[RunConfig]) -> dict[str, RunResult]:
        """Done records of these runs under any sweep and scale, by run id: the same run gives the same numbers."""
        wanted = {config.run_id for config in configs}
        there = self.results()[0] if wanted else []
        return {result.run_id: result for result in there if result.run_id in wanted and result.status == "done"}

    def results(self, sweep: str | None = None, scale: str | None = None) -> tuple[list[RunResult], list[str]]:
        """All records, and one line for each file or line that is none.

        Of several records of one run that of ``best`` counts.

        Returns:
            the records sorted by sweep, scale, mixer, state size, learning rate and seed; the problems.
        """
        problems: list[str] = []
        entries = (
            entry
            for entry in self.entries(problems)
            if sweep in (None, entry.result.config.sweep) and scale in (None, entry.result.config.scale)
        )
        return [entry.result for entry in self.best(entries)], problems

    def entries(self, problems: list[str]) -> Iterator[Entry]:
        """Every record below the root, also several of one run; ``problems`` gets a line for each file that is none.

        Packed sweeps come last, and are looked for when everything else has been read: what vanishes meanwhile because
        it is being packed is met there.
        """
        for path in list_files(self.root, ".json", problems):
            yield from read_file(path, problems)
        for path in list_files(self.root, ".jsonl", []):  # what folders cannot be read has been said
            yield from read_file(path, problems)

    def best(self, entries: Iterable[Entry]) -> list[Entry]:
        """Of each run the record that counts, in the order of ``results``.

        A done one wins, then a file of its own over a line of a packed sweep, then the one at its proper place, then
        the later start.
        """
        found: dict[Key, Entry] = {}
        for entry in entries:
            rival = found.get(entry.key)
            if rival is None or self._rank(entry) > self._rank(rival):
                found[entry.key] = entry
        return sorted(found.values(), key=lambda entry: _order(entry.result))

    def _rank(self, entry: Entry) -> tuple:
        result = entry.result
        proper = self.packed(result.config) if entry.line else self.folder(result.config) / f"{result.run_id}.json"
        return result.status == "done", entry.line == 0, entry.path == proper, result.provenance.started_at

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
        write_file(path, (result.model_dump_json(indent=1) + "\n").encode())
        return path

    def write_weights(self, config: RunConfig, weights: bytes) -> Path:
        """Write a run's trained weights likewise.

        Raises:
            StoreError: the folder cannot be written, or the disk is full.
        """
        path = self.weights(config)
        write_file(path, weights)
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


def write_file(path: Path, data: bytes) -> None:
    """Write a file of a store, whole or not at all.

    Raises:
        StoreError: it cannot be written.
    """
    try:
        write_atomically(path, data)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error


def read_file(path: Path, problems: list[str]) -> Iterator[Entry]:
    """The records in a file: one in a ``.json``, one a line in a ``.jsonl``; ``problems`` gets a line for what is none.

    What `mqar-bench perf`, `evaluate` and `stream` wrote is passed over.
    """
    try:
        if path.exists() and not path.is_file():  # a folder, or a pipe that nobody may ever write to
            raise OSError("it is not a file")
        content = path.read_bytes()
    except OSError as error:
        if not isinstance(error, FileNotFoundError) or path.is_symlink():  # else it has gone since it was listed
            problems.append(f"{path}: cannot be read: {error.strerror or error}")
        return
    texts = [(0, content)]
    if path.suffix == ".jsonl" and content.strip():
        texts = [(n, line) for n, line in enumerate(content.split(b"\n"), 1) if line.strip()]
    for n, text in texts:
        try:
            yield Entry(parse_record(text), path, n, text)
        except _Measurement:
            continue
        except NotARecord as error:
            problems.append(f"{path}{f':{n}' if n else ''}: {_one_line(str(error))}")


def list_files(root: Path, ending: str, problems: list[str]) -> list[Path]:
    """What there is below a folder with such an ending; ``problems`` gets a line for each folder that is closed."""

    def report(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            problems.append(f"{error.filename}: cannot be read: {error.strerror or error}")

    walk = os.walk(root, onerror=report)
    return sorted(Path(folder, n) for folder, folders, files in walk for n in (*folders, *files) if n.endswith(ending))


class NotARecord(ValueError):
    """Why a text is no record."""


class _Measurement(NotARecord):
    """What `mqar-bench perf` or another command wrote: no run's record, and at home here all the same."""


def parse_record(text: bytes) -> RunResult:
    """The record in a JSON text, in today's form and under today's id.

    Raises:
        NotARecord: there is none.
    """
    try:
        return _to_result(_to_values(text))
    except RecursionError:
        raise NotARecord("nested too deeply for a record of a run") from None


def _to_values(text: bytes) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise NotARecord(f"not JSON, or cut off ({error})" if text.strip() else "empty") from None
    for what in ("bench", "evaluation", "perf", "soak", "stream"):
        if isinstance(values, dict) and f"{what}_schema_version" in values:
            raise _Measurement(f"measurements of {what}")
    if not isinstance(values, dict) or "schema_version" not in values:
        raise NotARecord("not a record of a run (no schema_version)")
    version = values["schema_version"]
    if version != SCHEMA_VERSION and (type(version) is not int or version not in STEPS):
        version = reprlib.repr(version)
        raise NotARecord(f"a record of schema version {version}; this program reads {SCHEMA_VERSION}")
    return values


def _to_result(values: dict[str, Any]) -> RunResult:
    try:
        result = RunResult.model_validate(values | {"schema_version": SCHEMA_VERSION}, context=RECORDED)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise NotARecord(f"not a record of a run ({where}: {first['msg']})") from None
    if content_id(values["config"]) != result.run_id:
        raise NotARecord(f"its config does not give its run_id {result.run_id} (edited?)")
    result = upgrade(result, values["schema_version"])
    # A setting added since the record was written has its default in it: same run, another hash today.
    return result.model_copy(update={"run_id": result.config.run_id})


def _one_line(text: str) -> str:
    """Of what may hold parts of a foreign file: printable, and not endless."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= 200 else line[:200] + "..."


def _key(result: RunResult) -> Key:
    return result.config.sweep, result.config.scale, result.run_id


def _order(result: RunResult) -> tuple:
    config = result.config
    size = result.state_size or 0
    return config.sweep, config.scale, config.mixer, size, config.train.learning_rate, config.train.seed, result.run_id
