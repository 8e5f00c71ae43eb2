"""Multi-query associative recall (MQAR; Arora, Eyuboglu et al. 2023, arXiv 2312.04927) as in Zoology.

An example is a context of key-value pairs followed by a second part in which every key is queried once; at
a query the model must predict the value that the key was bound to. With ``vocab_size=12``,
``input_seq_len=16``, ``num_kv_pairs=2``, ``random_non_queries=False``::

              context (2 * num_kv_pairs)   slots, two positions each, space = (16 - 4) / 2 = 6
              key  val  key  val |  0       1       2       3       4       5
    position   0    1    2    3  |  4   5   6   7   8   9  10  11  12  13  14  15
    token      2    8    4    7  |  4   0   0   0   0   0   2   0   0   0   0   0
    label                        |  7                       8
                                 key 4 in slot 0         key 2 in slot 3      (the "gaps" of the two pairs)

Keys are distinct and uniform on [1, vocab_size // 2), values on [vocab_size // 2, vocab_size). Pair after
pair draws its slot among those still free, slot i with probability proportional to (i + 1) ** (power_a - 1):
most queries come early. With ``random_non_queries`` every 0 is then replaced by a token uniform on
[0, vocab_size), which may by chance be 0 or a key of the same row; it is never scored.
"""

# N - examples, L - input_seq_len, K - num_kv_pairs, S - slots ("space"), R - rows of one chunk

from __future__ import annotations

import operator
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, model_validator

from mqar_bench.frozen import Frozen
from mqar_bench.tasks.segment import Segment

Sampler = Literal["fast", "zoology"]
Array = NDArray[Any]

#: Far above what anybody has trained on; what lies beyond is a slip of the pen, and would exhaust any machine.
MAX_VOCAB, MAX_LENGTH, MAX_EXAMPLES = 2**24, 2**20, 10**8
MAX_TOKENS = 2**32  # of a segment, at 4 bytes each
MAX_SEED = 2**32  # seeds lie in [0, MAX_SEED): what numpy's legacy generator, hence Zoology, takes

# The fast sampler works through the examples in chunks of about this many positions, which bounds its
# temporary memory (2 MiB of float64). The chunks draw from one stream: another number here is other data.
CHUNK_POSITIONS = 2**18


class MQARConfig(Frozen):
    """One MQAR setting. Fields are Zoology's, with its defaults; unknown fields are errors.

    Args:
        vocab_size: number of token ids; must exceed ``input_seq_len``; at most 2**24.
        num_examples: N; at most 10**8, and 2**32 tokens in all.
        input_seq_len: L, in tokens; even, and at least ``4 * num_kv_pairs``; at most 2**20.
        num_kv_pairs: K, pairs per example, and so scored positions per example.
        power_a: exponent of the law of the slots, above 0; 1 is uniform, smaller puts the queries earlier.
        random_non_queries: fill the unused positions with random tokens instead of 0.
        num_passes: only 1, a single pass over the pairs; Zoology's other values crash or misalign the labels.

    Raises:
        pydantic.ValidationError: (a ValueError) a field is unknown, of a wrong type, or breaks a rule above.
    """

    model_config = ConfigDict(allow_inf_nan=True)  # an infinite power_a is refused below, like any that is too large

    name: Literal["multiquery_ar"] = "multiquery_ar"
    vocab_size: int = 8192
    num_examples: int = 1000
    input_seq_len: int = 64
    num_kv_pairs: int = 8
    power_a: float = 0.01
    random_non_queries: bool = True
    num_passes: int = 1

    @model_validator(mode="after")
    def _check(self) -> MQARConfig:
        for what in ("vocab_size", "num_examples", "input_seq_len", "num_kv_pairs"):
            if getattr(self, what) < 1:
                raise ValueError(f"{what} must be at least 1, got {getattr(self, what)}")
        for what, most in (("vocab_size", MAX_VOCAB), ("num_examples", MAX_EXAMPLES), ("input_seq_len", MAX_LENGTH)):
            if getattr(self, what) > most:
                raise ValueError(f"{what} must be at most {most}, got {getattr(self, what)}")
        if self.num_examples * self.input_seq_len > MAX_TOKENS:
            raise ValueError(
                f"num_examples={self.num_examples} of input_seq_len={self.input_seq_len} are "
                f"{self.num_examples * self.input_seq_len} tokens, and a segment has at most {MAX_TOKENS}"
            )
        if self.num_passes != 1:
            raise ValueError(f"num_passes must be 1, got {self.num_passes}: Zoology breaks with any other")
        if self.input_seq_len % 2:
            raise ValueError(f"input_seq_len must be even, got {self.input_seq_len}")
        needed = 4 * self.num_kv_pairs
        if needed > self.input_seq_len:
            raise ValueError(
                f"num_kv_pairs={self.num_kv_pairs} needs 4 * num_kv_pairs = {needed} positions, "
                f"but input_seq_len has {self.input_seq_len}: {needed - self.input_seq_len} too few"
            )
        # With the rule above, K < vocab_size / 4: the vocab_size // 2 - 1 keys and the values always suffice.
        needed = self.input_seq_len + 1
        if needed > self.vocab_size:
            raise ValueError(
                f"vocab_size must exceed input_seq_len: input_seq_len={self.input_seq_len} needs {needed}, "
                f"but vocab_size is {self.vocab_size}: {needed - self.vocab_size} too few"
            )
        if not self.power_a > 0:
            raise ValueError(f"power_a must be above 0, got {self.power_a}")
        p = _slot_probabilities(self)
        if not (np.isfinite(p).all() and (p > 0).all()):
            raise ValueError(f"power_a={self.power_a} leaves the floating point range with {len(p)} slots")
        return self

    @property
    def label(self) -> str:
        """The setting in short, e.g. ``"L64-kv4"``."""
        return f"L{self.input_seq_len}-kv{self.num_kv_pairs}"

    def build(self, seed: int, sampler: Sampler = "fast", filler_seed: int | None = None) -> Segment:
        """Generates the examples. The same arguments give the same bits; global generators are left alone.

        Args:
            seed: of keys, values and slots, in [0, 2**32).
            sampler: ``"zoology"`` gives, bit for bit, the output of Zoology's generator for this seed (with
                ``torch.manual_seed(filler_seed)`` called just before it), in Zoology's time. ``"fast"`` draws
                from the same distribution, some hundred times faster and in little memory; the bits differ.
            filler_seed: of the tokens that ``random_non_queries`` fills in, in [0, 2**32); ``None`` means
                ``seed``. Whatever it is, the pairs, positions and answers stay the same.

        Returns:
            N examples of L tokens with K scored positions each; ``slices`` has num_kv_pairs, input_seq_len
            and num_passes.

        Raises:
            ValueError: a seed is out of range, or the sampler unknown.
            TypeError: a seed is not an integer.
        """
        seed = _check_seed("seed", seed)
        filler_seed = seed if filler_seed is None else _check_seed("filler_seed", filler_seed)
        if sampler == "fast":
            tokens, positions, answers = _sample_fast(self, seed, filler_seed)
        elif sampler == "zoology":
            tokens, positions, answers = _sample_zoology(self, seed, filler_seed)
        else:
            raise ValueError(f"unknown sampler {sampler!r}, expected 'fast' or 'zoology'")
        return Segment(
            tokens=torch.from_numpy(tokens),
            positions=torch.from_numpy(positions),
            answers=torch.from_numpy(answers),
            name=self.label,
            slices={
                "num_kv_pairs": self.num_kv_pairs,
                "input_seq_len": self.input_seq_len,
                "num_passes": self.num_passes,
            },
        )


def segment_seeds(seed: int, num_train: int, num_test: int) -> tuple[list[int], list[int]]:
    """The seeds that Zoology's ``prepare_data`` gives to the segments of a data set.

    Train seeds lie in [0, 2**31), test seeds in [2**31, 2**32), so train and test never share one. Both come
    from one stream: the test seeds depend on the number of train segments.

    Args:
        seed: the data seed (Zoology's ``DataConfig.seed``), in [0, 2**32).
        num_train: number of train segments.
        num_test: number of test segments.

    Raises:
        ValueError: the seed is out of range, or a count negative.
        TypeError: the seed is not an integer.
    """
    if min(num_train, num_test) < 0:
        raise ValueError(f"numbers of segments must be at least 0, got {num_train} and {num_test}")
    stream = np.random.RandomState(_check_seed("seed", seed))
    train = stream.randint(0, MAX_SEED // 2, size=num_train, dtype=np.int64)
    test = stream.randint(MAX_SEED // 2, MAX_SEED, size=num_test, dtype=np.int64)
    return train.tolist(), test.tolist()


def _check_seed(what: str, seed: int) -> int:
    seed = operator.index(seed)
    if not 0 <= seed < MAX_SEED:
        raise ValueError(f"{what} must be in [0, 2**32), got {seed}")
    return seed


def _slot_probabilities(config: MQARConfig) -> Array:
    """float64 ``[S]``: the law of the first pair's slot."""
    slots = config.input_seq_len // 2 - config.num_kv_pairs
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # the config refuses what overflows
        weights = config.power_a * np.arange(1, slots + 1) ** (config.power_a - 1)
        probabilities: Array = weights / weights.sum()
    return probabilities


def _place(tokens: Array, keys: Array, values: Array, gaps: Array) -> tuple[Array, Array]:
    """Writes context and queries into ``tokens``, in place.

    Args:
        tokens: ``[R, L]``.
        keys, values, gaps: ``[R, K]``, pair by pair in the order of the context; a gap is a query's slot.

    Returns:
        int32 positions and answers ``[R, K]``, in the order of the sequence.
    """
    pairs = keys.shape[1]
    context = 2 * pairs
    tokens[:, 0:context:2] = keys
    tokens[:, 1:context:2] = values
    positions = context + 2 * gaps
    np.put_along_axis(tokens, positions, keys, axis=1)
    order = np.argsort(positions, axis=1)
    answers = np.take_along_axis(values, order, axis=1)
    return np.take_along_axis(positions, order, axis=1).astype(np.int32), answers.astype(np.int32)


# ---- "fast": vectorised over chunks of rows


def _sample_fast(config: MQARConfig, seed: int, filler_seed: int) -> tuple[Array, Array, Array]:
    n, length = config.num_examples, config.input_seq_len
    pairs, vocab = config.num_kv_pairs, config.vocab_size
    # Two spawn keys: the streams are independent even where the two seeds are equal.
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    if config.random_non_queries:
        filler = np.random.default_rng(np.random.SeedSequence(filler_seed, spawn_key=(1,)))
        tokens = filler.integers(0, vocab, size=(n, length), dtype=np.int32)  # context and queries go on top
    else:
        tokens = np.zeros((n, length), dtype=np.int32)
    positions = np.empty((n, pairs), dtype=np.int32)
    answers = np.empty((n, pairs), dtype=np.int32)
    probabilities = _slot_probabilities(config)
    chunk = max(1, CHUNK_POSITIONS // length)
    for start in range(0, n, chunk):
        rows = slice(start, min(start + chunk, n))
        count = rows.stop - start
        keys = _distinct(rng, count, pairs, 1, vocab // 2)
        values = _distinct(rng, count, pairs, vocab // 2, vocab)
        gaps = _successive(rng, count, pairs, probabilities)
        positions[rows], answers[rows] = _place(tokens[rows], keys, values, gaps)
    return tokens, positions, answers


def _distinct(rng: np.random.Generator, rows: int, k: int, low: int, high: int) -> Array:
    """int32 ``[rows, k]``, each row uniform over the ordered choices of k distinct integers in [low, high).

    Draws independently, then redraws every entry that repeats an earlier one of its row until none does. That
    is exactly uniform: renaming the integers by any permutation changes neither the law of the draws nor
    which places get redrawn, so all choices, being renamings of each other, are equally likely. A config lets
    K be at most about half of the integers, so the rows left to redraw die out quickly.
    """
    draws = rng.integers(low, high, size=(rows, k), dtype=np.int32)
    bits = k.bit_length()
    todo = np.arange(rows)
    while todo.size:
        # Sorting (value, place) puts repeats next to each other with the first place in front.
        packed = np.sort((draws[todo].astype(np.int64) << bits) | np.arange(k), axis=1)
        values = packed >> bits
        row, column = np.nonzero(values[:, 1:] == values[:, :-1])
        places = packed[row, column + 1] & ((1 << bits) - 1)
        draws[todo[row], places] = rng.integers(low, high, size=row.size, dtype=np.int32)
        todo = todo[np.unique(row)]
    return draws


def _successive(rng: np.random.Generator, rows: int, k: int, probabilities: Array) -> Array:
    """int64 ``[rows, k]``: k slots per row, drawn one after another by ``probabilities`` among those left.

    This is the law of Zoology's ``np.random.choice(slots, size=k, replace=False, p=p)``, order included. That
    function draws k independent slots, keeps the distinct ones in order of first appearance, and repeats for
    the missing ones with the found slots' probabilities set to 0. Its draws are those of one infinite
    independent sequence from p with draws of already found slots left out, so wherever its rounds end the
    result is the first k distinct members of that sequence in order of appearance: after each, the next is
    slot i with probability p_i / (1 - p of those found).

    Here each slot has an alarm clock that rings after an exponential time of rate p_i, and the first k to
    ring are taken in order. Exponentials have no memory: the next is slot i with that same probability.
    """
    rings = rng.standard_exponential((rows, len(probabilities)))
    rings /= probabilities
    return np.argsort(rings, axis=1)[:, :k]


# ---- "zoology": the same calls to the same generators as HazyResearch/zoology d88d6f5, data/multiquery_ar.py


def _sample_zoology(config: MQARConfig, seed: int, filler_seed: int) -> tuple[Array, Array, Array]:
    n, pairs, vocab = config.num_examples, config.num_kv_pairs, config.vocab_size
    stream = np.random.RandomState(seed)
    probabilities = _slot_probabilities(config)

    def draw(population: int, p: Array | None = None) -> Array:  # [N, K], row after row
        rows = np.empty((n, pairs), dtype=np.int64)
        for row in rows:
            row[:] = stream.choice(population, size=pairs, replace=False, p=p)
        return rows

    # The order counts: all three draw from one stream. Populations are integers, so these are offsets.
    keys = 1 + draw(vocab // 2 - 1)
    values = vocab // 2 + draw(vocab - vocab // 2)
    gaps = draw(len(probabilities), probabilities)

    tokens = np.zeros((n, config.input_seq_len), dtype=np.int32)
    positions, answers = _place(tokens, keys, values, gaps)
    if config.random_non_queries:
        generator = torch.Generator().manual_seed(filler_seed)
        filler = torch.randint(vocab, size=tokens.shape, generator=generator).numpy()
        np.copyto(tokens, filler, where=tokens == 0, casting="same_kind")
    return tokens, positions, answers
