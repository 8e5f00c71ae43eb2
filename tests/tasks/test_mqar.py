"""MQAR examples: Zoology's where promised, well formed, deterministic, cheap. Laws: test_mqar_statistics."""

import hashlib
import json
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from mqar_bench.tasks import MQARConfig, Segment, segment_seeds
from mqar_bench.tasks.mqar import CHUNK_POSITIONS, Sampler

ROOT = Path(__file__).parents[2]
GOLDEN = json.loads((ROOT / "tests" / "golden" / "mqar_zoology.json").read_text())
SAMPLERS: list[Sampler] = ["fast", "zoology"]

SMALLEST = MQARConfig(vocab_size=5, num_examples=3, input_seq_len=4, num_kv_pairs=1)
NO_SPARE_SLOT = MQARConfig(vocab_size=65, num_examples=40, input_seq_len=64, num_kv_pairs=16)
USUAL = MQARConfig(num_examples=40, input_seq_len=64, num_kv_pairs=4)
ZEROS = MQARConfig(num_examples=40, input_seq_len=64, num_kv_pairs=4, random_non_queries=False)
LONG = MQARConfig(num_examples=5, input_seq_len=1024, num_kv_pairs=256)
SETTINGS = [SMALLEST, NO_SPARE_SLOT, USUAL, ZEROS, LONG]


def sha256(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.numpy().astype("<i8").tobytes()).hexdigest()


def same(a: Segment, b: Segment) -> bool:
    return all(torch.equal(getattr(a, x), getattr(b, x)) for x in ("tokens", "positions", "answers"))


def golden_id(case: dict[str, Any]) -> str:
    c = case["config"]
    filler = "random" if c["random_non_queries"] else "zeros"
    size = f"v{c['vocab_size']}-L{c['input_seq_len']}-kv{c['num_kv_pairs']}"
    return f"{size}-passes{c['num_passes']}-{filler}-seed{c['seed']}"


# ---- Zoology's own output


@pytest.mark.parametrize("case", [c for c in GOLDEN["cases"] if "error" not in c], ids=golden_id)
def test_zoology_sampler_reproduces_zoology_bit_for_bit(case: dict[str, Any]) -> None:
    fields = dict(case["config"])
    seed = fields.pop("seed")
    segment = MQARConfig(**fields).build(seed, sampler="zoology", filler_seed=0)
    if "row0_inputs" in case:  # says more than a hash when it fails
        assert segment.inputs[0].tolist() == case["row0_inputs"]
        assert segment.labels[0].tolist() == case["row0_labels"]
    assert sha256(segment.inputs) == case["sha256_inputs"]
    assert sha256(segment.labels) == case["sha256_labels"]


@pytest.mark.parametrize("case", [c for c in GOLDEN["cases"] if "error" in c], ids=golden_id)
def test_what_zoology_fails_on_is_refused(case: dict[str, Any]) -> None:
    fields = {k: v for k, v in case["config"].items() if k != "seed"}
    with pytest.raises(ValueError, match="num_passes must be 1"):
        MQARConfig(**fields)


@pytest.mark.parametrize("case", GOLDEN["segment_seeds"], ids=lambda c: f"{len(c['train'])}+{len(c['test'])}")
def test_segment_seeds_are_zoologys(case: dict[str, Any]) -> None:
    expected = (case["train"], case["test"])
    assert segment_seeds(case["config_seed"], len(case["train"]), len(case["test"])) == expected


def test_filler_seed_defaults_to_the_seed() -> None:
    for sampler in SAMPLERS:
        default = USUAL.build(3, sampler)
        assert same(default, USUAL.build(3, sampler, filler_seed=3))
        assert not same(default, USUAL.build(3, sampler, filler_seed=4))


# ---- every example is a solvable recall problem


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("config", SETTINGS, ids=["smallest", "no-spare-slot", "usual", "zeros", "long"])
def test_every_answer_is_the_value_bound_to_the_queried_key(config: MQARConfig, sampler: Sampler) -> None:
    segment = config.build(5, sampler)
    k, vocab = config.num_kv_pairs, config.vocab_size
    assert segment.tokens.shape == (config.num_examples, config.input_seq_len)
    assert segment.positions.shape == segment.answers.shape == (config.num_examples, k)
    for row, positions, answers in zip(
        segment.tokens.tolist(), segment.positions.tolist(), segment.answers.tolist(), strict=True
    ):
        keys, values = row[0 : 2 * k : 2], row[1 : 2 * k : 2]
        assert len(set(keys)) == len(set(values)) == k
        assert all(1 <= key < vocab // 2 for key in keys)
        assert all(vocab // 2 <= value < vocab for value in values)
        bound = dict(zip(keys, values, strict=True))
        assert positions == sorted(set(positions))
        assert all(2 * k <= p < config.input_seq_len and p % 2 == 0 for p in positions)
        assert sorted(row[p] for p in positions) == sorted(keys)  # each key is queried once
        assert [bound[row[p]] for p in positions] == answers


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_filler_replaces_the_unused_positions_only(sampler: Sampler) -> None:
    zeros, filled = ZEROS.build(5, sampler), USUAL.build(5, sampler)
    other = USUAL.build(5, sampler, filler_seed=6)
    used = zeros.tokens != 0
    assert (used.sum(1) == 3 * USUAL.num_kv_pairs).all()
    for segment in (filled, other):
        assert torch.equal(segment.positions, zeros.positions) and torch.equal(segment.answers, zeros.answers)
        assert torch.equal(segment.tokens[used], zeros.tokens[used])
        assert segment.tokens.min() >= 0 and segment.tokens.max() < USUAL.vocab_size
    assert (filled.tokens != other.tokens)[~used].float().mean() > 0.99


# ---- the segment


def test_dense_forms_of_a_segment() -> None:
    segment = MQARConfig(vocab_size=80, num_examples=7, num_kv_pairs=5).build(0)
    assert len(segment) == 7
    assert segment.name == "L64-kv5"
    assert segment.slices == {"num_kv_pairs": 5, "input_seq_len": 64, "num_passes": 1}
    assert segment.tokens.dtype == segment.positions.dtype == segment.answers.dtype == torch.int32
    assert segment.inputs.dtype == segment.labels.dtype == torch.int64
    assert torch.equal(segment.inputs, segment.tokens)
    scored = segment.labels != -100
    assert (scored.sum(1) == 5).all()
    assert torch.equal(scored.nonzero()[:, 1].view(7, 5), segment.positions)
    assert torch.equal(segment.labels[scored].view(7, 5), segment.answers)


def test_batches_cover_the_segment_in_order() -> None:
    segment = MQARConfig(num_examples=7).build(0)
    batches = list(segment.batches(3))
    assert [len(inputs) for inputs, _, _ in batches] == [3, 3, 1]
    for column, whole in enumerate((segment.tokens, segment.positions, segment.answers)):
        parts = [batch[column] for batch in batches]
        assert all(part.dtype == torch.int64 for part in parts)
        assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(segment.batch(3, 6)[0], batches[1][0])
    for start, stop in [(7, 8), (-1, 2), (3, 3)]:
        with pytest.raises(IndexError, match="no examples"):
            segment.batch(start, stop)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        segment.batches(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": torch.zeros(2, 8)}, "tokens must be int32"),
        ({"positions": torch.zeros(2, dtype=torch.int32)}, "positions must be int32 with 2 dimensions"),
        ({"answers": torch.zeros(2, 1, dtype=torch.int32)}, "same shape"),
        ({"positions": torch.tensor([[1, 8], [2, 3]], dtype=torch.int32)}, r"must lie in \[0, 8\)"),
        ({"positions": torch.tensor([[1, 2], [3, 3]], dtype=torch.int32)}, "strictly ascending"),
    ],
    ids=["dtype", "dimensions", "shapes", "range", "order"],
)
def test_malformed_segments_are_refused(change: dict[str, torch.Tensor], message: str) -> None:
    good = {
        "tokens": torch.zeros(2, 8, dtype=torch.int32),
        "positions": torch.tensor([[1, 2], [2, 3]], dtype=torch.int32),
        "answers": torch.zeros(2, 2, dtype=torch.int32),
    }
    assert len(Segment(**good)) == 2  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        Segment(**{**good, **change})  # type: ignore[arg-type]


# ---- errors


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input_seq_len": 63}, "input_seq_len must be even, got 63"),
        ({"num_kv_pairs": 17}, r"= 68 positions, but input_seq_len has 64: 4 too few"),
        ({"vocab_size": 64}, r"input_seq_len=64 needs 65, but vocab_size is 64: 1 too few"),
        ({"vocab_size": 0}, "vocab_size must be at least 1, got 0"),
        ({"num_examples": 0}, "num_examples must be at least 1, got 0"),
        ({"input_seq_len": -2}, "input_seq_len must be at least 1, got -2"),
        ({"num_kv_pairs": 0}, "num_kv_pairs must be at least 1, got 0"),
        ({"num_passes": 2}, "num_passes must be 1, got 2"),
        ({"num_passes": 0}, "num_passes must be 1, got 0"),
        ({"power_a": 0.0}, "power_a must be above 0, got 0.0"),
        ({"power_a": -0.5}, "power_a must be above 0, got -0.5"),
        ({"power_a": float("nan")}, "power_a must be above 0, got nan"),
        ({"power_a": 1000.0}, "power_a=1000.0 leaves the floating point range with 24 slots"),
        ({"power_a": float("inf")}, "power_a=inf leaves the floating point range"),
        ({"train_power_a": 0.01}, "Extra inputs are not permitted"),
        ({"name": "other"}, "Input should be 'multiquery_ar'"),
    ],
    ids=lambda value: "-".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_impossible_settings_are_refused_in_one_clear_line(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        MQARConfig(**fields)
    (error,) = caught.value.errors()
    assert "\n" not in error["msg"]


def test_config_defaults_are_zoologys_and_frozen() -> None:
    config = MQARConfig()
    assert config.model_dump() == {
        "name": "multiquery_ar",
        "vocab_size": 8192,
        "num_examples": 1000,
        "input_seq_len": 64,
        "num_kv_pairs": 8,
        "power_a": 0.01,
        "random_non_queries": True,
        "num_passes": 1,
    }
    assert config.label == "L64-kv8"
    with pytest.raises(ValidationError, match="frozen"):
        config.num_kv_pairs = 4


def test_bad_arguments_of_build_and_segment_seeds() -> None:
    with pytest.raises(ValueError, match="unknown sampler 'slow', expected 'fast' or 'zoology'"):
        SMALLEST.build(0, sampler="slow")  # type: ignore[arg-type]
    for sampler in SAMPLERS:
        for seed in (-1, 2**32):
            with pytest.raises(ValueError, match=rf"^seed must be in \[0, 2\*\*32\), got {seed}"):
                SMALLEST.build(seed, sampler)
            with pytest.raises(ValueError, match="^filler_seed must be in"):
                SMALLEST.build(0, sampler, filler_seed=seed)
        SMALLEST.build(2**32 - 1, sampler)
        with pytest.raises(TypeError):
            SMALLEST.build(0.5, sampler)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 0, got 2 and -1"):
        segment_seeds(0, 2, -1)
    with pytest.raises(ValueError, match="seed must be in"):
        segment_seeds(2**32, 1, 1)


# ---- randomness


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_global_generators_are_neither_read_nor_written(sampler: Sampler) -> None:
    def state() -> tuple[Any, ...]:
        return pickle.dumps(np.random.get_state()), torch.get_rng_state().tolist(), random.getstate()

    before = state()
    first = USUAL.build(1, sampler)
    segment_seeds(1, 2, 3)
    assert state() == before
    np.random.standard_normal(3)  # moves each of the three on
    torch.rand(3)
    random.random()
    assert state() != before
    assert same(first, USUAL.build(1, sampler))
    assert not same(first, USUAL.build(2, sampler))


def test_fast_sampler_keeps_its_bits() -> None:
    # A published run names only its config and seed. If this fails, its data can no longer be rebuilt: either
    # undo the change, or (a new numpy may change its streams) say so in the change log.
    segment = MQARConfig(vocab_size=100, num_examples=50, num_kv_pairs=16).build(123)
    assert (sha256(segment.inputs), sha256(segment.labels)) == (
        "ce5aacb5320fa796f29d3a47f9e132a8853fa5d7004e4041d2b9c3ee37adf0fc",
        "b8efecb267c26f9d606ffca1f73b45f8a9b4aeda83e013487253077438ae8290",
    )


def test_chunks_of_the_fast_sampler_differ() -> None:
    rows = CHUNK_POSITIONS // 64
    segment = MQARConfig(num_examples=3 * rows + 5, num_kv_pairs=4).build(0)
    examples = torch.cat([segment.tokens[:, :8], segment.positions], dim=1)
    assert len(np.unique(examples.numpy(), axis=0)) == len(segment)


# ---- cost: against Zoology's own way to draw, which ``sampler="zoology"`` is, on the same machine at the same time

COST = """
import time
from mqar_bench.tasks import MQARConfig

def mib(what):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(what)) / 1024

def cpu_seconds(sampler, **task):
    config = MQARConfig(**task)
    start = time.process_time()
    config.build(0, sampler)
    return (time.process_time() - start) / config.num_examples

shape = {"input_seq_len": %d, "num_kv_pairs": %d}
slow = min(cpu_seconds("zoology", num_examples=200, **shape) for _ in range(3))
rss = mib("VmRSS")
fast = cpu_seconds("fast", num_examples=%d, **shape)
print(slow / fast, mib("VmHWM") - rss)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc")
@pytest.mark.parametrize(
    "length, pairs, examples, times", [(64, 4, 100_000, 20), (1024, 256, 6_000, 3)], ids=["short", "long"]
)
def test_the_fast_sampler_is_fast_and_small(length, pairs, examples, times) -> None:
    # A process of its own, and VmHWM instead of getrusage's ru_maxrss: a child inherits the latter from its
    # parent, so under pytest it need not move at all.
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", COST % (length, pairs, examples)]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=True)
    speedup, mebibytes = map(float, done.stdout.split())
    assert speedup > times
    tokens = examples * length * 4 / 2**20
    assert tokens < mebibytes < 6 * tokens
