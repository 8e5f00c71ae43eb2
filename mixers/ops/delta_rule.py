"""The gated delta rule: ``recurrence`` in the form DeltaNet, Gated DeltaNet, KDA and Mixture-of-Memories use it.

    S~ = diag(exp(g_t)) S_{t-1}        S_t = S~ + beta_t k_t (v_t - S~^T k_t)^T        o_t = scale S_t^T q_t

Without g it is the delta rule (arXiv 2406.06484); with one number of it per head the gated one (arXiv 2412.06464), with
one per channel of the key that of Kimi Delta Attention (arXiv 2510.26692).
"""

from __future__ import annotations

from torch import Tensor

from mixers.ops.recurrence import Engine, check_shapes, choose_engine, engine_function, run_wide


def gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None = None,
    scale: float = 1.0,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    engine: Engine = "auto",
) -> tuple[Tensor, Tensor | None]:
    """The recurrence above over a sequence, any length, differentiable in everything.

    Args:
        q, k: ``[B, T, H, K]``; k normalised by the caller.
        v: ``[B, T, H, V]``.
        beta: strength of the writes, ``[B, T, H]``; 0 leaves the state to its decay.
        g: log-decay, at most 0, ``[B, T, H]`` or ``[B, T, H, K]``; default none.
        scale: of the output.
        initial_state: S_0 ``[B, H, K, V]``; default 0. Not modified.
        output_final_state: also return S_T.
        engine: which, see ``recurrence``.

    Returns:
        o ``[B, T, H, V]``, and S_T ``[B, H, K, V]`` or None if it was not asked for.

    Raises:
        ValueError: shapes that do not fit, or an engine that cannot run here.
    """
    wide = tuple(q.shape)
    check_shapes(
        q,
        v,
        k=(k, (wide,)),
        beta=(beta, (wide[:3],)),
        g=(g, (wide[:3], wide)),
        initial_state=(initial_state, ((wide[0], *wide[2:], v.shape[-1]),)),
    )
    chosen = choose_engine(engine, q, v, delta=True)
    if chosen == "fla":
        from mixers.ops.recurrence_fla import gated_delta_rule_fla  # fla is slow to import, and optional

        return gated_delta_rule_fla(q, k, v, beta, g, scale, initial_state, output_final_state)
    if chosen == "cpu":
        from mixers.ops.recurrence_cpu import gated_delta_rule_cpu  # numba is slow to import

        return run_wide(gated_delta_rule_cpu, (q, k, v, g, beta), scale, initial_state, output_final_state)
    written = beta[..., None] * k
    a = k if g is None else (g.exp() if g.dim() == 4 else g.exp()[..., None]) * k
    b = None if chosen == "chunk" else -written  # which takes None for -k, and saves half
    return run_wide(engine_function(chosen), (q, written, v, g, a, b), scale, initial_state, output_final_state)
