"""Many records in one file, and nothing lost on the way."""

import contextlib
import errno
import fcntl
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from mqar_bench.config import content_id
from mqar_bench.records import archive
from mqar_bench.records.archive import Packed, pack
from mqar_bench.records.result import SCHEMA_VERSION, RunResult
from mqar_bench.records.store import Store, StoreError
from tests.records.made_up import RATES, config, contents, files, line, record


def test_a_packed_sweep_has_a_sorted_line_a_run_and_says_the_same(store):
    written = [record(rate, error="ä\u2028\n") for rate in reversed(RATES)]
    written += [record(config=config(model={"mixers": [{"name": name}]}), state_size=5) for name in ("gla", "armt")]
    written += [record(status="failed", config=config(scale="big")), record(config=config(sweep="t"))]
    for result in written:
        store.write(result)
    before = store.results()
    packed, problems = pack(store, "s", "demo")
    assert packed == [Packed(store.root / "s-demo.jsonl", 5, 5, True)] and problems == []
    assert (len(files(store.root)), len(list(store.root.iterdir()))) == (3, 3)
    assert store.results() == before
    lines = (store.root / "s-demo.jsonl").read_bytes().split(b"\n")
    assert [RunResult.model_validate_json(text) for text in lines[:-1]] == store.results("s", "demo")[0]
    assert lines[-1] == b"" and all(b" " not in text.replace(b"multiquery_ar", b"") for text in lines)
    assert [one.path.name for one in pack(store)[0]] == ["s-big.jsonl", "s-demo.jsonl", "t-demo.jsonl"]
    assert files(store.root) == ["s-big.jsonl", "s-demo.jsonl", "t-demo.jsonl"] and store.results() == before
    stable = contents(store.root)
    packed, problems = pack(store)
    assert [(one.folded, one.changed) for one in packed] == [(0, False)] * 3
    assert contents(store.root) == stable and [f.name for f in store.root.iterdir()].count(".packing") == 0


def test_the_bytes_do_not_depend_on_how_the_records_came_together(tmp_path):
    records = [record(rate) for rate in RATES]
    stores = [Store(tmp_path / name) for name in ("at once", "one by one", "by hand")]
    for result in records:
        stores[0].write(result)
        stores[1].write(result)
        pack(stores[1])
    stores[2].root.mkdir()
    stores[2].packed(config()).write_text("".join(map(line, [records[2], records[0], records[2], records[1]])))
    for each in stores:
        pack(each)
    assert contents(stores[0].root) == contents(stores[1].root) == contents(stores[2].root)
    assert len(contents(stores[0].root)["s-demo.jsonl"].splitlines()) == 3


def test_values_are_packed_as_they_are(store):
    """Also those of a record that lacks a setting of today."""
    values = record().model_dump(mode="json") | {"accuracy": 0.1 + 0.2, "seconds": 1e-7, "steps": 10**17}
    del values["config"]["train"]["decay_all"]
    values["run_id"] = content_id(values["config"])
    store.folder(config()).mkdir(parents=True)
    (store.folder(config()) / f"{values['run_id']}.json").write_text(json.dumps(values, indent=3))
    pack(store)
    assert json.loads(store.packed(config()).read_text()) == values
    assert store.read(config()).accuracy == 0.1 + 0.2


def test_a_dry_run_only_tells(store):
    store.write(record())
    before = contents(store.root)
    assert pack(store, dry_run=True)[0] == [Packed(store.root / "s-demo.jsonl", 1, 1, True)]
    assert contents(store.root) == before


def test_a_record_that_lost_goes_too(store):
    store.write(record())
    pack(store)
    store.write(record(status="failed"))
    (store.folder(config()) / "copy.json").write_text(line(record(accuracy=0.1, started_at="2025")))
    assert store.read(config()).accuracy == 0.1  # a done one, and a file of its own
    pack(store)
    assert files(store.root) == ["s-demo.jsonl"]
    assert store.read(config()).accuracy == 0.1 and len(store.packed(config()).read_bytes().splitlines()) == 1


def test_what_is_no_record_stays_and_is_named(store):
    written = store.write(record())
    folder, packed = written.parent, store.packed(config())
    foreign = {
        "cut.json": line(record(2e-3))[:100].encode(),
        "notes.txt": b"mine",
        f"{config(2e-3).run_id}.ckpt": b"a checkpoint",
        f"{config(2e-3).run_id}.json.elsewhere-1.tmp": b"{",
        ".claims": b"",
        "perf.json": b'{"perf_schema_version": 1}',
        "of another sweep.json": line(record(config=config(sweep="t"))).encode(),
    }
    for name, content in foreign.items():
        (folder / name).write_bytes(content)
    later = json.dumps(record().model_dump(mode="json") | {"schema_version": SCHEMA_VERSION + 1}, indent=None).encode()
    packed.write_bytes(later + b"\n\n\xff\n" + line(record(3e-3)).encode() + b'{"perf_schema_version": 1}\n{"cut": ')
    problems = pack(store, "s")[1]
    assert not written.exists() and contents(folder) == foreign
    lines = packed.read_bytes().splitlines()
    assert lines[2:] == [later, b"\xff", b'{"perf_schema_version": 1}', b'{"cut": '] and len(lines) == 6
    assert [problem.split(": ")[0] for problem in problems] == [
        *(str(folder / "cut.json"), f"{packed}:1", f"{packed}:3", f"{packed}:6", str(folder / "notes.txt"))
    ]
    stable = contents(store.root)
    pack(store, "s")
    assert contents(store.root) == stable and len(store.results()[0]) == 3


def test_a_run_with_a_file_elsewhere_stays_loose(store):
    path = store.write(record())
    store.write(record(2e-3))
    (store.root / "by hand").mkdir()
    stray = store.root / "by hand" / "x.json"
    stray.write_text(line(record(accuracy=0.9)))
    before = store.results()
    packed, problems = pack(store)
    assert packed == [Packed(store.root / "s-demo.jsonl", 1, 1, True)]
    assert problems == [f"{path}: stays, for {stray} of the same run would hide a packed line"]
    assert store.results() == before and path.exists()
    stray.write_text(line(record(status="failed")))  # hides nothing
    assert pack(store)[1] == [] and not path.exists() and store.results() == before


def test_packing_never_changes_what_is_read(tmp_path):
    """Stores as bad luck would have them: copies, failures, other packed files, in random order."""
    for seed in range(40):
        draw = random.Random(seed)
        store = Store(tmp_path / str(seed))
        folder = store.folder(config())
        for name in (folder, store.root / "elsewhere", folder / "below"):
            name.mkdir(parents=True)
        places = [folder, folder, folder, store.root / "elsewhere", folder / "below", store.root]
        for i in range(draw.randrange(1, 14)):
            result = record(
                draw.choice(RATES), draw.choice(["done", "failed"]), started_at=str(2026 + draw.randrange(2)), seconds=i
            )
            match draw.randrange(4):
                case 0:
                    store.write(result)
                case 1:
                    with open(draw.choice([store.packed(config()), store.root / "a.jsonl"]), "a") as file:
                        file.write(line(result))
                case _:
                    (draw.choice(places) / f"{i}.json").write_text(line(result))
        before = store.results()
        pack(store)
        assert store.results() == before, seed
        stable = contents(store.root)
        pack(store)
        assert contents(store.root) == stable, seed


STEPS = {os: ("fsync", "replace", "link"), Path: ("rename", "unlink", "rmdir", "mkdir")}


@pytest.mark.parametrize("late", [False, True], ids=["before a step", "after it"])
def test_killed_at_any_step_nothing_is_lost(tmp_path, monkeypatch, late):
    """Every call that changes something on the disk is the last one, once."""
    ways = 0
    while True:
        store = Store(tmp_path / str(ways))
        for rate in RATES[:2]:
            store.write(record(rate, "failed"))
        pack(store)
        for rate in RATES:
            store.write(record(rate))
        before = store.results()
        count = 0

        def last(step, number=ways):
            def run(*arguments, **options):
                nonlocal count
                count += 1
                if count > number + late:
                    raise KeyboardInterrupt
                result = step(*arguments, **options)
                if late and count == number + 1:
                    raise KeyboardInterrupt
                return result

            return run

        with monkeypatch.context() as patch:
            for owner, names in STEPS.items():
                for name in names:
                    patch.setattr(owner, name, last(getattr(owner, name)))
            finished = False
            with contextlib.suppress(KeyboardInterrupt):
                pack(store)
                finished = True
        assert store.results() == before
        pack(store)
        assert store.results() == before
        assert [name for name in files(store.root) if name[-4:] != ".tmp" and name != ".packing"] == ["s-demo.jsonl"]
        if finished:
            break
        ways += 1
    assert ways > 8


def test_a_record_written_meanwhile_is_not_deleted(store, monkeypatch):
    for rate in RATES:
        store.write(record(rate, "failed"))
    write, rename, first, third = archive.write_file, Path.rename, config(RATES[0]), config(RATES[2])

    def a_run_ends(path, data):
        write(path, data)
        store.write(record(accuracy=0.6))
        store.path(third).unlink(missing_ok=True)  # and a hand is at work

    def and_ends_again(path, target):
        rename(path, target)
        if path == store.path(first):
            store.write(record(accuracy=0.7))

    monkeypatch.setattr(archive, "write_file", a_run_ends)
    pack(store)
    assert files(store.root) == ["s-demo.jsonl", f"s-demo/{first.run_id}.json"]
    assert store.own(first).accuracy == 0.6 and store.read(third).status == "failed"
    store.write(record(accuracy=0.1))
    monkeypatch.setattr(Path, "rename", and_ends_again)
    pack(store)
    assert files(store.root) == ["s-demo.jsonl", f"s-demo/{first.run_id}.json"]
    assert store.read(first).accuracy == 0.7


def test_links_are_packed_and_deleted_and_not_what_they_point_to(store, tmp_path):
    outside = tmp_path / "outside.json"
    outside.write_text(line(record()))
    folder = store.folder(config())
    folder.mkdir(parents=True)
    (folder / "b.json").symlink_to(outside)
    (folder / "c.json").symlink_to(folder / "b.json")
    pack(store)
    assert files(store.root) == ["s-demo.jsonl"] and outside.exists() and store.read(config()) == record()
    assert not folder.exists()


def test_what_does_not_read_back_deletes_nothing(store, monkeypatch):
    store.write(record())
    before = contents(store.root)
    monkeypatch.setattr(archive, "write_file", lambda path, data: path.write_bytes(data[:-9]))
    with pytest.raises(StoreError, match="does not read back as it was written; no record has been deleted"):
        pack(store)
    assert before.items() <= contents(store.root).items()


def test_one_at_a_time(store, monkeypatch):
    store.write(record())
    code = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
    command = [sys.executable, "-c", code, store.root / archive.LOCK]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with pytest.raises(StoreError, match="cannot pack .*: another process is packing it"):
            pack(store)
        process.stdin.close()
    assert store.path(config()).exists()
    lockf = fcntl.lockf

    def too_late(file, how):
        (store.root / archive.LOCK).unlink()  # by the one who had it, as it ended
        lockf(file, how)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "lockf", too_late)
        with pytest.raises(StoreError, match="another process is packing it"):
            pack(store)
    pack(store)  # what a killed one left behind is no obstacle
    assert files(store.root) == ["s-demo.jsonl"]


def test_what_cannot_be_packed_is_one_line(store, monkeypatch):
    with pytest.raises(StoreError, match="cannot write to .*: No such file or directory$"):
        pack(store)
    store.write(record())
    store.packed(config()).mkdir()
    with pytest.raises(StoreError, match=r"cannot read .*s-demo.jsonl: Is a directory$"):
        pack(store)
    store.packed(config()).rmdir()

    def denied(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "rename", denied)
    with pytest.raises(StoreError, match=r"cannot delete .*\.json, which is packed: Read-only file system$"):
        pack(store)
    assert store.path(config()).exists() and store.results() == ([record()], [])
    monkeypatch.setattr(fcntl, "lockf", denied)
    with pytest.raises(StoreError, match=r"cannot lock .*: Read-only file system$"):
        pack(store)
