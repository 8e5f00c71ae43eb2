"""Sequence mixers: ``[B, T, d_model] -> [B, T, d_model]``, causal, with a counted state.

    >>> mixers.names()
    ('attention', 'linear_attention', 'ramnet', 'short_conv')
    >>> mixers.build("ramnet", d_model=64, top_k=8)

Nothing here depends on the harness, and importing it does not import Triton, fla or numba.
"""

from mixers.attention import SoftmaxAttention
from mixers.base import SequenceMixer, State, state_elements
from mixers.linear_attention import LinearAttention
from mixers.ramnet import RAMNet
from mixers.registry import MixerError, Option, build, describe, load, names, register
from mixers.short_conv import ShortConvolution

__all__ = [
    "LinearAttention",
    "MixerError",
    "Option",
    "RAMNet",
    "SequenceMixer",
    "ShortConvolution",
    "SoftmaxAttention",
    "State",
    "build",
    "describe",
    "load",
    "names",
    "register",
    "state_elements",
]
