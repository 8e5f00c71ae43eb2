"""What the ablations of RAM-Net share: its two designs, and the learning rates tried."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mqar_bench.config import MixerSpec, RunConfig
from sweeps import protocols
from sweeps.protocols import CONV, PAPER_RATES

Design = tuple[MixerSpec, ...]

RATES = {"smoke": (1e-2,), "demo": (1e-2,), "laptop": (1e-2, 3e-2), "paper": PAPER_RATES}
#: With RAM-Net in every layer, which learns nothing at 3e-2.
TOKEN_WISE_RATES = RATES | {"demo": (5e-3,), "laptop": (5e-3, 1e-2)}


def ramnet(**options: Any) -> MixerSpec:
    """RAM-Net of two heads with 4 ** 4 slots each, 32 numbers wide, of which a token writes and reads 8, unless said
    otherwise; options that are the mixer's defaults are spelt out where sweeps vary them."""
    return MixerSpec(name="ramnet", options={"order": 4, "sub_dim": 4, "head_v_dim": 32, "top_k": 8} | options)


def behind_conv(**options: Any) -> Design:
    """Zoology's recipe: a short convolution, then RAM-Net."""
    return CONV, ramnet(**options)


def token_wise(shallow_cape: int | bool = True, deep_cape: int | bool = False, **options: Any) -> Design:
    """The paper's: two RAM-Nets, the first with CAPE, by which it meets what the token before has written."""
    return ramnet(**options, cape=shallow_cape), ramnet(**options, cape=deep_cape)


def runs(sweep: str, scale: str, designs: Iterable[Design], rates: Iterable[float] = ()) -> list[RunConfig]:
    """Every design at every learning rate: those of the scale, unless others are given."""
    d_model, given = 16 if scale == "smoke" else 64, tuple(rates)
    configs = [
        protocols.run(sweep, scale, design, d_model, rate)
        for design in designs
        for rate in given or (TOKEN_WISE_RATES if protocols.is_token_wise(design) else RATES)[scale]
    ]
    return list({config.run_id: config for config in configs}.values())  # two ways to say a start may be one
