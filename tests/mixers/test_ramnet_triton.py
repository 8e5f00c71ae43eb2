"""The triton engine of RAM-Net against the float64 reference: on CUDA compiled, elsewhere in Triton's interpreter.

Uninitialised memory is filled with NaN and huge integers. Errors are relative, in norm, and bounded by twice those of
the plain PyTorch engine in the same precision, or by a few units in the last place where that one is lucky.
"""

import pytest
import torch

import mixers
from mixers.ramnet import decode_address, pdma, ramnet_step
from mixers.ramnet.ops import choose_backend

memory_triton = pytest.importorskip("mixers.ramnet.memory_triton", reason="triton is not installed")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FLOOR = {torch.float32: 5e-7, torch.bfloat16: 2e-3, torch.float16: 3e-4}


@pytest.fixture(autouse=True)
def poison_and_determinism():
    torch.use_deterministic_algorithms(True)  # also fills what torch.empty returns
    yield
    torch.use_deterministic_algorithms(False)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def rel(x, exact):
    return ((x.double() - exact).norm() / exact.norm().clamp(min=1e-30)).item()


def check(ours, plain, exact, dtype):
    # the interpreter cuts float32 off to bfloat16, every time towards zero, where a GPU rounds
    factor = 5 if dtype == torch.bfloat16 and DEVICE == "cpu" else 2
    for name, expected in exact.items():
        assert ours[name].isfinite().all(), f"{name} holds something that was never written"
        bound = max(factor * rel(plain[name], expected), FLOOR[dtype])
        assert rel(ours[name], expected) <= bound, f"{name}: {rel(ours[name], expected):.2e} above {bound:.2e}"


# ---- addresses

ADDRESSES = [
    (1, 5, 3), (1, 128, 8), (1, 64, 64), (2, 7, 9), (2, 3, 9), (2, 64, 8), (3, 4, 1), (3, 5, 3), (4, 2, 16), (5, 4, 8),
    (5, 4, 128), (6, 2, 64), (10, 2, 5),
]  # fmt: skip


def addresses(backend, x, per_slot, top_k, **cape):
    """Weights by slot and the gradient of a loss that goes by slot, so that near ties may come in either order."""
    x = x.detach().clone().to(DEVICE).requires_grad_()
    weights, slots = decode_address(x, top_k, backend, **{k: t.to(DEVICE) for k, t in cape.items()})
    assert weights.diff().le(0).all(), "best first"
    slots, by_slot = slots.long().sort(-1)
    weights = weights.gather(-1, by_slot)
    upstream = per_slot.to(DEVICE, weights.dtype).expand(*slots.shape[:-1], -1).gather(-1, slots)
    (dx,) = torch.autograd.grad((weights * upstream).sum(), x)
    return {"weights": weights.detach().cpu(), "dlogits": dx.cpu()}, slots.cpu()


@pytest.mark.parametrize("order, sub_dim, top_k", ADDRESSES, ids=[f"{p}^{u}-top{k}" for u, p, k in ADDRESSES])
def test_addresses(order, sub_dim, top_k):
    x = 2 * torch.randn(*((5, 7, 2) if DEVICE == "cpu" else (5, 70, 6)), order, sub_dim, generator=generator(0))
    per_slot = torch.randn(sub_dim**order, generator=generator(1))
    exact, expected = addresses("reference", x.double(), per_slot, top_k)
    plain, _ = addresses("reference", x, per_slot, top_k)
    ours, slots = addresses("triton", x, per_slot, top_k)
    assert torch.equal(slots, expected)
    check(ours, plain, exact, torch.float32)


def test_many_slots():
    """2^24 of them: each weight is the product of its digits' probabilities, and the best slot has the best digits."""
    x = 2 * torch.randn(4, 12, 4, generator=generator(0))
    weights, slots = (t.cpu() for t in decode_address(x.to(DEVICE), 6, "triton"))
    digits = slots.long()[..., None] // 4 ** torch.arange(11, -1, -1) % 4  # [rows, K, U]
    p = x.softmax(-1)[:, None].expand(-1, 6, -1, -1).gather(-1, digits[..., None])[..., 0]
    torch.testing.assert_close(weights, p.prod(-1))
    assert torch.equal(digits[:, 0], x.argmax(-1))
    assert all(len(set(row)) == 6 for row in slots.tolist())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_addresses_of_16_bits(dtype):
    x = 2 * torch.randn(3, 9, 2, 3, 4, generator=generator(0)).to(dtype)
    per_slot = torch.randn(64, generator=generator(1))
    exact, _ = addresses("reference", x.double(), per_slot, 5)
    plain, expected = addresses("reference", x, per_slot, 5)
    ours, slots = addresses("triton", x, per_slot, 5)
    assert torch.equal(slots, expected)
    check(ours, plain, exact, dtype)


def test_equal_weights_go_to_the_lower_slot():
    _, slots = decode_address(torch.zeros(2, 5, 4, device=DEVICE), 16, "triton")
    assert torch.equal(slots.cpu(), torch.arange(16, dtype=torch.int32).expand(2, 16))


@pytest.mark.parametrize("positions", ["shared", "per sequence"])
def test_addresses_under_cape(positions):
    x = 2 * torch.randn(2, 9, 3, 3, 4, generator=generator(0))
    upstream = torch.randn(64, generator=generator(1))
    t = torch.arange(9) + 61  # wraps around the 64 slots
    cape = {
        "position": t if positions == "shared" else torch.stack([t, t + 7]),
        "cape": torch.tensor([True, False, True]),
    }
    exact, expected = addresses("reference", x.double(), upstream, 5, **cape)
    plain, _ = addresses("reference", x, upstream, 5, **cape)
    ours, slots = addresses("triton", x, upstream, 5, **cape)
    assert torch.equal(slots, expected)
    check(ours, plain, exact, torch.float32)


# ---- the memory

BIG = DEVICE == "cuda"
SIZES = {
    "T1": dict(T=1),
    "T3-K1-D1": dict(T=3, K=1, R=1, D=1, M=2),
    "T63-R5-D24": dict(T=63, K=3, R=5, D=24, M=16),
    "T130-K2-D7": dict(T=130, K=2, R=3, D=7, M=8),
    "hot": dict(T=50, K=3, R=3, hot=True),
    "never-written": dict(T=20, K=1, R=8, M=64),
    "D130": dict(T=9, D=130),
}
if BIG:
    SIZES |= {
        "T2049-D64-M1024": dict(T=2049, K=8, R=8, D=64, M=1024),
        "T1000-hot": dict(T=1000, K=8, R=8, D=64, M=256, hot=True),
    }


def draw(T, K=3, R=3, D=5, M=9, B=2, H=1, seed=0, hot=False, dtype=torch.float32):
    g = generator(seed)
    w, r = (torch.rand(B, T, H, n, generator=g) for n in (K, R))
    w_idx, r_idx = (torch.rand(B, T, H, M, generator=g).argsort(-1)[..., :n].int() for n in (K, R))
    if hot:  # every token writes and reads the same slots
        w_idx, r_idx = (torch.arange(n, dtype=torch.int32).expand(B, T, H, n).contiguous() for n in (K, R))
    v = torch.randn(B, T, H, D, generator=g).to(dtype)
    S, z = torch.randn(B, H, M, D, generator=g), torch.rand(B, H, M, generator=g) + 0.1
    return w, w_idx, r, r_idx, v, S, z


def memory(backend, inputs, gamma=1.0, proxy=True, initial=True, final=True, dtype=None, eps=1e-3):
    w, w_idx, r, r_idx, v, S, z = (t.to(DEVICE) for t in inputs)
    if dtype is not None:
        w, r, v, S, z = (t.to(dtype) for t in (w, r, v, S, z))
    leaves = [w, r, v, *([S, z] if initial else [])]
    for leaf in leaves:
        leaf.requires_grad_()
    o, state = pdma(w, w_idx, r, r_idx, v, S.shape[2], gamma, eps, (S, z) if initial else None, final, proxy, backend)
    outputs = {"o": o} | (dict(zip(("S", "z"), state, strict=True)) if final else {})
    g = generator(7)
    loss = sum((t * torch.randn(t.shape, generator=g, dtype=torch.float64).to(t)).sum() for t in outputs.values())
    names = ["dw", "dr", "dv", "dS", "dz"][: len(leaves)]
    gradients = dict(zip(names, torch.autograd.grad(loss, leaves), strict=True))
    return {name: t.detach().cpu() for name, t in (outputs | gradients).items()}


def compare(inputs, dtype=torch.float32, **options):
    exact = memory("reference", inputs, dtype=torch.float64, **options)
    check(memory("triton", inputs, **options), memory("reference", inputs, **options), exact, dtype)


@pytest.fixture
def short_chunks(monkeypatch):
    monkeypatch.setattr(memory_triton, "CHUNK", 64)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_memory_with_states(size, short_chunks):
    compare(draw(**size), gamma=0.5, initial=True, final=True)


@pytest.mark.parametrize("size", [SIZES["T63-R5-D24"], SIZES["hot"]], ids=["T63-R5-D24", "hot"])
@pytest.mark.parametrize("gamma, proxy", [(1.0, True), (0.0, True), (2.5, False)])
def test_memory_from_blank(size, gamma, proxy, short_chunks):
    compare(draw(**size), gamma=gamma, proxy=proxy, initial=False, final=False)


@pytest.mark.parametrize("initial, final", [(True, False), (False, True)])
def test_memory_with_one_state(initial, final, short_chunks):
    compare(draw(30, K=2, R=3, D=6), initial=initial, final=final)


@pytest.mark.parametrize("width", [6, 5], ids=["D6", "D5"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_values_of_16_bits(dtype, width, short_chunks):
    compare(draw(40, D=width, dtype=dtype), dtype)


def test_long_chunks_and_full_weights():
    w, *rest = draw(45)
    w[:, ::3] = 1.0  # forgets everything
    compare((w, *rest))


def test_scratch_memory_changes_nothing(short_chunks, monkeypatch):
    inputs = draw(20, B=3)
    at_once = memory("triton", inputs)
    monkeypatch.setattr(memory_triton, "SCRATCH_BYTES", 1)
    one_by_one = memory("triton", inputs)
    assert all(torch.equal(at_once[name], one_by_one[name]) for name in at_once)


def test_indices_of_64_bits_change_nothing(short_chunks, monkeypatch):
    inputs = draw(20)
    narrow = memory("triton", inputs)
    tile = memory_triton._Plan.tile.fget
    monkeypatch.setattr(memory_triton._Plan, "tile", property(lambda plan: tile(plan) | {"WIDE": True}))
    monkeypatch.setattr(memory_triton, "_key_dtype", lambda plan: torch.int64)
    wide = memory("triton", inputs)
    assert all(torch.equal(narrow[name], wide[name]) for name in narrow)


def test_repeated_runs_give_the_same_bits(short_chunks):
    inputs = draw(40, hot=True)
    runs = [memory("triton", inputs) for _ in range(2)]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


def test_a_sequence_may_be_split_anywhere(short_chunks):
    w, w_idx, r, r_idx, v, S, z = (t.to(DEVICE) for t in draw(20))
    whole, final = pdma(w, w_idx, r, r_idx, v, 9, 0.7, 1e-3, (S, z), True, backend="triton")
    state, pieces = (S, z), []
    for part in (slice(0, 7), slice(7, 20)):
        piece, state = pdma(*(t[:, part] for t in (w, w_idx, r, r_idx, v)), 9, 0.7, 1e-3, state, True, backend="triton")
        pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-5, atol=1e-6)
    for a, b in zip(state, final, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


# ---- one token


@pytest.mark.parametrize(
    "order, sub_dim, top_k, read_top_k, width, gamma",
    [(3, 4, 3, 5, 24, 1.0), (1, 5, 2, 1, 1, 0.0), (5, 2, 8, 8, 7, 0.5), (2, 3, 9, 9, 16, 1.0)],
)
@pytest.mark.parametrize("cape", [False, True], ids=["plain", "cape"])
def test_step(order, sub_dim, top_k, read_top_k, width, gamma, cape):
    B, H, M = 3, 2, sub_dim**order
    results = {}
    for name, backend, dtype in (
        ("exact", "reference", torch.float64),
        ("plain", "reference", torch.float32),
        ("ours", "triton", torch.float32),
    ):
        g = generator(0)
        S, z = torch.randn(B, H, M, width, generator=g), torch.rand(B, H, M, generator=g)
        S, z = S.to(DEVICE, dtype), z.to(DEVICE, dtype)
        alphas = torch.tensor([0.3, -0.4], device=DEVICE, dtype=dtype)
        place = {}
        if cape:
            place = {
                "position": torch.tensor([[M - 2] * H, [3] * H, [5 * M] * H], device=DEVICE),
                "cape": torch.tensor([True, False], device=DEVICE),
            }
        outputs = []
        for _ in range(4):
            q, k = (2 * torch.randn(B, H, order, sub_dim, generator=g).to(DEVICE, dtype) for _ in range(2))
            v = torch.randn(B, H, width, generator=g).to(DEVICE, dtype)
            outputs.append(
                ramnet_step(
                    q, k, v, S, z, top_k, read_top_k, gamma, 1e-3, alphas, alphas + 0.1, **place, backend=backend
                )
            )
        results[name] = {"o": torch.stack(outputs).cpu(), "S": S.cpu(), "z": z.cpu()}
        if cape:
            assert place["position"].cpu().tolist() == [[M + 2] * H, [7] * H, [5 * M + 4] * H]
    check(results["ours"], results["plain"], results["exact"], torch.float32)


# ---- through the mixer


def make(**options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = {"num_heads": 2, "order": 3, "sub_dim": 4, "top_k": 3, "address_init_std": 0.5, "cape": 1} | options
        return mixers.build("ramnet", 12, **options).to(DEVICE)


def sequence(length, dtype=torch.float32):
    return torch.randn(2, length, 12, generator=generator(1)).to(DEVICE, dtype)


def test_mixer_with_either_engine(short_chunks):
    gradients = []
    for backend in ("triton", "reference"):
        mixer = make(backend=backend, read_top_k=4)
        mixer(sequence(20)).sin().sum().backward()
        gradients.append({name: p.grad for name, p in mixer.named_parameters()})
    for name in gradients[0]:
        torch.testing.assert_close(gradients[0][name], gradients[1][name], rtol=1e-4, atol=1e-6)


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
    mixer = make(backend="triton")
    x = sequence(12)
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


# ---- mistakes


@pytest.mark.parametrize("dtype", [torch.float64, torch.int32])
def test_types_it_cannot_do(dtype):
    with pytest.raises(ValueError, match=f"takes float32, bfloat16 or float16, got {dtype}"):
        choose_backend("triton", torch.zeros(1, dtype=dtype))


def test_the_cpu_without_the_interpreter(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ValueError, match="needs a CUDA device, got tensors on cpu.*TRITON_INTERPRET=1"):
        choose_backend("triton", torch.zeros(1))


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(S=torch.zeros(1, 1, 9, 5, dtype=torch.float64)), "S must be .* torch.float32"),
        (dict(z=torch.zeros(1, 1, 9).bfloat16()), "z must be"),
        (dict(S=torch.zeros(1, 1, 5, 9).transpose(2, 3)), "must be contiguous"),
        (dict(alpha_q=torch.zeros(1)), "alpha_q and alpha_k go together"),
        (dict(cape=torch.ones(1, dtype=torch.bool)), "position and cape go together"),
        (dict(top_k=10), "top_k must be between 1 and the 9 slots of 3\\^2, got 10"),
    ],
    ids=lambda c: "-".join(c) if isinstance(c, dict) else "",
)
def test_mistakes_of_a_step_are_named(change, message):
    arguments = dict(
        q=torch.zeros(1, 1, 2, 3), k=torch.zeros(1, 1, 2, 3), v=torch.zeros(1, 1, 5),
        S=torch.zeros(1, 1, 9, 5), z=torch.zeros(1, 1, 9), top_k=2, read_top_k=2, gamma=1.0, eps=1e-3,
    )  # fmt: skip
    with pytest.raises(ValueError, match=message):
        ramnet_step(**arguments | change)
