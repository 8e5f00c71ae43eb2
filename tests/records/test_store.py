import errno
import json
import os
import random

import pytest

from mqar_bench.config import RunConfig
from mqar_bench.records.result import SCHEMA_VERSION, Provenance, RunResult
from mqar_bench.records.store import Store, StoreError

PROVENANCE = Provenance(
    device="cpu", threads=1, python="3", versions={}, git_commit=None, git_dirty=None, started_at="2026-01-01"
)


def config(rate=1e-3, **names) -> RunConfig:
    return RunConfig.model_validate({"train": {"learning_rate": rate}, "sweep": "s", "scale": "demo", **names})


def record(rate=1e-3, status="done", **changes) -> RunResult:
    run = changes.pop("config", config(rate))
    values = {"accuracy": 0.5, "settings": {"L64-kv8": 0.5}, "state_size": 10} if status == "done" else {}
    return RunResult(run_id=run.run_id, status=status, config=run, provenance=PROVENANCE, **{**values, **changes})


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "results")


def test_a_record_comes_back_as_it_was_and_alone(store):
    written = record(settings={"L64-kv8": 1 / 3}, error="ä\u2028\nb")
    path = store.write(written)
    assert path == store.root / "s-demo" / f"{written.run_id}.json"
    assert store.read(config()) == written
    assert list(path.parent.iterdir()) == [path]  # no temporary file


def test_only_done_is_done_and_a_later_record_replaces_an_earlier(store):
    assert not store.is_done(config())
    store.write(record(status="failed", error="no"))
    assert not store.is_done(config()) and store.read(config()).error == "no"
    store.write(record())
    assert store.is_done(config()) and not store.is_done(config(rate=2e-3))
    assert len(store.results()[0]) == 1


def test_the_same_run_under_another_sweep_is_another_record(store):
    store.write(record())
    assert not store.is_done(config(sweep="other"))
    store.write(record(config=config(sweep="other")))
    assert [r.config.sweep for r in store.results()[0]] == ["other", "s"]
    assert [r.config.sweep for r in store.results(sweep="s")[0]] == ["s"]
    assert store.results(sweep="s", scale="paper")[0] == []


def test_a_writer_interrupted_half_way_leaves_the_old_record_and_nothing_else(store, monkeypatch):
    path = store.write(record(accuracy=0.25))

    def killed(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        store.write(record(accuracy=0.75))
    assert list(path.parent.glob("*.tmp")) == []
    assert store.read(config()).accuracy == 0.25
    assert store.results()[1] == []


@pytest.mark.parametrize(
    "content, problem",
    [
        ("", "empty"),
        (record().model_dump_json()[:200], "not JSON, or cut off"),
        ('{"hello": 1}', "no schema_version"),
        ("[1]", "no schema_version"),
        (
            json.dumps({**record().model_dump(mode="json"), "schema_version": SCHEMA_VERSION + 1}),
            f"schema version {SCHEMA_VERSION + 1}; this program reads {SCHEMA_VERSION}",
        ),
        (json.dumps({**record().model_dump(mode="json"), "acuracy": 1}), "acuracy: Extra inputs"),
        (json.dumps({**record().model_dump(mode="json"), "run_id": "0" * 12}), "edited"),
        (b"\xff\xfe\x00", "not JSON"),
    ],
)
def test_what_is_no_record_is_named_and_left_alone(store, content, problem):
    store.write(record())
    foreign = store.path(config(rate=2e-3))
    foreign.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = foreign.read_bytes()
    results, problems = store.results()
    assert results == [record()]
    assert len(problems) == 1 and str(foreign) in problems[0] and problem in problems[0] and "\n" not in problems[0]
    assert not store.is_done(config(rate=2e-3))
    assert foreign.read_bytes() == before


def test_a_record_cut_off_at_any_byte_is_named_and_left_alone(store):
    store.write(record())
    whole = record(rate=2e-3).model_dump_json().encode()
    folder = store.root / "cut off"
    folder.mkdir()
    for length in range(len(whole)):
        (folder / f"{length:04d}.json").write_bytes(whole[:length])
    lines = [record(rate=3e-3).model_dump_json().encode(), *(whole[:length] for length in range(1, len(whole)))]
    packed = store.root / "cut off.jsonl"
    packed.write_bytes(b"\n".join(lines))
    results, problems = store.results()
    assert results == [record(), record(rate=3e-3)]
    named = [problem.partition(": ")[0] for problem in problems]
    places = [str(folder / f"{length:04d}.json") for length in range(len(whole))]
    assert named == places + [f"{packed}:{n}" for n in range(2, len(lines) + 1)]
    assert all((folder / f"{length:04d}.json").read_bytes() == whole[:length] for length in range(len(whole)))
    assert packed.read_bytes() == b"\n".join(lines)


def test_a_packed_sweep_cut_off_at_its_first_byte_is_named(store):
    store.root.mkdir()
    (store.root / "s-demo.jsonl").write_bytes(b"")
    assert store.results() == ([], [f"{store.root / 's-demo.jsonl'}: empty"])


def nested(depth: int) -> str:
    """A record with an option that is a list in a list in a list."""
    text = record(config=config(model={"mixers": [{"name": "a", "options": {"x": "HERE"}}]})).model_dump_json()
    return text.replace('"HERE"', "[" * depth + "]" * depth)


@pytest.mark.parametrize(
    "content",
    [b"\0" * 5000, b"{" * 200_000, b"[" * 200_000, b"null", b"true", b'"text"', b"1e999", b"9" * 10_000, b"[[], {}]"]
    + [
        b'{"schema_version": 1}',
        b'{"schema_version": %s}' % (b"[" * 400 + b"]" * 400),
        b'{"schema_version": "\\n\\u001b"}',
    ]
    + [b'{"schema_version": 1, "a\\nb\\u001b[2J%s": 1}' % (b"x" * 5000), b'{"schema_version": 1, "config": []}']
    + [nested(depth).encode() for depth in (300, 800, 950, 980, 990, 1000, 50_000)]
    + [random.Random(seed).randbytes(2000) for seed in range(5)],
    ids=lambda content: ascii(content[:25]),
)
def test_nothing_in_a_file_is_fatal(store, content):
    store.write(record())
    for name in ("x.json", "x.jsonl"):
        path = store.root / name
        path.write_bytes(content)
        results, problems = store.results()
        assert results == [record()] and problems
        assert all(p.startswith(f"{path}:") and p.isprintable() and len(p) < len(str(path)) + 300 for p in problems)
        assert path.read_bytes() == content
        path.unlink()


def test_what_is_no_file_is_named(store):
    written = store.write(record())
    folder = written.parent
    (folder / "folder.json").mkdir()
    (folder / "folder.json" / "inside.json").write_text(record(2e-3).model_dump_json())
    os.mkfifo(folder / "pipe.json")  # nobody ever writes to it
    (folder / "loop.json").symlink_to(folder / "loop.json")
    (folder / "nowhere.jsonl").symlink_to(folder / "gone")
    (folder / "endless").symlink_to(store.root)
    (folder / "linked.json").symlink_to(written)
    results, problems = store.results()
    assert results == [record(), record(2e-3)]
    assert [problem.removeprefix(f"{folder}/") for problem in problems] == [
        "folder.json: cannot be read: it is not a file",
        "loop.json: cannot be read: Too many levels of symbolic links",
        "pipe.json: cannot be read: it is not a file",
        "nowhere.jsonl: cannot be read: No such file or directory",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_may_not_be_read_is_named(store):
    store.write(record())
    hidden = store.write(record(2e-3))
    folder = store.root / "folder"
    folder.mkdir()
    hidden.chmod(0)
    folder.chmod(0)
    results, problems = store.results()
    folder.chmod(0o700)
    assert results == [record()]
    assert problems == [f"{path}: cannot be read: Permission denied" for path in (folder, hidden)]


def test_temporary_files_are_nobodys_business(store):
    path = store.write(record())
    others = path.with_name(f"{path.name}.elsewhere-1.tmp")
    others.write_bytes(path.read_bytes()[:100])
    assert store.results() == ([record()], [])
    store.write(record(accuracy=0.75))
    assert others.exists() and store.results() == ([record(accuracy=0.75)], [])


def test_a_record_is_on_disk_before_it_has_its_name_and_its_name_before_write_returns(store, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace

    def sync(descriptor):
        events.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def rename(source, target):
        events.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", rename)
    path = store.write(record())
    assert events[0].startswith(path.name) and events[0].endswith(".tmp") and events[1:] == ["rename", "s-demo"]


def test_what_is_packed_while_it_is_read_is_not_missed(store, monkeypatch):
    from mqar_bench.records import store as module

    paths = [store.write(record(rate)) for rate in (1e-3, 2e-3, 3e-3)]
    read_file = module.read_file

    def packs_the_rest_meanwhile(path, problems):
        if path in paths and not packed.exists():
            packed.write_text("\n".join(p.read_text().replace("\n", "") for p in paths))
            for other in paths:
                other.unlink()
        yield from read_file(path, problems)

    packed = store.packed(config())
    monkeypatch.setattr(module, "read_file", packs_the_rest_meanwhile)
    assert store.results() == ([record(rate) for rate in (1e-3, 2e-3, 3e-3)], [])


def test_records_are_found_where_a_hand_put_them(store):
    (store.root / "from another machine" / "x").mkdir(parents=True)
    (store.root / "from another machine" / "x" / "name.json").write_text(record().model_dump_json())
    assert store.is_done(config())
    store.write(record(accuracy=0.9))  # at its proper place, so it wins
    assert [r.accuracy for r in store.results()[0]] == [0.9]


def test_packed_sweeps(store):
    store.root.mkdir()
    packed = store.root / "s-demo.jsonl"
    lines = [record(1e-3, accuracy=0.1, error="\u2028"), record(2e-3), record(3e-3, status="failed")]
    packed.write_text("\n".join(line.model_dump_json() for line in lines) + "\n{broken\n\n")
    results, problems = store.results()
    assert {r.config.train.learning_rate for r in results} == {1e-3, 2e-3, 3e-3}
    assert len(problems) == 1 and f"{packed}:4: not JSON" in problems[0]
    assert store.is_done(config(2e-3)) and not store.is_done(config(3e-3))
    store.write(record(1e-3, accuracy=0.2))
    store.write(record(2e-3, status="failed"))
    store.write(record(3e-3, status="failed", error="loose"))
    loose_done, packed_done, loose_failed = sorted(store.results()[0], key=lambda r: r.config.train.learning_rate)
    assert loose_done.accuracy == 0.2
    assert packed_done.status == "done"
    assert loose_failed.error == "loose"
    elsewhere = store.root / "copied.json"
    elsewhere.write_text(record(2e-3, accuracy=0.7).model_dump_json())
    assert store.read(config(2e-3)).accuracy == 0.7  # a file of its own, though not at its proper place
    assert store.find([config(1e-3), config(4e-3)]) == {loose_done.run_id: loose_done}
    (store.root / "older.jsonl").write_text(record(5e-3, accuracy=0.1).model_dump_json())
    with packed.open("a") as file:
        file.write(record(5e-3, accuracy=0.2).model_dump_json())
    assert store.read(config(5e-3)).accuracy == 0.2  # the packed sweep at its proper place, though not the first


def test_a_setting_added_later_does_not_orphan_records(store):
    """A record lacking a setting that has a default today is the run with that default."""
    values = record().model_dump(mode="json")
    del values["config"]["train"]["decay_all"]
    import hashlib

    content = {part: values["config"][part] for part in ("data", "model", "train")}
    values["run_id"] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    assert values["run_id"] != config().run_id
    (store.root / "s-demo").mkdir(parents=True)
    (store.root / "s-demo" / f"{values['run_id']}.json").write_text(json.dumps(values))
    assert store.is_done(config())
    assert store.read(config()).run_id == config().run_id


def test_a_full_disk_is_one_line_and_leaves_nothing(store, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"cannot write .*\.json: No space left on device$"):
        store.write(record())
    assert list(store.root.rglob("*.*")) == []


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "results")
    with pytest.raises(StoreError, match="Not a directory"):
        store.check_writable(config())
    with pytest.raises(StoreError, match="Not a directory"):
        store.write(record())
    assert store.results() == ([], []) and store.read(config()) is None


def test_with_id(store):
    store.write(record())
    assert [r.run_id for r in store.with_id(record().run_id[:6])] == [record().run_id]
    assert store.with_id("zz") == []


@pytest.mark.parametrize("what", ["bench", "perf", "soak"])
def test_measurements_may_lie_among_the_records(what, tmp_path):
    (tmp_path / f"{what}.json").write_text(f'{{"{what}_schema_version": 1}}')
    assert Store(tmp_path).results() == ([], [])
