"""Sequence mixers: ``[B, T, d_model] -> [B, T, d_model]``, causal, with a counted state.

    >>> mixers.names()
    ('armt', 'attention', 'delta_net', 'gated_delta_net', 'gla', ...
    >>> mixers.build("ramnet", d_model=64, top_k=8)

Nothing here depends on the harness, and importing it does not import Triton, fla or numba.
"""

from mixers.armt import ARMT
from mixers.attention import SoftmaxAttention
from mixers.base import SequenceMixer, State, state_elements
from mixers.based import Based
from mixers.delta_net import DeltaNet
from mixers.gated_delta_net import GatedDeltaNet
from mixers.gla import GatedLinearAttention
from mixers.gsa import GatedSlotAttention
from mixers.h3 import H3
from mixers.hgrn2 import HGRN2
from mixers.hyena import Hyena
from mixers.kda import KimiDeltaAttention
from mixers.linear_attention import LinearAttention
from mixers.long_conv import LongConvolution
from mixers.mamba import Mamba
from mixers.mamba2 import Mamba2
from mixers.mom import MixtureOfMemories
from mixers.ramnet import RAMNet
from mixers.raven import Raven
from mixers.registry import MixerError, Option, build, describe, load, names, register
from mixers.rwkv4 import RWKV4
from mixers.rwkv7 import RWKV7
from mixers.short_conv import ShortConvolution
from mixers.sliding_window import SlidingWindowAttention
from mixers.sparse_attention import SparseAttention
from mixers.sparse_delta_memory import SparseDeltaMemory
from mixers.ttt import TTTMLP, TTTLinear

__all__ = [
    "ARMT",
    "H3",
    "HGRN2",
    "RWKV4",
    "RWKV7",
    "TTTMLP",
    "Based",
    "DeltaNet",
    "GatedDeltaNet",
    "GatedLinearAttention",
    "GatedSlotAttention",
    "Hyena",
    "KimiDeltaAttention",
    "LinearAttention",
    "LongConvolution",
    "Mamba",
    "Mamba2",
    "MixerError",
    "MixtureOfMemories",
    "Option",
    "RAMNet",
    "Raven",
    "SequenceMixer",
    "ShortConvolution",
    "SlidingWindowAttention",
    "SoftmaxAttention",
    "SparseAttention",
    "SparseDeltaMemory",
    "State",
    "TTTLinear",
    "build",
    "describe",
    "load",
    "names",
    "register",
    "state_elements",
]
