"""Validation settings guide training, and the test settings are scored once, when it is over."""

import pytest
import torch

from mqar_bench.config import DataConfig
from mqar_bench.tasks import MQARConfig
from mqar_bench.training import loop
from mqar_bench.training.data import build_data
from mqar_bench.training.scoring import Scores
from mqar_bench.training.session import Stopped
from tests.training.pieces import TASK, finish, place, small, stop_at, stopped

VALIDATION = (MQARConfig(num_examples=40, **TASK), MQARConfig(num_examples=40, **TASK | {"num_kv_pairs": 3}))


def validated(**settings):
    return small(data={"validation": VALIDATION}, **settings)


def test_epochs_have_the_validation_settings_and_the_record_the_test_settings(monkeypatch):
    scored, evaluate = [], loop.evaluate

    def listen(*arguments, guides=False):
        scored.append(guides)
        return evaluate(*arguments, guides=guides)

    monkeypatch.setattr(loop, "evaluate", listen)
    record = loop.run(validated())
    assert scored == [True, True, False]
    assert [list(epoch.settings) for epoch in record.epochs] == [["L16-kv2", "L16-kv3"]] * 2
    assert list(record.settings) == ["L16-kv2"] and record.accuracy == record.settings["L16-kv2"]


def test_without_validation_settings_the_last_epoch_is_the_result(monkeypatch):
    record = loop.run(small())
    assert record.settings == record.epochs[-1].settings and record.accuracy == record.epochs[-1].accuracy


def test_what_guides_changes_nothing_else():
    """Training and test segments are the ones of before, so weights and test accuracies are, too."""
    record, (_, weights) = finish(validated())
    other, (_, other_weights) = finish(small())
    assert weights == other_weights
    assert (record.accuracy, record.settings) == (other.accuracy, other.settings)
    assert record.run_id != other.run_id


def test_no_segment_is_drawn_twice():
    data = build_data(DataConfig(train=VALIDATION[:1], validation=VALIDATION[:1], test=VALIDATION[:1]))
    parts = [part[0].tokens for part in (data.train, data.validation, data.test)]
    assert not any(torch.equal(parts[i], parts[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_early_stopping_looks_at_the_validation_settings(monkeypatch):
    accuracies = iter([Scores({"v": 0.5}, {}), Scores({"t": 0.1}, {})])
    monkeypatch.setattr(loop, "evaluate", lambda *_, guides=False: next(accuracies))
    record = loop.run(validated(early_stopping_threshold=0.4))
    assert len(record.epochs) == 1 and record.accuracy == 0.1


@pytest.mark.parametrize("calls", [[17], [18], [5, 10]], ids=["while testing", "later", "twice"])
def test_a_run_that_is_stopped_while_testing_goes_on_to_the_same_bits(calls):
    config = validated()
    every = []
    loop.run(config, stop=lambda: every.append(None))
    assert len(every) == (3 + 5 + 1) + (3 + 5) + 2  # steps, between six batches, after the epoch; between three
    checkpoint = stopped(config, *calls)
    assert finish(config, checkpoint)[1] == finish(config)[1]


def test_what_is_stopped_while_testing_has_trained_to_its_end():
    config = validated()
    with pytest.raises(Stopped) as caught:
        loop.run(config, stop=stop_at(18))
    assert place(caught.value.checkpoint, config) == (2, 0) and caught.value.fraction == 1


def test_scoring_takes_so_many_tokens_at_once(monkeypatch):
    data = build_data(small().data)
    rooms = []
    monkeypatch.setattr(type(data), "test_batches", lambda self, size, room: rooms.append(room) or iter(()))
    for settings in ({}, {"test_batch_tokens": 100}):
        config = small(**settings)
        model = torch.nn.Linear(1, 1)
        loop.evaluate(model, data, config.train, torch.device("cpu"))
    assert rooms == [32 * 16, 100]
