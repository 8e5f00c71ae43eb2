import pytest
import torch

import mixers
from mixers.ramnet import record_access


def make(**options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return mixers.build("ramnet", 16, address_init_std=0.5, **options)


def x(length=20):
    return torch.randn(2, length, 16, generator=torch.Generator().manual_seed(1))


def test_engines_agree_through_the_mixer():
    ours, oracle = make(top_k=4, cape=1), make(top_k=4, cape=1, backend="reference")
    gradients = []
    for mixer in (ours.double(), oracle.double()):
        mixer.zero_grad()
        mixer(x().double()).sin().sum().backward()
        gradients.append({name: p.grad for name, p in mixer.named_parameters()})
    for name in gradients[0]:
        torch.testing.assert_close(gradients[0][name], gradients[1][name], rtol=1e-8, atol=1e-12)


def test_all_slots_of_one_softmax_read_back_a_soft_lookup():
    """U = 1, K = M, gamma = 0: the read is a softmax-weighted mean over slots of weighted means of the values."""
    mixer = make(order=1, sub_dim=6, top_k=6, gamma=0.0, num_heads=1, eps=1e-12, address_norm=None).double()
    inputs = x().double()
    with record_access(mixer) as traces:
        out = mixer(inputs)
    access = traces[""][0]
    torch.testing.assert_close(access.w.sum(-1), torch.ones(2, 20, 1, dtype=torch.float64))
    w = mixer.k_proj(inputs).softmax(-1)
    r = mixer.q_proj(inputs).softmax(-1)
    v = mixer.v_proj(inputs)
    means = torch.einsum("btm,btd->btmd", w, v).cumsum(1) / (w.cumsum(1) + 1 / 6)[..., None]
    torch.testing.assert_close(out, mixer.o_proj(torch.einsum("btm,btmd->btd", r, means)))


def test_cape_makes_addresses_relative():
    """With constant inputs, CAPE moves every write and read one slot back per token, modulo M."""
    mixer = make(order=3, sub_dim=2, top_k=2, cape=1)
    with record_access(mixer) as traces:
        mixer(x(1).expand(2, 20, 16))
    for slots in (traces[""][0].w_idx, traces[""][0].r_idx):
        for t in range(20):
            assert torch.equal(slots[:, t, 0], (slots[:, 0, 0] - t) % 8)
            assert torch.equal(slots[:, t, 1], slots[:, 0, 1]), "the second head has no CAPE"


def test_recording_changes_nothing_and_ends():
    mixer = make(top_k=4)
    plain = mixer(x())
    with record_access(torch.nn.Sequential(mixer)) as traces:
        recorded = mixer(x())
    mixer(x())
    assert torch.equal(plain, recorded)
    assert list(traces) == ["0"] and len(traces["0"]) == 1
    access = traces["0"][0]
    assert access.w.shape == access.r_idx.shape == (2, 20, 2, 4)
    assert not access.w.requires_grad and mixer.trace is None


def test_training_starts_with_more_slots_and_ends_with_top_k():
    mixer = make(order=4, sub_dim=4, top_k=8, anneal="shrink", anneal_start=0.25, anneal_end=0.75)
    assert mixer.num_slots == 256 and mixer.train_top_k == 64

    def slots_used(progress, training=True):
        mixer.set_training_progress(progress)
        mixer.train(training)
        with record_access(mixer) as traces:
            mixer(x())
        return traces[""][0].w.shape[-1]

    assert [slots_used(p) for p in (0, 0.25, 0.5, 0.75, 1)] == [64, 64, 23, 8, 8]
    assert slots_used(0, training=False) == 8, "scoring uses top_k at all times"


def test_without_progress_training_uses_top_k():
    mixer = make(top_k=8).train()
    with record_access(mixer) as traces:
        mixer(x())
    assert traces[""][0].w.shape[-1] == 8


def test_without_progress_a_number_of_steps_will_do():
    mixer = make(order=4, sub_dim=4, top_k=8, anneal="shrink", anneal_start=0.25, anneal_end=0.75, anneal_steps=4)

    def slots_used():
        with record_access(mixer) as traces:
            mixer(x())
        return traces[""][0].w.shape[-1]

    mixer.eval()
    assert slots_used() == 8
    mixer.train()
    assert [slots_used() for _ in range(6)] == [64, 64, 23, 8, 8, 8], "scoring was no step"
    mixer.set_training_progress(0.0)
    assert [slots_used(), slots_used()] == [64, 64], "what is reported goes before"


def test_gradients_reach_everything_trainable():
    mixer = make(top_k=4, learnable_temperature=False)
    mixer(x()).square().sum().backward()
    without = {name for name, p in mixer.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert without == {"alpha_q", "alpha_k"}


def test_state_sizes_of_the_paper():
    """Table 2: 27 layers of 16 heads, d_v 64, U 5, d_p 4, Top-8 carry 28.8M and touch 0.4M."""
    mixer = mixers.build("ramnet", 1024, num_heads=16, head_v_dim=64, order=5, sub_dim=4, top_k=8)
    assert f"{27 * mixer.state_size(4096) / 1e6:.1f}M" == "28.8M"
    assert f"{27 * mixer.active_state_size(4096) / 1e6:.1f}M" == "0.4M"


@pytest.mark.parametrize("options, slots", [({"top_k": 3}, 6), ({"top_k": 3, "read_top_k": 5}, 7), ({"top_k": 7}, 7)])
def test_no_more_slots_are_touched_than_there_are(options, slots):
    mixer = mixers.build("ramnet", 16, num_heads=1, head_v_dim=5, order=1, sub_dim=7, **options)
    assert mixer.active_state_size(4) == slots * 6
