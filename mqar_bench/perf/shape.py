"""How large the measured problems are."""

from __future__ import annotations

from typing import Literal

import torch

from mqar_bench.config import Frozen

Dtype = Literal["float32", "bfloat16", "float16"]

#: Bytes that the dense reference may take for its intermediate results.
REFERENCE_BUDGET = {"cuda": 4 * 2**30, "cpu": 2**28}


class Shape(Frozen):
    """Sizes of one measurement; the defaults are those that the targets are set for.

    ``dtype`` is that of the values; logits, address weights and the memory's state are float32.
    """

    batch: int = 8
    length: int = 4096
    heads: int = 16
    width: int = 64
    order: int = 5
    sub_dim: int = 4
    top_k: int = 8
    dtype: Dtype = "bfloat16"
    decode_batch: int = 64

    @property
    def slots(self) -> int:
        """M = d_p ** U."""
        return self.sub_dim**self.order

    @property
    def torch_dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype)

    @property
    def value_bytes(self) -> int:
        return self.torch_dtype.itemsize

    @property
    def tokens(self) -> int:
        """Tokens of all sequences and heads: B T H."""
        return self.batch * self.length * self.heads

    @property
    def least_bytes(self) -> int:
        """What the memories and the values with their gradients take, of training or of decoding."""
        row = self.width * self.value_bytes
        training = self.batch * self.heads * self.slots * 4 * (self.width + 1) + 4 * self.tokens * row
        return max(training, self.decode_batch * self.heads * self.slots * 4 * (self.width + 1))

    @property
    def equal_state_width(self) -> int:
        """d_k = d_v of a matrix state with as many elements as M slots of D: sqrt(M D), rounded."""
        return round((self.slots * self.width) ** 0.5)

    def label(self) -> str:
        """The shape in one line."""
        return (
            f"batch {self.batch} (decode {self.decode_batch}), T {self.length}, {self.heads} heads, D {self.width}, "
            f"M {self.slots} (U {self.order}, d_p {self.sub_dim}), K {self.top_k}, {self.dtype} values"
        )


#: The targets' shape on a GPU; on a CPU one that the whole command does in a minute or two on two cores.
DEFAULTS = {
    "cuda": Shape(),
    "cpu": Shape(batch=4, length=256, heads=2, width=32, dtype="float32", decode_batch=8),
}


def tokens_that_fit(bytes_per_token: int, shape: Shape, device: torch.device) -> int:
    """The longest T, a power of two or the whole length, whose intermediates keep to the reference's budget.

    Args:
        bytes_per_token: what one time step of all sequences and heads takes, in bytes.
    """
    fits = max(1, REFERENCE_BUDGET[device.type] // bytes_per_token)
    return shape.length if fits >= shape.length else 1 << (fits.bit_length() - 1)


def shortened(shape: Shape, length: int) -> tuple[Shape, str]:
    """``shape`` at another T, and the note that says so (empty where nothing changes)."""
    if length == shape.length:
        return shape, ""
    return shape.model_copy(update={"length": length}), f"T={length}"
