"""The baselines that come with the package: that they are those of the committed records, and what their file says."""

from pathlib import Path

import pandas as pd
import pytest

import mqar_bench
import sweeps
from mqar_bench.basics.errors import UsageError
from mqar_bench.config import MixerSpec
from mqar_bench.records import baselines as module
from mqar_bench.records.baselines import SCALES, load_baselines, main, protocol_of, read_packed, write_baselines
from mqar_bench.records.result import ScreenRecord
from mqar_bench.records.table import to_frame
from tests.plots.records import config, record

RESULTS = Path(__file__).parents[2] / "results"


@pytest.mark.parametrize("scale", SCALES)
def test_what_is_shipped_is_what_the_committed_records_give(scale):
    results, shipped = read_packed(RESULTS, scale), load_baselines(scale)
    fresh = module._parse(write_baselines(results))
    assert list(shipped.frame["run_id"]) == list(fresh.frame["run_id"]), "`make baselines` writes them anew"
    # powers and logarithms of other machines may differ in the last bit
    pd.testing.assert_frame_equal(shipped.frame, fresh.frame, rtol=1e-12)
    for name in ("scale", "protocol", "seed", "screening", "versions", "schema_version"):
        assert getattr(shipped, name) == getattr(fresh, name), f"{name}: `make baselines` writes them anew"
    pd.testing.assert_frame_equal(fresh.frame, to_frame(results), check_exact=True)
    assert {protocol_of(result.config) == shipped.protocol for result in results} == {True}
    assert (module.FOLDER / f"baselines-{scale}.json").stat().st_size < 300_000


def test_one_command_writes_them_to_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        main(RESULTS, tmp_path / folder)
    for scale in SCALES:
        first, second = ((tmp_path / folder / f"baselines-{scale}.json").read_bytes() for folder in "ab")
        assert first == second and first.count(b"\n[") == len(load_baselines(scale).frame)


def test_they_are_a_frame_at_the_top_of_the_package():
    frame = mqar_bench.baselines("demo")
    assert set(frame["mixer"]) == {"attention", "linear_attention", "ramnet"} and set(frame["scale"]) == {"demo"}
    with pytest.raises(UsageError, match="no baselines at scale 'paper': there is demo, laptop"):
        mqar_bench.baselines("paper")


@pytest.mark.parametrize("scale", SCALES)
def test_another_mixer_is_trained_as_they_were(scale):
    """With a baseline's own mixer the run is the baseline's."""
    shipped = load_baselines(scale)
    there = set(shipped.frame["variant"])
    for planned in sweeps.load("fig3", scale):
        rate, width = planned.train.learning_rate, planned.model.d_model
        made = shipped.config(planned.model.mixers[-1], width, rate, "mine")
        if planned.variant in there:
            assert made.run_id == planned.run_id and shipped.differences(made) == []
    assert (made.sweep, made.scale, made.mixer) == ("mine", scale, planned.mixer)


def test_differences_are_named():
    shipped = load_baselines("demo")
    run = shipped.config(MixerSpec(name="gla"), 32, 0.5, "mine", "GLA, ours")
    assert run.mixer == "GLA, ours" and shipped.differences(run.reseeded(3)) == []
    train = run.train.model_copy(update={"batch_size": 32, "device": "cpu"})
    data = run.data.model_copy(update={"fresh": False})
    changed = run.model_copy(update={"train": train, "data": data})
    assert shipped.differences(changed) == [
        "data.fresh false instead of true", "train.batch_size 32 instead of 48",
    ]  # fmt: skip


def _screened(seed=2, epochs=1):
    screen = ScreenRecord(epochs=epochs, keep=1, rivals={"0.01": 0.5}, seed=1)
    return record(config("ramnet", seed=seed, order=3), screen=screen)


def test_what_the_rates_were_chosen_with_is_kept():
    shipped = module._parse(write_baselines([_screened(2), _screened(3)]))
    assert (shipped.screening, shipped.seed, len(shipped.frame)) == ({"epochs": 1}, 1, 2)
    plain = module._parse(write_baselines([record(config(seed=5)), record(config(seed=4), None)]))
    assert (plain.screening, plain.seed, list(plain.frame["status"])) == (None, 4, ["done", "failed"])


@pytest.mark.parametrize(
    "records, message",
    [
        ([], "there are no records"),
        ([record(config()), record(config(data={"shuffle": True}))], "of 2 protocols"),
        ([_screened(), record(config("ramnet"))], "screened in 2 ways"),
    ],
)
def test_what_cannot_be_shipped(records, message):
    with pytest.raises(UsageError, match=message):
        write_baselines(records)
