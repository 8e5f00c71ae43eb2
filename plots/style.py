"""One look for all figures: a fixed colour and marker per architecture, sizes and fonts of a paper's column."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

#: Inches: one column of a two-column page, and its height.
COLUMN = (3.35, 2.5)

RC: dict[Any, Any] = {
    "font.family": "serif",
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "pdf.fonttype": 42,  # text stays text in the PDF
    "svg.hashsalt": "mqar-bench",
}


class Style(NamedTuple):
    label: str
    color: str
    marker: str


# Okabe and Ito's palette and Tol's muted one, told apart with any colour vision; markers differ too, for print in grey.
_STYLES = {
    "ramnet": Style("RAM-Net", "#D55E00", "o"),
    "attention": Style("Softmax attention", "#000000", "s"),
    "linear_attention": Style("Linear attention", "#0072B2", "^"),
    "sliding_window_attention": Style("Sliding window", "#777777", "D"),
    "gla": Style("GLA", "#56B4E9", "v"),
    "delta_net": Style("DeltaNet", "#009E73", "<"),
    "gated_delta_net": Style("Gated DeltaNet", "#117733", "P"),
    "rwkv7": Style("RWKV-7", "#E69F00", ">"),
    "mamba2": Style("Mamba2", "#CC79A7", "X"),
    "hgrn2": Style("HGRN2", "#882255", "d"),
    "h3": Style("H3", "#999933", "h"),
    "mom": Style("MoM", "#332288", "*"),
    "armt": Style("ARMT", "#AA4499", "p"),
    "short_conv": Style("Short convolution", "#999999", "x"),
}
_SPARE = [("#44AA99", "8"), ("#CC6677", "H"), ("#DDCC77", "$\\bullet$"), ("#88CCEE", "1"), ("#661100", "2")]


def style(mixer: str) -> Style:
    """How an architecture is drawn; one without a style of its own gets a spare one that depends on its name only."""
    if mixer in _STYLES:
        return _STYLES[mixer]
    color, marker = _SPARE[sum(mixer.encode()) % len(_SPARE)]
    return Style(mixer.rpartition(".")[2], color, marker)


def order(mixers: Iterable[str]) -> list[str]:
    """Known architectures in their fixed order, then the others by name."""
    present = set(mixers)
    known = [m for m in _STYLES if m in present]
    return known + sorted(present - set(known))
