"""Attention over slots that fade: against a loop over time in float64, outputs, states and all gradients."""

import pytest
import torch

from mixers.ops import gated_slots as module
from mixers.ops.gated_slots import gated_slots, slot_logits

B, H, D, V, M = 2, 3, 5, 4, 7


def tensors(T, strength, seed=0):
    """q, k, v, s, w and both states; w is ``strength`` times the negative half of normal numbers."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    q, k, v, s = normal(B, T, H, D), normal(B, T, H, D), normal(B, T, H, V), normal(B, T, H, M)
    return q, k, v, s, -strength * normal(B, T, H, M).abs(), normal(B, H, M, D), normal(B, H, M, V)


def loop(q, k, v, s, w, K, V, scale):
    logits, outputs = [], []
    for t in range(q.shape[1]):
        alpha = w[:, t].exp().unsqueeze(-1)
        K = alpha * K + torch.einsum("bhm,bhd->bhmd", s[:, t], k[:, t])
        V = alpha * V + torch.einsum("bhm,bhv->bhmv", s[:, t], v[:, t])
        logits.append(scale * torch.einsum("bhmd,bhd->bhm", K, q[:, t]))
        outputs.append(torch.einsum("bhmv,bhm->bhv", V, logits[-1].softmax(-1)))
    return torch.stack(outputs, 1), K, V


def with_gradients(operation, leaves):
    leaves = [x.detach().clone().requires_grad_() for x in leaves]
    results = operation(*leaves)
    return [*results, *torch.autograd.grad(sum(x.sin().sum() for x in results), leaves)]


@pytest.mark.parametrize("strength", [0.02, 1.0, 40.0, 1e4], ids=lambda x: f"decay {x:g}")
@pytest.mark.parametrize("T", [1, 2, 5, 63, 64, 65, 130])
def test_equals_the_loop(T, strength):
    def ours(q, k, v, s, w, K, V):
        o, after = gated_slots(q, k, v, s, w, 0.3, (K, V), output_final_state=True)
        return o, *after

    given = tensors(T, strength)
    expected = with_gradients(lambda *leaves: loop(*leaves, 0.3), given)
    for got, want in zip(with_gradients(ours, given), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("T", [1, 40, 70])
def test_without_a_state_it_starts_from_zeros(T):
    q, k, v, s, w, K, V = tensors(T, 0.5)
    o, after = gated_slots(q, k, v, s, w)
    assert after is None
    expected = loop(q, k, v, s, w, torch.zeros_like(K), torch.zeros_like(V), 1.0)[0]
    torch.testing.assert_close(o, expected, rtol=1e-9, atol=1e-10)


def test_decays_of_every_strength_side_by_side():
    """A slot that forgets everything, one that forgets nothing, and what comes between in one chunk."""
    q, k, v, s, w, K, V = tensors(70, 1.0)
    w = w * torch.tensor([0.0, 1e-3, 0.1, 1.0, 30.0, 300.0, 1.0], dtype=torch.float64)
    w[:, ::9, :, 6] = -torch.inf
    o, after = gated_slots(q, k, v, s, w, 1.0, (K, V), output_final_state=True)
    for got, want in zip((o, *after), loop(q, k, v, s, w, K, V, 1.0), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("strength", [0.02, 1.0, 40.0])
def test_in_float32_no_more_is_lost_than_in_the_loop(strength):
    given = tensors(130, strength)
    exact = loop(*given, 0.3)[0]
    q, k, v, s, w, K, V = (x.float() for x in given)
    ours = (gated_slots(q, k, v, s, w, 0.3, (K, V))[0] - exact).abs().max()
    plain = (loop(q, k, v, s, w, K, V, 0.3)[0] - exact).abs().max()
    assert ours <= 4 * plain


def test_logits_are_not_rounded_to_16_bits():
    q, k, v, s, w, K, V = (x.bfloat16() for x in tensors(70, 0.5))
    logits, state = slot_logits(q, k, s, w, output_final_state=True)
    assert logits.dtype == state.dtype == torch.float32
    o, after = gated_slots(q, k, v, s, w, output_final_state=True)
    assert o.dtype == torch.bfloat16 and {x.dtype for x in after} == {torch.float32}


def test_one_token_and_chunks_are_told_apart(monkeypatch):
    monkeypatch.setattr(module, "_chunks", None)
    q, k, v, s, w, *state = tensors(1, 0.5)
    gated_slots(q, k, v, s, w, 1.0, tuple(state))


@pytest.mark.filterwarnings("ignore")  # of fla itself
def test_equals_flas_definition():
    naive = pytest.importorskip("fla.ops.gsa.naive", reason="fla is not installed").naive_recurrent_gsa
    q, k, v, s, w, K, V = (x.float() for x in tensors(70, 0.3))
    o, after = gated_slots(q, k, v, s, w, 0.7, (K, V), output_final_state=True)
    expected, (K, V) = naive(q, k, v, s, w, 0.7, (K.mT.contiguous(), V), output_final_state=True)
    torch.testing.assert_close(o, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(after[0], K.mT, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(after[1], V, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"w": torch.zeros(B, 9, H)}, r"w must be \[2, 9, 3, 7\] to go with q"),
        ({"k": torch.zeros(B, 9, H, D + 1)}, r"k must be \[2, 9, 3, 5\]"),
        ({"q": torch.zeros(B, 0, H, D)}, "with T at least 1"),
        ({"K": torch.zeros(B, H, D, M)}, r"initial_state must be \[2, 3, 7, 5\]"),
    ],
    ids=lambda x: "" if isinstance(x, str) else next(iter(x)),
)
def test_shapes_that_do_not_fit(changed, message):
    named = dict(zip(("q", "k", "v", "s", "w", "K", "V"), tensors(9, 1.0), strict=True)) | changed
    state = named.pop("K"), named.pop("V")
    with pytest.raises(ValueError, match=message):
        gated_slots(**named, initial_state=state)
