"""Product keys: the best of N slots by the sum of two scores, exactly.

A slot is a pair of digits below sqrt(N), the first the more significant; its score is the sum of theirs. The K best
slots can only be built from the K best digits of either half. Source: Lample et al. 2019, arXiv 1907.05242.
"""

from __future__ import annotations

from torch import Tensor


def product_keys_reference(scores: Tensor, top_k: int) -> Tensor:
    """The K best slots ``[..., K]`` (int32) by looking at all N, best first, of equals the lower slot; scores
    ``[..., 2, sqrt(N)]``, the definition."""
    sums = (scores[..., 0, :, None] + scores[..., 1, None, :]).flatten(-2)
    return sums.sort(dim=-1, descending=True, stable=True).indices[..., :top_k].int()


def product_keys(scores: Tensor, top_k: int) -> Tensor:
    """The same slots, looking at K^2 sums at most; on the CPU see ``mixers.ramnet.address_cpu``."""
    size = scores.shape[-1]
    kept = min(top_k, size)
    best = scores.sort(dim=-1, descending=True, stable=True).indices[..., :kept]
    digits = best.sort(-1).values  # so that sums are in the order of their slots, which decides between equals
    high, low = digits.unbind(-2)
    chosen = product_keys_reference(scores.gather(-1, digits), top_k).long()
    return (high.gather(-1, chosen // kept) * size + low.gather(-1, chosen % kept)).int()


def scores_of(scores: Tensor, slots: Tensor) -> Tensor:
    """The scores of slots ``[..., K]``, differentiable: ``[..., 2, sqrt(N)] -> [..., K]``."""
    slots, size = slots.long(), scores.shape[-1]
    high, low = scores.unbind(-2)
    return high.gather(-1, slots.div(size, rounding_mode="floor")) + low.gather(-1, slots % size)
