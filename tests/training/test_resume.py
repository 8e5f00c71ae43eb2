"""A run in pieces equals the run in one piece."""

import pytest

import mixers
from mqar_bench.tasks import MQARConfig
from mqar_bench.training import curve
from mqar_bench.training.loop import run
from tests.training.pieces import DEVICES, PLACES, TASK, finish, numbers, place, small, stopped, uninterrupted


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mixer", mixers.names())
def test_a_run_in_pieces_equals_the_run_in_one_piece(mixer, device, where):
    config = small(mixer, device)
    calls, expected_place = PLACES[where]
    checkpoint = stopped(config, *calls)
    assert place(checkpoint, config) == expected_place
    record, end = finish(config, checkpoint)
    assert end == uninterrupted(config.model_dump_json()) and record.resumed == len(calls)


TWO_TASKS = (MQARConfig(num_examples=40, **TASK), MQARConfig(num_examples=50, **{**TASK, "input_seq_len": 32}))
VARIANTS = {
    "shuffle": small(data={"train": TWO_TASKS, "shuffle": True}),
    "fresh": small(data={"train": TWO_TASKS, "fresh": True}),
    "shuffle and fresh": small(data={"train": TWO_TASKS, "shuffle": True, "fresh": True}),
    "Zoology's sampler": small(data={"train": TWO_TASKS, "sampler": "zoology"}),
    "cosine by step": small(schedule="cosine_step", warmup_fraction=0.4, grad_clip=0.1),
    "annealed slots": small("ramnet", max_epochs=3),
    "bfloat16": small(precision="bfloat16"),
    "MLP and positions": small(model={"state_mixer": "mlp", "max_position_embeddings": 16}),
    "GLU and spherical embeddings": small(model={"state_mixer": "glu", "embedding_init_type": "spherical"}),
    "a head of its own": small(model={"learnable_word_embeddings": False}),
    "early stopping": small(early_stopping_threshold=-1.0),
    "one step": small(max_epochs=1, batch_size=96),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("device", DEVICES)
def test_every_checkpoint_of_a_run_leads_to_the_same_end(variant, device):
    config = VARIANTS[variant]
    config = config.model_copy(update={"train": config.train.model_copy(update={"device": device})})
    saved = []
    record, end = finish(config, save=saved.append, save_every=0)
    assert finish(config)[1] == end, "saving changes nothing"
    epochs, batches = len(record.epochs), record.steps // len(record.epochs)
    after_scoring = epochs - 1  # nothing is saved once the run is over
    assert len(saved) == epochs * batches + after_scoring
    assert epochs == (1 if variant == "early stopping" else config.train.max_epochs)
    for checkpoint in saved:
        assert finish(config, checkpoint)[1] == end


@pytest.mark.parametrize("points, windows", [(4, [2, 1, 2, 1]), (2, [3, 3]), (1, [6])])
def test_a_curve_goes_on_within_its_windows(points, windows, monkeypatch):
    monkeypatch.setattr(curve, "POINTS", points)
    config, saved = small("short_conv"), []
    record = run(config, save=saved.append, save_every=0)
    assert list(record.curve.steps) == windows
    saved += [stopped(config, *calls) for calls, _ in PLACES.values()]
    assert [run(config, checkpoint=checkpoint).curve for checkpoint in saved] == [record.curve] * len(saved)


def test_what_an_own_mixer_keeps_in_its_state_goes_on_too(mine):
    """Scoring changes it as well: what is repeated after a stop within must begin as it did the first time."""
    config = small("mixers.Restless")
    record = run(config)
    for call in range(1, 12):
        assert numbers(run(config, checkpoint=stopped(config, call))) == numbers(record), call


def test_a_state_that_cannot_be_read_back_is_found_out_when_saving(mine):
    config = small("mixers.Unreadable")
    message = r"cannot be saved: layers.0.sequence_mixer._extra_state in the model's state_dict is of type \w*Path, and"
    with pytest.raises(TypeError, match=message):
        run(config, save=pytest.fail, save_every=0)
    with pytest.raises(TypeError, match=message):
        run(config, stop=lambda: True)
    assert run(config, save=pytest.fail, stop=lambda: False).status == "done"  # until then it does no harm
