"""Case ``data``: drawing MQAR examples, against the obvious loop over examples. Always on the CPU."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from mqar_bench.perf import PerfError
from mqar_bench.perf.bench import Bench, Call
from mqar_bench.perf.record import Role, Row
from mqar_bench.perf.shape import Shape
from mqar_bench.perf.traffic import data_bytes
from mqar_bench.tasks import MQARConfig, Segment
from mqar_bench.tasks.mqar import Sampler

NAME = "data"
LOOP = "python loop"

SAMPLERS = ("fast", "zoology", LOOP)

#: Examples a call; of the slow ones fewer where examples are long.
EXAMPLES, SLOW_EXAMPLES = 2000, 100

#: Draws among free slots that a call of the slow ones may take in all.
SLOW_DRAWS = 2_000_000


def recall_task(shape: Shape, examples: int) -> MQARConfig:
    """MQAR with T tokens (even, at least 8), a pair for every 16, and a vocabulary that is large enough."""
    length = max(8, shape.length // 2 * 2)
    return MQARConfig(
        vocab_size=max(8192, 2 * length),
        num_examples=examples,
        input_seq_len=length,
        num_kv_pairs=max(1, length // 16),
    )


def loop(config: MQARConfig, seed: int) -> Segment:
    """MQAR as one would write it down: example after example, draw after draw, in plain Python."""
    rng = random.Random(seed)
    tokens, positions, answers = [], [], []
    for _ in range(config.num_examples):
        row, where, what = _example(config, rng)
        tokens.append(row)
        positions.append(where)
        answers.append(what)
    as_tensor = partial(torch.tensor, dtype=torch.int32)
    return Segment(as_tensor(tokens), as_tensor(positions), as_tensor(answers))


def _example(config: MQARConfig, rng: random.Random) -> tuple[list[int], list[int], list[int]]:
    pairs, length, vocab = config.num_kv_pairs, config.input_seq_len, config.vocab_size
    keys = rng.sample(range(1, vocab // 2), pairs)
    values = rng.sample(range(vocab // 2, vocab), pairs)
    row = [rng.randrange(vocab) if config.random_non_queries else 0 for _ in range(length)]
    for i in range(pairs):
        row[2 * i], row[2 * i + 1] = keys[i], values[i]
    free = list(range(length // 2 - pairs))
    queries = []
    for key, value in zip(keys, values, strict=True):
        law = [(slot + 1) ** (config.power_a - 1) for slot in free]
        slot = rng.choices(free, law)[0]
        free.remove(slot)
        position = 2 * pairs + 2 * slot
        row[position] = key
        queries.append((position, value))
    queries.sort()
    return row, [position for position, _ in queries], [value for _, value in queries]


def fault(segment: Segment, config: MQARConfig) -> str | None:
    """What keeps a segment from being MQAR: pairs first, each key asked for once, its value the answer; or None."""
    pairs, vocab = config.num_kv_pairs, config.vocab_size
    context = segment.tokens[:, : 2 * pairs].unflatten(1, (pairs, 2))
    keys, values = context.unbind(-1)
    if len(segment) != config.num_examples or segment.positions.shape[1] != pairs:
        return f"has {len(segment)} examples with {segment.positions.shape[1]} questions each"
    if not (keys.ge(1) & keys.lt(vocab // 2)).all() or not (values.ge(vocab // 2) & values.lt(vocab)).all():
        return "has keys or values outside their halves of the vocabulary"
    if (segment.positions < 2 * pairs).any():
        return "asks inside the context"
    asked = segment.tokens.gather(1, segment.positions.long())
    is_key: Tensor = asked.unsqueeze(-1) == keys.unsqueeze(1)  # [N, question, pair]
    if not is_key.sum(-1).eq(1).all() or not is_key.sum(-2).eq(1).all():
        return "does not ask for every key once"
    bound = (is_key * values.unsqueeze(1)).sum(-1)
    return None if torch.equal(bound.int(), segment.answers) else "has an answer that is not its key's value"


def check(bench: Bench) -> None:
    """Every sampler's examples are MQAR, the loop's too.

    Raises:
        PerfError: one's are not.
    """
    for name in SAMPLERS:
        config = recall_task(bench.shape, 16)
        problem = fault(_draw(name, config), config)
        if problem:
            raise PerfError(f"{NAME}: the {name} sampler {problem}")


def measure(bench: Bench) -> None:
    """The two samplers of this project and the loop, per example."""
    shape = bench.shape
    roles: dict[str, Role] = {"fast": "ours", "zoology": "reference", LOOP: "reference"}
    on_cpu = Bench(torch.device("cpu"), shape, (), bench.peers, bench.repeats, bench.seconds, bench.copy_speed)
    for name in SAMPLERS:
        config = recall_task(shape, EXAMPLES if name == "fast" else _slow_examples(shape))
        row = Row(
            case=NAME,
            what=f"draw {config.label}",
            name=name,
            role=roles[name],
            per="example",
            note=f"N={config.num_examples}",
            minimum_bytes=data_bytes(config.input_seq_len, config.num_kv_pairs) if bench.device.type == "cpu" else None,
        )
        on_cpu.time(row, _make(name, config), config.num_examples)
    bench.rows += on_cpu.rows


def _slow_examples(shape: Shape) -> int:
    one = recall_task(shape, 1)
    slots = one.input_seq_len // 2 - one.num_kv_pairs
    return max(1, min(SLOW_EXAMPLES, SLOW_DRAWS // (one.num_kv_pairs * slots)))


def _make(name: str, config: MQARConfig) -> Callable[[], Call]:
    def make() -> Call:
        return lambda: _draw(name, config)

    return make


def _draw(name: str, config: MQARConfig) -> Segment:
    if name == LOOP:
        return loop(config, 50)
    sampler: Sampler = "zoology" if name == "zoology" else "fast"
    return config.build(50, sampler=sampler)
