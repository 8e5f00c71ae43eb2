"""Trained weights in a file that explains itself: ``<run_id>.safetensors``, beside the run's record.

The form is that of the library safetensors, so that whatever reads it gets the tensors, and nothing in it can run code.
They are those of the model's ``state_dict``, under its names and in their own dtypes, each name with all of its values,
also where several share memory in the model. The metadata say the rest, as text:

| name | what it is |
|---|---|
| ``format`` | ``pt``: the tensors are torch's |
| ``mqar_bench_weights`` | version of this form: 1 |
| ``version`` | of the package that wrote it |
| ``run_id``, ``config`` | the run that trained the model: its id, and its config as JSON |
| ``record`` | what else its record has, as JSON: accuracies, epochs, provenance |
| ``sha256`` | of the tensors: what the header lists, and all that follows it |

The same training gives the same bytes, but for times.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mqar_bench.basics.errors import UsageError
from mqar_bench.basics.machine.software import read_project
from mqar_bench.config import RunConfig
from mqar_bench.records.result import RunResult
from mqar_bench.records.store import WEIGHTS, NotARecord, Store, list_files, parse_record

VERSION = 1
#: Bytes of the number that says how long the header is, and the most that it may be, as the library has it.
PREFIX, MAX_HEADER = 8, 100_000_000


@dataclass(frozen=True)
class Weights:
    """What a file of weights says of itself: the record of its run, as it was when they were written."""

    path: Path
    result: RunResult
    version: str
    sha256: str

    @property
    def config(self) -> RunConfig:
        return self.result.config


def add_header(tensors: bytes, result: RunResult) -> bytes:
    """Tensors as the library writes them without metadata, with those of the run that they come from."""
    header, body = _split(tensors)
    record = result.model_dump(mode="json", exclude={"run_id", "config"})
    header["__metadata__"] = {
        "format": "pt",
        "mqar_bench_weights": str(VERSION),
        "version": read_project().version,
        "run_id": result.run_id,
        "config": result.config.model_dump_json(),
        "record": json.dumps(record),
        "sha256": _digest(header, body),
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % PREFIX)  # so that tensors begin where reading in place needs it
    return len(text).to_bytes(PREFIX, "little") + text + body


def read_weights(path: Path) -> tuple[Weights, bytes]:
    """What a file of weights says of itself, and all of its bytes.

    Raises:
        UsageError: there is no such file, or it holds no weights of a run, or other ones than were written.
    """
    data = _read(path, lambda file: file.read())
    try:
        header, body = _split(data)
    except ValueError:
        raise _damaged(path) from None
    weights = _explain(path, header)
    if _digest(header, body) != weights.sha256:
        raise _damaged(path)
    return weights, data


def read_header(path: Path) -> Weights:
    """The first part of ``read_weights``, without reading the tensors: whether all of them are there is seen.

    Raises:
        UsageError: as ``read_weights``.
    """

    def read(file: BinaryIO) -> dict[str, Any]:
        length = int.from_bytes(file.read(PREFIX), "little")
        header = _parse(file.read(length) if length <= MAX_HEADER else b"")
        if os.fstat(file.fileno()).st_size != PREFIX + length + _body_size(header):
            raise ValueError
        return header

    try:
        return _explain(path, _read(path, read))
    except UsageError:
        raise
    except ValueError:
        raise _damaged(path) from None


def find_weights(store: Store, configs: Iterable[RunConfig]) -> dict[str, Path]:
    """The files with the weights of these runs, wherever below the root they lie, by run id.

    One beside the place of the run's record comes first, then any of that name, then one of the same run under the name
    that it had before today's settings were there. What is in the file is looked at for the last alone.
    """
    wanted = {config.run_id: config for config in configs}
    found = {run_id: path for run_id, c in wanted.items() if (path := store.weights(c)).is_file()}
    if len(found) == len(wanted):
        return found
    others = []
    for path in list_files(store.root, WEIGHTS, []):
        if path.stem in wanted:
            found.setdefault(path.stem, path)
        else:
            others.append(path)
    for path in others if len(found) < len(wanted) else ():
        try:
            run_id = read_header(path).result.run_id
        except UsageError:
            continue
        if run_id in wanted:
            found.setdefault(run_id, path)
    return found


def _read(path: Path, read: Any) -> Any:
    try:
        with open(path, "rb") as file:
            return read(file)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The header and what follows it; ``ValueError`` where they do not belong together."""
    length = int.from_bytes(data[:PREFIX], "little")
    header, body = _parse(data[PREFIX : PREFIX + length]), data[PREFIX + length :]
    if len(body) != _body_size(header):
        raise ValueError
    return header, body


def _parse(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except RecursionError as error:
        raise ValueError from error
    if not isinstance(header, dict):
        raise ValueError
    return header


def _digest(header: dict[str, Any], body: bytes) -> str:
    listed = {name: entry for name, entry in header.items() if name != "__metadata__"}
    digest = hashlib.sha256(json.dumps(listed, sort_keys=True).encode())
    digest.update(body)
    return digest.hexdigest()


def _body_size(header: dict[str, Any]) -> int:
    """Bytes of all tensors that a header lists."""
    try:
        return max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError from error


def _explain(path: Path, header: dict[str, Any]) -> Weights:
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or "mqar_bench_weights" not in metadata:
        raise UsageError(f"{path} does not say which run its tensors are of: it is none that --save-weights wrote")
    if (version := metadata["mqar_bench_weights"]) != str(VERSION):
        raise UsageError(f"{path} has weights of version {version}; this program reads {VERSION}")
    try:
        values = json.loads(metadata["record"])
        values |= {"run_id": metadata["run_id"], "config": json.loads(metadata["config"])}
        result = parse_record(json.dumps(values).encode())
        return Weights(path, result, str(metadata["version"]), str(metadata["sha256"]))
    except NotARecord as error:
        raise UsageError(f"{path} has weights that do not say which run they are of: {error}") from None
    except (KeyError, TypeError, ValueError, RecursionError):
        raise _damaged(path) from None


def _damaged(path: Path) -> UsageError:
    return UsageError(f"{path} is no file of weights, or it is cut off or damaged; remove it, or copy it again")
