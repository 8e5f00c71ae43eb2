import pandas as pd
import pytest

from plots import fig3, fig3_active
from plots.style import style
from tests.plots.records import CONV, config, frame, record

FRAME = frame(
    record(config("ramnet", order=3, rate=1e-2, seed=1), 0.9, state=4352, active=600),
    record(config("ramnet", order=3, rate=1e-2, seed=2), 0.7, state=4352, active=600),
    record(config("ramnet", order=4), 0.99, state=17024, active=600),
    record(config("attention"), 1.0, state=8320),
    record(config("attention", rate=1.0), None),
)


def drawn(ax):
    """(label, x, y) of every point, and what bars reach from and to."""
    spots, bars = set(), set()
    for container in ax.containers:
        spots |= {(container.get_label(), x, y) for x, y in container.lines[0].get_xydata()}
        for collection in container.lines[2]:
            bars |= {(x, low, high) for (x, low), (_, high) in filter(len, collection.get_segments())}
    return spots, bars


def test_a_point_for_each_architecture_and_state_size():
    points = fig3.table(FRAME).set_index(["mixer", "state_size"])
    assert list(points.index) == [("attention", 8320), ("ramnet", 4352), ("ramnet", 17024)]
    point = points.loc[("ramnet", 4352)]
    assert point["accuracy"] == pytest.approx(0.8) and (point["accuracy_low"], point["accuracy_high"]) == (0.7, 0.9)
    assert point["accuracy_seeds"] == "0.9 0.7" and pd.isna(points.loc[("ramnet", 17024), "accuracy_low"])
    assert (point["seeds"], point["runs"], point["active_state_size"]) == (2, 2, 600)
    assert set(points["stack"]) == {"short_conv attention", "short_conv ramnet"}
    assert (points["selected_on"] == "test").all()
    assert points["failed"].tolist() == [1, 0, 0]


def test_the_figure_shows_every_point_of_the_table():
    points = fig3.table(FRAME)
    ax = fig3.figure(points).axes[0]
    spots, bars = drawn(ax)
    assert spots == {(style(p.mixer).label, float(p.state_size), p.accuracy) for p in points.itertuples()}
    assert {(x, round(low, 9), round(high, 9)) for x, low, high in bars if low == low} == {(4352, 0.7, 0.9)}
    dots = next(line for line in ax.lines if line.get_marker() == ".")
    assert {tuple(dot) for dot in dots.get_xydata()} >= {(4352, 0.7), (4352, 0.9)}
    assert ax.get_xscale() == "log" and ax.get_ylim() == (0, 1)
    assert ax.get_xlabel() == "Total state size (elements)"
    title = fig3.figure(points).legends[0].get_title().get_text()
    assert title.split() == ["Mixers", "after", "a", "short", "convolution"]


def test_a_crowd_near_one_is_enlarged_below():
    good = [record(config(mixer), 0.95, state=4000) for mixer in ("ramnet", "attention", "gla")]
    assert len(fig3.figure(fig3.table(frame(*good))).axes) == 1
    points = fig3.table(frame(*good, record(config("rwkv7"), 0.99, state=4096), record(config("h3"), 0.2, state=64)))
    figure = fig3.figure(points)
    main, top = figure.axes
    assert drawn(main) == drawn(top) and len(drawn(main)[0]) == 5
    assert main.get_ylim() == (0, 1) and top.get_ylim()[0] == 0.9 < 1 < top.get_ylim()[1]
    assert main.get_xlim() == top.get_xlim() and not main.get_xlabel() and "state size" in top.get_xlabel()
    heights = {c.get_label(): c.lines[0].get_zorder() for c in main.containers}
    assert max(heights, key=heights.get) == "RAM-Net"  # on top of what it is compared with


def test_by_active_state_models_of_one_active_size_compete():
    points = fig3_active.table(FRAME)
    assert points[["mixer", "active_state_size", "state_size"]].values.tolist() == [
        ["attention", 8320, 8320],
        ["ramnet", 600, 17024],
    ]
    ax = fig3_active.figure(points).axes[0]
    assert drawn(ax)[0] == {("Attention", 8320.0, 1.0), ("RAM-Net", 600.0, 0.99)}
    assert "per token" in ax.get_xlabel()


def test_two_places_in_the_stack_are_two_lines_that_the_legend_tells_apart():
    token_wise = record(config("ramnet", below={"name": "ramnet"}), 0.6, state=4352)
    points = fig3.table(frame(*[record(config(m), state=4352) for m in ("ramnet", "gla")], token_wise))
    assert len(points) == 3
    figure = fig3.figure(points)
    spots = drawn(figure.axes[0])[0]
    assert {label for label, _, _ in spots} == {"RAM-Net", "GLA", "RAM-Net in every layer"}
    usual, other = (next(c.lines[0] for c in figure.axes[0].containers if c.get_label() == n)
                    for n in ("RAM-Net", "RAM-Net in every layer"))  # fmt: skip
    assert usual.get_color() == other.get_color() and usual.get_linestyle() != other.get_linestyle()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["RAM-Net", "RAM-Net in every layer", "GLA"]


@pytest.mark.parametrize("columns, width", [(1, 3.35), (2, 6.9)])
def test_the_legend_is_beside_the_axes_and_takes_no_height(columns, width):
    below = (CONV, {"name": "attention"}, {"name": "delta_net"})
    few, many = (
        fig3.figure(fig3.table(frame(*[record(config("gla", below=b), 0.6) for b in part])), columns=columns)
        for part in (below[:1], below)
    )
    for figure in (few, many):
        assert figure.get_figwidth() == width
        figure.draw_without_rendering()
        box = figure.legends[0].get_window_extent()
        assert figure.axes[0].get_window_extent().x1 < box.x0 and box.x1 <= figure.bbox.width
    assert few.get_figheight() == many.get_figheight()


@pytest.mark.parametrize("accuracy", [0.1, 0.7])
def test_equal_seeds_are_no_error_though_their_mean_is_not_among_them(accuracy):
    points = fig3.table(frame(*[record(config(seed=seed), accuracy) for seed in (1, 2, 3)]))
    assert (points["accuracy"][0] > accuracy) == (accuracy == 0.1) and points["accuracy"][0] != accuracy
    other = fig3.table(frame(*[record(config("gla", seed=seed), seed / 4) for seed in (1, 2)]))
    fig3.figure(pd.concat([points, other]))
    fig3.figure(points.assign(accuracy_low=0.05) if accuracy == 0.1 else points.assign(accuracy_high=0.9))


@pytest.mark.parametrize("sizes", [(4096,), (2176, 2752), (2000, 4000), (1,), (100, 10**7)])
def test_at_least_two_sizes_are_named_on_the_axis(sizes):
    points = fig3.table(frame(*[record(config(num_heads=i + 1), state=size) for i, size in enumerate(sizes)]))
    ax = fig3.figure(points).axes[0]
    low, high = ax.get_xlim()
    assert low < min(sizes) and high > max(sizes)
    assert sum(low <= tick <= high for tick in ax.get_xticks()) >= 2
