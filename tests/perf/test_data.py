import pytest
import torch

from mqar_bench.perf.data import SAMPLERS, _draw, fault, loop, recall_task
from mqar_bench.perf.shape import Shape
from mqar_bench.tasks import Segment

CONFIG = recall_task(Shape(length=64), 40)


def changed(**tensors) -> Segment:
    segment = loop(CONFIG, 0)
    parts = {"tokens": segment.tokens, "positions": segment.positions, "answers": segment.answers}
    return Segment(**{name: tensors.get(name, part).clone() for name, part in parts.items()})


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_draws_recall_examples(name):
    assert fault(_draw(name, CONFIG), CONFIG) is None


def test_the_loop_places_queries_as_the_sampler_does():
    config = CONFIG.model_copy(update={"num_examples": 2000})
    means = [segment.positions.float().mean(0) for segment in (loop(config, 0), config.build(0))]
    assert (means[0] - means[1]).abs().max() < 1.5


def test_faults_are_found():
    segment = loop(CONFIG, 0)
    tokens = segment.tokens.clone()
    tokens[0, 0] = CONFIG.vocab_size - 1
    assert "outside their halves" in str(fault(changed(tokens=tokens), CONFIG))
    tokens = segment.tokens.clone()
    tokens[0, segment.positions[0, 0].item()] = tokens[0, segment.positions[0, 1].item()]
    assert "every key once" in str(fault(changed(tokens=tokens), CONFIG))
    assert "not its key's value" in str(fault(changed(answers=segment.answers.flip(1)), CONFIG))
    first = torch.arange(CONFIG.num_kv_pairs, dtype=torch.int32).expand_as(segment.positions)
    assert "inside the context" in str(fault(changed(positions=first), CONFIG))
    assert "40 examples" in str(fault(segment, CONFIG.model_copy(update={"num_examples": 41})))


@pytest.mark.parametrize("length", [1, 9, 4096, 10_000])
def test_the_task_exists_at_any_length(length):
    config = recall_task(Shape(length=length), 1)
    assert config.input_seq_len in (max(8, length), length - 1)
