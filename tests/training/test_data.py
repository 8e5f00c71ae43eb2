import pytest
import torch

from mqar_bench.config import DataConfig, setting_names
from mqar_bench.tasks import MQARConfig, Segment, segment_seeds
from mqar_bench.training.data import build_data

TRAIN = (
    MQARConfig(vocab_size=64, num_examples=10, input_seq_len=16, num_kv_pairs=2),
    MQARConfig(vocab_size=64, num_examples=6, input_seq_len=32, num_kv_pairs=4),
)
TEST = (TRAIN[0], TRAIN[1], TRAIN[1])


def batches(data, epoch, size=4):
    return list(data.training_batches(size, epoch))


def same(a, b):
    return len(a) == len(b) and all(torch.equal(x.tokens, y.tokens) for x, y in zip(a, b, strict=True))


def test_segments_come_in_order_and_the_same_every_epoch():
    data = build_data(DataConfig(train=TRAIN, test=TEST))
    first = batches(data, 0)
    assert [tuple(b.tokens.shape) for b in first] == [(4, 16), (4, 16), (2, 16), (4, 32), (2, 32)]
    assert len(first) == data.count_batches(4)
    assert same(first, batches(data, 1))
    assert all(t.dtype == torch.int64 for t in (first[0].tokens, first[0].positions, first[0].answers))


def test_segment_seeds_are_zoologys():
    data = build_data(DataConfig(train=TRAIN, test=TEST, seed=5))
    train, test = segment_seeds(5, 2, 3)
    assert torch.equal(data.train[1].tokens, TRAIN[1].build(train[1]).tokens)
    assert torch.equal(data.test[2].tokens, TEST[2].build(test[2]).tokens)


def test_shuffle_permutes_the_batches_by_epoch():
    plain, shuffled = (build_data(DataConfig(train=TRAIN, test=TEST, shuffle=s)) for s in (False, True))
    orders = [batches(shuffled, epoch, 2) for epoch in range(3)]
    assert not same(orders[0], orders[1]) and not same(orders[0], batches(plain, 0, 2))
    assert same(orders[0], batches(build_data(DataConfig(train=TRAIN, test=TEST, shuffle=True)), 0, 2))
    keys = [sorted(tuple(b.tokens.flatten().tolist()) for b in order) for order in (*orders, batches(plain, 0, 2))]
    assert all(k == keys[0] for k in keys)


def test_fresh_draws_new_examples_each_epoch_and_repeats_by_seed():
    data = build_data(DataConfig(train=TRAIN, test=TEST, fresh=True))
    epochs = [batches(data, epoch) for epoch in range(3)]
    assert not same(epochs[0], epochs[1]) and not same(epochs[1], epochs[2])
    again = build_data(DataConfig(train=TRAIN, test=TEST, fresh=True))
    assert all(same(batches(again, epoch), epochs[epoch]) for epoch in range(3))
    assert same(epochs[0], batches(build_data(DataConfig(train=TRAIN, test=TEST)), 0))


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_an_epoch_can_be_entered_anywhere(shuffle, fresh):
    data = build_data(DataConfig(train=TRAIN, test=TEST, shuffle=shuffle, fresh=fresh))
    for epoch in range(3):
        every = batches(data, epoch)
        for start in range(len(every) + 1):
            assert same(list(data.training_batches(4, epoch, start)), every[start:])


def test_what_is_left_out_is_neither_drawn_nor_copied(monkeypatch):
    data = build_data(DataConfig(train=TRAIN, test=TEST, fresh=True))
    built, copied = [], []
    build, batch = MQARConfig.build, Segment.batch
    monkeypatch.setattr(MQARConfig, "build", lambda self, *rest: built.append(self) or build(self, *rest))
    monkeypatch.setattr(Segment, "batch", lambda self, *rest: copied.append(rest) or batch(self, *rest))
    for start, tasks in ((0, [*TRAIN]), (2, [*TRAIN]), (3, [TRAIN[1]]), (4, [TRAIN[1]]), (5, [])):
        built.clear(), copied.clear()
        assert len(list(data.training_batches(4, 1, start))) == len(copied) == 5 - start
        assert built == tasks


def test_settings_are_told_apart():
    config = DataConfig(train=TRAIN, test=TEST)
    assert setting_names(config.test) == ["L16-kv2", "L32-kv4", "L32-kv4#2"]
    data = build_data(config)
    seen = {}
    for name, batch in data.test_batches(4, 64):
        seen.setdefault(name, []).append(len(batch.tokens))
    assert seen == {"L16-kv2": [4, 4, 2], "L32-kv4": [2, 2, 2], "L32-kv4#2": [2, 2, 2]}
    assert {len(batch.tokens) for _, batch in data.test_batches(4, 1)} == {1}
