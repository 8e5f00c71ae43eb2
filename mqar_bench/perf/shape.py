"""How large the measured problems are, and how many bytes must move: every input read once and every output written
once, whatever the algorithm.

In the formulas N = B T H tokens of all sequences and heads; K slots a token, written and read alike; D the width of a
slot. Logits, weights, their gradients and slots take 4 bytes each (float32, int32); values and outputs take e bytes
(``dtype``).
"""

from __future__ import annotations

from typing import Literal, Self

import torch

from mqar_bench.basics.frozen import Frozen

Dtype = Literal["float32", "bfloat16", "float16"]

PASSES = ("forward", "backward", "forward + backward")

#: What is said of a peer whose state has as many elements as RAM-Net's memory.
EQUAL_STATE = "equal state"

#: Bytes that the dense reference may take for its intermediate results.
REFERENCE_BUDGET = {"cuda": 4 * 2**30, "cpu": 2**28}

#: Bytes of a float32, of an int32, and of an element of the memory's state.
WORD = 4


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
    def tokens(self) -> tuple[int, int, int]:
        """B, T, H."""
        return self.batch, self.length, self.heads

    @property
    def num_tokens(self) -> int:
        """Of all sequences and heads: N."""
        return self.batch * self.length * self.heads

    @property
    def least_bytes(self) -> int:
        """What the memories and the values with their gradients take, of training or of decoding."""
        memory = self.heads * self.slots * WORD * (self.width + 1)
        values = 4 * self.num_tokens * self._value_bytes
        return max(self.batch * memory + values, self.decode_batch * memory)

    @property
    def peer_widths(self) -> tuple[tuple[int, str], ...]:
        """d_k = d_v of a peer's matrix state, with a note: D, and sqrt(M D), rounded, for as many elements as ours."""
        equal = round((self.slots * self.width) ** 0.5)
        return (self.width, ""), (equal, f"{EQUAL_STATE}, d={equal}")

    @property
    def address_bytes(self) -> dict[str, int]:
        """Address decoding, by pass.

        forward: logits in, weights and slots out: ``N (4 U d_p + 8 K)``;
        backward: logits, slots and the weights' gradient in, the logits' gradient out: ``N (8 U d_p + 8 K)``.
        """
        logits, pairs = WORD * self.order * self.sub_dim, 2 * WORD * self.top_k
        return self._by_pass(logits + pairs, 2 * logits + pairs)

    @property
    def memory_bytes(self) -> dict[str, int]:
        """The PDMA memory, by pass; the state does not count, an algorithm might keep it on the chip.

        forward: w, r and their slots in, v in, o out: ``N (16 K + 2 e D)``;
        backward: the same and do in, dw, dr, dv out: ``N (16 K + 2 e D) + N (8 K + e D)``, where do stands for o.
        """
        forward = 4 * WORD * self.top_k + 2 * self._value_bytes
        return self._by_pass(forward, forward + 2 * WORD * self.top_k + self._value_bytes)

    @property
    def memory_row_bytes(self) -> dict[str, int]:
        """Row traffic of the PDMA memory: float32 rows of D moved by an algorithm that keeps no state on the chip.

        forward: K rows are read and written back, K more are read: ``3 K`` rows a token;
        backward: both adjoints change rows of dS (read and written back, ``4 K``), and the decay's and the reads'
        gradients need rows of S (``2 K``): ``6 K`` rows a token.
        """
        rows = self.top_k * WORD * self.width
        return self._by_pass(3 * rows, 6 * rows)

    @property
    def sparse_delta_bytes(self) -> dict[str, int]:
        """The sparse delta memory, by pass: as the PDMA memory, and beta and g in and, backward, their gradients out:
        8 N more forward, 16 N more backward. Its row traffic is that of the PDMA memory."""
        gates = self._by_pass(2 * WORD, 4 * WORD)
        return {what: moved + gates[what] for what, moved in self.memory_bytes.items()}

    @property
    def decode_bytes(self) -> int:
        """One decoding token of all sequences and heads: ``B H (8 U d_p + 2 e D + 3 K 4 (D + 1))``.

        Logits of query and key and v in, o out; K rows of S and z read and written back, K read.
        """
        touched = 3 * self.top_k * WORD * (self.width + 1)
        flowing = 2 * WORD * self.order * self.sub_dim + 2 * self._value_bytes
        return self.decode_batch * self.heads * (flowing + touched)

    @property
    def _value_bytes(self) -> int:
        """Of a token's value: ``e D``."""
        return self.torch_dtype.itemsize * self.width

    def _by_pass(self, forward: int, backward: int) -> dict[str, int]:
        """Of all tokens, from what one moves."""
        return dict(zip(PASSES, (self.num_tokens * n for n in (forward, backward, forward + backward)), strict=True))

    def within(self, slots: int) -> Self:
        """With fewer sub-vectors, so that there are at most so many slots, if that can be."""
        order = max([u for u in range(1, self.order + 1) if self.sub_dim**u <= slots], default=1)
        return self.model_copy(update={"order": order, "top_k": min(self.top_k, self.sub_dim**order)})

    def for_reference(self, bytes_per_token: int, device: str, least: int = 1) -> tuple[Self, str]:
        """The longest T that the dense reference can do, and the note that says so (empty if it is the whole).

        Args:
            bytes_per_token: what its intermediates take for one time step of all sequences and heads; all of them keep
                to its budget, at a T that is a power of two or the whole length.
            device: the device's type.
            least: tokens, whatever they take.
        """
        fits = max(least, REFERENCE_BUDGET[device] // bytes_per_token)
        if fits >= self.length:
            return self, ""
        length = 1 << (fits.bit_length() - 1)
        return self.model_copy(update={"length": length}), f"T={length}"

    def label(self) -> str:
        """The shape in one line."""
        return (
            f"batch {self.batch} (decode {self.decode_batch}), T {self.length}, {self.heads} heads, D {self.width}, "
            f"M {self.slots} (U {self.order}, d_p {self.sub_dim}), K {self.top_k}, {self.dtype} values"
        )


#: The targets' shape on a GPU; on a CPU one that the whole command does in some minutes on two cores.
DEFAULTS = {
    "cuda": Shape(),
    "cpu": Shape(batch=4, length=256, heads=2, width=32, dtype="float32", decode_batch=8),
}
