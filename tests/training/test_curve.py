"""The learning curve: where its windows end, and that they have the means of their steps."""

import json

import pytest
import torch
from pydantic import ValidationError

from mqar_bench.records.result import Curve
from mqar_bench.tasks import JRTConfig, MQARConfig
from mqar_bench.training import curve, loop
from mqar_bench.training.curve import EVERY, POINTS, Windows, ends_window
from mqar_bench.training.loop import run
from tests.training.pieces import TASK, small

LENGTHS = [(1, 1), (1, 1000), (2, 3), (20, 50), (32, 7), (64, 180), (101, 5), (200, 7), (201, 3), (1000, 2)]
#: Two lengths, so that windows have different numbers of tokens.
MIX = {"train": (MQARConfig(num_examples=96, **TASK), JRTConfig(num_examples=64, **TASK | {"input_seq_len": 32}))}


def ends(epochs, batches):
    """The steps, counted from 1, with which windows end."""
    return [step + 1 for step in range(epochs * batches) if ends_window(step, epochs, batches)]


@pytest.mark.parametrize("epochs, batches", LENGTHS)
def test_windows_are_few_and_not_too_few(epochs, batches):
    count, steps = len(ends(epochs, batches)), epochs * batches
    assert min(steps, POINTS // 2) <= count <= POINTS


@pytest.mark.parametrize("epochs, batches", LENGTHS)
def test_windows_are_equal_parts_of_every_epoch_or_whole_epochs(epochs, batches):
    at = ends(epochs, batches)
    if epochs > POINTS:
        assert all(end % batches == 0 for end in at) and len({b - a for a, b in zip(at, at[1:], strict=False)}) == 1
        return
    first = [end for end in at if end <= batches]
    assert at == [epoch * batches + end for epoch in range(epochs) for end in first] and first[-1] == batches
    sizes = {b - a for a, b in zip([0, *first], first, strict=False)}
    assert max(sizes) - min(sizes) <= 1


@pytest.fixture
def seen(monkeypatch):
    """Loss, right answers, answers and tokens of every training step."""
    steps, training_loss = [], loop.training_loss

    def listen(model, batch, settings, watch):
        def also(logits, answers):
            right = (logits.argmax(-1) == answers).sum().item()
            steps.append([right, answers.numel(), batch.tokens.numel()])
            watch(logits, answers)

        loss = training_loss(model, batch, settings, also)
        steps[-1].insert(0, loss.item())
        return loss

    monkeypatch.setattr(loop, "training_loss", listen)
    return steps


@pytest.mark.parametrize("points, windows", [(200, [1] * 10), (4, [3, 2] * 2), (2, [5, 5]), (1, [10])])
def test_a_window_has_the_means_of_its_steps(points, windows, seen, monkeypatch):
    monkeypatch.setattr(curve, "POINTS", points)
    found = run(small(data=MIX)).curve
    assert list(found.steps) == windows and len(seen) == 10
    for i, size in enumerate(windows):
        those, seen = seen[:size], seen[size:]
        assert found.tokens[i] == sum(tokens for *_, tokens in those)
        assert found.loss[i] == float(f"{sum(loss for loss, *_ in those) / size:.5g}")
        watched = those[::EVERY]
        right, answers = (sum(step[n] for step in watched) for n in (1, 2))
        assert found.accuracy[i] == float(f"{right / answers:.5g}")


def test_windows_of_an_epoch_have_its_loss_and_its_tokens():
    config = small(data=MIX)
    record = run(config)
    tokens = sum(task.num_examples * task.input_seq_len for task in config.data.train)
    for n, epoch in enumerate(record.epochs):
        part = slice(5 * n, 5 * n + 5)
        assert sum(record.curve.loss[part]) / 5 == pytest.approx(epoch.loss, rel=1e-4)
        assert sum(record.curve.tokens[part]) == tokens == config.data.epoch_tokens


def test_a_run_that_stops_early_has_what_it_has_done_of_its_last_window(monkeypatch):
    monkeypatch.setattr(curve, "POINTS", 1)
    record = run(small(max_epochs=4, early_stopping_threshold=-1.0))
    assert record.curve.steps == (3,) and record.curve.loss[0] == float(f"{record.epochs[0].loss:.5g}")


def test_it_waits_for_the_device_only_where_a_window_ends(monkeypatch):
    fetched, settle = [], Windows.settle
    monkeypatch.setattr(Windows, "settle", lambda self: fetched.append(self.steps) or settle(self))
    monkeypatch.setattr(curve, "POINTS", 2)
    run(small())
    assert fetched == [3, 3]


def test_counts_are_the_same_whenever_they_are_fetched():
    torch.manual_seed(0)
    often, once = Windows(), Windows()
    for step in range(9):
        logits, answers = torch.randn(4, 3, 5), torch.randint(5, (4, 3))
        for windows in (often, once):
            windows.watch(logits, answers)
            windows.add(7, 1.0, ends=step == 8)
        often.settle()
    assert often == once and often.ended[0][:3] == (9, 63, 1.0)


def test_a_record_has_a_few_bytes_a_window():
    long = Curve(steps=[500] * 200, tokens=[999_999] * 200, loss=[1.2345] * 200, accuracy=[0.12345] * 200)
    packed = json.dumps(long.model_dump(mode="json"), separators=(",", ":"))
    assert len(packed) < 200 * 27


def test_a_curve_with_a_number_too_few_is_refused():
    with pytest.raises(ValidationError, match="one number of each kind a window"):
        Curve(steps=(1, 1), tokens=(2, 2), loss=(1.0, 1.0), accuracy=(0.5,))
