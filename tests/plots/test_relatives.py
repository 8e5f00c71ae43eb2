import pytest

from plots import relatives
from plots.style import style
from tests.plots.records import frame
from tests.plots.test_capacity import ALL, FAIR, GOOD, run


def sized(mixer, accuracies, total, active, **options):
    return run(mixer, accuracies, state=total, active=active, **options)


FRAME = frame(
    sized("ramnet", FAIR, 4096, 512, order=3),
    sized("ramnet", GOOD, 16384, 512, order=4),
    sized("raven", FAIR, 2048, 256),
    sized("attention", ALL, 10**6, 10**6),
    sized("gla", ALL, 8192, 8192),
)


def test_the_table_has_the_relatives_alone():
    table = relatives.table(FRAME)
    assert list(table["mixer"]) == ["attention", "ramnet", "ramnet", "raven"]
    assert list(table["active_state_size"]) == [10**6, 512, 512, 256]
    with pytest.raises(ValueError, match="nothing to draw"):
        relatives.table(FRAME[FRAME["mixer"] == "gla"])


def test_points_are_at_their_total_and_at_their_active_state():
    total, active = relatives.figure(relatives.table(FRAME)).axes
    drawn = [{c.get_label(): c.lines[0].get_xydata().tolist() for c in ax.containers} for ax in (total, active)]
    assert drawn[0]["RAM-Net"] == [[4096, 16], [16384, 32]]
    assert drawn[1]["RAM-Net"] == [[512, 16], [512, 32]]
    assert drawn[1][style("raven").label] == [[256, 16]]
    assert [ax.containers[0].lines[0].get_linestyle() for ax in (total, active)] == ["-", "None"]
    for ax, label in ((total, "Total"), (active, "Active")):
        assert ax.get_xlabel().startswith(label) and ax.get_xlim()[1] < 10**5
        assert "Attention, state grows" in [text.get_text() for text in ax.texts]
    assert any("a pair" in text.get_text() for text in total.texts)
    assert not any("a pair" in text.get_text() for text in active.texts)
