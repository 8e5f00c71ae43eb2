"""MQAR's distribution: both samplers against the exact law where that can be listed, and against each other.

Seeds are fixed, so no test is flaky; the thresholds are in standard deviations of a right sampler.
"""

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray

from mqar_bench.tasks import MQARConfig, Segment, mqar
from mqar_bench.tasks.mqar import Sampler

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SIGMAS = 4.5


def chi_square_sigmas(counts: Ints, probabilities: Floats) -> float:
    """How far Pearson's statistic is from its mean, in standard deviations (Wilson-Hilferty)."""
    expected = counts.sum() * probabilities
    assert expected.min() >= 5, "too few samples for the approximation"
    df = counts.size - 1
    ratio = float(((counts - expected) ** 2 / expected).sum()) / df
    return float((ratio ** (1 / 3) - (1 - 2 / (9 * df))) / (2 / (9 * df)) ** 0.5)


def assert_law(counts: Ints, probabilities: Floats) -> None:
    assert abs(chi_square_sigmas(counts, probabilities)) < SIGMAS


def unpack(segment: Segment) -> tuple[Ints, Ints, Ints]:
    """Keys, values and slots of the queries, each [N, K] and pair by pair in the order of the context."""
    tokens, positions = segment.tokens.numpy().astype(np.int64), segment.positions.numpy().astype(np.int64)
    k = segment.slices["num_kv_pairs"]
    keys, values = tokens[:, 0 : 2 * k : 2], tokens[:, 1 : 2 * k : 2]
    queried = np.take_along_axis(tokens, positions, axis=1)
    query_of_pair = (keys[:, :, None] == queried[:, None, :]).argmax(axis=2)
    return keys, values, (np.take_along_axis(positions, query_of_pair, axis=1) - 2 * k) // 2


def slot_law(slots: int, power_a: float) -> Floats:
    weights = [(i + 1) ** (power_a - 1) for i in range(slots)]
    return np.array([weight / sum(weights) for weight in weights])


def successive_law(p: Floats, k: int) -> dict[tuple[int, ...], float]:
    """Every ordered choice of k slots with its probability when slot after slot is drawn among those left."""
    law = {}
    for choice in permutations(range(len(p)), k):
        left, probability = 1.0, 1.0
        for slot in choice:
            probability *= p[slot] / left
            left -= p[slot]
        law[choice] = probability
    assert abs(sum(law.values()) - 1) < 1e-12
    return law


def count_choices(rows: Ints, choices: Sequence[tuple[int, ...]]) -> Ints:
    """How often each of the choices occurs among the rows; every row must be one of them."""
    base = int(rows.max()) + 1
    powers = base ** np.arange(rows.shape[1])
    codes = np.array(choices) @ powers
    order = np.argsort(codes)
    index = np.searchsorted(codes[order], rows @ powers)
    assert (codes[order][np.minimum(index, len(codes) - 1)] == rows @ powers).all(), "an impossible choice"
    counts = np.empty(len(choices), dtype=np.int64)
    counts[order] = np.bincount(index, minlength=len(choices))
    return counts


# ---- slots


@pytest.mark.parametrize(
    ("sampler", "num_examples", "length", "power_a"),
    [
        ("fast", 100_000, 18, 0.01),
        ("fast", 100_000, 18, 1.0),
        ("fast", 100_000, 18, 2.5),
        ("fast", 100_000, 12, 0.01),
        ("zoology", 20_000, 18, 0.01),
        ("zoology", 20_000, 12, 0.01),
    ],
    ids=["fast", "fast-uniform", "fast-late", "fast-all-slots", "zoology", "zoology-all-slots"],
)
def test_slots_of_the_pairs_follow_successive_sampling(
    sampler: Sampler, num_examples: int, length: int, power_a: float
) -> None:
    # 3 pairs in 6 slots (120 ordered choices) or 3 slots (6): the whole joint law, so which pair sits where.
    config = MQARConfig(vocab_size=20, num_examples=num_examples, input_seq_len=length, num_kv_pairs=3, power_a=power_a)
    _, _, gaps = unpack(config.build(1, sampler))
    law = successive_law(slot_law(length // 2 - 3, power_a), 3)
    assert_law(count_choices(gaps, list(law)), np.array(list(law.values())))


def test_the_slot_test_sees_a_wrong_law() -> None:
    config = MQARConfig(vocab_size=20, num_examples=20_000, input_seq_len=18, num_kv_pairs=3)
    _, _, gaps = unpack(config.build(1))
    law = successive_law(slot_law(6, 0.01), 3)
    probabilities = np.array(list(law.values()))

    def sigmas(rows: Ints) -> float:
        return chi_square_sigmas(count_choices(rows, list(law)), probabilities)

    _, _, uniform = unpack(config.model_copy(update={"power_a": 1.0}).build(1))
    _, _, slightly_off = unpack(config.model_copy(update={"power_a": 0.1}).build(1))
    assert sigmas(uniform) > 20
    assert sigmas(slightly_off) > SIGMAS
    assert sigmas(np.sort(gaps, axis=1)) > 20  # right sets of slots, wrong pairs
    assert sigmas(gaps[:, ::-1]) > 20


@pytest.fixture(scope="module")
def both_gaps() -> tuple[Ints, Ints]:
    """Slots [N, 4] by pair from the fast and the zoology sampler, 28 slots."""
    many = MQARConfig(vocab_size=128, num_examples=100_000, num_kv_pairs=4)
    fewer = MQARConfig(vocab_size=128, num_examples=20_000, num_kv_pairs=4)
    return unpack(many.build(2))[2], unpack(fewer.build(2, sampler="zoology"))[2]


def test_first_slot_has_the_stated_law(both_gaps: tuple[Ints, Ints]) -> None:
    for gaps in both_gaps:
        assert_law(np.bincount(gaps[:, 0], minlength=28), slot_law(28, 0.01))


def test_slots_agree_with_zoologys(both_gaps: tuple[Ints, Ints]) -> None:
    def features(gaps: Ints) -> Floats:
        """[N, F], quantities whose means must agree."""
        included = (gaps[:, :, None] == np.arange(28)).any(axis=1)  # the set of slots
        earliest = gaps.argmin(axis=1)[:, None] == np.arange(4)  # which pair is queried first
        products = [gaps[:, i] * gaps[:, j] for i in range(4) for j in range(i)]
        return np.column_stack([included, earliest, gaps, gaps**2, *products]).astype(np.float64)

    fast, zoology = map(features, both_gaps)
    error = np.sqrt(fast.var(axis=0) / len(fast) + zoology.var(axis=0) / len(zoology))
    assert (np.abs(fast.mean(axis=0) - zoology.mean(axis=0)) / error).max() < SIGMAS
    # Later pairs find the early slots taken, in both: a sampler that forgot the order would not show this.
    for gaps in both_gaps:
        assert (np.diff(gaps.mean(axis=0)) > 0.3).all()


# ---- keys and values


@pytest.mark.parametrize(("sampler", "num_examples"), [("fast", 200_000), ("zoology", 40_000)])
def test_joint_law_of_a_whole_example(sampler: Sampler, num_examples: int) -> None:
    # Keys 1..4, values 5..10, 3 slots: 12 * 30 * 6 outcomes. So the three parts are tested to be independent.
    config = MQARConfig(vocab_size=11, num_examples=num_examples, input_seq_len=10, num_kv_pairs=2)
    rows = np.concatenate(unpack(config.build(3, sampler)), axis=1)
    slots = successive_law(slot_law(3, 0.01), 2)
    outcomes = {
        key + value + gap: probability / (12 * 30)
        for key in permutations(range(1, 5), 2)
        for value in permutations(range(5, 11), 2)
        for gap, probability in slots.items()
    }
    assert_law(count_choices(rows, list(outcomes)), np.array(list(outcomes.values())))


def test_keys_are_uniform_where_half_of_them_are_taken() -> None:
    # 5 of the keys 1..9, about the densest setting, where most rows are redrawn: all 15,120 ordered choices.
    config = MQARConfig(vocab_size=21, num_examples=200_000, input_seq_len=20, num_kv_pairs=5)
    keys, _, _ = unpack(config.build(4))
    choices = list(permutations(range(1, 10), 5))
    assert_law(count_choices(keys, choices), np.full(len(choices), 1 / len(choices)))


def test_key_and_value_marginals_at_the_default_vocabulary() -> None:
    keys, values, _ = unpack(MQARConfig(num_examples=100_000, num_kv_pairs=4).build(5))
    for pair in range(4):
        assert_law(np.bincount(keys[:, pair] - 1, minlength=4095), np.full(4095, 1 / 4095))
        assert_law(np.bincount(values[:, pair] - 4096, minlength=4096), np.full(4096, 1 / 4096))


def test_no_key_or_value_repeats_in_a_row() -> None:
    keys, values, gaps = unpack(MQARConfig(num_examples=2_000, input_seq_len=1024, num_kv_pairs=256).build(6))
    for rows in (keys, values, gaps):
        assert (np.diff(np.sort(rows, axis=1), axis=1) > 0).all()


# ---- filler


@pytest.mark.parametrize("sampler", ["fast", "zoology"])
def test_filler_is_uniform_over_the_whole_vocabulary(sampler: Sampler) -> None:
    config = MQARConfig(vocab_size=66, num_examples=10_000, num_kv_pairs=4)
    # Another filler seed, so the unused positions are known from the unfilled twin only.
    tokens = config.build(7, sampler, filler_seed=8).tokens.numpy().astype(np.int64)
    unused = config.model_copy(update={"random_non_queries": False}).build(7, sampler).tokens.numpy() == 0
    assert_law(np.bincount(tokens[unused], minlength=66), np.full(66, 1 / 66))
    neighbours = unused[:, 1:] & unused[:, :-1]
    pairs = 66 * tokens[:, 1:][neighbours] + tokens[:, :-1][neighbours]
    assert_law(np.bincount(pairs, minlength=66**2), np.full(66**2, 66.0**-2))


def false_bindings(config: MQARConfig, sampler: Sampler) -> Ints:
    """By row: keys among the filler; those before that key's query and followed by another token than its value; the
    queries with such a key before them. ``[N, 3]``"""
    segment = config.build(0, sampler)
    keys, values, gaps = unpack(segment)
    tokens = segment.tokens.numpy().astype(np.int64)
    counts = np.zeros((len(tokens), 3), dtype=np.int64)
    for row, (line, positions) in enumerate(zip(tokens, segment.positions.numpy(), strict=True)):
        bound = dict(zip(keys[row].tolist(), values[row].tolist(), strict=True))
        queried = dict(zip(keys[row].tolist(), (2 * config.num_kv_pairs + 2 * gaps[row]).tolist(), strict=True))
        used = {*range(2 * config.num_kv_pairs), *positions.tolist()}
        line = [*line.tolist(), -1]
        found = [t for t in range(len(line) - 1) if t not in used and line[t] in bound]
        wrong = [line[t] for t in found if t < queried[line[t]] and line[t + 1] != bound[line[t]]]
        counts[row] = len(found), len(wrong), len(set(wrong))
    return counts


@pytest.mark.parametrize("sampler", ["fast", "zoology"])
@pytest.mark.parametrize(
    "length, pairs, vocab", [(64, 8, 512), (256, 64, 8192), (512, 128, 520), (1024, 256, 8192), (1024, 64, 2048)]
)
def test_so_many_filler_tokens_are_keys_as_the_docstring_says(
    length: int, pairs: int, vocab: int, sampler: Sampler
) -> None:
    config = MQARConfig(vocab_size=vocab, input_seq_len=length, num_kv_pairs=pairs, num_examples=500)
    keys = false_bindings(config, sampler)[:, 0]
    expected = (length - 3 * pairs) * pairs / vocab
    assert abs(keys.mean() - expected) < SIGMAS * keys.std() / len(keys) ** 0.5


def test_the_docstrings_table_of_keys_among_the_filler_is_measured() -> None:
    text = (mqar.__doc__ or "").partition("Means over 4,000 rows")[2]
    rows = [line.split() for line in text.splitlines() if line[-1:].isdigit()]
    lengths, pairs = ([int(number) for number in row[1:]] for row in rows[:2])
    table = [[float(number) for number in row[-len(lengths) :]] for row in rows[2:]]
    for column, (length, k) in enumerate(zip(lengths, pairs, strict=True)):
        vocab = 520 if column == len(lengths) - 1 else 8192
        config = MQARConfig(vocab_size=vocab, input_seq_len=length, num_kv_pairs=k, num_examples=4_000)
        keys, wrong, queries = false_bindings(config, "fast").mean(axis=0)
        found = [keys, wrong, 100 * queries / k]
        assert [round(number, 2) for number in found] == [line[column] for line in table], (length, k)
