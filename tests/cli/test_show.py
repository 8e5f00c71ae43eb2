"""Tables for people: what of several runs they show, and that they name what they lack."""

import pytest

from mqar_bench.cli.show import print_frame, print_summary
from mqar_bench.launching import Summary
from mqar_bench.launching.progress import label_runs, list_runs
from mqar_bench.records.store import Store
from tests.plots.records import config, frame, record

LONGER = {"test": [{"input_seq_len": 128, "num_kv_pairs": 16}]}


def lines(text):
    return [line.split() for line in text.splitlines()]


def test_runs_on_different_data_do_not_compete_in_a_summary(capsys):
    ours = [record(config(rate=rate), accuracy) for rate, accuracy in ((1e-3, 0.4), (1e-2, 0.5))]
    theirs = [record(config(rate=rate, data=LONGER), accuracy) for rate, accuracy in ((1e-3, 0.9), (1e-2, 0.2))]
    print_summary(Summary(done=(*ours, *theirs)), Store("results"))
    header, _, first, second, _ = lines(capsys.readouterr().out)
    assert header[:3] == ["data", "mixer", "state"]
    assert first == [theirs[0].config.data_name, "attention", "4096", "0.001", "0.900", "2"]
    assert second == [ours[0].config.data_name, "attention", "4096", "0.01", "0.500", "2"]
    print_summary(Summary(done=tuple(ours)), Store("results"))
    assert lines(capsys.readouterr().out)[0][0] == "mixer"


def test_a_summary_takes_the_mean_over_seeds_and_over_nothing_else(capsys):
    light = config(seed=2).model_copy(update={"train": config(seed=2).train.model_copy(update={"weight_decay": 0.0})})
    print_summary(Summary(done=(record(config(seed=1), 0.2), record(light, 0.8))), Store("results"))
    assert lines(capsys.readouterr().out)[2] == ["attention", "4096", "0.01", "0.800", "2"]


def test_a_summary_names_what_failed_and_what_is_left(capsys):
    done, failed = record(config("gla"), 0.5), record(config("gla", rate=1.0), None)
    left = (config("ramnet", order=3), config("ramnet", order=4), config("ramnet", order=4, rate=1.0))
    print_summary(Summary(done=(done,), failed=(failed,), left=left), Store("results"))
    assert capsys.readouterr().out.splitlines()[3:] == [
        "1 done, 0 done before, 1 failed, 3 left: results",
        "left: ramnet order=3: lr=0.01 seed=1",
        "left: ramnet order=4: lr=0.01 seed=1, lr=1 seed=1",
        "failed: gla: lr=1 seed=1 (Divergence: no)",
        f"what failed, with its traceback: results/fig3-demo/{failed.run_id}.json",
    ]


def test_labels_tell_runs_on_different_data_apart():
    runs = [config(), config(data=LONGER), config("gla")]
    assert list(label_runs(runs).values()) == [
        *(f"attention data={run.data_name} lr=0.01 seed=1" for run in runs[:2]),
        "gla lr=0.01 seed=1",
    ]
    assert list_runs(runs, {runs[1].run_id: "why"}) == [f"attention data={runs[1].data_name}: lr=0.01 seed=1 (why)"]


@pytest.mark.parametrize(
    "other, shown",
    [({"data": LONGER}, True), ({"data": LONGER, "scale": "laptop"}, False), ({"rate": 1.0}, False)],
    ids=["in a sweep", "in another", "nowhere"],
)
def test_records_show_their_data_where_those_differ_within_a_sweep(capsys, other, shown):
    print_frame(frame(record(config(), 0.5), record(config(**other), 0.5)))
    assert ("data" in lines(capsys.readouterr().out)[0]) is shown
