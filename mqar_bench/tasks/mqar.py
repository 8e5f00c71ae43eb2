"""Multi-query associative recall (MQAR; Arora, Eyuboglu et al. 2023, arXiv 2312.04927) as in Zoology.

An example is a context of key-value pairs followed by a second part in which every key is queried once; at
a query the model must predict the value that the key was bound to. With ``vocab_size=18``,
``input_seq_len=16``, ``num_kv_pairs=2``, ``random_non_queries=False``::

              context (2 * num_kv_pairs)   slots, two positions each, space = (16 - 4) / 2 = 6
              key  val  key  val |  0       1       2       3       4       5
    position   0    1    2    3  |  4   5   6   7   8   9  10  11  12  13  14  15
    token      2   13    4   11  |  4   0   0   0   0   0   2   0   0   0   0   0
    label                        | 11                      13
                                 key 4 in slot 0         key 2 in slot 3      (the "gaps" of the two pairs)

Keys are distinct and uniform on [1, vocab_size // 2), values on [vocab_size // 2, vocab_size). Pair after
pair draws its slot among those still free, slot i with probability proportional to (i + 1) ** (power_a - 1):
most queries come early. With ``random_non_queries`` every 0 is then replaced by a token uniform on
[0, vocab_size), which may by chance be 0 or a key of the same row; it is never scored.

A key among the filler looks as if it were bound anew, to the token after it. A row has ``(input_seq_len -
3 num_kv_pairs) num_kv_pairs / vocab_size`` of them on average, next to none where sequences are short. They are a
caveat of the largest settings that Zoology and the RAM-Net paper score, with 16 times those of any training segment.
With ``random_non_queries=False`` there are none, nor in the task ``forgetting``. Means over 4,000 rows, the vocabulary
8,192 but for the last column, which has the 520 of the scales demo and laptop::

    input_seq_len                                64    128    256    512   1024    512
    num_kv_pairs                                  8     32     64    128    256    128
    keys among the filler of a row             0.04   0.13   0.49   1.99   8.01  31.45
    before their query, not their value next   0.01   0.06   0.25   0.98   4.01  15.63
    queries with such a key before, in %       0.14   0.20   0.39   0.76   1.55  11.29
"""

# N - examples, L - input_seq_len, K - num_kv_pairs, S - slots ("space")

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch

from mqar_bench.tasks.queries import RecallTask
from mqar_bench.tasks.sampling import Array, slot_probabilities
from mqar_bench.tasks.task import CHUNK_POSITIONS, Sampler

__all__ = ["CHUNK_POSITIONS", "MQARConfig", "Sampler"]


class MQARConfig(RecallTask):
    """One MQAR setting. Fields are Zoology's, with its defaults; unknown fields are errors.

    ``build`` takes two samplers. ``"zoology"`` gives, bit for bit, the output of Zoology's generator for this seed
    (with ``torch.manual_seed(filler_seed)`` called just before it), in Zoology's time. ``"fast"`` draws from the same
    distribution, some hundred times faster and in little memory; the bits differ.

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

    name: Literal["multiquery_ar"] = "multiquery_ar"
    num_passes: int = 1

    samplers: ClassVar[tuple[Sampler, ...]] = ("fast", "zoology")
    need: ClassVar[str] = "4 * num_kv_pairs"

    @property
    def label(self) -> str:
        return f"L{self.input_seq_len}-kv{self.num_kv_pairs}"

    def _check_own(self) -> None:
        if self.num_passes != 1:
            raise ValueError(f"num_passes must be 1, got {self.num_passes}: the task 'jrt' repeats the context")
        if self.input_seq_len % 2:
            raise ValueError(f"input_seq_len must be even, got {self.input_seq_len}")

    def _sample(self, sampler: Sampler, seed: int, filler_seed: int) -> tuple[Array, Array, Array]:
        if sampler == "zoology":
            return _sample_zoology(self, seed, filler_seed)
        return super()._sample(sampler, seed, filler_seed)


def _sample_zoology(config: MQARConfig, seed: int, filler_seed: int) -> tuple[Array, Array, Array]:
    """The same calls to the same generators as in HazyResearch/zoology d88d6f5, data/multiquery_ar.py."""
    n, pairs, vocab = config.num_examples, config.num_kv_pairs, config.vocab_size
    stream = np.random.RandomState(seed)
    probabilities = slot_probabilities(config.slots, config.power_a)

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
    config._write_pairs(tokens, 0, keys, values)
    positions, answers = config._write_queries(tokens, gaps, values, keys)
    if config.random_non_queries:
        generator = torch.Generator().manual_seed(filler_seed)
        filler = torch.randint(vocab, size=tokens.shape, generator=generator).numpy()
        np.copyto(tokens, filler, where=tokens == 0, casting="same_kind")
    return tokens, positions.astype(np.int32), answers.astype(np.int32)
