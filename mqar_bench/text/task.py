"""Windows of a corpus as examples: the next token is the answer, everywhere or where recall can tell it."""

# N - examples, L - input_seq_len

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import model_validator

from mqar_bench.tasks.sampling import Array, Rng
from mqar_bench.tasks.segment import IGNORE_INDEX
from mqar_bench.tasks.task import Sampler, Task, check_counts
from mqar_bench.text.corpus import Corpus, Split, read_corpus
from mqar_bench.text.repeats import as_pairs, how_often, last_seen, repeats

#: A pair of tokens that the training text has fewer times than that is rare: it can hardly be known by heart.
RARE = 10

#: A pair that was there so many tokens ago, or fewer, is near.
NEAR = 64

Scored = Literal["all", "hits", "rare_hits", "rest", "copies", "near_hits", "far_hits", "early", "late"]


class Text(Task):
    """Windows of ``input_seq_len`` tokens, each scored on the token after it.

    Windows of the training text begin anywhere, drawn from the seed; those of a text held out stand one after another
    from its beginning, whatever the seed. Answers that are not ``scored`` are -100, which counts in no loss and no
    accuracy.

    Args:
        corpus: folder of the corpus.
        digest: its content's, from its description; another corpus in the folder is refused.
        vocab_size: its.
        split: which part of it.
        num_examples: N.
        input_seq_len: L.
        scored: ``all`` tokens; ``hits``, those that end a pair of tokens that the window has had before; ``rare_hits``,
            those of them whose pair is in the training text fewer than 10 times; ``rest``, all but the hits;
            ``copies``, hits that end three tokens which the window has had before; ``near_hits`` and ``far_hits``,
            whose pair was there last 64 tokens ago or fewer, or more; ``early`` and ``late``, all tokens of a window's
            first half or its second.

    Source: the first four slices are those of Arora et al. 2023, arXiv 2312.04927; there a pair is rare below 1,250
    times, in a text ten thousand times as long.
    """

    corpus: str
    digest: str
    vocab_size: int
    split: Split = "train"
    num_examples: int = 1000
    input_seq_len: int = 256
    scored: Scored = "all"

    by_path: ClassVar[bool] = True
    keeps_loss: ClassVar[bool] = True

    @model_validator(mode="after")
    def _check(self) -> Text:
        check_counts(self, "vocab_size", "input_seq_len")
        if self.split == "train" and self.scored != "all":
            raise ValueError(f"scored must be all of the training text, got {self.scored!r}")
        return self

    @property
    def num_kv_pairs(self) -> int:
        """None are counted: as ``num_answers``."""
        return self.input_seq_len

    @property
    def num_answers(self) -> int:
        """L: those that are not scored are there as -100."""
        return self.input_seq_len

    @property
    def label(self) -> str:
        return f"{self.split}-{self.scored}-L{self.input_seq_len}"

    def open(self) -> Corpus:
        """The corpus.

        Raises:
            ValueError: it is not there, or another one is.
        """
        corpus = read_corpus(Path(self.corpus))
        if (corpus.digest, corpus.vocab_size) != (self.digest, self.vocab_size):
            found, wanted = f"{corpus.digest} of {corpus.vocab_size}", f"{self.digest} of {self.vocab_size} tokens"
            raise ValueError(f"the corpus in {self.corpus} is {found}, and the run is of {wanted}")
        return corpus

    def _sample(self, sampler: Sampler, seed: int, filler_seed: int) -> tuple[Array, Array, Array]:
        corpus = self.open()
        part, length = corpus.part(self.split), self.input_seq_len
        if self.split == "train":
            room = len(part) - length
            if room < 1:
                raise ValueError(f"the training text has {len(part)} tokens, too few for windows of {length}")
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
            starts = rng.integers(0, room, self.num_examples)
        else:
            room = (len(part) - 1) // length
            if room < self.num_examples:
                raise ValueError(f"the {self.split} text has {room} windows of {length}, not {self.num_examples}")
            starts = np.arange(self.num_examples) * length
        windows = part[starts[:, None] + np.arange(length + 1)].astype(np.int32)
        answers = np.where(self._is_scored(windows, corpus), windows[:, 1:], IGNORE_INDEX).astype(np.int32)
        positions = np.broadcast_to(np.arange(length, dtype=np.int32), answers.shape)
        return np.ascontiguousarray(windows[:, :-1]), np.ascontiguousarray(positions), answers

    def _is_scored(self, windows: Array, corpus: Corpus) -> Array:
        if self.scored in ("all", "early", "late"):
            is_late = np.arange(self.input_seq_len) >= self.input_seq_len // 2
            counts = {"all": np.ones_like(is_late), "early": ~is_late, "late": is_late}[self.scored]
            return np.broadcast_to(counts, (len(windows), self.input_seq_len))
        ago = last_seen(windows, self.vocab_size)
        match self.scored:
            case "hits":
                return ago > 0
            case "rare_hits":
                return (ago > 0) & (how_often(as_pairs(windows, self.vocab_size), corpus.bigrams) < RARE)
            case "copies":
                return repeats(windows, self.vocab_size, 3)
            case "near_hits":
                return (ago > 0) & (ago <= NEAR)
            case "far_hits":
                return ago > NEAR
        return ago == 0

    def _draw(self, rng: Rng, filler: Rng, tokens: Array) -> tuple[Array, Array]:
        raise NotImplementedError("windows are taken all at once")
