"""Weights beside records: found, packed around and imported with them."""

import json

import pytest

from mqar_bench.config import content_id
from mqar_bench.records.archive import merge, pack
from mqar_bench.records.store import StoreError
from mqar_bench.records.weights import add_header, find_weights, read_header
from tests.records.made_up import RATES, config, contents, files, line, record

#: Tensors, as the library writes them: one of two bytes.
TENSORS = b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}   '
TENSORS = len(TENSORS).to_bytes(8, "little") + TENSORS


def weights(result, body=b"ab"):
    return add_header(TENSORS + body, result)


def keep(store, result, body=b"ab"):
    """A run's record and its weights, as a launch leaves them."""
    store.write_weights(result.config, weights(result, body))
    store.write(result)
    return store.weights(result.config)


def test_weights_are_found_beside_their_record_and_anywhere_below_the_root(store):
    beside = keep(store, record())
    elsewhere = store.root / "copied" / "here" / f"{config(2e-3).run_id}.safetensors"
    elsewhere.parent.mkdir(parents=True)
    elsewhere.write_bytes(weights(record(2e-3)))
    configs = [config(rate) for rate in RATES]
    assert find_weights(store, configs) == {configs[0].run_id: beside, configs[1].run_id: elsewhere}
    other = config(sweep="another")  # of which the record is a copy
    assert find_weights(store, [other]) == {other.run_id: beside}


def test_weights_from_before_a_setting_was_there_are_found_under_todays_id(store):
    values = record().model_dump(mode="json")
    del values["config"]["train"]["decay_all"]
    old = content_id(values["config"])
    data = weights(record()).replace(b'\\"decay_all\\":false,', b"").replace(config().run_id.encode(), old.encode())
    start = int.from_bytes(data[:8], "little") - (len(weights(record())) - len(data))
    path = store.folder(config()) / f"{old}.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(start.to_bytes(8, "little") + data[8:])
    assert old != config().run_id and read_header(path).result == record()
    assert find_weights(store, [config()]) == {config().run_id: path}
    path.write_bytes(data[:40])  # nothing to be found, and no trouble
    assert find_weights(store, [config()]) == {}


def test_packing_leaves_weights_and_they_are_found(store):
    kept = keep(store, record())
    store.write(record(2e-3))
    before = kept.read_bytes()
    assert pack(store)[1] == []  # not named as something strange
    assert files(store.root) == ["s-demo.jsonl", f"s-demo/{kept.name}"]
    assert kept.read_bytes() == before and find_weights(store, [config()]) == {config().run_id: kept}
    pack(store)
    assert kept.read_bytes() == before


@pytest.mark.parametrize("form", ["folder", "packed folder", "sweep's folder", "file", "packed file"])
def test_an_import_brings_weights_with_their_records(store, other, form):
    kept = keep(other, record())
    other.write(record(2e-3))
    if "packed" in form:
        pack(other)
    source = {
        "folder": other.root,
        "packed folder": other.root,
        "sweep's folder": kept.parent,
        "file": other.path(config()),
        "packed file": other.packed(config()),
    }[form]
    merged = merge(store, [source], dry_run=True)
    assert (merged.weights, merged.problems) == (1, []) and not store.root.exists()
    merged = merge(store, [source])
    assert (merged.weights, merged.problems, merged.new) == (1, [], 1 if form == "file" else 2)
    assert store.weights(config()).read_bytes() == kept.read_bytes()
    before = contents(store.root)
    assert merge(store, [source]).weights == 0 and contents(store.root) == before


def test_weights_come_to_a_record_that_is_the_same_and_has_none(store, other):
    store.write(record())
    kept = keep(other, record(device="gpu"))
    merged = merge(store, [other.root])
    assert (merged.same, merged.weights) == (1, 1) and store.weights(config()).read_bytes() == kept.read_bytes()
    before = kept.read_bytes()
    keep(other, record(), b"cd")
    assert merge(store, [other.root]).weights == 0  # it has them by now
    assert store.weights(config()).read_bytes() == before


def test_in_a_conflict_weights_stay_with_the_record_that_stays(store, other):
    mine = keep(store, record()).read_bytes()
    theirs = keep(other, record(accuracy=0.6), b"cd").read_bytes()
    assert merge(store, [other.root]).weights == 0 and store.weights(config()).read_bytes() == mine
    assert merge(store, [other.root], replace=True).weights == 1
    assert store.weights(config()).read_bytes() == theirs


def test_weights_of_a_record_that_is_replaced_go_with_it(store, other):
    keep(store, record())
    other.write(record(accuracy=0.6))
    merge(store, [other.root], replace=True, dry_run=True)
    assert store.weights(config()).exists()
    merge(store, [other.root], replace=True)
    assert store.read(config()).accuracy == 0.6 and not store.weights(config()).exists()


def test_weights_that_fit_a_done_record_stay_when_it_takes_the_place_of_a_failed_one(store, other):
    kept = keep(store, record())
    store.write(record(status="failed"))
    other.write(record())
    assert merge(store, [other.root]).mended == 1 and kept.exists()


@pytest.mark.parametrize("fault", ["cut off", "of another run", "of another training", "of nothing"])
def test_weights_that_are_not_the_records_are_named_and_left(store, other, fault):
    path = keep(other, record())
    data = {
        "cut off": path.read_bytes()[:-1],
        "of another run": weights(record(2e-3)),
        "of another training": weights(record(accuracy=0.6)),
        "of nothing": TENSORS + b"ab",
    }[fault]
    path.write_bytes(data)
    merged = merge(store, [other.root])
    assert (merged.new, merged.weights) == (1, 0) and not store.weights(config()).exists()
    (problem,) = merged.problems
    assert problem.startswith(str(path)) and "\n" not in problem
    assert store.read(config()) == record()  # which is no worse for it


def test_weights_come_before_their_record(store, other, monkeypatch):
    keep(other, record())
    monkeypatch.setattr(type(store), "write", lambda *_: (_ for _ in ()).throw(StoreError("full")))
    with pytest.raises(StoreError):
        merge(store, [other.root])
    assert files(store.root) == [f"s-demo/{config().run_id}.safetensors"]


def test_what_an_evaluation_left_is_at_home_among_records(store):
    store.write(record())
    (store.root / "scores.jsonl").write_text(json.dumps({"evaluation_schema_version": 1}) + "\n")
    assert store.results() == ([record()], []) and line(record())
