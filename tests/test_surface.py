"""What the package offers a script or a notebook beyond what the command line's tests look at."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from matplotlib import pyplot as plt

import mqar_bench
from mqar_bench import (
    DataConfig,
    MixerSpec,
    ModelConfig,
    MQARConfig,
    RunConfig,
    Screening,
    Store,
    TrainConfig,
    UsageError,
    check,
    launch,
    launch_screened,
    load_sweep,
    make_figure,
    make_watcher,
    to_frame,
    with_settings,
)

ROOT = Path(__file__).parents[1]
TASK = MQARConfig(vocab_size=32, num_examples=32, input_seq_len=16, num_kv_pairs=2)
TINY = RunConfig(
    sweep="s",
    scale="demo",
    data=DataConfig(train=(TASK,), test=(TASK,)),
    model=ModelConfig(vocab_size=32, d_model=8, mixers=(MixerSpec(name="gla", options={"num_heads": 1}),)),
    train=TrainConfig(max_epochs=4, batch_size=16),
)


def test_every_name_says_what_it_is():
    for name in mqar_bench.__all__:
        assert getattr(mqar_bench, name).__doc__, name
        assert f"``{name}``" in mqar_bench.__doc__


def test_asking_for_a_config_or_the_records_draws_nothing_in():
    code = (
        "import sys, mqar_bench\n"
        "mqar_bench.load_sweep('fig3', 'demo'), mqar_bench.Store('nowhere').results()\n"
        "print({'ray', 'pandas', 'matplotlib', 'triton', 'numba', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"train.learning_rate": 0.5}, lambda c: c.train.learning_rate == 0.5),
        ({"model.mixers.0.options.num_heads": 2}, lambda c: c.model.mixers[0].options == {"num_heads": 2}),
        ({"model.mixers": (MixerSpec(name="attention"),)}, lambda c: c.mixer == "attention"),
        ({"model.mixers.0.name": "true"}, None),  # text, not a truth value
        ({"train.seed": pd.Series([7])[0]}, lambda c: c.train.seed == 7),
        ({"sweep": "mine", "scale": "x"}, lambda c: (c.sweep, c.scale) == ("mine", "x")),
        ({}, lambda c: (c.sweep, c.scale) == ("s", "demo")),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_settings_are_changed_by_their_paths(settings, expected):
    if expected is None:
        with pytest.raises(UsageError, match="no mixer named 'true'"):
            with_settings(TINY, settings)
        return
    changed = with_settings(TINY, settings)
    assert expected(changed)
    if settings and "sweep" not in settings:
        assert (changed.sweep, changed.scale) == ("adhoc", "custom")
    assert TINY.sweep == "s"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: with_settings(TINY, {"train.lr": 1}), "no setting 'train.lr'; train has max_epochs"),
        (lambda: with_settings(TINY, {"train.seed": object()}), "train.seed: the value is not what JSON has: object"),
        (lambda: with_settings(TINY, {"train.seed": -1}), "train.seed: Input should be greater than or equal to 0"),
        (lambda: load_sweep("fig33", "demo"), "no sweep named 'fig33': did you mean 'fig3'?"),
        (lambda: load_sweep("fig3"), "sweep 'fig3' needs a scale: --scale smoke, demo, laptop, paper"),
        (lambda: load_sweep("none.py"), "there is no file none.py"),
        (lambda: check("glaa"), "no mixer named 'glaa': did you mean 'gla'?"),
        (lambda: check("gla", {"num_heds": 1}), "has no option 'num_heds'"),
        (lambda: check("gla", {"num_heads": {1}}), "'num_heads' must be JSON"),
        (lambda: launch([TINY], Store("here"), "threads"), "no executor named 'threads'"),
        (lambda: launch_screened([TINY], Store("here"), Screening(share=2)), "must be between 0 and 1, got 2"),
        (lambda: make_figure("fig33", to_frame([])), "no figure named 'fig33'"),
    ],
)
def test_a_mistake_is_one_line(make, message):
    with pytest.raises(ValueError) as error:
        make()
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_mixer_of_a_notebook_is_checked():
    report = check("gla", {"num_heads": 1}, d_model=16)
    assert report.failed == [] and str(report).splitlines()[-1] == report.verdict
    assert report.verdict.startswith("gla keeps the contract: ")
    assert report.to_dict()["d_model"] == 16 and len(report.findings) == len(report.to_dict()["properties"])


def test_rates_are_screened_and_what_is_done_stays_done(tmp_path, capsys):
    configs = [
        with_settings(TINY, {"train.learning_rate": rate, "sweep": "s", "scale": "demo"}) for rate in (0.01, 0.001)
    ]
    store, said = Store(tmp_path), list[str]()
    watcher = make_watcher()
    first = launch_screened(configs, store, Screening(keep=1), "inline", say=said.append, watcher=watcher)
    assert said == ["screening: 2 short runs", "in full: 1 of 2 runs"]
    assert len(first.done) == 1 and first.done[0].screen.keep == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line[:5] for line in lines] == ["[1/2]", "[2/2]", "[1/1]"]  # one watcher sees both stages
    again = launch_screened(configs, store, executor="inline")
    assert (again.done, again.skipped) == ((), first.done)


def test_a_figure_is_given_and_saved_when_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    records = Store(ROOT / "results").results("fig3", "demo")[0]
    before = plt.get_backend()
    plt.switch_backend("svg")  # as a notebook has one of its own
    try:
        drawing = make_figure("capacity", to_frame(records, curves=True))
        assert plt.get_backend() == "svg"
    finally:
        plt.switch_backend(before)
    assert list(tmp_path.iterdir()) == [] and plt.get_fignums() == []
    assert repr(drawing) == f"<Drawing capacity: {len(drawing.table)} rows>" and len(drawing.table) > 5
    assert drawing._repr_png_().startswith(b"\x89PNG")
    paths = drawing.save("figures")
    assert [str(path) for path in paths] == [f"figures/capacity.{kind}" for kind in ("pdf", "png", "csv")]
    assert len(pd.read_csv(paths[2])) == len(drawing.table)


@pytest.mark.parametrize("name, value", [("OMP_WAIT_POLICY", "passive"), ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")])
def test_what_is_started_takes_memory_and_waits_well_unless_told_otherwise(name, value, monkeypatch):
    ask = f"import mqar_bench, os; print(os.environ[{name!r}])"
    for given, found in ((None, value), ("mine", "mine")):
        monkeypatch.delenv(name, raising=False)
        if given:
            monkeypatch.setenv(name, given)
        done = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout == f"{found}\n"
