"""Every registered task: solvable from its context, deterministic, well formed, cheap, and told from the others.

A new task needs an entry in SETTINGS, SOLVERS and BITS; all tests here then cover it. Laws: test_tasks_statistics.
"""

import contextlib
import hashlib
import json
import math
import pickle
import random
import re
import sys
import time
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import mqar_bench.tasks as tasks
from mqar_bench.config import DataConfig, RunConfig, setting_names
from mqar_bench.tasks import (
    TASKS,
    AnyTask,
    AssociativeRetrievalConfig,
    CompositionalConfig,
    ForgettingConfig,
    JRTConfig,
    MQARConfig,
    Sampler,
    Segment,
    StackedConfig,
    Task,
)
from mqar_bench.tasks.task import CHUNK_POSITIONS

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
}
ALL = [config for configs in SETTINGS.values() for config in configs]

every_task = pytest.mark.parametrize("name", TASKS)
every_setting = pytest.mark.parametrize("config", ALL, ids=lambda config: config.label)


def same(a: Segment, b: Segment) -> bool:
    return all(torch.equal(getattr(a, x), getattr(b, x)) for x in ("tokens", "positions", "answers"))


def arrays(segment: Segment) -> list[torch.Tensor]:
    return [segment.tokens, segment.positions, segment.answers]


# ---- each answer, as one finds it who reads from left to right: row is what precedes a scored position, and itself


def latest_pair(config: MQARConfig | ForgettingConfig | JRTConfig, row: list[int]) -> int:
    bound = dict(zip(row[0 : config.context : 2], row[1 : config.context : 2], strict=True))
    return bound[row[-1]]


def value_of_both_halves(config: CompositionalConfig, row: list[int]) -> int:
    parts = [row[i : config.context : 3] for i in range(3)]
    bound = {(first, second): value for first, second, value in zip(*parts, strict=True)}
    return bound[row[-2], row[-1]]


def value_beside_the_key(config: StackedConfig, row: list[int]) -> int:
    root = math.isqrt(config.vocab_size)
    bound = dict(divmod(token, root) for token in row if token % root)
    key, nothing = divmod(row[-1], root)
    assert nothing == 0
    return bound[key]


def next_symbol(config: AssociativeRetrievalConfig, row: list[int]) -> int:
    sep, gen, eos = range(config.num_symbols, config.num_symbols + 3)
    *pairs, question = " ".join(map(str, row)).split(f" {eos} ")
    bound = dict(pair.split(f" {sep} ") for pair in pairs)
    key, _, said = f"{question} ".partition(f" {gen} ")
    return int(bound[key].split()[len(said.split())])


SOLVERS: dict[str, Any] = {
    "multiquery_ar": latest_pair,
    "forgetting": latest_pair,
    "compositional": value_of_both_halves,
    "stacked": value_beside_the_key,
    "jrt": latest_pair,
    "associative_retrieval": next_symbol,
}


def solve(config: Task, tokens: list[int], position: int) -> int:
    answer: int = SOLVERS[config.name](config, tokens[: position + 1])
    return answer


@every_setting
def test_every_answer_can_be_read_off_what_precedes_it(config: Task) -> None:
    segment = config.build(5)
    for tokens, positions, answers in zip(*(part.tolist() for part in arrays(segment)), strict=True):
        assert [solve(config, tokens, position) for position in positions] == answers


@every_task
def test_the_docstrings_example_is_one(name: str) -> None:
    doc = sys.modules[TASKS[name].__module__].__doc__ or ""
    fields = dict(re.findall(r"``(\w+)=([\w\"]+)``", doc.replace("\n", " ").partition("::")[0]))
    config = TASKS[name](**{field: json.loads(value.lower()) for field, value in fields.items()})
    lines = {line.split()[0]: line for line in doc.splitlines() if line.split()[:1] in (["token"], ["label"])}
    places = [(found.end(), int(found[0])) for found in re.finditer(r"\d+", lines["token"])]
    tokens = [token for _, token in places]
    columns = [column for column, _ in places]
    labels = {columns.index(found.end()): int(found[0]) for found in re.finditer(r"\d+", lines["label"])}
    assert labels and all(solve(config, tokens, position) == answer for position, answer in labels.items())
    if "..." not in lines["token"]:
        assert len(tokens) == config.input_seq_len and len(labels) == config.num_answers
        assert max(tokens) < config.vocab_size


# ---- what all segments are


@every_setting
def test_segments_are_well_formed(config: Task) -> None:
    segment = config.build(5)
    n, answers = config.num_examples, config.num_answers
    assert segment.tokens.shape == (n, config.input_seq_len)
    assert segment.positions.shape == segment.answers.shape == (n, answers)
    assert all(part.dtype == torch.int32 and part.is_contiguous() for part in arrays(segment))
    for part in (segment.tokens, segment.answers):
        assert part.min() >= 0 and part.max() < config.vocab_size
    assert segment.name == config.label
    assert segment.slices == {field: getattr(config, field) for field in config.slices}
    assert config.num_kv_pairs >= 1


@every_setting
def test_the_seed_decides_everything(config: Task) -> None:
    def state() -> tuple[Any, ...]:
        return pickle.dumps(np.random.get_state()), torch.get_rng_state().tolist(), random.getstate()

    before = state()
    first = config.build(1)
    assert same(first, config.build(1)) and same(first, config.build(1, "fast", 1))
    assert state() == before
    if config.num_examples >= 40:
        other = config.build(2)
        assert not any(torch.equal(a, b) for a, b in zip(arrays(first)[::2], arrays(other)[::2], strict=True))


@every_setting
def test_filler_is_all_that_the_filler_seed_decides(config: Task) -> None:
    first, other = config.build(1), config.build(1, filler_seed=2)
    assert torch.equal(first.positions, other.positions) and torch.equal(first.answers, other.answers)
    if not getattr(config, "random_non_queries", False):
        assert torch.equal(first.tokens, other.tokens)
        return
    blank = config.model_copy(update={"random_non_queries": False}).build(1)
    used = blank.tokens != 0
    assert torch.equal(first.tokens[used], blank.tokens[used]) and torch.equal(other.tokens[used], blank.tokens[used])
    if (unused := ~used).sum() > 100:
        assert (first.tokens != other.tokens)[unused].float().mean() > 0.9


@every_task
def test_bad_seeds_and_samplers_are_refused(name: str) -> None:
    config = SETTINGS[name][0]
    for seed in (-1, 2**32):
        with pytest.raises(ValueError, match=rf"^seed must be in \[0, 2\*\*32\), got {seed}"):
            config.build(seed)
    with pytest.raises(ValueError, match="unknown sampler 'slow', expected 'fast'"):
        config.build(0, sampler="slow")  # type: ignore[arg-type]
    if "zoology" not in config.samplers:
        with pytest.raises(ValueError, match="unknown sampler 'zoology', expected 'fast'$"):
            config.build(0, sampler="zoology")


#: A published run names only its config and seed. If one of these changes, its data can no longer be rebuilt: either
#: undo the change, or (a new numpy may change its streams) say so in the change log.
BITS = {
    "multiquery_ar": "3f0ea4eed5b5567d",
    "forgetting": "7e01b550b4e9b8b2",
    "compositional": "ba1059db81595d2f",
    "stacked": "d7401a156ee17c9a",
    "jrt": "dc3f772ab5ce72bf",
    "associative_retrieval": "f19c37041d27521b",
}


@every_task
def test_tasks_keep_their_bits(name: str) -> None:
    config = TASKS[name](num_examples=50)  # type: ignore[call-arg]
    bits = hashlib.sha256(b"".join(part.numpy().astype("<i4").tobytes() for part in arrays(config.build(123))))
    assert bits.hexdigest()[:16] == BITS[name]


@every_task
def test_chunks_differ(name: str) -> None:
    config = TASKS[name]()
    rows = CHUNK_POSITIONS // config.input_seq_len
    segment = config.model_copy(update={"num_examples": 2 * rows + 5}).build(0)
    assert not torch.equal(segment.tokens[:rows], segment.tokens[rows : 2 * rows])
    assert not torch.equal(segment.tokens[:5], segment.tokens[2 * rows :])


def cpu_seconds(config: Task, sampler: Sampler = "fast") -> float:
    start = time.process_time()
    config.build(0, sampler)
    return time.process_time() - start


@pytest.fixture(scope="module")
def zoology_seconds() -> float:
    """What Zoology's way to draw takes on this machine for 1,000 examples of MQAR."""
    return min(cpu_seconds(MQARConfig(num_examples=500), "zoology") for _ in range(3)) * 2


@every_task
def test_cost_of_100k_examples(name: str, zoology_seconds: float) -> None:
    """A tenth of what MQAR's would take Zoology."""
    assert cpu_seconds(TASKS[name](num_examples=100_000)) < 100 / 10 * zoology_seconds  # type: ignore[call-arg]


# ---- the registry


@every_task
def test_a_task_is_registered_under_its_own_name(name: str) -> None:
    cls = TASKS[name]
    assert cls.model_fields["name"].default == name and set(get_args(cls.model_fields["name"].annotation)) == {name}
    assert {member.tag for member in (get_args(entry)[1] for entry in get_args(get_args(AnyTask)[0]))} == set(TASKS)
    assert SETTINGS[name] and all(type(config) is cls for config in SETTINGS[name])
    assert cls.__name__ in tasks.__all__


@every_task
def test_a_task_is_frozen_and_takes_only_what_it_has(name: str) -> None:
    config = TASKS[name]()
    with pytest.raises(ValidationError, match="frozen"):
        config.num_kv_pairs = 4  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        TASKS[name](num_example=4)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="Input should be a number"):
        TASKS[name](num_examples=True)  # type: ignore[call-arg]


@every_setting
def test_a_setting_survives_a_record(config: Task) -> None:
    run = RunConfig.model_validate({"data": {"train": [config], "test": [config.model_dump()]}})
    again = RunConfig.model_validate_json(run.model_dump_json())
    assert again == run and again.run_id == run.run_id
    assert again.data.train[0] == again.data.test[0] == config
    assert hash(again.data) == hash(run.data)


def test_settings_have_a_label_each() -> None:
    configs = [*ALL, *(cls() for cls in TASKS.values())]
    for config in list(configs):
        for field in set(config.slices) & set(type(config).model_fields):
            with contextlib.suppress(ValidationError):  # not every number will do
                configs.append(type(config)(**config.model_dump() | {field: getattr(config, field) + 1}))
    settings = {(c.name, getattr(c, "mode", ""), *(getattr(c, field) for field in c.slices)): c for c in configs}
    labels = [config.label for config in settings.values()]
    assert len(set(labels)) == len(labels) > 60
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{5,40}", label) for label in labels)
    assert setting_names(DataConfig(test=(ALL[3], ALL[3]))) == [ALL[3].label, f"{ALL[3].label}#2"]


def test_no_name_means_mqar_and_an_unknown_one_is_refused() -> None:
    assert DataConfig.model_validate({"train": [{"num_examples": 5}]}).train == (MQARConfig(num_examples=5),)
    for name in ("forgeting", "", None, 3, [], "\ud800"):
        with pytest.raises(ValidationError, match="there is no task of this name"):
            DataConfig.model_validate({"train": [{"name": name}]})


def test_zoologys_sampler_is_for_what_it_draws() -> None:
    assert DataConfig(sampler="zoology").test[0].samplers == ("fast", "zoology")
    with pytest.raises(ValidationError, match="sampler 'zoology' does not draw the task 'jrt'"):
        DataConfig(test=(MQARConfig(), JRTConfig()), sampler="zoology")


# ---- what single tasks promise


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
