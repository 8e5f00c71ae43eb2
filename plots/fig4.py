"""Accuracy against order, slots and Top-K of RAM-Net's addresses (RAM-Net paper, Fig. 4)."""

from __future__ import annotations

from functools import partial

from plots import panels
from plots.panels import Panel

PANELS = {
    "fig4_order": Panel("order", "Order $U$ of the product softmax", {"slots": "$M$ = {}".format}, "log"),
    "fig4_slots": Panel("slots", "Slots $M$", {"order": "$U$ = {}".format, "top_k": "$K$ = {}".format}, "octaves"),
    "top_k": Panel("top_k", "Slots per access $K$", {"slots": "$M$ = {}".format}, "log"),
}
SWEEPS = tuple(PANELS)

table = partial(panels.table, panels=PANELS)
figure = partial(panels.figure, panels=PANELS)
