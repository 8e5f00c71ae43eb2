"""A trained model read in pieces to long contexts: right answers, sizes, ends, and going on after a stop."""

import json
from pathlib import Path

import pytest
import torch

import mixers
from mqar_bench.analysis import streaming
from mqar_bench.analysis.statistics import interval
from mqar_bench.analysis.stream_record import StreamedContext, StreamEvaluation, read_stream
from mqar_bench.analysis.streaming import StreamSettings, Watcher, find_streamed, stream_weights
from mqar_bench.basics.errors import UsageError
from mqar_bench.config import MixerSpec, RunConfig
from mqar_bench.records.weights import read_header
from mqar_bench.tasks import segment_seeds
from mqar_bench.training.loop import fit
from mqar_bench.training.weights import save_weights

CPU = torch.device("cpu")
SETTINGS = StreamSettings(last=300, first=64, examples=7, rows=3, piece=50)


def make_config(mixer="linear_attention", task="distant_mqar", **model):
    tasks = {
        "distant_mqar": {"vocab_size": 32, "num_kv_pairs": 2, "filler": "any"},
        "story_qa": {"vocab_size": 40, "num_facts": 4, "num_places": 2, "num_objects": 1},
        "multiquery_ar": {"vocab_size": 32, "num_kv_pairs": 2},
    }
    values = {"name": task, "num_examples": 24, "input_seq_len": 24} | tasks[task]
    return RunConfig.model_validate(
        {
            "data": {"train": [values], "test": [values]},
            "model": {"vocab_size": 40, "d_model": 16, "mixers": [{"name": "short_conv"}, {"name": mixer}], **model},
            "train": {"max_epochs": 1, "batch_size": 8, "learning_rate": 0.01, "device": "cpu"},
        }
    )


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Trains a config once, and keeps it."""
    folder, files = tmp_path_factory.mktemp("weights"), {}

    def train(config):
        if config.run_id not in files:
            files[config.run_id] = folder / f"{config.run_id}.safetensors"
            save_weights(files[config.run_id], *fit(config))
        return read_header(files[config.run_id])

    return train


def read(weights, path, settings=SETTINGS, watcher=None, **options):
    return stream_weights(weights, weights.config, CPU, settings, path, watcher, **options)


class Stop(Watcher):
    """Stops before the n-th piece."""

    def __init__(self, pieces):
        self.left = pieces

    def is_over(self):
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("task", ["distant_mqar", "story_qa"])
@pytest.mark.parametrize("piece", [11, 50, 1000])
def test_accuracies_are_those_of_the_whole_sequence(kept, tmp_path, task, piece):
    weights = kept(make_config(task=task))
    settings = StreamSettings(last=300, first=64, examples=7, rows=3, piece=piece)
    evaluation = read(weights, tmp_path / "a.json", settings)
    assert [entry.context for entry in evaluation.contexts] == [64, 256, 300]
    model = streaming.load_weights(weights.path, CPU)[0]
    seed = segment_seeds(weights.config.data.seed, 1, 1)[1][0]
    assert evaluation.seed == seed
    for entry in evaluation.contexts:
        whole = weights.config.data.test[0].model_copy(update={"input_seq_len": entry.context, "num_examples": 7})
        segment = whole.build(seed)
        with torch.no_grad():
            logits = model(segment.inputs, segment.positions.long())
        right = (logits.argmax(-1) == segment.answers).double().mean(1).tolist()
        assert list(entry.correct) == right and entry.accuracy == pytest.approx(sum(right) / 7)
        assert (entry.low, entry.high) == interval(right)
        assert (entry.status, entry.tokens) == ("done", 7 * entry.context)
        assert entry.tokens_per_second == pytest.approx(entry.tokens / entry.seconds)
        assert entry.peak_bytes > 2**20
    assert any(0 < entry.accuracy < 1 for entry in evaluation.contexts)  # so that equal says something
    assert evaluation.chance == weights.config.data.test[0].chance and evaluation.trained_length == 24
    assert read_stream(tmp_path / "a.json") == evaluation


@pytest.mark.parametrize("name", mixers.names())
def test_every_mixer_carries_as_much_as_it_says(kept, name):
    config = make_config()
    model = config.model.model_copy(update={"mixers": (MixerSpec(name=name),), "n_layers": 1})
    model = streaming.LanguageModel(model).eval()
    reading = streaming._Reading(model, stub(config), SETTINGS, CPU, Path("none"), Watcher())
    stream = config.data.test[0].stream(1, input_seq_len=130)
    correct, seconds, peak, state, slots = reading._read_rows(stream, 1, 3)
    assert [(each.layer, each.head) for each in slots] == ([(0, 0), (0, 1)] if name == "ramnet" else [])
    assert 0 <= state - 4 * model.state_size(130) <= 8  # a counter has 64 bits
    assert len(correct) == 2 and seconds > 0 and peak > 0


def stub(config):
    return StreamEvaluation.model_construct(task=config.data.test[0], precision="float32")


@pytest.mark.parametrize("pieces", [0, 1, 5, 9, 10, 33])
def test_a_stopped_reading_goes_on_to_the_same_answers(kept, tmp_path, pieces):
    weights = kept(make_config())
    whole = read(weights, tmp_path / "whole.json")
    stopped = read(weights, tmp_path / "part.json", watcher=Stop(pieces))
    assert any(stopped.at(context).status == "partial" for context in SETTINGS.contexts)
    batches = sum(-(-len(entry.correct) // 3) for entry in stopped.contexts)
    watcher = Stop(10**6)
    again = read(weights, tmp_path / "part.json", watcher=watcher)
    assert [(e.context, e.status, e.correct) for e in again.contexts] == [
        (e.context, "done", e.correct) for e in whole.contexts
    ]
    # 2, 6 and 6 pieces a batch, and three batches at each of three contexts: what was read is not read again
    sizes = [2] * 3 + [6] * 6
    assert 10**6 - watcher.left == sum(sizes[batches:])


def test_slots_of_ramnet_are_followed_over_a_stop(kept, tmp_path):
    weights = kept(make_config(mixer="ramnet"))
    whole = read(weights, tmp_path / "whole.json")
    read(weights, tmp_path / "part.json", watcher=Stop(14))
    again = read_stream(tmp_path / "part.json")
    assert again.at(256).status == "partial" and len(again.at(256).slots[0].overwritten) == 3
    again = read(weights, tmp_path / "part.json")
    assert [entry.slots for entry in again.contexts] == [entry.slots for entry in whole.contexts]
    for entry in whole.contexts:
        assert [(each.layer, each.head, each.num_slots, each.top_k) for each in entry.slots] == [
            (1, 0, 256, 8), (1, 1, 256, 8),
        ]  # fmt: skip
        assert all(len(each.overwritten) == 7 and 0 < min(each.overwritten) < 1 for each in entry.slots)


def test_a_killed_reading_loses_no_batch_that_has_ended(kept, tmp_path):
    class Dies(Watcher):
        def progress(self, context, share):
            if context == 256 and share > 0.5:
                raise KeyboardInterrupt

    weights = kept(make_config())
    with pytest.raises(KeyboardInterrupt):
        read(weights, tmp_path / "a.json", watcher=Dies())
    left = read_stream(tmp_path / "a.json")
    assert [(e.context, e.status, len(e.correct)) for e in left.contexts] == [(64, "done", 7), (256, "partial", 3)]


def test_a_longer_end_keeps_what_is_there(kept, tmp_path):
    weights = kept(make_config())
    first = read(weights, tmp_path / "a.json")
    longer = StreamSettings(last=1024, first=64, examples=7, rows=3, piece=50)
    watcher = Stop(10**6)
    second = read(weights, tmp_path / "a.json", longer, watcher)
    assert second.contexts[:3] == first.contexts and [e.context for e in second.contexts] == [64, 256, 300, 1024]
    assert 10**6 - watcher.left == 3 * 21
    assert read(weights, tmp_path / "a.json", longer, Stop(0)).contexts == second.contexts
    anew = read(weights, tmp_path / "a.json", force=True)
    assert [e.context for e in anew.contexts] == [64, 256, 300]


def test_attention_ends_where_the_memory_does_and_goes_on_with_more(kept, tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "peak_memory", lambda device: 2**21)  # else some KiB of the process would count
    weights = kept(make_config(mixer="attention"))
    state = 4 * (2 * 16 * 256 + 3 * 16)  # of a row after 256 tokens, with the convolution's
    small = StreamSettings(last=4096, first=64, examples=3, rows=3, piece=64, memory=3 * state)
    ended = read(weights, tmp_path / "a.json", small)
    assert [(e.context, e.status) for e in ended.contexts] == [
        (64, "done"), (256, "done"), (1024, "ended"), (4096, "ended"),
    ]  # fmt: skip
    assert ended.contexts[1].state_bytes <= state
    assert ended.contexts[2].reason == "the state of 3 rows takes 0 MiB, more than the 0 MiB allowed"
    assert ended.contexts[3].reason.endswith("(at 1024)") and ended.contexts[3].accuracy is None
    watcher = Stop(0)  # nothing is tried again
    assert read(weights, tmp_path / "a.json", small, watcher).contexts == ended.contexts and watcher.left == 0
    more = StreamSettings(last=1024, first=64, examples=3, rows=3, piece=64)
    on = read(weights, tmp_path / "a.json", more)
    assert [(e.context, e.status) for e in on.contexts] == [(64, "done"), (256, "done"), (1024, "done")]


def test_what_is_measured_ends_it_too(kept, tmp_path, monkeypatch):
    readings = iter([2**21] * 5 + [2**33] * 100)
    monkeypatch.setattr(streaming, "peak_memory", lambda device: next(readings))
    evaluation = read(kept(make_config()), tmp_path / "a.json")
    assert [entry.status for entry in evaluation.contexts] == ["ended"] * 3
    assert evaluation.contexts[0].reason.startswith("reading takes 8.00 GiB at token ")
    assert len(evaluation.contexts[0].correct) == 3  # what was measured before


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes")])
def test_a_machine_without_memory_ends_it(kept, tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(streaming.LanguageModel, "prefill", fail)
    evaluation = read(kept(make_config()), tmp_path / "a.json")
    assert evaluation.contexts[0].reason == "the machine has no more memory at token 0"


def test_another_error_is_none_of_memory(kept, tmp_path, monkeypatch):
    monkeypatch.setattr(streaming.LanguageModel, "prefill", lambda *_: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):
        read(kept(make_config()), tmp_path / "a.json")


def test_learned_positions_end_it(kept, tmp_path):
    evaluation = read(kept(make_config(max_position_embeddings=64)), tmp_path / "a.json")
    assert [entry.status for entry in evaluation.contexts] == ["done", "ended", "ended"]
    assert evaluation.contexts[1].reason == "it has learned positions of 64 tokens"


def test_another_evaluation_is_not_gone_on_with(kept, tmp_path):
    path = tmp_path / "a.json"
    read(kept(make_config()), path)
    other = kept(make_config(mixer="gla"))
    with pytest.raises(UsageError, match=r"a.json has run_id \w+, and this is \w+: give another --out, or --force"):
        read(other, path)
    weights = kept(make_config())
    with pytest.raises(UsageError, match="has examples 7, and this is 6"):
        read(weights, path, StreamSettings(last=300, first=64, examples=6, rows=3, piece=50))
    task = weights.config.data.test[0].model_copy(update={"filler": "spare"})
    config = weights.config.model_copy(update={"data": weights.config.data.model_copy(update={"test": (task,)})})
    with pytest.raises(UsageError, match=r"has task.filler any, and this is spare"):
        stream_weights(weights, config, CPU, SETTINGS, path)
    path.write_text(json.dumps({"run_id": "x"}))
    with pytest.raises(UsageError, match="is there and holds something else than a streaming evaluation"):
        read(weights, path)


def test_a_task_that_cannot_be_streamed_is_said(kept, tmp_path):
    with pytest.raises(UsageError, match="can be streamed: give --data.test.0.name distant_mqar or story_qa"):
        find_streamed(make_config(task="multiquery_ar"))
    short = StreamSettings(last=64, first=4)
    with pytest.raises(UsageError, match="^the first context is 4, and distant-L24-kv2-any needs 8 tokens$"):
        read(kept(make_config()), tmp_path / "a.json", short)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"last": 63, "first": 64}, "the last context is 63, and the first is longer: 64"),
        ({"last": 0, "first": 0}, "first must be at least 1, got 0"),
        ({"last": 64, "piece": 0}, "piece must be at least 1"),
        ({"last": 2000, "rows": 0}, "rows must be at least 1"),
    ],
)
def test_impossible_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        StreamSettings(**fields)


@pytest.mark.parametrize(
    "first, last, contexts",
    [
        (1024, 1024, [1024]),
        (1024, 16384, [1024, 4096, 16384]),
        (1024, 10_000, [1024, 4096, 10_000]),
        (3, 13, [3, 12, 13]),
    ],
)
def test_contexts_are_powers_of_four_and_the_end(first, last, contexts):
    assert StreamSettings(last=last, first=first).contexts == contexts


def test_one_example_has_no_interval():
    entry = StreamedContext(context=8, status="partial").add([1.0], 2.0, 5, 6, of=1)
    assert (entry.accuracy, entry.low, entry.high, entry.tokens_per_second) == (1.0, None, None, 4.0)


def test_what_is_done_once_is_no_time_of_reading(kept, tmp_path, monkeypatch):
    """As compiling is: it is done before the clock starts, and leaves nothing in the state."""
    prefill, late = streaming.LanguageModel.prefill, [3.0]
    monkeypatch.setattr(streaming.time, "perf_counter", lambda: late[0])

    def compiling(*arguments):
        late[0] += 100.0 if len(late) == 1 else 0.5
        late.append(0.0)
        return prefill(*arguments)

    before = read(kept(make_config()), tmp_path / "b.json")
    monkeypatch.setattr(streaming.LanguageModel, "prefill", compiling)
    after = read(kept(make_config()), tmp_path / "a.json")
    assert [entry.correct for entry in after.contexts] == [entry.correct for entry in before.contexts]
    assert [entry.seconds for entry in after.contexts] == [3 * 2 * 0.5, 3 * 6 * 0.5, 3 * 6 * 0.5]
