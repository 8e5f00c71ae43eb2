"""The figure of what filler overwrites: which numbers it has, and that what is drawn is in the table."""

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import plots
from mqar_bench.analysis.report.reaches import spares
from mqar_bench.analysis.statistics import interval
from mqar_bench.analysis.stream_record import HeadSlots, StreamedContext, write_stream
from mqar_bench.cli import app
from plots import overwritten
from tests.plots.test_long_context import make_evaluation


def make(run_id, shares, design=(64, 8, 1.0), trained=1024, **changes):
    """Of one layer, by context the share of each head, the same of four examples; the first head has CAPE."""
    contexts = []
    for context, heads in shares.items():
        slots = tuple(
            HeadSlots(
                layer=1, head=h, cape=h < cape, num_slots=design[0], top_k=design[1], gamma=design[2],
                overwritten=tuple(share + 0.01 * i for i in range(4)),
            )
            for h, (share, cape) in enumerate(heads)
        )  # fmt: skip
        partial = StreamedContext(context=context, status="partial")
        contexts.append(partial.add([1.0, 1.0, 0.5, 0.5], 10.0, 2**28, 4096, slots, of=4))
    variant = f"v-{design}-{trained}-{[cape for _, cape in next(iter(shares.values()))]}"
    values = {"contexts": tuple(contexts), "variant": variant, "trained_length": trained}
    return make_evaluation(run_id, "ramnet", **values | changes)


PLAIN = make("a", {1024: [(0.1, 0), (0.3, 0)], 4096: [(0.5, 0), (0.7, 0)]})
AGAIN = make("b", {1024: [(0.2, 0), (0.2, 0)]})
SHORT = make("c", {1024: [(0.4, 0), (0.4, 0)], 4096: [(0.8, 0), (0.9, 0)]}, trained=16)
CAPE = make("d", {1024: [(0.9, 1), (0.1, 1)]}, design=(256, 8, 0.5))
ALL = [PLAIN, AGAIN, SHORT, CAPE]


def test_a_point_is_the_mean_over_heads_examples_and_seeds():
    table = overwritten.table(ALL)
    rows = table.set_index(["variant", "cape", "context"])
    both = rows.loc[(PLAIN.variant, False, 1024)]
    assert both["overwritten"] == pytest.approx(0.215) and both["seeds"] == 2 and both["run_ids"] == "a b"
    assert (both["overwritten_low"], both["overwritten_high"]) == interval([0.215, 0.215])
    one = rows.loc[(PLAIN.variant, False, 4096)]
    assert one["overwritten"] == pytest.approx(0.615) and one["seeds"] == 1 and one["accuracy"] == 0.75
    assert (one["overwritten_low"], one["overwritten_high"]) == pytest.approx(interval([0.6, 0.61, 0.62, 0.63]))
    assert len(table) == 6 and set(table["gamma"]) == {0.5, 1.0}


def test_heads_with_cape_are_apart():
    rows = overwritten.table([CAPE]).set_index("cape")
    assert rows.loc[True, "overwritten"] == pytest.approx(0.915)
    assert rows.loc[False, "overwritten"] == pytest.approx(0.115)


def test_models_without_slots_are_nothing_to_draw():
    with pytest.raises(ValueError, match="^nothing to draw: no context of a RAM-Net is read"):
        overwritten.table([make_evaluation("a")])


@pytest.mark.filterwarnings("error")
def test_what_is_drawn_is_in_the_table_and_repeats_to_the_byte(tmp_path):
    table = overwritten.table(ALL)
    figure = overwritten.figure(table)
    assert round(figure.get_figwidth(), 2) == 6.9
    for ax, column in zip(figure.axes, ("overwritten", "accuracy"), strict=True):
        drawn = [
            (float(x), round(float(y), 6))
            for line in ax.lines
            for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
        ]
        assert sorted(drawn) == sorted(zip(table["context"].astype(float), table[column].round(6), strict=True))
        assert {line.get_linestyle() for line in ax.lines} == {"-", "--"}
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[0] == "$M$ = 64, $K$ = 8, $\\gamma$ = 1, no CAPE" and labels[-2:] == [
        "trained on 1,024", "trained on 16",
    ]  # fmt: skip
    first = plots.draw("overwritten", ALL, tmp_path / "a")
    second = plots.draw("overwritten", ALL[::-1], tmp_path / "b")
    assert [path.name for path in first] == [f"overwritten.{kind}" for kind in ("pdf", "png", "csv")]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True))
    assert len(pd.read_csv(first[2])) == len(table)


def test_the_command_draws_those_of_its_sweep_or_of_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_stream(Path("results/long_context-smoke/z.stream.json"), make_evaluation("z"))
    none = CliRunner().invoke(app, ["plot", "overwritten"])
    assert none.exit_code == 2
    assert none.stderr.startswith("error: no run of long_context_slots in results is streamed: `mqar-bench stream")
    write_stream(Path("results/long_context_slots-smoke/a.stream.json"), PLAIN)
    result = CliRunner().invoke(app, ["plot", "overwritten", "--scale", "smoke"])
    assert result.exit_code == 0, result.stderr
    assert pd.read_csv("figures/overwritten.csv")["overwritten"].tolist() == pytest.approx([0.215, 0.615])
    other = CliRunner().invoke(app, ["plot", "long_context", "--sweep", "long_context_slots"])
    assert other.exit_code == 0 and pd.read_csv("figures/long_context.csv")["mixer"].tolist() == ["ramnet"] * 2


def test_the_report_says_whether_training_with_filler_spares_slots():
    again = make("e", {1024: [(0.41, 0), (0.41, 0)]}, trained=16)
    found = {claim.case: claim for claim in spares(overwritten.table([PLAIN, AGAIN, SHORT, again, CAPE]))}
    told = found["M = 64, K = 8, gamma = 1, layer 1"]
    assert told.answer == "not told apart by 1 seed"  # of both at 4,096
    assert told.evidence == "overwritten at 4,096 tokens: 0.615 against 0.865, -0.250 (one seed)"
    assert found["M = 256, K = 8, gamma = 0.5, CAPE, layer 1"].answer == "not tested"
    short = [make(run_id, {1024: [(share, 0)]}, trained=16) for run_id, share in (("f", 0.4), ("g", 0.42))]
    (claim,) = spares(overwritten.table([PLAIN, AGAIN, *short]))
    assert claim.answer == "yes" and "at 1,024 tokens: 0.215 against 0.425" in claim.evidence
