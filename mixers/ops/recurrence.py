"""One linear recurrence for all the gated and delta-rule mixers, and the choice of engine behind it.

    S_t = diag(exp(w_t)) S_{t-1} + b_t (a_t^T S_{t-1}) + k_t v_t^T        o_t = scale S_t^T q_t

| engine | where | what it is |
|---|---|---|
| ``reference`` | anywhere, any dtype | a loop over time: the definition, and the oracle in float64 |
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from mixers.ops.recurrence_reference import recurrence_reference

Engine = Literal["auto", "reference"]


def recurrence(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w: Tensor | None = None,
    a: Tensor | None = None,
    b: Tensor | None = None,
    scale: float = 1.0,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    engine: Engine = "auto",
) -> tuple[Tensor, Tensor | None]:
    """The recurrence above over a sequence, any length, differentiable in everything.

    Args:
        q, k: ``[B, T, H, K]``.
        v: ``[B, T, H, V]``.
        w: log-decay, at most 0: none, one per head ``[B, T, H]``, or one per channel ``[B, T, H, K]``.
        a, b: of the rank-one update, ``[B, T, H, K]``; both or neither. a meets the state before its decay.
        scale: of the output.
        initial_state: S_0 ``[B, H, K, V]``; default 0. Not modified.
        output_final_state: also return S_T.
        engine: which, see the module.

    Returns:
        o ``[B, T, H, V]``, and S_T ``[B, H, K, V]`` or None if it was not asked for.

    Raises:
        ValueError: shapes that do not fit, a without b, or an engine that cannot run here.
    """
    return recurrence_reference(q, k, v, w, a, b, scale, initial_state, output_final_state)
