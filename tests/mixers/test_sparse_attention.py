import pytest
import torch

import mixers
from mixers.rotary import rotate


def make(**options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mixer = mixers.build("sparse_attention", 16, **options).double()
        for p in mixer.parameters():  # gates, places and learnt keys that differ from each other
            p.data.add_(0.3 * torch.randn_like(p))
    return mixer


def sequence(length=33):
    return torch.randn(2, length, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def attention(q, k, v):
    """One query ``[D]`` over rows of k and v."""
    return torch.softmax(k @ q / len(q) ** 0.5, 0) @ v


def query_by_query(m, x, num_heads, kv_heads, window, b, n, share=True):
    """The paper's three attentions, each with loops over sequences, heads and queries."""
    D, group = 16 // num_heads, num_heads // kv_heads
    x = m.norm(x)
    q, k, v = m.to_qkv(x).split([num_heads * D, kv_heads * D, kv_heads * D], -1)
    q, k, v = (t.unflatten(-1, (-1, D)) for t in (q, k, v))
    places = torch.arange(x.shape[1])
    turned_q, turned_k = rotate(q, places, interleaved=True), rotate(k, places, interleaved=True)
    gates = torch.sigmoid(m.to_strategy_combine[0](x)).unflatten(-1, (num_heads, 3))
    blocks = [
        [
            [
                tuple(
                    mlp((t[s, j * b : (j + 1) * b, h] + place[h]).flatten())
                    for t, mlp, place in (
                        (k, m.k_compress, m.k_intrablock_positions),
                        (v, m.v_compress, m.v_intrablock_positions),
                    )
                )
                for j in range(x.shape[1] // b)
            ]
            for h in range(kv_heads)
        ]
        for s in range(len(x))
    ]
    o = torch.zeros_like(q)
    for s in range(len(x)):
        for t in range(x.shape[1]):
            whole = t // b
            scores = torch.full((num_heads, whole), torch.nan, dtype=x.dtype)
            for h in range(num_heads):
                made = blocks[s][h // group][:whole]
                keys = torch.stack([*m.compress_mem_kv[0, h // group], *(key for key, _ in made)])
                values = torch.stack([*m.compress_mem_kv[1, h // group], *(value for _, value in made)])
                scores[h] = (keys @ q[s, t, h])[m.compress_mem_kv.shape[2] :]
                o[s, t, h] = gates[s, t, h, 0] * attention(q[s, t, h], keys, values)
            for h in range(num_heads):
                first = h // group * group
                score = scores[first : first + group].mean(0) if share else scores[h]
                best = score.topk(min(n, whole)).indices.tolist()
                rows = [i for i in range(t + 1) if i // b in best or i // b == t // b]
                near = list(range(max(0, t - window + 1), t + 1))
                for which, gate in ((rows, gates[s, t, h, 1]), (near, gates[s, t, h, 2])):
                    key = turned_k[s, which, h // group], v[s, which, h // group]
                    o[s, t, h] += gate * attention(turned_q[s, t, h], *key)
    return m.combine_heads(o.flatten(-2))


@pytest.mark.parametrize(
    ("heads", "kv_heads", "window", "b", "n", "share"),
    [(2, 2, 17, 8, 4, True), (4, 2, 5, 3, 2, True), (4, 1, 1, 5, 1, False), (8, 2, 40, 1, 3, True)],
    ids=["defaults", "two query heads a key", "each for itself", "blocks of one"],
)
def test_equals_three_attentions_query_by_query(heads, kv_heads, window, b, n, share):
    mixer = make(
        num_heads=heads, kv_heads=kv_heads, window=window, block_size=b, num_selected_blocks=n,
        query_heads_share_selected_kv=share, num_compressed_mem_kv=2,
    )  # fmt: skip
    x = sequence()
    with torch.no_grad():
        expected = query_by_query(mixer, x, heads, kv_heads, window, b, n, share)
        torch.testing.assert_close(mixer(x), expected, rtol=1e-9, atol=1e-10)


def test_finds_a_token_far_behind_by_its_block():
    """With all but the chosen blocks' gate shut, what stands in a block that is not chosen changes nothing."""
    mixer = make(num_heads=1, block_size=4, num_selected_blocks=1)
    gates = mixer.to_strategy_combine[0]
    gates.weight.data.zero_()
    gates.bias.data.copy_(torch.tensor([-1000.0, 1000.0, -1000.0]))
    x = sequence(32)[:1].requires_grad_()
    (slope,) = torch.autograd.grad(mixer(x)[0, -1].sum(), x)
    reached = (slope[0].abs().sum(-1) > 0).unflatten(0, (8, 4)).any(-1)
    assert reached[-1] and reached.sum() == 2


def test_state_is_all_tokens_and_whole_blocks_and_few_are_read():
    mixer = make(num_heads=4, kv_heads=2, block_size=4, num_selected_blocks=2, window=3)
    assert mixer.state_size(0) == 0
    assert mixer.state_size(42) == 8 * (2 * (42 + 10) + 2)
    assert mixer.active_state_size(42) == 8 * (2 * (10 + 2 * 4 + 2 + 2) + 2)
    # blocks and window may cover all there is
    assert mixer.active_state_size(5) == 8 * (2 * (1 + 5) + 1) == mixer.state_size(5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 3}, "d_model 16 must be a multiple of num_heads 3"),
        ({"num_heads": 4, "kv_heads": 3}, "num_heads 4 must be a multiple of kv_heads 3"),
        ({"num_heads": 16}, "rotary positions need an even head width, got 1"),
        ({"num_selected_blocks": 0}, "num_selected_blocks must be at least 1, got 0"),
        ({"compress_mlp_expand_factor": -1.0}, "compress_mlp_expand_factor must be between 0 and 64"),
    ],
    ids=["width", "kv_heads", "odd", "none chosen", "expand"],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        mixers.build("sparse_attention", 16, **options)
