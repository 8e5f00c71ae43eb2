"""Records of other machines, brought in."""

import json

import pytest

from mqar_bench.config import content_id
from mqar_bench.records.archive import merge, pack
from mqar_bench.records.result import Epoch
from mqar_bench.records.store import StoreError
from tests.records.made_up import RATES, config, contents, files, line, record


def test_records_of_another_machine_are_new_once(store, other):
    written = [record(rate) for rate in RATES] + [record(config=config(scale="big"), status="failed")]
    for result in written:
        other.write(result)
    merged = merge(store, [other.root])
    assert (merged.new, merged.total, merged.problems) == (4, 4, [])
    assert store.results() == other.results() and contents(store.root) == contents(other.root)
    before = contents(store.root)
    again = merge(store, [other.root])
    assert (again.same, again.total) == (4, 4) and contents(store.root) == before


def test_a_source_may_be_a_file_or_packed_and_lie_anywhere(store, tmp_path):
    packed, loose, deep = tmp_path / "x.jsonl", tmp_path / "y.json", tmp_path / "folder" / "a" / "b.json"
    deep.parent.mkdir(parents=True)
    packed.write_text(line(record(1e-3)) + line(record(2e-3)))
    loose.write_text(line(record(3e-3)))
    deep.write_text(line(record(4e-3)))
    assert merge(store, [packed, loose, tmp_path / "folder"]).new == 4
    assert files(store.root) == sorted(f"s-demo/{config(rate).run_id}.json" for rate in (*RATES, 4e-3))


EPOCH = Epoch(epoch=0, loss=1.0, accuracy=0.5, settings={})


@pytest.mark.parametrize(
    "here, imported, counted, stays",
    [
        (record(), record(), "same", True),
        (record(), record(device="gpu", started_at="2027", seconds=9.0, tokens_per_second=1.0), "same", True),
        (record(status="failed"), record(), "mended", False),
        (record(), record(status="failed"), "kept", True),
        (record(status="failed"), record(status="failed", error="another"), "same", True),
        (record(), record(accuracy=0.6), "conflicts", True),
        (record(), record(settings={"L64-kv8": 0.34}), "conflicts", True),
        (record(), record(epochs=(EPOCH,)), "conflicts", True),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_what_becomes_of_a_record_that_meets_another(store, other, here, imported, counted, stays, dry_run, packed):
    store.write(here)
    if packed:
        pack(store)
    other.write(imported)
    before = contents(store.root)
    merged = merge(store, [other.root], dry_run=dry_run)
    count = getattr(merged, counted)
    assert merged.total == 1 and (len(count) if counted == "conflicts" else count) == 1
    assert store.read(config()) == (here if stays or dry_run else imported)
    if stays or dry_run:
        assert contents(store.root) == before
    else:
        assert other.path(config()).read_bytes() == store.path(config()).read_bytes()


@pytest.mark.parametrize("packed", [False, True])
def test_a_conflict_is_told_and_replaced_only_when_asked(store, other, packed):
    here, imported = record(device="a"), record(accuracy=0.6, device="b")
    store.write(here)
    if packed:
        pack(store)
    path = other.write(imported)
    (conflict,) = merge(store, [other.root]).conflicts
    assert (conflict.here, conflict.imported, conflict.source, conflict.replaced) == (here, imported, path, False)
    (conflict,) = merge(store, [other.root], replace=True, dry_run=True).conflicts
    assert conflict.replaced and store.read(config()) == here
    (conflict,) = merge(store, [other.root], replace=True).conflicts
    assert conflict.replaced and store.read(config()) == imported
    assert merge(store, [other.root]).conflicts == []


def test_sources_that_disagree_are_a_conflict_that_the_better_and_then_the_first_wins(store, tmp_path):
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    earlier, later = record(accuracy=0.1, started_at="2026"), record(accuracy=0.2, started_at="2027")
    first.write_text(line(record(status="failed")) + line(earlier) + line(later))
    second.write_text(line(record(accuracy=0.3)))
    merged = merge(store, [first, second], replace=True)
    assert (merged.new, merged.kept, merged.total) == (1, 1, 4)
    assert [(c.here, c.imported.accuracy, c.replaced) for c in merged.conflicts] == [
        (later, 0.1, False),
        (later, 0.3, False),
    ]
    assert store.read(config()) == later


def test_what_is_no_record_is_named_and_the_others_come_in(store, other):
    other.write(record())
    (other.root / "cut.json").write_text(line(record(2e-3))[:100])
    (other.root / "x.jsonl").write_text("{}\n" + line(record(3e-3)))
    (other.root / "perf.json").write_text('{"perf_schema_version": 1}')
    (other.root / "notes.txt").write_text("")
    before = contents(other.root)
    merged = merge(store, [other.root])
    assert (merged.new, merged.total) == (2, 2)
    assert [problem.split(": ")[0] for problem in merged.problems] == [
        str(other.root / "cut.json"),
        str(other.root / "x.jsonl") + ":1",
    ]
    assert contents(other.root) == before


def test_a_record_from_before_a_setting_was_there_comes_in_under_todays_id(store, tmp_path):
    values = record().model_dump(mode="json")
    del values["config"]["train"]["decay_all"]
    values["run_id"] = content_id(values["config"])
    (tmp_path / "old.json").write_text(json.dumps(values))
    assert merge(store, [tmp_path / "old.json"]).new == 1
    assert files(store.root) == [f"s-demo/{config().run_id}.json"] and store.own(config()) == record()


def test_sources_that_cannot_be(store, other, tmp_path):
    store.write(record())
    other.write(record(2e-3))
    (tmp_path / "x.txt").write_text("")
    (tmp_path / "link").symlink_to(store.root)
    for source, why in [
        ("none", "there is no such file"),
        ("x.txt", "records come in folders, .json and .jsonl files"),
        ("results", "it lies in"),
        ("results/s-demo", "it lies in"),
        ("link", "it lies in"),
        (".", "itself lies in it"),
    ]:
        with pytest.raises(StoreError, match=why):
            merge(store, [other.root, tmp_path / source])
    assert store.results()[0] == [record()]  # nothing of the good source either
