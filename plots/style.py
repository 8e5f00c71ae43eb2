"""One look for all figures: a fixed colour and marker per architecture, sizes and fonts of a paper's column."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

#: Inches: one column of a two-column page, and its height; and the width of the page.
COLUMN = (3.35, 2.5)
PAGE = 6.9
#: Inches, by how many columns of the page a figure takes.
WIDTHS = {1: COLUMN[0], 2: PAGE}

RC: dict[Any, Any] = {
    "font.family": "serif",
    "mathtext.fontset": "dejavuserif",
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
    "hatch.linewidth": 0.5,
    "pdf.fonttype": 42,  # text stays text in the PDF
    "svg.hashsalt": "mqar-bench",
}

#: Points: the smallest text, for numbers in cells and keys of small panels.
SMALL = 6


class Style(NamedTuple):
    label: str
    color: str
    marker: str


# Okabe and Ito's palette and Tol's muted one, told apart with any colour vision; markers differ too, for print in grey.
_STYLES = {
    "ramnet": Style("RAM-Net", "#D55E00", "o"),
    "attention": Style("Attention", "#000000", "s"),
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
    "kda": Style("KDA", "#225522", "4"),
    "hyena": Style("Hyena", "#BBCC33", "H"),
    "long_conv": Style("Long convolution", "#AAAA00", "1"),
    "mamba": Style("Mamba", "#EE8866", "2"),
    "rwkv4": Style("RWKV-4", "#B8A830", "3"),
    "based": Style("Based", "#4477AA", "+"),
    "gsa": Style("GSA", "#77AADD", "$\\heartsuit$"),
    "sparse_delta_memory": Style("Sparse Delta Memory", "#EE3377", "$\\clubsuit$"),
    "raven": Style("Raven", "#8C564B", "$\\spadesuit$"),
    "ttt_linear": Style("TTT-Linear", "#44AA99", "8"),
    "ttt_mlp": Style("TTT-MLP", "#225555", "8"),
    "sparse_attention": Style("Sparse attention", "#555555", "$\\diamondsuit$"),
}
_SPARE = [("#CC6677", "H"), ("#DDCC77", "$\\bullet$"), ("#88CCEE", "1"), ("#661100", "2")]

#: Of an architecture that the others of a figure are there to be compared with.
STANDS_OUT: dict[str, Any] = {"color": "#000000", "marker": "*", "markersize": 9, "linewidth": 2}

#: Lines that are no architectures, in their order: Okabe and Ito's palette.
SERIES = (
    ("#D55E00", "o"), ("#0072B2", "^"), ("#009E73", "s"), ("#CC79A7", "D"), ("#E69F00", "v"), ("#56B4E9", "P"),
    ("#000000", "X"),
)  # fmt: skip


def style(mixer: str) -> Style:
    """How an architecture is drawn; one without a style of its own gets a spare one that depends on its name only."""
    return styles([mixer])[mixer]


def styles(mixers: Iterable[str]) -> dict[str, Style]:
    """``style`` of each, in their ``order``; where two names have the same spare one, the later gets the next free."""
    found: dict[str, Style] = {}
    for mixer in order(mixers):
        if mixer in _STYLES:
            found[mixer] = _STYLES[mixer]
            continue
        first = sum(mixer.encode()) % len(_SPARE)
        taken = {(style.color, style.marker) for style in found.values()}
        rivals = [_SPARE[(first + i) % len(_SPARE)] for i in range(len(_SPARE))]
        found[mixer] = Style(_label(mixer), *next((look for look in rivals if look not in taken), rivals[0]))
    return found


def _label(mixer: str) -> str:
    """A class without its module; any other name as it is. Neither a formula nor, for a leading _, left out."""
    is_path = mixer.replace(".", "").isidentifier()
    return (mixer.rpartition(".")[2] if is_path else mixer).lstrip("_").replace("$", r"\$")


def order(mixers: Iterable[str]) -> list[str]:
    """Known architectures in their fixed order, then the others by name."""
    present = set(mixers)
    known = [m for m in _STYLES if m in present]
    return known + sorted(present - set(known))


def paler(color: str) -> str:
    """Half way to white.

    >>> paler("#000000")
    '#808080'
    """
    return "#" + "".join(f"{(int(color[i : i + 2], 16) + 256) // 2:02x}" for i in (1, 3, 5))


def design(stack: str) -> str:
    """Where in a stack (the mixers' names from below) the last mixer is, in words.

    >>> design("short_conv ramnet"), design("ramnet ramnet")
    ('after a short convolution', 'in every layer')
    """
    *below, last = stack.split(" ")
    if all(name == last for name in below):
        return "in every layer"
    names = ["a short convolution" if name == "short_conv" else style(name).label for name in below]
    return f"after {', '.join(names)}"
