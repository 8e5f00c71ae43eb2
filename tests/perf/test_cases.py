"""The checks of the cases: they pass what is right and find what is wrong."""

import pytest
import torch

import mixers
from mqar_bench.config import MixerSpec
from mqar_bench.perf import PerfError, address, decode, generate, memory, sparse_delta, step
from mqar_bench.perf.bench import Bench
from mqar_bench.perf.shape import Shape
from mqar_bench.training.model import count_parameters

SMALL = Shape(batch=1, length=8, heads=1, width=4, order=3, top_k=3, decode_batch=1, dtype="float32")


def bench(engine="cpu", **shape) -> Bench:
    return Bench(torch.device("cpu"), SMALL.model_copy(update=shape), (engine,), repeats=3, seconds=0)


@pytest.mark.parametrize("shape", [{}, {"top_k": 64}, {"order": 6}, {"order": 2, "sub_dim": 3}], ids=str)
@pytest.mark.parametrize("case", [address, memory, decode, step, sparse_delta], ids=lambda case: case.NAME)
def test_the_cpu_engine_passes(case, shape):
    here = bench(**shape)
    case.check(here)
    assert {check.case for check in here.checks} == {case.NAME}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("case", [memory, decode], ids=lambda case: case.NAME)
def test_bounds_in_low_precision_are_tight(case, dtype):
    """The reference passes with float32 weights, and no bound would let an error of a twentieth through."""
    here = bench("reference", dtype=dtype, width=16)
    case.check(here)
    assert max(check.bound for check in here.checks) < 0.05
    if case is decode:  # the state is float32 whatever the values are
        assert max(check.bound for check in here.checks if check.tensor in ("S", "z")) < 1e-5


def test_a_wrong_slot_is_found(monkeypatch):
    right = address.decode_address

    def wrong(logits, top_k, backend):
        weights, slots = right(logits, top_k, backend)
        if backend != "reference":
            slots = slots.clone()
            slots[0, 0, 0, 0] = (slots[0, 0, 0, 0] + 1) % 64
        return weights, slots

    monkeypatch.setattr(address, "decode_address", wrong)
    with pytest.raises(PerfError, match="address: the cpu engine is wrong: slots"):
        address.check(bench())


def test_an_output_that_is_a_thousandth_off_is_found(monkeypatch):
    right = sparse_delta.forward

    def wrong(engine, leaves, places, num_slots):
        o = right(engine, leaves, places, num_slots)
        return o if engine == "reference" else 0.999 * o

    monkeypatch.setattr(sparse_delta, "forward", wrong)
    with pytest.raises(PerfError, match="sparse_delta: the cpu engine is wrong: o"):
        sparse_delta.check(bench())


def test_a_state_that_does_not_change_is_found(monkeypatch):
    right = decode.step
    monkeypatch.setattr(
        decode, "step", lambda engine, q, k, v, S, z, K: right(engine, q, k, v, S.clone(), z.clone(), K)
    )
    with pytest.raises(PerfError, match="decode: the cpu engine is wrong: o"):
        decode.check(bench())


@pytest.mark.parametrize("length", [1, 9, 4096, 10_000])
def test_the_task_of_a_step_exists_at_any_length(length):
    config = step.recall_task(Shape(length=length), 1)
    assert config.input_seq_len in (max(8, length), length - 1)


@pytest.mark.parametrize("width", [1, 5])
def test_steps_are_measured_at_any_width(width):
    here = bench(width=width)
    step.measure(here)
    assert [(row.name, row.cannot_run) for row in here.rows] == [
        (name, None) for name in ("ramnet, cpu", "ramnet, reference", "linear_attention", "attention", "gla")
    ]
    attention = step._model(MixerSpec(name="attention", options={"num_heads": 1}), here.shape)
    assert here.rows[3].minimum_bytes == 36 * count_parameters(attention)


def test_mixers_decode_what_they_read(monkeypatch):
    monkeypatch.setattr(generate, "others", lambda shape: [MixerSpec(name=name) for name in ("attention", "gla")])
    here = bench()
    generate.check(here)
    assert [check.engine for check in here.checks] == ["cpu", "attention", "gla"]


@pytest.mark.slow  # engines of every mixer are compiled, in two precisions; tests/language asks the same of each
def test_every_mixer_decodes_what_it_reads():
    here = bench()
    generate.check(here)
    assert [check.engine for check in here.checks] == ["cpu", *(name for name in mixers.names() if name != "ramnet")]


@pytest.mark.parametrize("what", ["logits", "a state that grows"])
def test_a_wrong_token_and_a_state_changed_in_place_are_found(monkeypatch, what):
    """Attention that begins anew with each token; and one whose states are not parted."""
    monkeypatch.setattr(generate, "others", lambda shape: [MixerSpec(name="attention")])
    if what == "logits":
        right = generate.follow
        monkeypatch.setattr(generate, "follow", lambda model, tokens, cache: right(model, tokens, type(cache)()))
    else:
        monkeypatch.setattr(generate, "fork", lambda cache: cache)
    with pytest.raises(PerfError, match="generate: the .* engine is wrong: logits"):
        generate.check(bench())


def test_states_are_of_one_size_but_for_those_that_grow(monkeypatch):
    monkeypatch.setattr(generate, "others", lambda shape: [MixerSpec(name=name) for name in ("attention", "gla")])
    here = bench(length=8, width=8)
    generate.measure(here)
    carried = {}
    for row in here.rows:
        carried.setdefault(row.name, {})[row.size] = row.state_bytes
        assert row.cannot_run is None and row.per == "token" and row.state_bytes == 4 * row.state_elements
    assert {name: list(sizes) for name, sizes in carried.items()} == {
        "ramnet, cpu": ["T=2", "T=8", "T=32"],
        "ramnet, reference": ["T=2"],
        "attention": ["T=2", "T=8", "T=32"],
        "gla": ["T=2", "T=8", "T=32"],
    }
    assert len(set(carried["ramnet, cpu"].values())) == len(set(carried["gla"].values())) == 1
    assert carried["attention"]["T=32"] == 16 * carried["attention"]["T=2"]
