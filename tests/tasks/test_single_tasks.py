"""What single tasks promise, and which settings are impossible."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from mqar_bench.tasks import (
    TASKS,
    AssociativeRecallConfig,
    AssociativeRetrievalConfig,
    CircuitsConfig,
    CompositionalConfig,
    ForgettingConfig,
    JRTConfig,
    KHopConfig,
    StackedConfig,
    StateTrackingConfig,
    Task,
)
from tests.tasks.settings import SETTINGS, arrays


def test_a_forgotten_value_is_never_the_answer() -> None:
    for config in SETTINGS["forgetting"]:
        assert isinstance(config, ForgettingConfig)
        segment = config.build(3)
        forgotten = 0
        for tokens, positions, answers in zip(*(part.tolist() for part in arrays(segment)), strict=True):
            context = tokens[: config.context]
            values = context[1::2]
            assert len(set(values)) == len(values) == config.num_kv_pairs + config.num_updates
            first = dict(reversed(list(zip(context[0::2], values, strict=True))))
            wrong = [first[tokens[position]] != answer for position, answer in zip(positions, answers, strict=True)]
            forgotten += sum(wrong)
            # Nor is there a later binding between context and query: the key stands nowhere else.
            assert all(tokens[config.context : p].count(tokens[p]) == 0 for p in positions)
        assert forgotten == config.num_examples * config.num_updates


def test_neither_half_of_a_key_says_the_value() -> None:
    config = CompositionalConfig(num_examples=50, input_seq_len=96, num_kv_pairs=16)
    for tokens in config.build(1).tokens[:, : config.context].tolist():
        halves = tokens[0::3], tokens[1::3]
        assert len(set(zip(*halves, strict=True))) == len(set(tokens[2::3])) == 16
        for half in halves:
            assert sorted(half.count(token) for token in set(half)) == [4, 4, 4, 4]


def test_jrt_repeats_its_context() -> None:
    config = JRTConfig(num_examples=50, num_kv_pairs=4, num_passes=3)
    tokens = config.build(1).tokens
    assert torch.equal(tokens[:, :8], tokens[:, 8:16]) and torch.equal(tokens[:, :8], tokens[:, 16:24])


def test_stacked_lists_the_same_pairs_in_a_new_order() -> None:
    first, second = StackedConfig(num_examples=50, num_passes=2).build(1).tokens[:, :16].split(8, dim=1)
    assert torch.equal(first.sort(1).values, second.sort(1).values)
    assert not (first == second).all(1).any()


def test_rewriting_leaves_the_latest_value() -> None:
    config = AssociativeRetrievalConfig(num_examples=2000, num_kv_pairs=30, mode="rewrite")
    segment = config.build(1)
    pairs = segment.tokens[:, :120].reshape(2000, 30, 4)
    asked = pairs[:, :, 0] == segment.tokens[:, 120:121]
    assert asked.any(1).all() and asked.sum(1).float().mean() > 1.8  # 30 draws among 16 keys
    values, again = pairs[:, :, 2], asked.sum(1) > 1
    first = values.gather(1, asked.int().argmax(1, keepdim=True))
    assert ((first == segment.answers)[again].float().mean() - 1 / 16).abs() < 0.03  # by chance alone


def test_remembering_has_every_key_once() -> None:
    config = AssociativeRetrievalConfig(num_examples=50, num_kv_pairs=256, key_size=2)
    keys = config.build(1).tokens[:, : 256 * 5].reshape(50, 256, 5)[:, :, :2]
    codes = (16 * keys[:, :, 0] + keys[:, :, 1]).sort(1).values
    assert torch.equal(codes, torch.arange(256, dtype=torch.int32).expand(50, 256))


@pytest.mark.parametrize("cycles", [1, 2, 4], ids=lambda n: f"{n} cycles")
def test_edges_make_cycles_of_equal_length(cycles: int) -> None:
    config = KHopConfig(num_examples=50, num_kv_pairs=12, num_cycles=cycles)
    for tokens in config.build(1).tokens[:, : config.context].tolist():
        following = dict(zip(tokens[0::2], tokens[1::2], strict=True))
        assert len(following) == 12 and set(following.values()) == set(following)
        for start in following:
            node, steps = following[start], 1
            while node != start:
                node, steps = following[node], steps + 1
            assert steps == 12 // cycles


def test_filler_is_no_node_and_marks_say_the_hops() -> None:
    config = KHopConfig(vocab_size=66, num_examples=200, num_kv_pairs=8, num_queries=3, max_hops=5)
    segment = config.build(2)
    tokens, positions = segment.tokens, segment.positions.long()
    nodes = tokens[:, : config.context : 2]
    later = tokens[:, config.context :, None] == nodes[:, None, :]
    assert later.any(2).sum() == 3 * 200  # the start nodes
    marks = tokens.gather(1, positions - 1)
    assert sorted(marks.unique().tolist()) == [33, 34, 35, 36, 37]
    assert (segment.answers != tokens.gather(1, positions)).all()


# ---- impossible sizes

REFUSED = [
    (ForgettingConfig, {"input_seq_len": 39}, r"4 \* num_kv_pairs \+ 2 \* num_updates = 40 positions.* 39: 1 too few"),
    (ForgettingConfig, {"num_updates": 9}, "num_updates=9 is more than there are keys: num_kv_pairs is 8"),
    (ForgettingConfig, {"num_updates": 0}, "num_updates must be at least 1, got 0"),
    (ForgettingConfig, {"vocab_size": 64}, "input_seq_len=64 needs 65, but vocab_size is 64: 1 too few"),
    (ForgettingConfig, {"power_a": float("inf")}, "power_a=inf leaves the floating point range with 20 slots"),
    (CompositionalConfig, {"num_kv_pairs": 8}, "num_kv_pairs must be a square such as 4 or 9, got 8"),
    (CompositionalConfig, {"num_kv_pairs": 16}, r"6 \* num_kv_pairs = 96 positions, .* 64: 32 too few"),
    (CompositionalConfig, {"num_kv_pairs": 0}, "num_kv_pairs must be at least 1, got 0"),
    (CompositionalConfig, {"power_a": -1.0}, "power_a must be above 0, got -1.0"),
    (JRTConfig, {"num_passes": 1}, "must be at least 2, got 1: a single pass is the task 'multiquery_ar'"),
    (JRTConfig, {"num_passes": 0}, "num_passes must be at least 2, got 0"),
    (JRTConfig, {"num_passes": 4}, r"2 \* num_kv_pairs \* \(num_passes \+ 1\) = 80 positions, .* 16 too few"),
    (JRTConfig, {"num_passes": 10**9}, "num_passes must be at most 1048576"),
    (
        StackedConfig,
        {"num_kv_pairs": 90},
        r"\(num_kv_pairs \+ 1\) \*\* 2 = 8281 tokens, but vocab_size is 8192: 89 too",
    ),
    (StackedConfig, {"num_passes": 0}, "num_passes must be at least 1, got 0"),
    (StackedConfig, {"num_passes": 2**20}, "the examples have 8388616 tokens each, and may have at most 1048576"),
    (StackedConfig, {"input_seq_len": 64}, "Extra inputs are not permitted"),
    (AssociativeRetrievalConfig, {"num_kv_pairs": 17}, r"num_symbols \*\* key_size = 16 \*\* 1 = 16: give longer keys"),
    (AssociativeRetrievalConfig, {"key_size": 8}, r"at most 2147483648 different keys, got .* = 16 \*\* 8"),
    (AssociativeRetrievalConfig, {"key_size": 10**9}, "key_size must be at most 31, got 1000000000"),
    (AssociativeRetrievalConfig, {"num_symbols": 1}, "num_symbols must be at least 2, got 1"),
    (AssociativeRetrievalConfig, {"num_symbols": 2**24}, "num_symbols must be at most 16777213, got 16777216"),
    (AssociativeRetrievalConfig, {"value_size": 0}, "value_size must be at least 1, got 0"),
    (AssociativeRetrievalConfig, {"value_size": 2**20}, "the examples have 11534367 tokens each"),
    (AssociativeRetrievalConfig, {"mode": "forget"}, "Input should be 'remember' or 'rewrite'"),
    (AssociativeRecallConfig, {"num_queries": 9}, "num_queries=9 is more than there are keys: num_kv_pairs is 8"),
    (AssociativeRecallConfig, {"num_queries": 0}, "num_queries must be at least 1, got 0"),
    (
        AssociativeRecallConfig,
        {"num_kv_pairs": 32},
        r"2 \* num_kv_pairs \+ num_queries = 65 positions, .* 64: 1 too few",
    ),
    (AssociativeRecallConfig, {"vocab_size": 64}, "input_seq_len=64 needs 65, but vocab_size is 64: 1 too few"),
    (CircuitsConfig, {"circuit": "xor"}, "Input should be 'parity', 'majority', 'vocab_majority', 'cumulative_parity'"),
    (CircuitsConfig, {"num_symbols": 3}, "num_symbols must be 2 for parity, got 3: take vocab_majority"),
    (CircuitsConfig, {"num_symbols": 1}, "num_symbols must be at least 2, got 1"),
    (CircuitsConfig, {"num_symbols": 2**24}, "num_symbols must be at most 16777215, got 16777216"),
    (CircuitsConfig, {"input_seq_len": 0}, "input_seq_len must be at least 1, got 0"),
    (CircuitsConfig, {"circuit": "vocab_majority", "input_seq_len": 1}, "input_seq_len must be at least 2, got 1"),
    (CircuitsConfig, {"vocab_size": 3}, "Extra inputs are not permitted"),
    (KHopConfig, {"num_queries": 9}, "num_queries=9 is more than there are nodes: num_kv_pairs is 8"),
    (KHopConfig, {"num_cycles": 3}, "num_cycles=3 must divide num_kv_pairs=8"),
    (KHopConfig, {"min_hops": 3}, "min_hops=3 is more than max_hops=2"),
    (KHopConfig, {"min_hops": 0}, "min_hops must be at least 1, got 0"),
    (KHopConfig, {"max_hops": 4, "num_cycles": 2}, r"below num_kv_pairs / num_cycles = 4, the nodes of a cycle"),
    (KHopConfig, {"num_kv_pairs": 29}, r"2 \* num_kv_pairs \+ 2 \* num_queries = 66 positions, .* 64: 2 too few"),
    (StateTrackingConfig, {"group": "s5"}, "group must be Z, S or A and a number, such as Z2, .*, got 's5'"),
    (StateTrackingConfig, {"group": "Z2_x_Z2_x_Z2"}, "or two of these, such as A4_x_Z5, got 'Z2_x_Z2_x_Z2'"),
    (StateTrackingConfig, {"group": "S7"}, "group S7: the number after S must be from 2 to 6"),
    (
        StateTrackingConfig,
        {"group": "Z5000_x_Z5000"},
        "the task has 25000000 tokens, and a vocabulary at most 16777216",
    ),
    (StateTrackingConfig, {"scored": "first"}, "Input should be 'all' or 'last'"),
    *((cls, {"num_examples": 0}, "num_examples must be at least 1, got 0") for cls in TASKS.values()),
    *((cls, {"num_examples": 10**9}, "num_examples must be at most 100000000") for cls in TASKS.values()),
]


@pytest.mark.parametrize(
    ("cls", "fields", "message"),
    REFUSED,
    ids=lambda value: "-".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_impossible_settings_are_refused_in_one_clear_line(
    cls: type[Task], fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        cls(**fields)
    (error,) = caught.value.errors()
    assert "\n" not in error["msg"]


def test_the_largest_settings_are_accepted() -> None:
    assert StackedConfig(num_kv_pairs=89).input_seq_len == 178
    assert AssociativeRetrievalConfig(num_kv_pairs=16, key_size=1).vocab_size == 19
    assert AssociativeRetrievalConfig(num_symbols=2, key_size=31).build(0).tokens.max() == 4
    assert CompositionalConfig(input_seq_len=2**20, num_kv_pairs=174724, vocab_size=2**20 + 1).slots == 174801
