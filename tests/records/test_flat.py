"""Records as flat columns, and where they are to be had."""

import pandas as pd
import pytest
from typer.testing import CliRunner

from mqar_bench.cli import app
from mqar_bench.records.flat import flat_config, summarize, to_flat_frame
from tests.tracking.following import small, tracked

RUNS = {"done": small(2, seed=1), "failed": small(2, seed=2, mixer="nowhere.Mixer")}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    from mqar_bench.records.store import Store

    store = Store(tmp_path_factory.mktemp("flat") / "results")
    tracked(store, RUNS.values())
    return store


def test_settings_go_by_the_paths_that_the_command_line_has():
    flat = flat_config(RUNS["done"])
    assert flat["train.seed"] == 1 and flat["model.mixers.0.name"] == "linear_attention"
    assert flat["data.validation.1.input_seq_len"] == 32 and flat["train.grad_clip"] is None
    assert not any(name.startswith(("ignored", "model.mixers.0.options")) for name in flat)


def test_a_row_has_the_run_its_config_and_what_it_came_to(records):
    frame = to_flat_frame(records.results()[0]).set_index("config.train.seed")
    assert dict(frame["state"]) == {1: "finished", 2: "failed"}
    assert set(frame["id"]) == {config.run_id for config in RUNS.values()}
    record = records.read(RUNS["done"])
    assert frame.loc[1, "summary.valid/accuracy"] == record.epochs[-1].accuracy
    assert frame.loc[1, "summary.test/setting/accuracy-L16-kv2"] == record.accuracy
    assert frame.loc[1, "summary.train/loss"] == record.curve.loss[-1]
    assert pd.isna(frame.loc[2, "summary.accuracy"]) and "nowhere" in frame.loc[2, "summary.error"]
    assert str(frame["summary.state_size"].dtype) == "Int64" and str(frame["summary.accuracy"].dtype) == "float64"
    assert not any(name.endswith("valid/loss") for name in frame.columns)
    heads = [name.partition(".")[0] for name in frame.columns if "." in name]
    assert heads == sorted(heads) and set(heads) == {"config", "summary"}


def test_a_loss_on_what_guides_training_has_zoologys_name(records):
    record = records.read(RUNS["done"])
    last = record.epochs[-1].model_copy(update={"losses": dict.fromkeys(record.epochs[-1].settings, 1.5)})
    (row,) = to_flat_frame([record.model_copy(update={"epochs": (*record.epochs[:-1], last)})]).to_dict("records")
    assert row["summary.valid/loss"] == 1.5


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_it_is_exported_and_read_back(records, tmp_path, ending):
    path = tmp_path / f"runs.{ending}"
    arguments = ["results", "--results", str(records.root), "--export", str(path), "--flat"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    frame = getattr(pd, f"read_{ending}")(path)
    wanted = to_flat_frame(records.results()[0])
    assert list(frame.columns) == list(wanted.columns) and len(frame) == 2
    done = frame[frame["state"] == "finished"].iloc[0]
    for name, value in summarize(records.read(RUNS["done"])).items():
        assert pd.isna(done[f"summary.{name}"]) if value is None else done[f"summary.{name}"] == value, name


def test_a_table_of_it_is_refused(records):
    result = CliRunner().invoke(app, ["results", "--results", str(records.root), "--flat"])
    assert result.exit_code == 2 and "--flat has too many columns for a table" in result.stderr
