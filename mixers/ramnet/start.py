"""How RAM-Net's layers start, so that they fit one another: projections, and the address that means the token before.

None of it is the paper's. All of it are initial values, which training may change.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: The weight that a shift starts with on its slot, of 1.
WEIGHT = 0.8
#: What an aligned head with CAPE adds to the residual stream, in the size of its normalised input: that of embeddings.
GAIN = 0.02


class Projection(nn.Module):
    """``nn.Linear`` in all but its class: a harness that draws the weights of every ``nn.Linear`` anew, as Zoology's
    does, leaves it as it starts.

    Parameters: ``weight`` ``[out_features, in_features]``, and with ``bias`` zeros ``[out_features]``, else None.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Linear(in_features, out_features, bias=False).weight
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}, bias={self.bias is not None}"


@torch.no_grad()
def shift_by_one(q_bias: Tensor, k_bias: Tensor, scale: float = 1.0) -> None:
    """Addresses that start as "write slot 0, read slot 1": under CAPE, a head then reads what the token before wrote.

    Args:
        q_bias, k_bias: of the heads with CAPE, ``[heads, U, d_p]``; set.
        scale: the initial exp(alpha), by which the logits are multiplied.
    """
    order, sub_dim = q_bias.shape[1:]
    rest = -math.expm1(math.log(WEIGHT) / order)  # of a sub-vector's softmax, off its digit
    height = math.log((1 - rest) / rest * (sub_dim - 1)) / scale
    for bias, last in ((k_bias, 0), (q_bias, 1)):
        bias.zero_()
        bias[:, :-1, 0] = height
        bias[:, -1, last] = height


@torch.no_grad()
def align_values(v_proj: Projection, o_proj: Projection, num_heads: int, cape_heads: int, gain: float) -> None:
    """W_v orthogonal (its rows or columns, whichever are fewer) and W_o = GAIN W_v^T, in heads without CAPE
    ``gain`` W_v^T: what is read comes out in the basis that it was written in."""
    nn.init.orthogonal_(v_proj.weight)
    o_proj.weight.copy_(v_proj.weight.T)
    o = o_proj.weight.unflatten(1, (num_heads, -1))
    o[:, :cape_heads] *= GAIN
    o[:, cape_heads:] *= gain


@torch.no_grad()
def tie_addresses(q_proj: Projection, k_proj: Projection, o_proj: Projection, num_heads: int, cape_heads: int) -> None:
    """What a head with CAPE reads, the token before, comes out on channels turned by half, and other heads' W_k starts
    as W_q on channels so turned: a token then reads where those wrote that came after a token like it. Without the
    turn it would also read what it writes itself."""
    q, k = (layer.weight.unflatten(0, (num_heads, -1)) for layer in (q_proj, k_proj))
    o = o_proj.weight.unflatten(1, (num_heads, -1))
    turn = q.shape[-1] // 2
    k[cape_heads:] = q[cape_heads:].roll(turn, -1)
    o[:, :cape_heads] = o[:, :cape_heads].roll(turn, 0)
