"""Training over segments: the same gradients as over the whole, or cut where they are to be; and its settings."""

from collections import Counter

import pytest
import torch

import mixers
from mqar_bench.config import DataConfig, MixerSpec, ModelConfig, RunConfig, SegmentsConfig, TrainConfig
from mqar_bench.tasks import AssociativeRetrievalConfig, DistantMQARConfig, MQARConfig
from mqar_bench.training import curriculum
from mqar_bench.training.curriculum import Curriculum
from mqar_bench.training.data import Batch, build_data
from mqar_bench.training.loop import fit, run
from mqar_bench.training.model import LanguageModel, supervised_loss
from mqar_bench.training.optimization import learning_rate, training_loss
from mqar_bench.training.segments import read_batch
from tests.training.pieces import finish, stopped, uninterrupted

TASK = MQARConfig(vocab_size=64, num_examples=3, input_seq_len=20, num_kv_pairs=3)
#: Where the defaults make a model whose segments are no different from the whole.
OPTIONS = {
    "armt": {"segment_size": 4, "d_mem": 8},
    "ramnet": {"order": 2, "sub_dim": 4, "top_k": 3, "cape": 1},
    "sliding_window_attention": {"window": 6},
    "sparse_attention": {"block_size": 3, "num_selected_blocks": 1, "window": 4},
    "ttt_linear": {"mini_batch_size": 4},
    "ttt_mlp": {"mini_batch_size": 4},
    "mom": {"aux_loss_scale": 0.0},  # it balances the tokens of a segment
}
#: Tokens of a segment. ARMT closes a segment of its own, which the last of a sequence else need not do.
SIZES = {"armt": (4, 8), **{name: (7, 3) for name in mixers.names() if name != "armt"}}


def make_model(name="gla", **changes):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        specs = (MixerSpec(name="short_conv"), MixerSpec(name=name, options=OPTIONS.get(name, {})))
        values = {"vocab_size": 64, "d_model": 16, "mixers": specs, "embed_dropout": 0.0, **changes}
        return LanguageModel(ModelConfig(**values)).double().train()


def make_batch(task=TASK):
    return Batch(*task.build(5).batch(0, 3))


def gradients(model, loss):
    """Of all parameters by name; zeros where there is none."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
    return {n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(trained.items(), found, strict=True)}


def by_segments(model, batch, **segments):
    return gradients(model, training_loss(model, batch, TrainConfig(segments=SegmentsConfig(**segments))))


def check_same(ours, theirs):
    for name, theirs_of in theirs.items():
        torch.testing.assert_close(ours[name], theirs_of, rtol=1e-8, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("name", mixers.names())
def test_gradients_over_segments_are_those_of_the_whole(name):
    model, batch = make_model(name), make_batch()
    whole = gradients(model, training_loss(model, batch, TrainConfig()))
    for size in SIZES[name]:
        check_same(by_segments(model, batch, size=size), whole)


@pytest.mark.parametrize("every, same", [(1, False), (2, False), (3, True), (9, True)])
@pytest.mark.parametrize("name", ["gla", "ramnet", "attention"])
def test_truncated_gradients_are_those_of_a_plain_loop(name, every, same):
    """Of three segments; the loop is told by hand where the state has no history."""
    model, batch = make_model(name), make_batch()
    labels = torch.full_like(batch.tokens, -100).scatter_(1, batch.positions, batch.answers)
    losses, state = [], None
    for i, (piece, wanted) in enumerate(zip(batch.tokens.split(7, 1), labels.split(7, 1), strict=True)):
        if i and i % every == 0:
            state = state._replace(layers=tuple({k: t.detach() for k, t in s.items()} for s in state.layers))
        logits, state = model.prefill(piece, state)
        losses.append(torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="sum"))
    plain = gradients(model, sum(losses) / batch.answers.numel())
    ours = by_segments(model, batch, size=7, detach_every=every)
    check_same(ours, plain)
    whole = by_segments(model, batch, size=7)
    assert all(torch.equal(ours[n], whole[n]) for n in whole) == same


@pytest.mark.parametrize("size", [1, 3, 7, 20, 64])
def test_logits_come_in_the_order_of_their_positions(size):
    """Rows differ in how many answers a segment has."""
    model, batch = make_model(), make_batch(MQARConfig(vocab_size=64, num_examples=3, input_seq_len=20, num_kv_pairs=5))
    logits, added = read_batch(model, batch, SegmentsConfig(size=size))
    torch.testing.assert_close(logits, model(batch.tokens, batch.positions), rtol=1e-9, atol=1e-9)
    assert added is None


def test_what_mixers_add_is_the_mean_over_segments():
    model, batch = make_model(mixers=(MixerSpec(name="mom"),)), make_batch()
    added = read_batch(model, batch, SegmentsConfig(size=14))[1]
    state, expected = None, 0.0
    for piece, share in zip(batch.tokens.split(14, 1), (0.7, 0.3), strict=True):
        _, state = model.prefill(piece, state)
        expected = expected + share * model.auxiliary_loss()
    torch.testing.assert_close(added, expected)
    assert added.requires_grad and added > 0


def staged(stages=(1, 2, 4), size=8, epochs=6, mixer="gla", task="distant", device="cpu", **settings):
    """Two training settings of three batches; dropout, new examples every epoch and shuffled batches."""
    kinds = {
        "distant": DistantMQARConfig(vocab_size=64, num_examples=44, input_seq_len=8, num_kv_pairs=2, num_spare=8),
        "retrieval": AssociativeRetrievalConfig(num_examples=44, num_kv_pairs=2),
    }
    segments = SegmentsConfig(**{"size": size, "stages": stages, "vary_from": stages[0], **settings})
    train, test = kinds[task], kinds[task].model_copy(update={"num_examples": 16})
    return RunConfig(
        data=DataConfig(train=(train, train), test=(test,), fresh=True, shuffle=True),
        model=ModelConfig(vocab_size=64, d_model=16, mixers=(MixerSpec(name=mixer, options=OPTIONS.get(mixer, {})),)),
        train=TrainConfig(
            max_epochs=epochs, batch_size=16, learning_rate=1e-2, schedule="cosine_step", warmup_fraction=0.2,
            early_stopping_threshold=None, segments=segments, device=device,
        ),
    )  # fmt: skip


def lengths(config):
    of = Curriculum(config, build_data(config.data))
    return [[batch.tokens.shape[1] // 8 for batch in of.batches(e)] for e in range(config.train.max_epochs)]


def test_segments_are_drawn_from_the_configs_seed_within_the_stage():
    config = staged(stages=(2, 5), epochs=24)
    drawn = lengths(config)
    first, second = (Counter(n for epoch in part for n in epoch) for part in (drawn[:12], drawn[12:]))
    assert set(first) == {2} and set(second) == {2, 3, 4, 5}
    assert all(7 <= count <= 29 for count in second.values())  # of 72: three deviations about 18
    assert lengths(config) == drawn
    other = config.model_copy(update={"data": config.data.model_copy(update={"seed": 7})})
    assert lengths(other) != drawn
    assert lengths(staged(stages=(2, 5), epochs=4, vary_from=None)) == [[2] * 6] * 2 + [[5] * 6] * 2


def test_batches_of_a_stage_repeat_unless_they_are_to_be_fresh():
    config = staged(stages=(4,))
    fresh, fixed = (
        Curriculum(c, build_data(c.data))
        for c in (config, config.model_copy(update={"data": config.data.model_copy(update={"fresh": False})}))
    )
    tokens = [[[batch.tokens for batch in of.batches(epoch)] for epoch in (0, 1)] for of in (fresh, fixed)]
    shapes = [[sorted(t.shape for t in epoch) for epoch in of] for of in tokens]
    assert shapes[1][0] == shapes[1][1]  # in another order
    (one, two), _ = tokens
    assert not any(a.shape == b.shape and torch.equal(a, b) for a in one for b in two)
    for start in (1, 5):
        rest = [batch.tokens for batch in fresh.batches(0, start)]
        assert all(torch.equal(a, b) for a, b in zip(rest, one[start:], strict=True))
    assert [len(t) for t in sorted(one, key=len)] == [12, 12, 16, 16, 16, 16]  # a setting's last batch is smaller


@pytest.mark.parametrize("pairs", [1, 3])
def test_pairs_of_retrieval_follow_from_the_segments(pairs):
    config = staged(stages=(pairs + 1,), size=4, task="retrieval")
    batch = next(Curriculum(config, build_data(config.data)).batches(0))
    assert batch.tokens.shape[1] == 4 * pairs + 2


@pytest.mark.parametrize(
    "stages, epochs, spans",
    [
        ((1, 2), 4, [(0, 2), (0, 2), (2, 4), (2, 4)]),
        ((1, 2, 4), 3, [(0, 1), (1, 2), (2, 3)]),
        ((1, 2), 3, [(0, 1), (1, 3), (1, 3)]),
        ((1, 2, 4), 2, [(0, 1), (1, 2)]),
        ((1, 2, 4), 1, [(0, 1)]),
        ((), 2, [(0, 2), (0, 2)]),
    ],
)
def test_stages_are_parts_of_training_and_the_last_is_never_left_out(stages, epochs, spans):
    segments = SegmentsConfig(size=8, stages=stages)
    assert [segments.span(epoch, epochs) for epoch in range(epochs)] == spans
    assert not stages or segments.bounds(epochs - 1, epochs) == (stages[-1], stages[-1])


def test_every_stage_has_a_schedule_of_its_own():
    train = staged(stages=(1, 2)).train
    rates = [learning_rate(train, step, 36, step // 6) for step in range(36)]
    assert rates[:18] == rates[18:] and rates[0] < rates[3] == max(rates) and rates[17] < 0.02 * max(rates)


def test_a_stage_begins_with_the_best_weights_of_the_one_before(monkeypatch):
    config, seen = staged(), []
    scores = iter([0.5, 0.4, 0.6, 0.7, 0.2, 0.1, 0.0])
    end_epoch = Curriculum.end_epoch

    def scored(self, epoch, model, optimizer):
        before = {name: t.clone() for name, t in model.state_dict().items()}
        end_epoch(self, epoch.model_copy(update={"accuracy": next(scores)}), model, optimizer)
        after = {name: t.clone() for name, t in model.state_dict().items()}
        seen.append((before, after, len(optimizer.state), self.best is None))

    monkeypatch.setattr(curriculum.Curriculum, "end_epoch", scored)
    fit(config)

    def same(a, b):
        return all(torch.equal(a[name], b[name]) for name in a)

    (one, *_), (two, after_two, *_), (three, *_), (four, after_four, *_), (five, after_five, *_) = seen
    assert not same(one, two) and same(after_two, one), "the first epoch of the first stage was its best"
    assert not same(three, four) and same(after_four, four)
    assert same(after_five, five), "nothing goes on from the last stage"
    assert [(state > 0, kept) for _, _, state, kept in seen] == [
        (True, False), (False, True), (True, False), (False, True), (True, True),
    ]  # fmt: skip


@pytest.mark.parametrize("stop", [2, 7, 9, 14])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(stop):
    """Within an epoch, after the first epoch of a stage, within the second, and where the next stage begins."""
    config = staged(epochs=4, stages=(1, 3), detach_every=2)
    assert finish(config, stopped(config, stop))[1] == uninterrupted(config.model_dump_json())


def test_the_record_counts_the_tokens_that_were_read():
    config = staged(stages=(1, 3), epochs=4, vary_from=None)
    record = run(config)
    assert record.status == "done" and record.steps == 24
    assert sum(record.curve.tokens) == 2 * 88 * 8 + 2 * 88 * 24 == config.tokens_after(4)
    assert config.tokens_after(3) == 2 * 88 * 8 + 88 * 24 and config.trained_length == 24
    varied = staged(stages=(1, 3), epochs=4)
    assert varied.tokens_after(4) == 2 * 88 * 8 + 2 * 88 * 16


def test_what_is_not_asked_for_leaves_runs_as_they_are():
    plain = RunConfig()
    assert "segments" not in plain.model_dump(mode="json")["train"]
    cut = plain.model_copy(update={"train": TrainConfig(segments=SegmentsConfig(size=8))})
    assert cut.run_id != plain.run_id and cut.variant != plain.variant and cut.data_name == plain.data_name
    assert RunConfig.model_validate_json(cut.model_dump_json()) == cut


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: SegmentsConfig(stages=(1,)), "stages needs size, the tokens of a segment"),
        (lambda: SegmentsConfig(detach_every=2), "detach_every needs size"),
        (lambda: SegmentsConfig(size=8, vary_from=2), r"vary_from is 2, and the shortest of stages is None"),
        (lambda: SegmentsConfig(size=8, stages=(1, 4), vary_from=2), r"vary_from is 2, and .* is 1"),
        (lambda: SegmentsConfig(size=8, stages=(0,)), "stages must be at least 1, got 0"),
        (lambda: SegmentsConfig(size=8, lengths=(2,)), "Extra inputs are not permitted"),
        (lambda: staged(size=4), r"data.train.0 at 1 x 4 tokens \(train.segments\): num_kv_pairs=2 needs 4 \* num_kv"),
        (lambda: staged(stages=(2**20,)), r"data.train.0 at 1048576 x 8 tokens .*: input_seq_len must be at most"),
        (lambda: staged(stages=(1,), size=4, task="retrieval"), r"at 1 x 4 tokens .*: num_kv_pairs must be at least 1"),
        (lambda: staged(stages=(30,), size=4, task="retrieval"), r"at 30 x 4 tokens .*: num_kv_pairs=29 needs"),
    ],
)
def test_impossible_settings_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_learned_positions_must_reach_over_all_segments():
    config = staged().model_dump(mode="json")
    config["model"]["max_position_embeddings"] = 16
    with pytest.raises(ValueError, match="max_position_embeddings is 16, but the longest sequence has 32 tokens"):
        RunConfig.model_validate(config)


def test_a_task_whose_length_cannot_be_chosen_is_refused():
    config = staged().model_dump(mode="json")
    config["data"]["train"] = [{"name": "stacked", "vocab_size": 64, "num_kv_pairs": 4}]
    with pytest.raises(ValueError, match="the task 'stacked' has no input_seq_len that could be set"):
        RunConfig.model_validate(config)


class Stateless(torch.nn.Module):
    """From elsewhere, and without a state to carry."""

    def __init__(self, d_model, layer_idx=None):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(d_model))

    def forward(self, x):
        return x * self.scale

    def state_size(self, sequence_length):
        return 0


def test_a_mixer_that_carries_nothing_is_refused_before_the_first_step(monkeypatch):
    monkeypatch.setattr(mixers, "Stateless", Stateless, raising=False)
    message = (
        r"^model.mixers.0: mixer 'mixers.Stateless': Stateless carries no state: it has no prefill, nor step and"
        r" init_state; train.segments.size 0 trains it on whole sequences$"
    )
    with pytest.raises(mixers.MixerError, match=message):
        run(staged(mixer="mixers.Stateless"))


def test_the_loss_is_of_all_answers():
    model, batch = make_model(), make_batch()
    loss = training_loss(model, batch, TrainConfig(segments=SegmentsConfig(size=6)))
    torch.testing.assert_close(loss, supervised_loss(model(batch.tokens, batch.positions), batch.answers))
