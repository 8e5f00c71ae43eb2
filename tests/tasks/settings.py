"""Of every task a few settings, for the tests that hold for all."""

import pytest
import torch

from mqar_bench.tasks import (
    TASKS,
    AssociativeRecallConfig,
    AssociativeRetrievalConfig,
    CircuitsConfig,
    CompositionalConfig,
    DistantMQARConfig,
    ForgettingConfig,
    JRTConfig,
    KHopConfig,
    MQARConfig,
    MultiValueMQARConfig,
    Segment,
    StackedConfig,
    StateTrackingConfig,
    StoryQAConfig,
    StreamTask,
    Task,
)

#: Of each task: its smallest setting, one without a spare position, a usual one, and what else is special.
SETTINGS: dict[str, list[Task]] = {
    "multiquery_ar": [
        MQARConfig(vocab_size=5, num_examples=3, input_seq_len=4, num_kv_pairs=1),
        MQARConfig(vocab_size=65, num_examples=40, num_kv_pairs=16),
        MQARConfig(num_examples=40, num_kv_pairs=4, random_non_queries=False),
    ],
    "forgetting": [
        ForgettingConfig(vocab_size=7, num_examples=3, input_seq_len=6, num_kv_pairs=1, num_updates=1),
        ForgettingConfig(vocab_size=37, num_examples=40, input_seq_len=36, num_kv_pairs=6, num_updates=6),
        ForgettingConfig(vocab_size=66, num_examples=200, num_kv_pairs=4, num_updates=3),  # filler is often near a key
        ForgettingConfig(num_examples=40, input_seq_len=65, random_non_queries=False),
    ],
    "compositional": [
        CompositionalConfig(vocab_size=7, num_examples=3, input_seq_len=6, num_kv_pairs=1),
        CompositionalConfig(vocab_size=97, num_examples=40, input_seq_len=96, num_kv_pairs=16),
        CompositionalConfig(num_examples=40, num_kv_pairs=9),
        CompositionalConfig(num_examples=40, input_seq_len=65, random_non_queries=False),
    ],
    "stacked": [
        StackedConfig(vocab_size=4, num_examples=3, num_kv_pairs=1),
        StackedConfig(vocab_size=81, num_examples=40, num_kv_pairs=8, num_passes=3),
        StackedConfig(num_examples=40, num_kv_pairs=16),
    ],
    "jrt": [
        JRTConfig(vocab_size=7, num_examples=3, input_seq_len=6, num_kv_pairs=1),
        JRTConfig(vocab_size=65, num_examples=40, num_kv_pairs=8, num_passes=3),
        JRTConfig(num_examples=40, input_seq_len=65, num_kv_pairs=4),
        JRTConfig(num_examples=40, num_kv_pairs=4, random_non_queries=False),
    ],
    "associative_retrieval": [
        AssociativeRetrievalConfig(num_examples=3, num_kv_pairs=1, num_symbols=2),
        AssociativeRetrievalConfig(num_examples=40, num_kv_pairs=16),  # every key there is
        AssociativeRetrievalConfig(num_examples=40, num_kv_pairs=20, key_size=2, value_size=3),
        AssociativeRetrievalConfig(num_examples=3, num_kv_pairs=1, num_symbols=2, mode="rewrite"),
        AssociativeRetrievalConfig(num_examples=200, num_kv_pairs=50, mode="rewrite"),
        AssociativeRetrievalConfig(num_examples=40, num_kv_pairs=9, num_symbols=3, key_size=2, mode="rewrite"),
    ],
    "associative_recall": [
        AssociativeRecallConfig(vocab_size=4, num_examples=3, input_seq_len=3, num_kv_pairs=1),
        AssociativeRecallConfig(vocab_size=36, num_examples=40, input_seq_len=35, num_kv_pairs=15, num_queries=5),
        AssociativeRecallConfig(num_examples=40, num_kv_pairs=8, num_queries=8),
        AssociativeRecallConfig(num_examples=40, input_seq_len=63, power_a=0.01, random_non_queries=False),
    ],
    "circuits": [
        CircuitsConfig(num_examples=3, input_seq_len=1),  # of no symbols
        CircuitsConfig(num_examples=40, input_seq_len=33),
        CircuitsConfig(num_examples=3, input_seq_len=1, circuit="majority"),
        CircuitsConfig(num_examples=40, input_seq_len=17, circuit="majority"),  # ties are usual
        CircuitsConfig(num_examples=3, input_seq_len=2, circuit="vocab_majority"),
        CircuitsConfig(num_examples=200, input_seq_len=13, circuit="vocab_majority", num_symbols=5),
        CircuitsConfig(num_examples=40, circuit="vocab_majority", num_symbols=8191),
        CircuitsConfig(num_examples=3, input_seq_len=1, circuit="cumulative_parity"),
        CircuitsConfig(num_examples=40, circuit="cumulative_parity"),
        CircuitsConfig(num_examples=3, input_seq_len=1, circuit="cumulative_majority"),
        CircuitsConfig(num_examples=40, circuit="cumulative_majority"),
    ],
    "k_hop": [
        KHopConfig(vocab_size=7, num_examples=3, input_seq_len=6, num_kv_pairs=2, num_queries=1, max_hops=1),
        KHopConfig(vocab_size=65, num_examples=40, num_kv_pairs=16, num_queries=16, max_hops=15),
        KHopConfig(num_examples=40, num_kv_pairs=12, max_hops=3, num_cycles=3),
        KHopConfig(num_examples=40, input_seq_len=65, min_hops=4, max_hops=4, random_non_queries=False),
    ],
    "multi_value_mqar": [
        MultiValueMQARConfig(vocab_size=5, num_examples=3, input_seq_len=4, num_kv_pairs=1, num_value_tokens=1),
        MultiValueMQARConfig(vocab_size=81, num_examples=40, input_seq_len=80, num_kv_pairs=8, num_value_tokens=4),
        MultiValueMQARConfig(num_examples=40, num_kv_pairs=5, num_value_tokens=3, alphabet=2),
        MultiValueMQARConfig(num_examples=40, input_seq_len=65, random_non_queries=False),
    ],
    "state_tracking": [
        StateTrackingConfig(num_examples=3, input_seq_len=1, group="Z2"),
        StateTrackingConfig(num_examples=40, input_seq_len=33, group="Z2", scored="last"),
        StateTrackingConfig(num_examples=40, input_seq_len=100, group="Z60"),
        StateTrackingConfig(num_examples=40, input_seq_len=17, group="S3"),
        StateTrackingConfig(num_examples=40, input_seq_len=63, group="A4_x_Z5"),
        StateTrackingConfig(num_examples=40, group="A5"),
        StateTrackingConfig(num_examples=40, scored="last"),
    ],
    "distant_mqar": [
        DistantMQARConfig(vocab_size=4, num_examples=3, input_seq_len=4, num_kv_pairs=1, filler="spare"),
        DistantMQARConfig(vocab_size=34, num_examples=40, input_seq_len=64, num_kv_pairs=16, filler="any"),
        DistantMQARConfig(vocab_size=30, num_examples=200, input_seq_len=65, num_kv_pairs=4),  # often near a key
        DistantMQARConfig(
            vocab_size=99, num_examples=40, input_seq_len=65, num_kv_pairs=5, filler="spare", num_spare=50
        ),
        DistantMQARConfig(num_examples=40, input_seq_len=301, num_kv_pairs=3, num_spare=4000),
    ],
    "story_qa": [
        StoryQAConfig(
            vocab_size=14, num_examples=3, input_seq_len=6, num_facts=1, num_people=1, num_places=1, num_objects=1
        ),
        StoryQAConfig(num_examples=200, input_seq_len=27),
        StoryQAConfig(num_examples=200, input_seq_len=100, num_facts=20, num_people=5, num_places=3),
        StoryQAConfig(num_examples=40, input_seq_len=9, num_facts=2, supporting_facts=2, num_people=16),
        StoryQAConfig(
            num_examples=200, input_seq_len=500, num_facts=30, supporting_facts=2, num_people=3, num_objects=4
        ),
    ],
}
ALL = [config for configs in SETTINGS.values() for config in configs]

STREAMED = [config for config in ALL if isinstance(config, StreamTask)]

every_task = pytest.mark.parametrize("name", TASKS)
every_setting = pytest.mark.parametrize("config", ALL, ids=lambda config: config.label)


def same(a: Segment, b: Segment) -> bool:
    return all(torch.equal(getattr(a, x), getattr(b, x)) for x in ("tokens", "positions", "answers"))


def arrays(segment: Segment) -> list[torch.Tensor]:
    return [segment.tokens, segment.positions, segment.answers]
