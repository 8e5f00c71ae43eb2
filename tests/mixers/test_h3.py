import copy
import math

import pytest
import torch

import mixers


def make(d_model=16, noise=0.2, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mixer = mixers.build("h3", d_model, **options).double()
        for p in mixer.parameters():
            p.data.add_(noise * torch.randn_like(p))
    return mixer


def sequence(length=40, d_model=16):
    return torch.randn(2, length, d_model, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def parts(m, x):
    """q, k, v of a token as [groups, p], and the discrete poles."""
    ssm = m.kernel["kernel"]
    A = torch.complex(-ssm.inv_A_real.exp(), ssm.A_imag)
    dt = ssm.log_dt.exp()[:, None]
    A_bar = (1 + dt * A / 2) / (1 - dt * A / 2)
    B_bar = dt * torch.complex(*ssm.B.unbind(-1)) / (1 - dt * A / 2)
    qkv = [proj(x) for proj in (m.q_proj, m.k_proj, m.v_proj)]
    return *qkv, A_bar, B_bar, torch.complex(*ssm.C[0].unbind(-1))


def token_by_token(m, x, p=1):
    """Both SSMs as recurrences: a register per channel, and complex poles per entry of every group's p by p product."""
    q, k, v, A, B, C = parts(m, x)
    shift, d = m.ssm_k_kernel["kernel"], x.shape[-1]
    outputs = torch.empty_like(x)
    for b in range(len(x)):
        register = torch.zeros_like(shift.B)
        h = torch.zeros(p, p, *A.shape, dtype=A.dtype)
        for t in range(x.shape[1]):
            register = torch.cat([torch.zeros(d, 1), register[:, :-1]], 1) + shift.B * k[b, t, :, None]
            shifted = (shift.C[0] * register).sum(-1) + m.ssm_k_D * k[b, t]
            u = torch.einsum("gi,gj->ijg", shifted.view(-1, p), v[b, t].view(-1, p))
            h = A * h + B * u[..., None]
            y = 2 * (C * h).sum(-1).real + m.D * u
            mixed = torch.einsum("gi,ijg->jg", q[b, t].view(-1, p), y)
            outputs[b, t] = m.output_linear(mixed.flatten())
    return outputs


OPTIONS = [{}, {"d_state": 2}, {"d_state": 6, "head_dim": 4, "dt_min": 0.1, "dt_max": 2.0}]


@pytest.mark.parametrize("options", OPTIONS)
def test_equals_the_recurrences_token_by_token(options):
    mixer, x = make(**options), sequence()
    with torch.no_grad():
        expected = token_by_token(mixer, x, options.get("head_dim", 1))
        torch.testing.assert_close(mixer(x), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("d_state, length", [(8, 5), (8, 150)])
def test_equals_sums_over_the_kernels(d_state, length):
    mixer, x = make(d_state=d_state), sequence(length)
    with torch.no_grad():
        q, k, v, A, B, C = parts(mixer, x)
        shift = mixer.ssm_k_kernel["kernel"]
        taps = [(shift.C[0, :, j:] * shift.B[:, : d_state - j]).sum(-1) for j in range(d_state)]
        u = mixer.ssm_k_D * k
        for j in range(min(d_state, length)):
            u[:, j:] += taps[j] * k[:, : length - j]
        u = u * v
        y = mixer.D * u
        for j in range(length):
            y[:, j:] += 2 * (C * A**j * B).sum(-1).real * u[:, : length - j]
        torch.testing.assert_close(mixer(x), mixer.output_linear(q * y), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("length, carried", [(1, True), (32, False), (32, True), (65, False), (70, True)])
def test_both_forms_of_the_diagonal_ssm_agree_with_gradients(length, carried):
    """Chunks that end with the sequence or not, one or several; float64."""
    ssm = make(d_state=6, head_dim=4)
    diagonal, D = ssm.kernel["kernel"], ssm.D
    generator = torch.Generator().manual_seed(2)
    shapes = [(2, length, 4, 4)] * 3 + [(2, 4, 4, 4, 3, 2)] * carried
    inputs = [torch.randn(*s, dtype=torch.float64, generator=generator, requires_grad=True) for s in shapes]
    results = []
    for form in (diagonal.attend, diagonal.filter):
        y, h = form(*inputs[:3], D, inputs[3] if carried else None)
        loss = (y * y.detach().cos()).sum() + ((h * h.detach().cos()).sum() if carried else 0)
        results.append([y, *([h] if carried else []), *torch.autograd.grad(loss, [*inputs, D, *diagonal.parameters()])])
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-9)


def test_the_shift_ssm_shifts():
    mixer, x, delay = make(noise=0.0, d_state=8), sequence(), 5
    with torch.no_grad():
        mixer.ssm_k_kernel["kernel"].C.copy_(torch.eye(8)[delay].expand(1, 16, 8))  # B is e_1
        mixer.ssm_k_D.zero_()
        mixer.kernel["kernel"].C.zero_()  # what is left of the diagonal SSM is D
        k = torch.cat([torch.zeros(2, delay, 16), mixer.k_proj(x)[:, :-delay]], 1)
        expected = mixer.output_linear(mixer.D * mixer.q_proj(x) * k * mixer.v_proj(x))
        torch.testing.assert_close(mixer(x), expected)


@pytest.mark.parametrize("options", OPTIONS)
def test_prefill_in_uneven_pieces(options):
    mixer, x = make(**options), sequence(220)
    outputs, state = [], None
    with torch.no_grad():
        for piece in x.split([3, 1, 90, 6, 120], 1):
            y, state = mixer.prefill(piece, state)
            outputs.append(y)
        torch.testing.assert_close(torch.cat(outputs, 1), mixer(x), rtol=1e-9, atol=1e-10)


def test_long_sequences_in_float32():
    mixer = make(noise=0.0, d_state=16)
    x = sequence(8000)
    with torch.no_grad():
        exact, approximate = mixer(x), copy.deepcopy(mixer).float()(x.float())
    error = (approximate - exact).norm() / exact.norm()
    assert error < 1e-5, error


def test_starting_values():
    mixer = make(64, 0.0, d_state=6, dt_min=0.01, dt_max=0.5)
    ssm = mixer.kernel["kernel"]
    dt = ssm.log_dt.exp()
    assert 0.0099 < dt.min() < 0.02 and 0.3 < dt.max() < 0.501
    torch.testing.assert_close(-ssm.inv_A_real.exp()[5], torch.full((3,), -0.5, dtype=torch.float64))
    torch.testing.assert_close(ssm.A_imag[5], torch.tensor([0, math.pi, 2 * math.pi], dtype=torch.float64))
    spared = {name.split(".")[-1] for name, p in mixer.named_parameters() if getattr(p, "_no_weight_decay", False)}
    assert spared == {"log_dt", "B", "inv_A_real", "A_imag"}


def test_weights_are_named_and_shaped_as_in_zoology():
    shapes = {name: tuple(p.shape) for name, p in make(d_state=6, head_dim=4).named_parameters()}
    linear = {f"{name}.weight": (16, 16) for name in ("q_proj", "k_proj", "v_proj", "output_linear")}
    assert shapes == {
        **linear,
        **{name.replace("weight", "bias"): (16,) for name in linear},
        "ssm_k_kernel.kernel.B": (16, 6),
        "ssm_k_kernel.kernel.C": (1, 16, 6),
        "ssm_k_D": (16,),
        "kernel.kernel.C": (1, 4, 3, 2),
        "kernel.kernel.log_dt": (4,),
        "kernel.kernel.B": (4, 3, 2),
        "kernel.kernel.inv_A_real": (4, 3),
        "kernel.kernel.A_imag": (4, 3),
        "D": (4,),
    }


@pytest.mark.parametrize(
    "options, message",
    [
        ({"d_state": 5}, "d_state must be even and positive, got 5"),
        ({"d_state": 0}, "d_state must be even and positive, got 0"),
        ({"head_dim": 3}, "head_dim must divide d_model 16, got 3"),
        ({"dt_min": 0.2}, "dt_min and dt_max must be positive and in order, got 0.2 and 0.1"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(mixers.MixerError, match=message):
        make(**options)
