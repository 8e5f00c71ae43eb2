"""Every registered task: solvable from its context, deterministic, well formed, cheap, and told from the others.

A new task needs an entry in SETTINGS (``settings``), SOLVERS and BITS; all tests here then cover it. Laws:
test_tasks_statistics.
"""

import ast
import contextlib
import hashlib
import math
import pickle
import random
import re
import sys
import time
from collections import Counter
from itertools import permutations
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
    Sampler,
    StackedConfig,
    StateTrackingConfig,
    StoryQAConfig,
    StreamTask,
    Task,
)
from mqar_bench.tasks.task import CHUNK_POSITIONS
from tests.tasks.settings import ALL, SETTINGS, arrays, every_setting, every_task, same

# ---- each answer, as one finds it who reads from left to right: row is what precedes a scored position, and itself


def latest_pair(config: MQARConfig | ForgettingConfig | JRTConfig | AssociativeRecallConfig, row: list[int]) -> int:
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


def count(config: CircuitsConfig, row: list[int]) -> int:
    symbols = row if config.cumulative else row[:-1]
    if not config.cumulative:
        assert row[-1] not in symbols
    match config.circuit:
        case "parity" | "cumulative_parity":
            return symbols.count(1) % 2
        case "majority":
            return int(symbols.count(1) > symbols.count(0))
        case "cumulative_majority":
            return int(symbols.count(1) >= symbols.count(0))
    (first, most), *others = Counter(symbols).most_common(2)
    assert all(most > times for _, times in others)
    return first


def hop_on(config: KHopConfig, row: list[int]) -> int:
    following = dict(zip(row[0 : config.context : 2], row[1 : config.context : 2], strict=True))
    mark, node = row[-2:]
    for _ in range(mark - config.vocab_size // 2 + 1):
        node = following[node]
    return node


def next_of_the_value(config: MultiValueMQARConfig, row: list[int]) -> int:
    width = config.num_value_tokens + 1
    said = [row[i : i + width] for i in range(0, config.context, width)]
    slot = row[config.context + (len(row) - 1 - config.context) // width * width :]
    (following,) = [binding[len(slot)] for binding in said if binding[: len(slot)] == slot]
    return following


def multiply(config: StateTrackingConfig, row: list[int]) -> int:
    """One element after another, of permutations in their order as tuples."""
    answer, rest = 0, config.vocab_size
    for group in config.group.split("_x_"):
        degree = int(group[1:])
        things = [p for p in permutations(range(degree)) if group[0] == "S" or swaps(p) % 2 == 0] if group < "Z" else []
        size = len(things) or degree
        rest //= size
        factors = [element // rest % size for element in row]
        if things:
            state = things[0]
            for factor in factors:
                state = tuple(things[factor][i] for i in state)
            answer += rest * things.index(state)
        else:
            answer += rest * (sum(factors) % size)
    return answer


def swaps(permutation: tuple[int, ...]) -> int:
    """Of two things at a time, until all are in order."""
    places, count = list(permutation), 0
    for i in range(len(places)):
        while (there := places[i]) != i:
            places[i], places[there] = places[there], there
            count += 1
    return count


def pair_of_the_beginning(config: DistantMQARConfig, row: list[int]) -> int:
    return dict(zip(row[0 : 2 * config.num_kv_pairs : 2], row[1 : 2 * config.num_kv_pairs : 2], strict=True))[row[-1]]


def place_in_the_story(config: StoryQAConfig, row: list[int]) -> int:
    words = [config.word(token) for token in row]
    *story, where, asked, mark = [(said, token) for said, token in zip(words, row, strict=True) if said[0] != "~"]
    assert (where[0], mark[0]) == ("where", "?") and len(story) == 3 * config.num_facts
    place: dict[str, int] = {}  # of everybody, and of what lies somewhere
    holder: dict[str, str] = {}
    for (person, _), (verb, _), (what, token) in zip(story[::3], story[1::3], story[2::3], strict=True):
        if verb in ("goes", "runs", "walks", "hurries"):
            place[person] = token
        elif verb in ("takes", "lifts"):
            assert what not in holder and place.pop(what, place.get(person)) == place.get(person)
            holder[what] = person
        else:
            assert verb in ("drops", "leaves") and holder.pop(what) == person
            place.update({what: place[person]} if person in place else {})
    return place[holder.get(asked[0], asked[0])]


SOLVERS: dict[str, Any] = {
    "multiquery_ar": latest_pair,
    "forgetting": latest_pair,
    "compositional": value_of_both_halves,
    "stacked": value_beside_the_key,
    "jrt": latest_pair,
    "associative_retrieval": next_symbol,
    "associative_recall": latest_pair,
    "circuits": count,
    "k_hop": hop_on,
    "multi_value_mqar": next_of_the_value,
    "state_tracking": multiply,
    "distant_mqar": pair_of_the_beginning,
    "story_qa": place_in_the_story,
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
    config = TASKS[name](**{field: ast.literal_eval(value) for field, value in fields.items()})
    lines = {line.split()[0]: line for line in doc.splitlines() if re.match(r" +(token|label)[ |]+\d", line)}
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
    if isinstance(config, StreamTask):
        plan = config.stream(1).plan
        used = torch.zeros(first.tokens.shape).scatter_(1, torch.from_numpy(plan.places), 1.0) > 0
        assert torch.equal(first.tokens[used], other.tokens[used])
        drawn = (first.tokens != other.tokens)[~used].float()
        assert drawn.numel() < 100 or drawn.mean() > 0.9
        return
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
    "associative_recall": "a9361cbaaced67cc",
    "circuits": "7aff8825e699aee1",
    "k_hop": "23c468a97918864b",
    "multi_value_mqar": "fbbd8eb9b950c303",
    "state_tracking": "4f11bef6317f24d7",
    "distant_mqar": "f062e96a4165b87f",
    "story_qa": "e31382cdc4fabd19",
}


@every_task
def test_tasks_keep_their_bits(name: str) -> None:
    config = TASKS[name](num_examples=50)  # type: ignore[call-arg]
    bits = hashlib.sha256(b"".join(part.numpy().astype("<i4").tobytes() for part in arrays(config.build(123))))
    assert bits.hexdigest()[:16] == BITS.get(name)


def test_with_one_token_a_value_it_is_mqar() -> None:
    single = MultiValueMQARConfig(num_examples=500, num_value_tokens=1, num_kv_pairs=8).build(3)
    assert same(single, MQARConfig(num_examples=500).build(3))


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
    words = {c: [value for _, value in c if isinstance(value, str)] for c in configs}
    settings = {(*words[c], *(getattr(c, field) for field in c.slices)): c for c in configs}
    labels = [config.label for config in settings.values()]
    assert len(set(labels)) == len(labels) > 60
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{5,40}", label) for label in labels)
    assert setting_names((ALL[3], ALL[3])) == [ALL[3].label, f"{ALL[3].label}#2"]


def test_no_name_means_mqar_and_an_unknown_one_is_refused() -> None:
    assert DataConfig.model_validate({"train": [{"num_examples": 5}]}).train == (MQARConfig(num_examples=5),)
    for name in ("forgeting", "", None, 3, [], "\ud800"):
        with pytest.raises(ValidationError, match="there is no task of this name"):
            DataConfig.model_validate({"train": [{"name": name}]})


def test_zoologys_sampler_is_for_what_it_draws() -> None:
    assert DataConfig(sampler="zoology").test[0].samplers == ("fast", "zoology")
    with pytest.raises(ValidationError, match="sampler 'zoology' does not draw the task 'jrt'"):
        DataConfig(test=(MQARConfig(), JRTConfig()), sampler="zoology")
