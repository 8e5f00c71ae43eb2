"""Accuracy against RAM-Net's decay, CAPE, temperature, proxy gradient and annealing of K: a panel for each sweep."""

from __future__ import annotations

from functools import partial

from plots import panels
from plots.panels import Panel

#: Lines: with what is tried, and without.
TEMPERATURES = (r"$\alpha$ learnable", r"$\alpha$ fixed")
GRADIENTS = ("proxy gradient", "true gradient")

PANELS = {
    "gamma": Panel("gamma", r"Decay exponent $\gamma$", {"slots": "$M$ = {}".format, "top_k": "$K$ = {}".format}),
    "cape": Panel("cape", "Heads with CAPE in the last layer", {"below": "above {}".format}, by_design=False),
    "temperature": Panel(
        "alpha_init",
        r"Initial $\alpha$ (inverse temperature $e^\alpha$)",
        {"learnable_temperature": lambda on: TEMPERATURES[not on]},
    ),
    "proxy_gradient": Panel(
        "gamma",
        r"Decay exponent $\gamma$",
        {"proxy_gradient": lambda on: GRADIENTS[not on]},
    ),
    "anneal": Panel("top_k", "Slots per access $K$", {"annealing": str, "slots": "$M$ = {}".format}, axis="log"),
}
SWEEPS = tuple(PANELS)

table = partial(panels.table, panels=PANELS)
figure = partial(panels.figure, panels=PANELS)
