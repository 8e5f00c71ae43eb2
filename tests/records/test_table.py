import pandas as pd
import pytest

from mqar_bench.config import RunConfig
from mqar_bench.records.curves import Point
from mqar_bench.records.result import Epoch, Provenance, RunResult, ScreenRecord
from mqar_bench.records.table import LEADING, TRAILING, to_frame

PROVENANCE = Provenance(
    device="cpu", threads=2, python="3", versions={}, git_commit=None, git_dirty=None, started_at="2026-01-01"
)


def config(*mixers, train=None, **values) -> RunConfig:
    return RunConfig.model_validate({"model": {"mixers": list(mixers)}, "train": train or {}, **values})


def record(run: RunConfig, status="done", **values) -> RunResult:
    return RunResult(run_id=run.run_id, status=status, config=run, provenance=PROVENANCE, **values)


def ramnet(**options):
    return {"name": "ramnet", "options": options}


def test_an_empty_frame_has_the_columns():
    frame = to_frame([])
    assert list(frame.columns) == [*LEADING, *TRAILING] and len(frame) == 0


def test_a_row_for_each_run_with_what_it_lacks_missing():
    run = config({"name": "short_conv", "options": {"kernel_size": 4}}, ramnet(top_k=4, cape=True))
    plain = config({"name": "attention"})
    frame = to_frame(
        [
            record(run, accuracy=0.5, settings={"L64-kv8": 0.5}, state_size=7),
            record(plain, status="failed", error="one\ntwo"),
        ]
    )
    options = ["option.0.kernel_size", "option.cape", "option.top_k"]
    assert list(frame.columns) == [*LEADING, "accuracy/L64-kv8", *options, *TRAILING]
    done, failed = frame.iloc[0], frame.iloc[1]
    assert (done["mixer"], done["state_size"], done["accuracy/L64-kv8"], done["option.top_k"]) == ("ramnet", 7, 0.5, 4)
    assert done["option.cape"] is True and done["learning_rate"] == 1e-3 and done["sequence_length"] == 64
    assert done["stack"] == "short_conv ramnet" and failed["stack"] == "attention"
    assert pd.isna(done["error"]) and done["device"] == "cpu" and done["threads"] == 2
    assert failed["error"] == "one" and failed["status"] == "failed" and failed["epochs"] == 0
    missing = ["state_size", "accuracy", "accuracy/L64-kv8", "option.top_k", "steps_to_90", "git_commit"]
    assert failed[missing].isna().all()
    assert frame["state_size"].dtype == "Int64"  # whole numbers stay whole beside a missing one


def test_two_layers_of_one_mixer_keep_their_options_apart():
    frame = to_frame([record(config(ramnet(cape=True, top_k=8), ramnet(cape=False, top_k=8)))])
    assert frame["stack"][0] == "ramnet ramnet"
    assert (bool(frame["option.0.cape"][0]), bool(frame["option.cape"][0])) == (True, False)
    assert frame["option.0.top_k"][0] == 8 and frame["option.top_k"][0] == 8


def test_runs_of_one_variant_differ_in_rate_seeds_and_device_only():
    same = [
        config(ramnet(top_k=8), train={"learning_rate": 1e-2, "seed": 1, "device": "cpu"}, data={"seed": 1}),
        config(ramnet(top_k=8), train={"learning_rate": 3e-2, "seed": 2}, data={"seed": 2}, sweep="s", scale="x"),
    ]
    others = [config(ramnet(top_k=4)), config(ramnet(top_k=8), train={"weight_decay": 0.0})]
    frame = to_frame([record(run) for run in same + others])
    first, second, *rest = frame["variant"]
    assert first == second and len({first, *rest}) == 3


def test_steps_to_90_are_those_after_the_first_epoch_that_is_good_enough():
    def epochs(*accuracies):
        return tuple(Epoch(epoch=i, loss=1.0, accuracy=a, settings={}) for i, a in enumerate(accuracies))

    run = config(ramnet())
    frame = to_frame(
        [
            record(run, epochs=epochs(0.1, 0.9, 0.2, 0.95), steps=400),
            record(run, epochs=epochs(0.9), steps=250),
            record(run, epochs=epochs(0.1, 0.8999), steps=500),
            record(run, status="failed"),
        ]
    )
    assert list(frame["steps_to_90"].fillna(-1)) == [200, 250, -1, -1]
    tokens = 10_000 * 64
    assert list(frame["tokens_to_90"].fillna(-1)) == [2 * tokens, tokens, -1, -1]
    assert frame["steps_to_90"].dtype == frame["tokens_to_90"].dtype == "Int64"


def test_curves_are_a_column_where_they_are_asked_for():
    results = [record(config(ramnet()), epochs=curve(0.5), steps=100), record(config(ramnet()), status="failed")]
    frame = to_frame(results, curves=True)
    points = (Point("training", 100, 640_000, 1.0, None), Point("test", 100, 640_000, None, 0.5))
    assert list(frame["curve"]) == [points, ()]
    assert list(frame.columns) == [*to_frame(results).columns, "curve"] and "curve" in to_frame([], curves=True)


def test_data_are_named_by_their_test_settings_and_everything_but_the_seed():
    def name(**data):
        return to_frame([record(config(ramnet(), data=data))])["data"][0]

    settings = [{"input_seq_len": 128, "num_kv_pairs": 4}, {"input_seq_len": 256, "num_kv_pairs": 8}]
    assert name(seed=1) == name(seed=2) and name().startswith("L64-kv8-")
    others = [name(test=settings), name(test=settings[::-1]), name(test=settings[:1]), name(test=settings, fresh=True)]
    assert [other[:-7] for other in others] == ["L128-kv4..L256-kv8", "L256-kv8..L128-kv4", "L128-kv4", others[0][:-7]]
    assert len({name(), *others, name(train=settings), name(shuffle=True)}) == 7


def curve(*accuracies):
    return tuple(Epoch(epoch=i, loss=1.0, accuracy=a, settings={}) for i, a in enumerate(accuracies))


def test_what_guides_training_is_apart_from_what_is_reported():
    task = {"num_kv_pairs": 2}
    runs = [config({"name": "gla"}), config({"name": "gla"}, data={"validation": [task]})]
    frame = to_frame([record(run, accuracy=0.4, epochs=curve(0.5, 0.8)) for run in runs])
    assert frame["guided_by"].tolist() == ["test", "validation"]
    assert frame["accuracy"].tolist() == [0.4, 0.4] and frame["guide_accuracy"].tolist() == [0.8, 0.8]


def test_rise_is_what_the_last_fifth_of_training_gained():
    def rise(*accuracies, planned=None):
        run = config({"name": "gla"}, train={"max_epochs": planned or len(accuracies)})
        return to_frame([record(run, epochs=curve(*accuracies))])["rise"][0]

    assert rise(0.1, 0.2, 0.3, 0.4, 0.7) == pytest.approx(0.3)
    assert rise(*[0.1] * 8, 0.5, 0.6) == pytest.approx(0.5)
    assert rise(0.1, 0.2, 0.99, planned=32) == 0  # it stopped, being good enough
    assert pd.isna(rise(0.1, 0.9)) and pd.isna(rise(planned=5))


def test_capacity_is_of_the_settings_of_mqar_with_several_numbers_of_pairs():
    tests = [{"num_kv_pairs": 4}, {"num_kv_pairs": 4, "input_seq_len": 128}, {"num_kv_pairs": 16}]
    run = config({"name": "gla"}, data={"test": tests})
    scores = {"L64-kv4": 1.0, "L128-kv4": 0.9, "L64-kv16": 0.2}  # the harder of the two counts
    row = to_frame([record(run, settings=scores)]).iloc[0]
    assert (row["capacity"], row["censored"]) == (4, "") and row["recalled_pairs"] == pytest.approx(
        (0.9 * 4 - 1) / 0.75
    )
    other = to_frame([record(config({"name": "gla"}), settings={"L64-kv4": 1.0})]).iloc[0]
    assert pd.isna(other["capacity"]) and pd.isna(other["censored"])


@pytest.mark.parametrize("rate, edge", [(1e-3, "lowest"), (3.1623e-3, ""), (1e-2, "highest")])
def test_a_rate_at_the_edge_of_its_grid_is_said_to_be(rate, edge):
    screen = ScreenRecord(epochs=1, keep=1, rivals={"0.001": 0.1, f"{3.1623e-3:g}": 0.2, "0.01": None})
    frame = to_frame([record(config({"name": "gla"}, train={"learning_rate": rate}), screen=screen)])
    assert (frame["edge"][0], frame["screened"][0]) == (edge, 3)
    assert pd.isna(to_frame([record(config({"name": "gla"}))])["edge"][0])
