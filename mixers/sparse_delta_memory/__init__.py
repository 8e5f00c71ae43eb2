"""Sparse Delta Memory (arXiv 2607.07386): product keys, the memory of slots, and the mixer made of them."""

from mixers.sparse_delta_memory.mixer import SparseDeltaMemory
from mixers.sparse_delta_memory.ops import address, sparse_delta

__all__ = ["SparseDeltaMemory", "address", "sparse_delta"]
