from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import plots
from mqar_bench.analysis.trace import load_trace, save_trace
from plots import traces


def bars(ax):
    """Midpoint, whether it lies, colour and opacity of every access drawn."""
    (drawn,) = ax.collections
    ends, colors = np.array(drawn.get_segments()), drawn.get_colors()
    lies = ends[:, 0, 1] == ends[:, 1, 1]
    return pd.DataFrame(
        {
            "token": ends[:, :, 0].mean(1).round(6),
            "slot": ends[:, :, 1].mean(1).round(6),
            "access": np.where(lies, "write", "read"),
            "color": [to_hex(color) for color in colors],
            "opacity": colors[:, 3],
        }
    )


def test_the_table_has_every_access_of_the_first_sequence_in_the_heads_shown(make_trace):
    trace = replace(make_trace(), shown=((2, 1), (0, 0)))
    table = traces.table([trace])
    assert len(table) == 2 * 20 * 2 * 3
    row = table[(table["layer"] == 2) & (table["token"] == 7) & (table["access"] == "read")]
    assert list(row["slot"]) == list(trace.layers[2].r_idx[0, 7, 1])
    assert list(row["weight"]) == list(trace.layers[2].r[0, 7, 1])
    assert set(row["head"]) == {1} and set(row["cape"]) == {False} and set(row["slots"]) == {64}


def test_every_access_is_drawn_where_it_is_and_the_heavier_the_more_opaque(make_trace):
    table = traces.table([make_trace()])
    figure = traces.figure(table)
    assert len(figure.axes) == 4
    drawn = bars(figure.axes[1])
    expected = table[(table["layer"] == 2) & (table["head"] == 0)]
    pairs = drawn.merge(expected, on=["token", "slot", "access"])
    assert len(drawn) == len(expected) and len(pairs.drop_duplicates(["token", "slot", "access"])) >= 110
    assert set(zip(drawn["access"], drawn["color"], strict=True)) == {("write", "#d55e00"), ("read", "#009e73")}
    once = pairs[~pairs.duplicated(["token", "slot", "access"], keep=False)].sort_values("weight")
    assert once["opacity"].is_monotonic_increasing and once["opacity"].between(0, 1).all()
    assert list(drawn["access"]) == ["write"] * 60 + ["read"] * 60  # reads are on top


def test_panels_say_which_head_they_are_and_whether_it_has_cape(make_trace):
    axes = traces.figure(traces.table([make_trace()])).axes
    assert [ax.get_title() for ax in axes] == [
        "(a) layer 0, head 0, with CAPE", "(b) layer 2, head 0, with CAPE",
        "(c) layer 0, head 1, no CAPE", "(d) layer 2, head 1, no CAPE",
    ]  # fmt: skip
    assert all(ax.get_ylim() == (-0.5, 64) and ax.get_xlim() == (-0.5, 19.5) for ax in axes)
    three = traces.figure(traces.table([replace(make_trace(), shown=((0, 0), (0, 1), (2, 1)))]))
    assert [ax.get_title() != "" for ax in three.axes] == [True, True, True, False]
    (one,) = traces.figure(traces.table([replace(make_trace(), shown=((2, 1),))])).axes
    assert one.get_title() == "(a) layer 2, head 1, no CAPE"


def test_many_points_are_pixels_in_the_pdf_and_few_are_not(make_trace, tmp_path):
    for tokens, rasterized in ((20, False), (512, True)):
        trace = replace(make_trace(tokens=tokens, num_slots=4096, top_k=8), shown=((0, 0),))
        (ax,) = traces.figure(traces.table([trace])).axes
        assert ax.collections[0].get_rasterized() == rasterized
    pdf = plots.draw("traces", [trace], tmp_path)[0]
    assert b"/Subtype /Image" in pdf.read_bytes() and pdf.stat().st_size < 500_000


def test_a_trace_read_from_its_file_gives_the_same_files_to_the_byte(make_trace, tmp_path):
    trace = make_trace()
    save_trace(trace, tmp_path / "trace.npz")
    first = plots.draw("traces", [trace], tmp_path / "a")
    assert [path.name for path in first] == ["traces.pdf", "traces.png", "traces.csv"]
    for a, b in zip(first, plots.draw("traces", [load_trace(tmp_path / "trace.npz")], tmp_path / "b"), strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name
    assert len(pd.read_csv(first[2])) == 4 * 20 * 2 * 3


def test_several_traces_are_too_many(make_trace):
    with pytest.raises(ValueError, match="shows one trace, got 2"):
        traces.table([make_trace(), make_trace()])
