"""The laws of the tasks beside MQAR (test_mqar_statistics): small settings against all their outcomes, and marginals.

Seeds are fixed, so no test is flaky.
"""

from collections import Counter
from itertools import combinations, permutations, product
from typing import Any

import numpy as np
import pytest

from mqar_bench.tasks import (
    AssociativeRecallConfig,
    AssociativeRetrievalConfig,
    CircuitsConfig,
    CompositionalConfig,
    ForgettingConfig,
    JRTConfig,
    KHopConfig,
    MultiValueMQARConfig,
    QueryTask,
    StackedConfig,
    StateTrackingConfig,
    Task,
)
from mqar_bench.tasks.sampling import distinct, fill
from tests.tasks.test_mqar_statistics import Floats, Ints, assert_law, count_choices, slot_law, successive_law


def tokens_of(config: Task, seed: int) -> Ints:
    return config.build(seed).tokens.numpy().astype(np.int64)


def uniform(count: int) -> Floats:
    return np.full(count, 1 / count)


def slots_by_place(config: QueryTask, tokens: Ints, places: Ints) -> Ints:
    """[N, K]: the slot in which the key at each of the places of the context is queried; without filler."""
    queries = tokens[:, config.context :]
    columns = np.arange(0, config.slots * config.slot_width, config.slot_width)
    return (tokens[:, places][:, :, None] == queries[:, columns][:, None, :]).argmax(axis=2)


# ---- the joint law of whole examples


def test_forgetting_examples() -> None:
    # Keys 1..4, values 5..10, which of two keys is bound anew, 2 slots: 12 * 120 * 2 * 2 outcomes.
    config = ForgettingConfig(
        vocab_size=11, num_examples=200_000, input_seq_len=10, num_kv_pairs=2, num_updates=1, random_non_queries=False
    )
    tokens = tokens_of(config, 1)
    keys, old, new = tokens[:, [0, 2]], tokens[:, [1, 3]], tokens[:, [5]]
    updated = (tokens[:, [4]] == keys[:, [1]]).astype(np.int64)
    slots = slots_by_place(config, tokens, np.array([0, 2]))
    rows = np.concatenate([keys, old, new, updated, slots], axis=1)
    law = successive_law(slot_law(config.slots, 0.01), 2)
    outcomes = {
        (*key, *value, which, *slot): probability / (12 * 120 * 2)
        for key in permutations(range(1, 5), 2)
        for value in permutations(range(5, 11), 3)
        for which in (0, 1)
        for slot, probability in law.items()
    }
    assert_law(count_choices(rows, list(outcomes)), np.array(list(outcomes.values())))


@pytest.mark.parametrize("alphabet", [None, 2])
def test_values_of_two_tokens(alphabet: int | None) -> None:
    # Keys 1..7, tokens of values 8..15 or the first two of these, three slots of three positions.
    config = MultiValueMQARConfig(
        vocab_size=16,
        num_examples=200_000,
        input_seq_len=15,
        num_kv_pairs=2,
        alphabet=alphabet,
        random_non_queries=False,
    )
    tokens = tokens_of(config, 3)
    keys, values = tokens[:, [0, 3]], tokens[:, [1, 2, 4, 5]]
    slots = slots_by_place(config, tokens, np.array([0, 3]))
    first = 8
    said = permutations(range(first, 16), 4) if alphabet is None else product(range(first, first + alphabet), repeat=4)
    law = successive_law(slot_law(config.slots, 0.01), 2)
    assert_law(count_choices(slots, list(law)), np.array(list(law.values())))
    assert_law(count_choices(keys, list(permutations(range(1, 8), 2))), uniform(42))
    assert_law(count_choices(values, outcomes := list(said)), uniform(len(outcomes)))


def test_stacked_examples() -> None:
    # Keys and values 1..3, two pairs, asked for in two orders: 6 * 6 * 2 outcomes.
    tokens = tokens_of(StackedConfig(vocab_size=16, num_examples=50_000, num_kv_pairs=2), 2)
    outcomes = [
        (4 * k[0] + v[0], 4 * k[1] + v[1], 4 * k[order], 4 * k[1 - order])
        for k in permutations(range(1, 4), 2)
        for v in permutations(range(1, 4), 2)
        for order in (0, 1)
    ]
    assert_law(count_choices(tokens, outcomes), uniform(72))


@pytest.mark.parametrize("mode", ["remember", "rewrite"])
def test_associative_retrieval_examples(mode: Any) -> None:
    # Three keys of three symbols, three values, and one of the different keys as the question.
    config = AssociativeRetrievalConfig(num_examples=200_000, num_kv_pairs=3, num_symbols=3, mode=mode)
    rows = tokens_of(config, 3)[:, [0, 2, 4, 6, 8, 10, 12]]
    weights = {
        (k[0], v[0], k[1], v[1], k[2], v[2], asked): 1 / len(set(k))
        for k in (permutations(range(3)) if mode == "remember" else product(range(3), repeat=3))
        for v in product(range(3), repeat=3)
        for asked in set(k)
    }
    probabilities = np.array(list(weights.values()))
    assert_law(count_choices(rows, list(weights)), probabilities / probabilities.sum())


def test_associative_recall_examples() -> None:
    # Keys 1..3, values 4..7, both of two pairs asked for in 3 positions: 6 * 12 * 6 outcomes.
    config = AssociativeRecallConfig(
        vocab_size=8, num_examples=200_000, input_seq_len=7, num_kv_pairs=2, num_queries=2, random_non_queries=False
    )
    tokens = tokens_of(config, 11)
    slots = (tokens[:, [0, 2]][:, :, None] == tokens[:, 4:][:, None, :]).argmax(axis=2)
    rows = np.concatenate([tokens[:, :4], slots], axis=1)
    outcomes = [
        (k[0], v[0], k[1], v[1], *slot)
        for k in permutations(range(1, 4), 2)
        for v in permutations(range(4, 8), 2)
        for slot in permutations(range(3), 2)
    ]
    assert_law(count_choices(rows, outcomes), uniform(len(outcomes)))


@pytest.mark.parametrize("circuit", ["parity", "majority", "cumulative_parity", "cumulative_majority"])
def test_circuits_symbols_are_independent_and_uniform(circuit: Any) -> None:
    config = CircuitsConfig(num_examples=50_000, input_seq_len=6, circuit=circuit)
    symbols = tokens_of(config, 14)[:, : 6 if config.cumulative else 5]
    choices = list(product(range(2), repeat=symbols.shape[1]))
    assert_law(count_choices(symbols, choices), uniform(len(choices)))


def test_the_most_frequent_symbol_is_made_so_where_there_are_several() -> None:
    # Four symbols of three. Of several that are the most frequent, the smallest takes the first other place.
    law = Counter[tuple[int, ...]]()
    for drawn in product(range(1, 4), repeat=4):
        row, times = list(drawn), Counter(drawn)
        most = [symbol for symbol in sorted(times) if times[symbol] == max(times.values())]
        if len(most) > 1:
            row[next(i for i in range(4) if row[i] != most[0])] = most[0]
        law[(*row, most[0])] += 1
    config = CircuitsConfig(num_examples=100_000, input_seq_len=5, circuit="vocab_majority", num_symbols=3)
    segment = config.build(15)
    rows = np.concatenate([segment.tokens.numpy()[:, :4], segment.answers.numpy()], axis=1).astype(np.int64)
    assert_law(count_choices(rows, list(law)), np.array(list(law.values())) / 81)


def test_k_hop_examples() -> None:
    # Nodes 1..4, three on a cycle, its edges in any order; any two of them in two slots, one or two hops each.
    config = KHopConfig(
        vocab_size=11, num_examples=200_000, input_seq_len=10, num_kv_pairs=3, num_queries=2, random_non_queries=False
    )
    tokens = tokens_of(config, 16)
    law = Counter[tuple[int, ...]]()
    for cycle in permutations(range(1, 5), 3):
        for edges in permutations(range(3)):
            context = [cycle[(i + step) % 3] for i in edges for step in (0, 1)]
            for starts in permutations(range(3), 2):
                for hops in product((1, 2), repeat=2):
                    law[(*context, 4 + hops[0], cycle[starts[0]], 4 + hops[1], cycle[starts[1]])] += 1
    counts = count_choices(tokens, list(law))
    assert_law(counts, np.array(list(law.values())) / law.total())


@pytest.mark.parametrize("group, elements", [("Z5", 5), ("S3", 6)])
def test_tracked_elements_are_independent_and_uniform_and_so_is_the_last_state(group: str, elements: int) -> None:
    config = StateTrackingConfig(num_examples=50_000, input_seq_len=3, group=group, scored="last")
    choices = list(product(range(elements), repeat=3))
    assert_law(count_choices(tokens_of(config, 18), choices), uniform(len(choices)))
    assert_law(np.bincount(config.build(18).answers[:, 0].numpy()), uniform(elements))


# ---- parts of examples


def test_compositional_grids_come_in_any_order() -> None:
    # What is equal to what among four halves, and so which cell of the grid stands where: 6 patterns.
    config = CompositionalConfig(vocab_size=31, num_examples=50_000, input_seq_len=30, random_non_queries=False)
    tokens = tokens_of(config, 4)
    first, second, values = (tokens[:, i : config.context : 3] for i in range(3))
    patterns = np.concatenate([first[:, :1] == first[:, 1:], second[:, :1] == second[:, 1:]], axis=1).astype(np.int64)
    choices = [(*a, *b) for a in permutations((1, 0, 0)) for b in permutations((1, 0, 0)) if a != b]
    assert_law(count_choices(patterns, list(dict.fromkeys(choices))), uniform(6))
    for place in range(4):
        assert_law(np.bincount(first[:, place] - 1, minlength=9), uniform(9))
        assert_law(np.bincount(second[:, place] - 10, minlength=10), uniform(10))
        assert_law(np.bincount(values[:, place] - 20, minlength=11), uniform(11))


def test_compositional_queries_follow_the_law_of_the_slots() -> None:
    config = CompositionalConfig(vocab_size=60, num_examples=50_000, input_seq_len=28, random_non_queries=False)
    segment = config.build(5)
    tokens, positions, answers = (part.numpy() for part in (segment.tokens, segment.positions, segment.answers))
    values = tokens[:, 2 : config.context : 3]
    query = (values[:, :, None] == answers[:, None, :]).argmax(axis=2)  # of the pair at each place
    slots = (np.take_along_axis(positions, query, axis=1) - config.context) // 3
    law = successive_law(slot_law(5, 0.01), 4)
    assert_law(count_choices(slots.astype(np.int64), list(law)), np.array(list(law.values())))


def test_jrt_examples_follow_mqars_law() -> None:
    config = JRTConfig(vocab_size=21, num_examples=100_000, input_seq_len=20, num_kv_pairs=2, random_non_queries=False)
    tokens = tokens_of(config, 6)
    slots = slots_by_place(config, tokens, np.array([0, 2]))
    law = successive_law(slot_law(6, 0.01), 2)
    assert_law(count_choices(slots, list(law)), np.array(list(law.values())))
    keys, values = list(permutations(range(1, 10), 2)), list(permutations(range(10, 21), 2))
    assert_law(count_choices(tokens[:, [0, 2]], keys), uniform(len(keys)))
    assert_law(count_choices(tokens[:, [1, 3]], values), uniform(len(values)))


def test_one_query_is_for_any_key_at_any_place() -> None:
    config = AssociativeRecallConfig(vocab_size=40, num_examples=50_000, input_seq_len=11, num_kv_pairs=4)
    segment = config.build(12)
    tokens, positions = tokens_of(config, 12), segment.positions.numpy().astype(np.int64)
    asked = (tokens[:, 0:8:2] == np.take_along_axis(tokens, positions, axis=1)).argmax(axis=1)
    rows = np.concatenate([asked[:, None], positions], axis=1)
    assert_law(count_choices(rows, list(product(range(4), (8, 9, 10)))), uniform(12))
    early = config.model_copy(update={"power_a": 0.01}).build(13).positions.numpy()[:, 0] - 8
    assert_law(np.bincount(early, minlength=3), slot_law(3, 0.01))


def test_starts_of_hops_follow_the_law_of_the_slots() -> None:
    config = KHopConfig(vocab_size=60, num_examples=50_000, input_seq_len=18, num_kv_pairs=4, num_queries=2)
    slots = np.sort((config.build(17).positions.numpy().astype(np.int64) - config.context) // 2, axis=1)
    orders = successive_law(slot_law(5, 0.01), 2)
    law = {(i, j): orders[i, j] + orders[j, i] for i, j in combinations(range(5), 2)}
    assert_law(count_choices(slots, list(law)), np.array(list(law.values())))


def test_stacked_questions_come_in_any_order() -> None:
    config = StackedConfig(vocab_size=49, num_examples=50_000, num_kv_pairs=3, num_passes=2)
    tokens = tokens_of(config, 7)
    listed = tokens[:, :3] // 7 * 7
    asked = (tokens[:, 6:, None] == listed[:, None, :]).argmax(axis=2)
    again = (tokens[:, 3:6, None] == tokens[:, None, :3]).argmax(axis=2)
    orders = [(*a, *b) for a in permutations(range(3)) for b in permutations(range(3))]
    assert_law(count_choices(np.concatenate([asked, again], axis=1), orders), uniform(36))


def test_long_keys_and_values_are_uniform() -> None:
    for mode in ("remember", "rewrite"):
        config = AssociativeRetrievalConfig(
            num_examples=20_000, num_kv_pairs=4, key_size=2, value_size=2, num_symbols=4, mode=mode
        )
        pairs = tokens_of(config, 8)[:, :24].reshape(-1, 6)
        assert_law(np.bincount(4 * pairs[:, 0] + pairs[:, 1]), uniform(16))
        assert_law(np.bincount(4 * pairs[:, 3] + pairs[:, 4]), uniform(16))


# ---- the draws themselves


@pytest.mark.parametrize("k", [1, 2, 3, 4], ids=lambda k: f"{k}of4")
def test_distinct_integers_are_uniform_however_many_there_are(k: int) -> None:
    rows = distinct(np.random.default_rng(9), 50_000, k, 3, 7).astype(np.int64)
    choices = list(permutations(range(3, 7), k))
    assert_law(count_choices(rows, choices), uniform(len(choices)))


def test_filler_is_uniform_on_all_tokens_but_those_left_out() -> None:
    without = np.tile([[0, 5, 4], [9, 1, 2]], (500, 1))
    tokens = np.empty((1000, 60), dtype=np.int32)
    fill(np.random.default_rng(10), tokens, 10, without)
    for row, left in enumerate(([1, 2, 3, 6, 7, 8, 9], [0, 3, 4, 5, 6, 7, 8])):
        counts = np.bincount(tokens[row::2].ravel(), minlength=10)
        assert counts.sum() == counts[left].sum() == 30_000
        assert_law(counts[left], uniform(7))
