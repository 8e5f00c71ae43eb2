"""What holds of every figure that is drawn from records."""

import pandas as pd
import pytest

import plots
import sweeps
from sweeps import command
from tests.plots.records import TEST, config, frame, record, records, scored

NAMES = tuple(name for name in plots.names() if plots.sweeps(name))
COLUMN, PAGE = 3.35, 6.9
#: Those that need more than one sweep to show anything: they ask themselves what is asked here of one sweep's runs.
JOINED = {"language_capacity"}


def test_every_figure_but_those_of_traces_and_streams_reads_sweeps_that_there_are():
    assert set(plots.names()) - set(NAMES) == {"traces", "cache", "long_context", "overwritten"}
    streamed = {name: plots.streamed(name) for name in plots.names() if plots.streamed(name)}
    assert streamed == {"long_context": ("long_context",), "overwritten": ("long_context_slots",)}
    assert {sweep for those in streamed.values() for sweep in those} <= set(sweeps.names())
    assert {sweep for name in NAMES for sweep in plots.sweeps(name)} <= {*sweeps.names(), "language"}


@pytest.mark.filterwarnings("error")  # matplotlib's, of layouts that do not fit
@pytest.mark.parametrize("name", NAMES)
def test_files_are_written_and_repeat_to_the_byte(name, tmp_path):
    table = frame(*records(name))
    first = plots.draw(name, table, tmp_path / "a")
    assert [path.name for path in first] == [f"{name}.{kind}" for kind in ("pdf", "png", "csv")]
    second = plots.draw(name, table.sample(frac=1, random_state=0), tmp_path / "b")
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name
    written = pd.read_csv(first[2])
    assert len(written) and list(written.columns) == list(plots._module(name).table(table).columns)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_as_wide_as_a_column_or_a_page(name):
    module = plots._module(name)
    figure = module.figure(module.table(frame(*records(name))))
    assert round(figure.get_figwidth(), 2) in (COLUMN, round(PAGE / 2, 2), PAGE)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"fig3_active"}))
def test_a_mixer_from_elsewhere_need_not_say_what_of_its_state_is_active(name, tmp_path):
    silent = [each.model_copy(update={"active_state_size": None}) for each in records(name)]
    assert len(plots.draw(name, frame(*silent), tmp_path)) == 3
    assert len(plots.table(name, frame(*silent))) == len(plots.table(name, frame(*records(name))))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_to_draw_is_one_line_that_says_what_to_run(name, tmp_path):
    sweeps = plots.sweeps(name)
    failed = frame(*(record(config("ramnet", sweep=sweep, scale="laptop"), None) for sweep in sweeps))
    other = frame(record(config("ramnet", sweep=sweeps[-1], scale="paper"), None))
    for table, sweep, scale in (
        (failed, sweeps[0], "laptop"),
        (other, sweeps[-1], "paper"),
        (frame(), sweeps[0], "demo"),
    ):
        with pytest.raises(ValueError, match=f"no finished run; start one with `{command(sweep, scale)}`$"):
            plots.draw(name, table, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("other", [{"test": TEST, "fresh": True}, {"test": TEST[1:]}], ids=["training", "test"])
@pytest.mark.parametrize("name", sorted({*NAMES} - JOINED))
def test_runs_on_different_data_are_not_chosen_among(name, other, tmp_path):
    ours = [scored(config("ramnet", sweep=plots.sweeps(name)[0], data={"test": TEST}), 0.5)]
    theirs = [scored(config("ramnet", sweep=plots.sweeps(name)[0], data=other, rate=rate), 0.9) for rate in (1e-3, 1)]
    with pytest.raises(ValueError, match="runs on different data do not compare, choose one with --data: ") as caught:
        plots.draw(name, frame(*ours, *theirs), tmp_path)
    for those in (ours, theirs):
        assert f"{those[0].config.data_name} ({len(those)} run" in str(caught.value)
        assert plots.make_figure(name, frame(*those))
    failed = [record(each.config, None) for each in theirs]
    assert len(plots.table(name, frame(*ours, *failed))) >= 1  # which has nothing to compare


@pytest.mark.parametrize("name", sorted({*NAMES} - JOINED))
def test_what_is_drawn_side_by_side_has_the_same_data(name):
    """But in panels of their own, and where each row stands for itself."""
    sweeps = plots.sweeps(name)
    runs = [config("ramnet", sweep=sweeps[0]), config("ramnet", sweep=sweeps[-1], order=3, data={"fresh": True})]
    runs[1] = runs[1].model_copy(update={"mixer": "another"})
    table = frame(*(record(run, 0.5) for run in runs))
    if len(sweeps) > 1 or name == "published":
        assert len(plots.table(name, table)) == 2
    else:
        with pytest.raises(ValueError, match="runs on different data do not compare"):
            plots.table(name, table)


def test_there_must_be_such_a_figure():
    with pytest.raises(ValueError, match="no figure named 'fig9': there is fig3"):
        plots.draw("fig9", frame(), None)
    with pytest.raises(ValueError, match="no figure named 'fig9'"):
        plots.sweeps("fig9")
