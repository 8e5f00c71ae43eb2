import pytest

import sweeps
from plots import ablations, fig4
from tests.plots.records import config, frame, record


def score(run):
    """A different accuracy for every run."""
    return int(run.run_id, 16) % 997 / 997


def drawn(ax):
    return {(c.get_label(), x, y) for c in ax.containers for x, y in c.lines[0].get_xydata()}


def of_sweeps(figure):
    """A record of every run of the sweeps that a figure shows, at the laptop scale."""
    return frame(*[record(run, score(run)) for name in figure.SWEEPS for run in sweeps.load(name, "laptop")])


def test_fig4_has_the_orders_by_slots_and_by_design():
    table = fig4.table(of_sweeps(fig4))
    orders = table[table["sweep"] == "fig4_order"]
    lines = orders.groupby(["line", "design"], sort=False)["value"].apply(list).to_dict()
    conv = "after a short convolution"
    assert lines == {
        ("$M$ = 64", conv): [1, 2, 3, 6],
        ("$M$ = 64", "in every layer, with CAPE"): [1, 2, 3, 6],
        ("$M$ = 256", conv): [1, 2, 4, 8],
    }
    slots = table[table["sweep"] == "fig4_slots"]
    assert slots["value"].tolist() == [16, 81, 256, 625, 1296] and set(slots["line"]) == {"$U$ = 4, $K$ = 8"}
    assert table.loc[table["sweep"] == "top_k", "value"].tolist() == [1, 2, 4, 8, 16, 32, 64]
    assert (table["learning_rates"] == 2).all() and (table["variants"] == 1).all()


def test_every_ablation_has_its_lines():
    table = ablations.table(of_sweeps(ablations))
    lines = {sweep: list(dict.fromkeys(part["line"])) for sweep, part in table.groupby("sweep")}
    assert lines == {
        "gamma": ["$M$ = 64, $K$ = 16", "$M$ = 256, $K$ = 8"],
        "cape": [
            "above RAM-Net without CAPE",
            "above RAM-Net, CAPE in 1 head",
            "above RAM-Net, CAPE in 2 heads",
            "above a short convolution",
        ],
        "temperature": [r"$\alpha$ fixed", r"$\alpha$ learnable"],
        "proxy_gradient": ["true gradient", "proxy gradient"],
        "anneal": [f"{how}, $M$ = 64" for how in ("K throughout", "faded to K", "never shrunk", "shrunk to K")],
    }
    counts = table.groupby("sweep").size().to_dict()
    assert counts == {"gamma": 8, "cape": 12, "temperature": 8, "proxy_gradient": 6, "anneal": 12}
    assert (table["variants"] == 1).all()  # no two models of a sweep fall on one point


@pytest.mark.parametrize("figure", [fig4, ablations], ids=["fig4", "ablations"])
def test_panels_show_what_is_in_the_table_and_sweeps_without_records_have_none(figure):
    everything = of_sweeps(figure)
    for names in (figure.SWEEPS, figure.SWEEPS[1:], figure.SWEEPS[:1]):
        table = figure.table(everything[everything["sweep"].isin(names)])
        axes = [ax for ax in figure.figure(table).axes if ax.containers]
        assert len(axes) == len(names)
        for ax, name in zip(axes, names, strict=True):
            part = table[table["sweep"] == name]
            several = part["design"].nunique() > 1
            labels = [p.line + (f", {p.design}" if several else "") for p in part.itertuples()]
            assert drawn(ax) == set(zip(labels, part["value"], part["accuracy"], strict=True))
            assert ax.get_xlabel() == figure.figure.keywords["panels"][name].xlabel
            title = ax.get_legend().get_title().get_text()
            assert title == (
                "RAM-Net" if several or not part["design"].iloc[0] else f"RAM-Net {part['design'].iloc[0]}"
            )


def test_seeds_are_averaged_and_runs_of_other_mixers_left_out():
    seeds = [record(config("ramnet", sweep="top_k", seed=s, top_k=4), a) for s, a in ((1, 0.2), (2, 0.4))]
    other = record(config("attention", sweep="top_k"), 1.0)
    table = fig4.table(frame(*seeds, other))
    assert len(table) == 1
    (row,) = table.to_dict("records")
    assert row["accuracy"] == pytest.approx(0.3) and (row["accuracy_low"], row["seeds"]) == (0.2, 2)
    assert (row["setting"], row["value"]) == ("top_k", 4)


def test_two_designs_of_a_line_share_its_colour():
    token_wise = config("ramnet", below={"name": "ramnet", "options": {"cape": True}}, sweep="top_k", top_k=4)
    records = [record(config("ramnet", sweep="top_k", top_k=4)), record(token_wise)]
    ax = fig4.figure(fig4.table(frame(*records))).axes[0]
    usual, other = (container.lines[0] for container in ax.containers)
    assert usual.get_color() == other.get_color() and usual.get_linestyle() != other.get_linestyle()
