"""Bytes that must move: every input read once and every output written once, whatever the algorithm.

N = B T H tokens of all sequences and heads; K slots a token, written and read alike; D the width of a slot. Logits,
weights, their gradients and slots take 4 bytes each (float32, int32); values and outputs take e bytes (``dtype``).
"""

from __future__ import annotations

from mqar_bench.perf.shape import Shape

#: Bytes of a float32, of an int32, and of an element of the memory's state.
WORD = 4


def address_bytes(shape: Shape) -> dict[str, int]:
    """Address decoding, by pass.

    forward: logits in, weights and slots out: ``N (4 U d_p + 8 K)``;
    backward: logits, slots and the weights' gradient in, the logits' gradient out: ``N (8 U d_p + 8 K)``.
    """
    logits = WORD * shape.order * shape.sub_dim
    pairs = 2 * WORD * shape.top_k
    return _both(shape.tokens * (logits + pairs), shape.tokens * (2 * logits + pairs))


def memory_bytes(shape: Shape) -> dict[str, int]:
    """The PDMA memory, by pass; the state does not count, an algorithm might keep it on the chip.

    forward: w, r and their slots in, v in, o out: ``N (16 K + 2 e D)``;
    backward: the same and do in, dw, dr, dv out: ``N (16 K + 2 e D) + N (8 K + e D)``, where do stands for o.
    """
    values = shape.value_bytes * shape.width
    addresses = 4 * WORD * shape.top_k
    forward = shape.tokens * (addresses + 2 * values)
    return _both(forward, forward + shape.tokens * (2 * WORD * shape.top_k + values))


def memory_row_bytes(shape: Shape) -> dict[str, int]:
    """Row traffic of the PDMA memory: float32 rows of D moved by an algorithm that keeps no M x D state on the chip.

    forward: K rows are read and written back, K more are read: ``3 K`` rows a token;
    backward: both adjoints change rows of dS (read and written back, ``4 K``), and the decay's and the reads'
    gradients need rows of S (``2 K``): ``6 K`` rows a token.
    """
    row = WORD * shape.width
    return _both(shape.tokens * 3 * shape.top_k * row, shape.tokens * 6 * shape.top_k * row)


def decode_bytes(shape: Shape) -> int:
    """One decoding token of all sequences and heads: ``B H (8 U d_p + 2 e D + 3 K 4 (D + 1))``.

    Logits of query and key and v in, o out; K rows of S and z read and written back, K read.
    """
    touched = 3 * shape.top_k * WORD * (shape.width + 1)
    flowing = 2 * WORD * shape.order * shape.sub_dim + 2 * shape.value_bytes * shape.width
    return shape.decode_batch * shape.heads * (flowing + touched)


def step_bytes(num_parameters: int) -> int:
    """A training step: ``36`` bytes a parameter, activations left out (a lower bound, far below what moves).

    Weights read once; gradients written; AdamW reads weight, gradient and two moments and writes all but the gradient.
    """
    return 9 * WORD * num_parameters


def data_bytes(length: int, pairs: int) -> int:
    """One MQAR example as it is stored: ``4 (L + 2 P)``: tokens, positions and answers in int32."""
    return WORD * (length + 2 * pairs)


def _both(forward: int, backward: int) -> dict[str, int]:
    return {"forward": forward, "backward": backward, "forward + backward": forward + backward}
