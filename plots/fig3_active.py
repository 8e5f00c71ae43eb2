"""Accuracy against active state size, what a token reads or writes: ``fig3`` with another x axis."""

from __future__ import annotations

from functools import partial

from plots import fig3

SWEEPS = fig3.SWEEPS

table = partial(fig3.table, size="active_state_size")
figure = partial(fig3.figure, size="active_state_size")
