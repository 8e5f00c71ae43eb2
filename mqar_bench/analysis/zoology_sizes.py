"""State sizes as Zoology's mixers report them, for comparison with figures made from its ``state_size``.

Zoology multiplies the sum of these by 4, bytes of a float32. Where they differ from what is carried: convolutions of
width k count k inputs (in some mixers none), long ones also inputs beyond their taps, sliding windows count
``block_size`` positions, Mamba and Mamba2 count twice the width whatever they expand to, H3 leaves out its shift
register and that its poles are complex, RWKV-7 its token shift, Based counts as many random features as a key is wide.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

FORMULAS: dict[str, Callable[[Any, int], int]] = {
    "attention": lambda m, T: 2 * m.d_model * T,
    "sliding_window_attention": lambda m, T: 2 * m.d_model * m.window,
    "short_conv": lambda m, T: m.d_model * m.kernel_size,
    "gla": lambda m, T: math.prod(m.state_shape) + _convolutions(m),
    "delta_net": lambda m, T: math.prod(m.state_shape),
    "gated_delta_net": lambda m, T: math.prod(m.state_shape),
    "rwkv7": lambda m, T: m.num_heads * m.head_dim**2,
    "mamba2": lambda m, T: 2 * m.d_model * m.ssm_state_size,
    "h3": lambda m, T: m.d_model * m.d_state,
    "long_conv": lambda m, T: m.d_model * T,
    "hyena": lambda m, T: m.d_model * T,
    "mamba": lambda m, T: 2 * m.d_model * m.ssm_state_size,
    "based": lambda m, T: m.state_shape[0] * m.state_shape[2] * _features(m.feature_map),
}


def zoology_state_size(name: str, mixer: Any, sequence_length: int) -> int | None:
    """Elements by Zoology's formula for its mixer of that kind, or None if it has none.

    Args:
        name: the mixer's registered name.
        mixer: one built with its options.
        sequence_length: the longest length trained or tested on, where the formula has one.
    """
    formula = FORMULAS.get(name)
    return None if formula is None else formula(mixer, sequence_length)


def _features(phi: Any) -> int:
    """How many, and for random ones the width of a key."""
    return phi.width if hasattr(phi, "random_feats") else phi.size


def _convolutions(mixer: Any) -> int:
    """Width times taps of the short convolutions on queries, keys and values."""
    convolutions = (getattr(mixer, f"{part}_conv1d", None) for part in "qkv")
    return sum(c.in_channels * c.kernel_size[0] for c in convolutions if c is not None)
