"""Records on the move: those of other machines brought in, and loose files folded into one file a sweep."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mqar_bench.records.carry import Carrier
from mqar_bench.records.differ import Difference, find_difference
from mqar_bench.records.result import RunResult
from mqar_bench.records.store import WEIGHTS, Entry, Key, Store, StoreError, read_file, write_file

#: Locked while a store is packed, and removed after.
LOCK = ".packing"


@dataclass(frozen=True)
class Conflict:
    """Two done records of one run that differ by more than rounding; ``replaced`` if the imported one counts now."""

    here: RunResult
    imported: RunResult
    difference: Difference
    source: Path
    replaced: bool


@dataclass
class Merged:
    """What became of the records of an import, each in one of these; ``weights`` are the files that came with them."""

    new: int = 0
    same: int = 0
    mended: int = 0
    kept: int = 0
    weights: int = 0
    conflicts: list[Conflict] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.new + self.same + self.mended + self.kept + len(self.conflicts)


def merge(store: Store, sources: Iterable[Path], *, replace: bool = False, dry_run: bool = False) -> Merged:
    """Bring records of other machines into a store, each written at its proper place in this program's form.

    A run that is not here is ``new``; a done one takes the place of a failed one (``mended``); a failed one that is
    done here is not needed (``kept``). Two done ones are the ``same`` where accuracy, settings and epochs are, but for
    rounding (``find_difference``), else in conflict: the one that is here stays, unless ``replace``. Two failed ones
    count as the same.

    Weights come with the record that they belong to, and to one that is the same here and has none. Those of a record
    that is replaced go with it.

    Args:
        store: where to; only the record of the same run is ever touched.
        sources: folders or files with records, as a store reads them; of several records of a run the best comes
            first, as in reading, and the others are held against it.
        replace: let the imported record win a conflict, though not against one of the same import.
        dry_run: find out everything, and write nothing.

    Raises:
        StoreError: a source does not exist, is no such file, or lies in the store or the store in it; or a record
            cannot be written, and what was written before stays.
    """
    sources = list(sources)
    for source in sources:
        _check_source(source, store.root)
    merged = Merged()
    there = {(r.config.sweep, r.config.scale, r.run_id): r for r in store.results()[0]}
    weights = Carrier(store, there.values(), merged.problems, dry_run)
    brought: set[Key] = set()
    for source in sources:
        entries = _read_source(source, merged.problems)
        weights.open(source, entries)
        for entry in entries:
            here, imported = there.get(entry.key), entry.result
            if here is None:
                merged.new += 1
            elif here.status == "failed" and imported.status == "done":
                merged.mended += 1
            elif here.status == "done" and imported.status == "failed":
                merged.kept += 1
                continue
            elif imported.status == "failed" or (difference := find_difference(here, imported)) is None:
                merged.same += 1
                weights.fill(imported)
                continue
            else:
                wins = replace and entry.key not in brought
                merged.conflicts.append(Conflict(here, imported, difference, entry.path, wins))
                if not wins:
                    continue
            weights.bring(imported, replaces=here is not None)
            if not dry_run:
                store.write(imported)
            there[entry.key] = imported
            brought.add(entry.key)
    merged.weights = weights.count
    return merged


def _check_source(source: Path, root: Path) -> None:
    if not source.exists():
        raise StoreError(f"cannot import {source}: there is no such file or folder")
    if not source.is_dir() and source.suffix not in (".json", ".jsonl"):
        raise StoreError(f"cannot import {source}: records come in folders, .json and .jsonl files")
    there, here = source.resolve(), root.resolve()
    if there.is_relative_to(here):
        raise StoreError(f"cannot import {source}: it lies in {root}, whose records are read wherever they lie")
    if here.is_relative_to(there):
        raise StoreError(f"cannot import {source}: {root} itself lies in it; name what is beside that")


def _read_source(source: Path, problems: list[str]) -> list[Entry]:
    """Everything there, the records that count first."""
    store = Store(source if source.is_dir() else source.parent)
    entries = list(store.entries(problems) if source.is_dir() else read_file(source, problems))
    best = store.best(entries)
    chosen = {id(entry) for entry in best}
    return best + [entry for entry in entries if id(entry) not in chosen]


@dataclass(frozen=True)
class Packed:
    """A packed sweep: its file, how many records that has, and how many loose files were folded into it just now."""

    path: Path
    records: int
    folded: int
    changed: bool


def pack(
    store: Store, sweep: str | None = None, scale: str | None = None, *, dry_run: bool = False
) -> tuple[list[Packed], list[str]]:
    """Fold the loose records of each sweep and scale into its file ``root/<sweep>-<scale>.jsonl``.

    The file has a line of compact JSON a run, the values as they were, in the order of ``Store.results``; packing again
    changes nothing. Loose records are those directly in the folder that runs are written to. They are deleted when the
    file is on disk and has been read back, those too that lost against a better record of their run, and the folder
    if that leaves it empty. Whatever else is in there stays, checkpoints and weights too, and so do lines of the file
    that are no records. Killed at any moment, every record is there, some in both forms.

    ``Store.results`` gives the same before and after. So a run stays loose that has a file elsewhere below the root as
    well, to which a line would give way.

    Returns:
        the packed sweeps; a line for each file that is no record or stays loose.

    Raises:
        StoreError: a file cannot be written or deleted, or another process is packing here.
    """
    problems: list[str] = []
    with contextlib.nullcontext() if dry_run else _alone(store.root):
        entries = list(store.entries(problems))
        chosen = {
            store.packed(config): store.folder(config)
            for config in (entry.result.config for entry in entries)
            if sweep in (None, config.sweep) and scale in (None, config.scale)
        }
        return [_fold(store, *each, entries, problems, dry_run) for each in sorted(chosen.items())], problems


def _fold(
    store: Store, target: Path, folder: Path, entries: Sequence[Entry], problems: list[str], dry_run: bool
) -> Packed:
    lines = [entry for entry in entries if entry.line and entry.path == target]
    loose = [e for e in entries if not e.line and e.path.parent == folder == store.folder(e.result.config)]
    rivals = _rivals(loose, lines, entries)
    folded = [entry for entry in loose if entry.key not in rivals]
    for entry in loose:
        if entry.key in rivals:
            rival = rivals[entry.key]
            problems.append(f"{entry.path}: stays, for {rival.path} of the same run would hide a packed line")
    if folder.is_dir():
        problems += [f"{path}: no record" for path in sorted(folder.iterdir()) if _is_foreign(path)]
    best, old = store.best(folded + lines), _read(target)
    known = {entry.line for entry in lines}
    others = [line for n, line in enumerate(old.split(b"\n"), 1) if n not in known and line.strip()]
    new = b"".join(line + b"\n" for line in [*(_compact(entry.text) for entry in best), *others])
    if best and not dry_run:
        if new != old:
            write_file(target, new)
        back = [entry.result for entry in read_file(target, [])]
        if _read(target) != new or back != [entry.result for entry in best]:
            raise StoreError(f"{target} does not read back as it was written; no record has been deleted")
        for entry in folded:
            _remove(entry)
        if folded:
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()
    return Packed(target, len(best), len(folded), bool(best) and new != old)


def _rivals(loose: Sequence[Entry], lines: Sequence[Entry], entries: Sequence[Entry]) -> dict[Key, Entry]:
    """By run, the file elsewhere that would count once the loose record of the run is a line."""
    here = {id(entry) for entry in loose}
    done = {entry.key for entry in (*loose, *lines) if entry.result.status == "done"}
    found: dict[Key, Entry] = {}
    for entry in entries:
        if not entry.line and id(entry) not in here and (entry.result.status == "done" or entry.key not in found):
            found[entry.key] = entry
    # a failed one never hides a done one, and a done one hid a failed one before
    return {key: rival for key, rival in found.items() if (rival.result.status == "done") == (key in done)}


def _compact(text: bytes) -> bytes:
    """The same values on one line of ASCII; floats and integers stay what they are."""
    return json.dumps(json.loads(text), separators=(",", ":")).encode()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}") from error


def _is_foreign(path: Path) -> bool:
    """Whether it is neither hidden, nor on its way, nor a run's, nor something that reading has a word for."""
    return path.is_file() and path.name[0] != "." and path.suffix not in (".tmp", ".ckpt", ".json", ".jsonl", WEIGHTS)


def _remove(entry: Entry) -> None:
    """Delete a loose record, unless a run has written another one there since it was read.

    It is moved aside first, under a name that readers know too, so that what is looked at is what is deleted.
    """
    path = entry.path
    aside = path.with_name(f"{path.stem}.{socket.gethostname()}-{os.getpid()}.json")
    try:
        path.rename(aside)
        if aside.read_bytes() != entry.text:
            os.link(aside, path)
        aside.unlink()
    except FileExistsError:  # and yet another one
        aside.unlink()
    except FileNotFoundError:  # gone by itself; or a link to one that was deleted before it
        aside.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot delete {path}, which is packed: {error.strerror or error}") from error


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """See to it that nobody else packs this store meanwhile, who would write a file without what is deleted here.

    Raises:
        StoreError: somebody does, or the file system has no locks.
    """
    path = root / LOCK
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise StoreError(f"cannot write to {root}: {error.strerror or error}") from error
    try:
        if not _lock(file, path):
            raise StoreError(f"cannot pack {root}: another process is packing it")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(file)


def _lock(file: int, path: Path) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file), path.stat())  # else who had it has removed it
    except (BlockingIOError, PermissionError, FileNotFoundError):
        return False
    except OSError as error:
        raise StoreError(f"cannot lock {path}: {error.strerror or error}") from error
