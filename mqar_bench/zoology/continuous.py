"""Continuous inputs, ``TrainConfig.input_type``: pairs of fixed embeddings, which the model of pairs here reads."""

from __future__ import annotations

import math

from mqar_bench.config import DataConfig
from mqar_bench.tasks import StackedConfig
from mqar_bench.tasks.task import MAX_VOCAB
from mqar_bench.zoology import shim
from mqar_bench.zoology.fields import Reader, Untranslatable

#: Keys at most: a token says a key and a value, or none.
MOST_KEYS = math.isqrt(MAX_VOCAB) - 1


def translate_continuous(config: shim.DataConfig, model: shim.ModelConfig, reader: Reader) -> DataConfig:
    """The data of a config with continuous inputs: keys and values are the halves of the model's vocabulary.

    Raises:
        Untranslatable: its embeddings are learnt, or its data are of another task.
    """
    if model.learnable_word_embeddings:
        raise Untranslatable(
            "input_type 'continuous' with learnable_word_embeddings, of which its inputs take no notice"
        )
    keys = count_keys(model)
    if 2 * keys != model.vocab_size:
        reader.note(f"continuous inputs: {keys} keys and as many values, of a vocabulary of {model.vocab_size}")
    train, test = (
        tuple(_segment(s, keys, reader) for s in part) for part in (config.train_configs, config.test_configs)
    )
    return DataConfig(train=train, test=test, seed=config.seed)


def count_keys(model: shim.ModelConfig) -> int:
    """How many keys there are, and as many values: half of the vocabulary, or the most that there can be here."""
    return min(model.vocab_size // 2, MOST_KEYS)


def _segment(config: shim.DataSegmentConfig, keys: int, reader: Reader) -> StackedConfig:
    if type(config) is not shim.ContinuousMQARConfig:
        raise Untranslatable(f"input_type 'continuous' with the task {type(config).__name__}")
    config = reader.settle(config, shim.ContinuousMQARConfig)
    if not config.per_sequence_mapping or config.embeddings is not None:
        what = "embeddings of its own" if config.per_sequence_mapping else "per_sequence_mapping False"
        raise Untranslatable(f"ContinuousMQARConfig with {what}")
    sizes = config.model_dump(include={"num_examples", "num_kv_pairs", "num_passes"})
    return StackedConfig(vocab_size=(keys + 1) ** 2, **sizes)
