"""The triton engine through the mixer, and under torch.compile; see ``against``."""

import pytest
import torch

import mixers
from tests.mixers.ramnet_triton.against import (
    BIG,
    DEVICE,
    draw,
    generator,
    memory_triton,
)


def make(**options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = {"num_heads": 2, "order": 3, "sub_dim": 4, "top_k": 3, "address_init_std": 0.5, "cape": 1} | options
        return mixers.build("ramnet", 12, **options).to(DEVICE)


def sequence(length, dtype=torch.float32):
    return torch.randn(2, length, 12, generator=generator(1)).to(DEVICE, dtype)


@pytest.mark.parametrize("fade", [False, True])
def test_mixer_with_either_engine(short_chunks, fade):
    options = {"anneal": "fade", "normalize_reads": True, "train_top_k": 9} if fade else {}
    x = sequence(12 if fade else 20)[:1]
    gradients = []
    for backend in ("triton", "reference"):
        mixer = make(backend=backend, read_top_k=4, **options)
        if fade:
            mixer.set_training_progress(1.0)
        mixer(x).sin().sum().backward()
        gradients.append({name: p.grad for name, p in mixer.named_parameters()})
    for name in gradients[0]:
        # weights of sum one make reads, and so gradients, several times larger
        atol = 1e-5 if fade else 1e-6
        torch.testing.assert_close(gradients[0][name], gradients[1][name], rtol=1e-4, atol=atol)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_prefill_hands_its_state_to_decoding(dtype, short_chunks):
    mixer = make(backend="triton").to(dtype).eval()
    x = sequence(14, dtype)
    with torch.no_grad():
        expected = mixer(x)
        y, state = mixer.prefill(x[:, :10])
        outputs = [y]
        for t in range(10, 14):
            before = state["S"].data_ptr()
            y, state = mixer.step(x[:, t], state)
            assert state["S"].data_ptr() == before, "decoding must not copy the memory"
            outputs.append(y[:, None])
    assert state["S"].dtype == torch.float32
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 3e-2}[dtype]
    torch.testing.assert_close(torch.cat(outputs, 1), expected, rtol=tolerance, atol=tolerance / 10)


def test_compiles_to_one_graph(short_chunks):
    mixer = make(backend="triton", learnable_temperature=True)
    x = sequence(12)[:1]
    plain = mixer(x)
    plain.sin().sum().backward()
    expected = {name: p.grad.clone() for name, p in mixer.named_parameters()}
    mixer.zero_grad()
    compiled = torch.compile(mixer, fullgraph=True, backend="inductor" if BIG else "aot_eager")
    y = compiled(x)
    y.sin().sum().backward()
    torch.testing.assert_close(y, plain)
    for name, p in mixer.named_parameters():
        torch.testing.assert_close(p.grad, expected[name])


def test_decoding_compiles_to_one_graph():
    mixer = make(backend="triton").eval()
    x = sequence(3)
    with torch.no_grad():
        states = [mixer.init_state(2) for _ in range(2)]
        step = torch.compile(mixer.step, fullgraph=True, backend="inductor" if BIG else "aot_eager")
        for t in range(3):
            expected, states[0] = mixer.step(x[:, t], states[0])
            y, states[1] = step(x[:, t], states[1])
            torch.testing.assert_close(y, expected)
    for name in states[0]:
        torch.testing.assert_close(states[0][name], states[1][name])


def test_the_operators_keep_their_promises_to_the_compiler(short_chunks):
    from mixers.ramnet import address_triton, step_triton

    x = torch.randn(1, 4, 2, 2, 3, generator=generator(0)).to(DEVICE).requires_grad_()
    t, cape = torch.arange(4, device=DEVICE), torch.tensor([True, False], device=DEVICE)
    torch.library.opcheck(address_triton.decode_address_triton, (x, 3, t, cape))
    w, w_idx, r, r_idx, v, S, z = (t.to(DEVICE) for t in draw(5, B=1))
    for leaf in (w, r, v, S, z):
        leaf.requires_grad_()
    torch.library.opcheck(memory_triton._pdma, (w, w_idx, r, r_idx, v, S, z, 9, 1.0, 1e-3, 1e-3, True))
    q, k = (torch.randn(1, 1, 2, 3, generator=generator(s)).to(DEVICE) for s in (2, 3))
    S, z, v = S.detach(), z.detach(), v[:, 0].detach()
    position = torch.zeros(1, 1, dtype=torch.int64, device=DEVICE)
    on = torch.ones(1, dtype=torch.bool, device=DEVICE)
    torch.library.opcheck(step_triton.step_triton, (q, k, v, S, z, 3, 3, 1.0, 1e-3, None, None, position, on))


@pytest.mark.skipif(not BIG, reason="CUDA graphs need a GPU")
def test_decoding_in_a_cuda_graph():
    mixer = make(backend="triton").eval()
    x = sequence(6)
    with torch.no_grad():
        state = mixer.init_state(2)
        expected = []
        for t in range(6):
            y, state = mixer.step(x[:, t], state)
            expected.append(y.clone())
        state, x_t = mixer.init_state(2), x[:, 0].clone()
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            mixer.step(x_t, {key: tensor.clone() for key, tensor in state.items()})
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y, _ = mixer.step(x_t, state)
        for t in range(6):
            x_t.copy_(x[:, t])
            graph.replay()
            torch.testing.assert_close(y, expected[t])
