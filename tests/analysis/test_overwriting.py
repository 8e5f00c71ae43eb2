"""What filler overwrites of a RAM-Net's slots: as its equations say, whatever the pieces, and in known cases."""

import numpy as np
import pytest
import torch

from mixers.ramnet import Access, record_access
from mqar_bench.analysis.overwriting import Overwriting
from mqar_bench.config import MixerSpec, ModelConfig
from mqar_bench.tasks import DistantMQARConfig, StoryQAConfig
from mqar_bench.tasks.stream import Plan
from mqar_bench.training.model import LanguageModel

TASKS = {
    "pairs first": DistantMQARConfig(vocab_size=40, num_examples=3, input_seq_len=45, num_kv_pairs=3),
    "no filler between": DistantMQARConfig(vocab_size=40, num_examples=3, input_seq_len=12, num_kv_pairs=3),
    "facts among filler": StoryQAConfig(vocab_size=40, num_examples=3, input_seq_len=60, num_facts=5),
}


def make_model(**options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = {"order": 3, "sub_dim": 2, "top_k": 3, "cape": 1} | options
        specs = (MixerSpec(name="short_conv"), MixerSpec(name="ramnet", options=options))
        return LanguageModel(ModelConfig(vocab_size=40, d_model=16, mixers=specs, n_layers=4)).eval()


def by_the_equations(w, slots, stored, asked, num_slots, gamma):
    """Of one row and head: w and slots ``[T, K]``, and the stored places."""
    write = np.zeros((asked, num_slots))
    for t in range(asked):
        write[t, slots[t]] = w[t]
    decay = (1 - write) ** gamma
    kept, taken, held = np.zeros((3, num_slots))
    for s in range(asked):
        after = range(s + 1, asked)
        left = write[s] * np.prod([decay[t] for t in after], axis=0)
        if s in stored:
            kept += left
            held += write[s] * np.prod([decay[t] for t in after if t in stored], axis=0)
        else:
            taken += left
    total = np.where(held > 0, kept + taken, 1)
    return (held * taken / total).sum() / held.sum()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_it_is_what_the_equations_say_whatever_the_pieces(task, gamma):
    model, stream = make_model(gamma=gamma), task.stream(7)
    tokens = torch.from_numpy(np.concatenate(list(stream.pieces(1000)), axis=1)).long()
    found = {}
    for size in (1, 8, 1000):
        following, state = Overwriting(model, stream.plan, task.num_stored), None
        for seen in range(0, task.input_seq_len, size):
            with torch.no_grad(), record_access(model) as accesses:
                _, state = model.prefill(tokens[:, seen : seen + size], state)
            following.add(accesses, seen)
        found[size] = following.heads()
    with torch.no_grad(), record_access(model) as accesses:
        model(tokens)
    assert [(head.layer, head.head, head.cape) for head in found[8]] == [
        (1, 0, True), (1, 1, False), (3, 0, True), (3, 1, False),
    ]  # fmt: skip
    for pieces in found.values():
        for head in pieces:
            (access,) = accesses[f"layers.{head.layer}.sequence_mixer"]
            for row, share in enumerate(head.overwritten):
                parts = access.w[row, :, head.head].double().numpy(), access.w_idx[row, :, head.head].numpy()
                stored = set(stream.plan.places[row, : task.num_stored].tolist())
                asked = int(stream.plan.places[row, task.num_stored :].min())
                expected = by_the_equations(*parts, stored, asked, 8, gamma)
                assert share == pytest.approx(expected, abs=1e-5), (head.layer, head.head, row)
    shares = [share for head in found[8] for share in head.overwritten]
    assert all(share == 0 for share in shares) == (task.input_seq_len == 12) and max(shares) < 1


def follow(writes, stored, gamma=1.0):
    """The share of one head with 8 slots, to which a token each writes with (slot, weight); then the question."""
    model = make_model(num_heads=1, cape=0, gamma=gamma)
    length = len(writes)
    plan = Plan(np.array([[*stored, length]]), np.zeros((1, len(stored) + 1), int), *[np.array([[length]])] * 2)
    following = Overwriting(model, plan, len(stored))
    w = torch.tensor([[[[weight]] for _, weight in writes]])
    slots = torch.tensor([[[[slot]] for slot, _ in writes]])
    following.add({f"layers.{i}.sequence_mixer": [Access(w, slots, w, slots)] for i in (1, 3)}, 0)
    return following.heads()[0].overwritten[0]


@pytest.mark.parametrize(
    "writes, stored, gamma, share",
    [
        ([(3, 0.5), (4, 1.0), (5, 0.9)], [0], 1.0, 0.0),  # other slots
        ([(3, 0.5), (3, 1.0)], [0], 1.0, 1.0),  # replaced
        ([(3, 0.5), (3, 0.5)], [0], 1.0, 0.5 / 0.75),  # 0.25 is left
        ([(3, 0.5), (3, 0.5)], [0], 0.0, 0.5),  # added to
        ([(3, 0.25), (3, 0.5), (4, 0.75)], [0, 2], 1.0, 0.25 * (0.5 / 0.625)),  # of one slot in two, a quarter
        ([(3, 0.5), (3, 1.0)], [0, 1], 1.0, 0.0),  # by what is to be recalled itself
        ([(3, 1.0), (3, 0.5)], [1], 1.0, 0.5),  # filler that came before is in the mean, too
    ],
)
def test_known_cases(writes, stored, gamma, share):
    assert follow(writes, stored, gamma) == pytest.approx(share)


def test_a_model_without_ramnet_has_none():
    config = ModelConfig(vocab_size=40, d_model=16, mixers=(MixerSpec(name="gla"),))
    stream = TASKS["pairs first"].stream(1)
    assert Overwriting(LanguageModel(config), stream.plan, 6).heads() == ()
