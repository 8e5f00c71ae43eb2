"""Data in the format of 2023: a function draws them, named with its arguments beside the sizes of the two sets.

Facts are those of Zoology's commits c3fae54 (2023-12-11), 4ca911f and f83671a (2024-02-08).
"""

from __future__ import annotations

from typing import Any

from mqar_bench.config import DataConfig
from mqar_bench.tasks import AssociativeRecallConfig, MQARConfig
from mqar_bench.zoology import shim
from mqar_bench.zoology.fields import Reader, Untranslatable

#: One task, by the modules that its function has been in.
SINGLE = {f"zoology.data.{module}.multiquery_ar" for module in ("associative_recall", "multiquery_ar")}
#: Its arguments, with the defaults.
ARGUMENTS = {"num_kv_pairs": 4, "train_power_a": 0.01, "test_power_a": 0.01, "random_non_queries": True}

#: Few queries.
RECALL = "zoology.data.associative_recall.associative_recall"
RECALL_ARGUMENTS = {"num_kv_pairs": 4, "num_queries": 3, "random_non_queries": True}

#: Several, one after another.
SEGMENTS = "zoology.data.ar_extrapolate.ar_extrapolate"


def translate_2023(config: shim.DataConfig2023, reader: Reader) -> DataConfig:
    """The data of a config in that format.

    Raises:
        Untranslatable: another function draws them, or it is given what is not known.
    """
    if config.builder is None:
        raise Untranslatable("data in the format of 2023 without a builder")
    builder = reader.settle(config.builder, shim.FunctionConfig)
    if builder.name in SINGLE:
        return _single(config, builder.name, builder.kwargs, reader)
    if builder.name == RECALL:
        return _recall(config, builder.kwargs, reader)
    if builder.name == SEGMENTS:
        return _segments(config, builder.kwargs, reader)
    raise Untranslatable(f"data in the format of 2023 by {builder.name}")


def _arguments(name: str, given: dict[str, Any], known: dict[str, Any], reader: Reader) -> dict[str, Any]:
    """What a function that draws both sets is given, and the defaults of the file's own Zoology for the rest."""
    module, _, function = name.rpartition(".")
    theirs = reader.checkout.arguments(module, function)
    if "num_train_examples" not in (theirs or {}):  # newer than the file
        theirs = None
    reader.refuse(function, {k: v for k, v in given.items() if k not in known}, theirs, known)
    left_out = {k: v for k, v in known.items() if k not in given}
    reader.note("the format of 2023: its examples were shuffled anew every epoch, here the order of the batches is")
    return known | reader.defaults(function, left_out, theirs) | given


def _single(config: shim.DataConfig2023, name: str, given: dict[str, Any], reader: Reader) -> DataConfig:
    values = _arguments(name, given, ARGUMENTS, reader)

    def task(examples: int, power_a: float) -> MQARConfig:
        return MQARConfig(
            vocab_size=config.vocab_size,
            input_seq_len=config.input_seq_len,
            num_examples=examples,
            num_kv_pairs=values["num_kv_pairs"],
            random_non_queries=values["random_non_queries"],
            power_a=power_a,
        )

    train = task(config.num_train_examples, values["train_power_a"])
    test = task(config.num_test_examples, values["test_power_a"])
    return DataConfig(train=(train,), test=(test,), seed=config.seed, shuffle=True)


def _recall(config: shim.DataConfig2023, given: dict[str, Any], reader: Reader) -> DataConfig:
    values = _arguments(RECALL, given, RECALL_ARGUMENTS, reader)
    reader.note("associative_recall: Zoology's labels lie one position before their queries, here at them")

    def task(examples: int) -> AssociativeRecallConfig:
        # The last position is cut off there.
        sizes = {"input_seq_len": config.input_seq_len - 1, "num_examples": examples}
        return AssociativeRecallConfig(vocab_size=config.vocab_size, **sizes, **values)

    train, test = task(config.num_train_examples), task(config.num_test_examples)
    return DataConfig(train=(train,), test=(test,), seed=config.seed, shuffle=True)


def _segments(config: shim.DataConfig2023, given: dict[str, Any], reader: Reader) -> DataConfig:
    parts = ("train_configs", "test_configs")
    reader.refuse("ar_extrapolate", {k: v for k, v in given.items() if k not in parts}, None, parts)

    def tasks(segments: Any) -> tuple[MQARConfig, ...]:
        if not isinstance(segments, list | tuple):
            raise Untranslatable("ar_extrapolate without a list of its train_configs or test_configs")
        known = [reader.settle(shim.ARConfig.model_validate(segment), shim.ARConfig) for segment in segments]
        fields = set(shim.ARConfig.model_fields) - {"num_queries"}
        return tuple(MQARConfig(vocab_size=config.vocab_size, **each.model_dump(include=fields)) for each in known)

    train, test = (tasks(given.get(part)) for part in parts)
    return DataConfig(train=train, test=test, seed=config.seed)
