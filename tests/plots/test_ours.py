"""A mixer that the others of a figure are there to be compared with: it stands out and is named."""

import pytest

import plots
from plots import capacity, fig3, lines
from plots.style import STANDS_OUT, paler, style
from tests.plots.records import frame
from tests.plots.test_capacity import FAIR, GOOD, run

OURS = "my_mixers.Mine"
FRAME = frame(run("ramnet", GOOD), run("gla", FAIR), run(OURS, GOOD, state=8192), run(OURS, FAIR, state=2048))


@pytest.mark.parametrize("module", [fig3, capacity], ids=["fig3", "capacity"])
def test_it_is_first_large_and_named_at_its_line_and_the_others_are_paler(module):
    figure = module.figure(module.table(FRAME), ours=[OURS])
    first, *others = figure.legends[0].legend_handles[:3]
    assert first.get_label() == "Mine" and first.get_color() == STANDS_OUT["color"]
    assert first.get_markersize() == STANDS_OUT["markersize"] > others[0].get_markersize()
    assert [line.get_color() for line in others] == [paler(style(name).color) for name in ("ramnet", "gla")]
    assert "Mine" in [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize("module", [fig3, capacity], ids=["fig3", "capacity"])
def test_without_one_all_look_as_ever(module):
    figure = module.figure(module.table(FRAME))
    assert "Mine" not in [text.get_text() for text in figure.axes[0].texts]
    found, _ = lines.series(module.table(FRAME))
    assert [line.mixer for line in found] == ["ramnet", "gla", OURS]
    assert found[0].look["color"] == style("ramnet").color


def test_the_files_are_those_of_the_figure(tmp_path):
    paths = plots.draw("capacity", FRAME, tmp_path, ours=[OURS])
    assert [path.name for path in paths] == ["capacity.pdf", "capacity.png", "capacity.csv"]
    assert paths[2].read_text().count(OURS) == 4  # two points, in mixer and in stack
