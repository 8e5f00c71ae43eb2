"""Tasks of any length: pieces join to the whole, nothing of the length is held, and the laws of what lies in filler."""

import itertools
import tracemalloc

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from mqar_bench.tasks import TASKS, DistantMQARConfig, StoryQAConfig, StreamTask
from mqar_bench.tasks.story_words import GRAMMAR, OBJECTS, PEOPLE, PLACES
from mqar_bench.tasks.stream import MAX_CONTEXT, below
from mqar_bench.tasks.task import CHUNK_POSITIONS
from tests.tasks.settings import STREAMED

every_stream = pytest.mark.parametrize("config", STREAMED, ids=lambda config: config.label)


def test_there_are_settings_of_every_streamed_task() -> None:
    assert {type(config) for config in STREAMED} == {cls for cls in TASKS.values() if issubclass(cls, StreamTask)}


@every_stream
@pytest.mark.parametrize("size", [1, 7, 64, 10**6])
def test_pieces_join_to_the_whole(config: StreamTask, size: int) -> None:
    segment, stream = config.build(5, filler_seed=6), config.stream(5, filler_seed=6)
    for start, stop in ((0, None), (1, 3)):
        pieces = list(stream.pieces(size, start, stop))
        assert all(piece.dtype == np.int32 for piece in pieces)
        assert [piece.shape[1] for piece in pieces[:-1]] == [size] * (len(pieces) - 1)
        assert np.array_equal(np.concatenate(pieces, axis=1), segment.tokens[start:stop].numpy())
    assert np.array_equal(stream.plan.positions, segment.positions)
    assert np.array_equal(stream.plan.answers, segment.answers)


@pytest.mark.parametrize("name", sorted({config.name for config in STREAMED}))
def test_so_they_do_over_the_edges_of_chunks(name: str) -> None:
    length = CHUNK_POSITIONS // 2 + 1  # a row a chunk
    config = TASKS[name](num_examples=5, input_seq_len=length)  # type: ignore[call-arg]
    assert isinstance(config, StreamTask)
    other = TASKS[name](num_examples=5).stream(3, input_seq_len=length)  # type: ignore[attr-defined, call-arg]
    whole = config.build(3).tokens.numpy()
    assert np.array_equal(np.concatenate(list(other.pieces(100_000, 1, 4)), axis=1), whole[1:4])


@pytest.mark.parametrize(
    "config", [DistantMQARConfig(num_examples=2), StoryQAConfig(num_examples=2)], ids=["mqar", "qa"]
)
def test_ten_million_tokens_never_exist_at_once(config: StreamTask) -> None:
    stream = config.stream(1, input_seq_len=10_000_000)
    tracemalloc.start()
    seen = sum(piece.shape[1] for piece in itertools.islice(stream.pieces(4096), 200))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == 200 * 4096 and peak < 2**20
    assert stream.plan.positions.max() < 10_000_000 and stream.plan.positions.min() > 9_999_900


@every_stream
def test_what_cannot_be_streamed_is_refused(config: StreamTask) -> None:
    with pytest.raises(ValueError, match=rf"^input_seq_len must be at least {config.least_length}, got 1$"):
        config.stream(1, input_seq_len=1)
    with pytest.raises(ValueError, match=f"^input_seq_len must be at most {MAX_CONTEXT}, got"):
        config.stream(1, input_seq_len=MAX_CONTEXT + 1)
    with pytest.raises(ValueError, match="^filler_seed must be in"):
        config.stream(1, filler_seed=-1)
    with pytest.raises(ValueError, match="^size must be at least 1, got 0$"):
        config.stream(1).pieces(0)
    for start, stop in ((0, 0), (-1, 2), (config.num_examples, None)):
        with pytest.raises(IndexError, match=r"^no examples in \["):
            config.stream(1).pieces(4, start, stop)


def test_numbers_are_scaled_evenly() -> None:
    numbers = np.random.default_rng(0).bit_generator.random_raw(200_000)
    counts = np.bincount(below(numbers, 7), minlength=7)
    assert counts.size == 7 and abs(counts / 200_000 - 1 / 7).max() < 0.004
    ends = np.array([0, 2**64 - 1], dtype=np.uint64)
    assert below(ends, 2**24).tolist() == [0, 2**24 - 1]


# ---- distant_mqar


FILLERS = {
    "spare": lambda tokens, keys: set(tokens) == {0, *range(40, 60)},
    "other": lambda tokens, keys: set(tokens) == set(range(60)) - keys,
    "any": lambda tokens, keys: set(tokens) == set(range(60)),
}


@pytest.mark.parametrize("filler", FILLERS)
def test_filler_is_of_the_kind_that_is_asked_for_and_uniform(filler: str) -> None:
    config = DistantMQARConfig.model_validate(
        {"vocab_size": 60, "num_spare": 20, "num_examples": 4, "input_seq_len": 30_000, "filler": filler}
    )
    for row in config.build(2).tokens.tolist():
        keys, values, between = row[0:16:2], row[1:16:2], row[16 : -2 * 8]
        assert set(keys) <= set(range(1, 20)) and set(values) <= set(range(20, 40))
        assert len(set(keys)) == len(set(values)) == 8
        assert FILLERS[filler](between, set(keys))
        counts = np.bincount(between)
        counts = counts[counts > 0]
        assert abs(counts / counts.mean() - 1).max() < 0.3
        assert sorted(row[-16::2]) == sorted(keys)


def test_queries_come_in_any_order() -> None:
    segment = DistantMQARConfig(num_examples=4000, num_kv_pairs=3, input_seq_len=16).build(1)
    first = (segment.tokens[:, 0:6:2] == segment.tokens[:, 10:11]).float().mean(0)
    assert (first - 1 / 3).abs().max() < 0.04
    assert segment.positions.unique(dim=0).tolist() == [[10, 12, 14]]


@pytest.mark.parametrize(
    "fields, message",
    [
        (
            {"input_seq_len": 31},
            "num_kv_pairs=8 needs 4 * num_kv_pairs = 32 positions, but input_seq_len has 31: 1 too few",
        ),
        ({"vocab_size": 17}, "= 18 tokens, but vocab_size is 17: 1 too few"),
        ({"vocab_size": 117, "num_spare": 100}, "+ num_spare = 118 tokens, but vocab_size is 117: 1 too few"),
        ({"num_spare": -1}, "num_spare must be at least 0, got -1"),
        ({"filler": "all"}, "Input should be 'spare', 'other' or 'any'"),
        ({"input_seq_len": 2**20 + 1}, "input_seq_len must be at most 1048576"),
    ],
)
def test_an_impossible_distance_is_refused(fields: dict[str, int], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        DistantMQARConfig.model_validate(fields)
    assert message in str(error.value)


@pytest.mark.parametrize("config", STREAMED, ids=lambda config: config.label)
def test_a_guess_is_right_as_often_as_is_said(config: StreamTask) -> None:
    """One answer, the same for all."""
    answers = config.model_copy(update={"num_examples": 4000}).build(1).answers
    share = torch.bincount(answers.flatten().long()).max() / answers.numel()
    assert share == pytest.approx(config.chance, abs=0.02, rel=0.1 if config.chance < 0.01 else None) or (
        config.chance < 0.001 and share < 0.002
    )


# ---- story_qa


def test_both_supporting_facts_are_needed_and_every_verb_is_used() -> None:
    config = StoryQAConfig(num_examples=500, input_seq_len=100, num_facts=12, supporting_facts=2)
    segment = config.build(1)
    said = {config.word(token) for token in segment.tokens.flatten().tolist()}
    assert said >= {*GRAMMAR, *PEOPLE[:8], *PLACES[:8], *OBJECTS[:8]}
    dropped = 0
    for row, (answer,) in zip(segment.tokens.tolist(), segment.answers.tolist(), strict=True):
        words = [text for text in (config.word(token) for token in row) if text[0] != "~"]
        facts = list(zip(words[:36:3], words[1:36:3], words[2:36:3], strict=True))
        asked = words[-2]
        assert asked in OBJECTS and config.word(answer) in PLACES
        assert any(fact[2] == config.word(answer) for fact in facts) and any(fact[2] == asked for fact in facts)
        assert not any(asked in fact and config.word(answer) in fact for fact in facts)
        last = [fact for fact in facts if fact[2] == asked][-1]
        dropped += last[1] in ("drops", "leaves")
    assert 25 < dropped < 250


def test_facts_lie_anywhere_and_in_their_order() -> None:
    config = StoryQAConfig(num_examples=2000, input_seq_len=1000, num_facts=2)
    plan = config.stream(1).plan
    starts = plan.places[:, 0:6:3]
    assert (starts[:, 1] >= starts[:, 0] + 3).all()
    assert starts.mean(0) == pytest.approx([1000 / 3, 2000 / 3], abs=15)
    assert {*np.unique(config.build(1).tokens.numpy())} >= set(range(config.first_filler, config.vocab_size))


def test_words_are_told_apart() -> None:
    config = StoryQAConfig(num_people=16, num_places=16, num_objects=16, vocab_size=80)
    words = [config.word(token) for token in range(80)]
    assert len(set(words)) == 80 and words[config.first_place] == PLACES[0] and words[config.first_object] == OBJECTS[0]
    assert words[config.first_filler] == "~0"
    with pytest.raises(ValueError, match=r"^token must be in \[0, 80\), got 80$"):
        config.word(80)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"input_seq_len": 26}, "num_facts=8 needs 3 * num_facts + 3 = 27 positions, but input_seq_len has 26"),
        ({"vocab_size": 34}, "vocab_size must be at least 35, got 34"),
        ({"num_facts": 1, "supporting_facts": 2}, "num_facts must be at least 2, got 1"),
        ({"supporting_facts": 3}, "Input should be 1 or 2"),
        ({"num_places": 17}, "num_places must be at most 16, got 17"),
        ({"num_people": 0}, "num_people must be at least 1, got 0"),
    ],
)
def test_an_impossible_story_is_refused(fields: dict[str, int], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        StoryQAConfig.model_validate(fields)
    assert message in str(error.value)
