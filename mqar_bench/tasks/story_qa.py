"""Questions about a story in filler, in the style of bAbI's one and two supporting facts: own grammar, own words.

People walk about, and take and drop objects; facts of three words each lie in their order at random places between
filler, and the question comes last. With ``vocab_size=64``, ``input_seq_len=16``, ``num_facts=3``,
``supporting_facts=2``; its method ``word`` gives the words::

    position   0    1    2    3    4    5    6    7    8    9   10   11   12   13   14   15
    token     51   10    6   27   40   62   10    3   19   12    2   21   36    0   27    1
    label                                                                                19
    words       .  ada takes lamp .    .   ada runs barn ben  goes cave .  where lamp ?

With one supporting fact every fact says where a person goes, and the question is where one of them is: the place of
that person's latest fact. With two the question is where an object is, and needs where it went and who had it: the
place of whoever holds it, or of whoever dropped it, then. At least half of those facts are walks; nobody takes what
another holds, or what is known to lie elsewhere. What is asked for is uniform over the people, or objects, whose place
the story tells; every story tells one at least. Filler is uniform on the words that no story has. Places of facts are
uniform cuts of the filler, drawn with replacement and sorted.

Who has not read the story is right once in ``num_places`` (``chance``). Who keeps the places but not who is where does
better, the fewer facts the more: with a single fact always.

It tests how long a state keeps facts, not whether a model understands language.

Source: the form is that of Weston et al. 2015, arXiv 1502.05698, tasks 1 and 2, and its place in filler that of
BABILong (Kuratov et al. 2024, arXiv 2406.10149). Deviations: words and grammar are ours, a word is a token; filler is
random words, and facts may be cut into it anywhere, not between sentences; a person may walk to where he or she is.
"""

# F - num_facts, R - rows of one chunk, L - input_seq_len

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import model_validator

from mixers.checks import check_size
from mqar_bench.tasks.sampling import Array, Rng, choose, is_latest
from mqar_bench.tasks.story_words import (
    DROP,
    FIRST_NAME,
    GRAMMAR,
    MARK,
    MOST,
    MOVE,
    OBJECTS,
    PEOPLE,
    PLACES,
    TAKE,
    WHERE,
)
from mqar_bench.tasks.stream import Plan, StreamTask, below
from mqar_bench.tasks.task import MAX_LENGTH, check_counts, check_room

NOWHERE = NOBODY = -1


class StoryQAConfig(StreamTask):
    """One setting of the questions about stories; its stream may be of any length.

    Args:
        vocab_size: number of token ids: ten words of grammar, the names, and the rest for filler; at most 2**24.
        num_examples: N; at most 10**8, and 2**32 tokens in all.
        input_seq_len: L, in tokens; at least ``3 * num_facts + 3``; at most 2**20.
        num_facts: F, facts of a story, of three tokens each; with two supporting facts from 2.
        supporting_facts: facts that an answer follows from, 1 or 2.
        num_people: names of people, up to 16.
        num_places: names of places, up to 16.
        num_objects: names of objects, up to 16; not in the story where one fact supports.
    """

    name: Literal["story_qa"] = "story_qa"
    vocab_size: int = 256
    num_examples: int = 1000
    input_seq_len: int = 64
    num_facts: int = 8
    supporting_facts: Literal[1, 2] = 1
    num_people: int = 8
    num_places: int = 8
    num_objects: int = 8

    slices: ClassVar[tuple[str, ...]] = ("num_facts", "supporting_facts", "input_seq_len")

    @property
    def num_kv_pairs(self) -> int:
        """Facts, each of which binds a place or an object to a person."""
        return self.num_facts

    @property
    def num_answers(self) -> int:
        return 1

    @property
    def label(self) -> str:
        return f"story{self.supporting_facts}-L{self.input_seq_len}-f{self.num_facts}"

    @property
    def chance(self) -> float:
        return 1 / self.num_places

    @property
    def least_length(self) -> int:
        return 3 * self.num_facts + 3

    @property
    def num_stored(self) -> int:
        return 3 * self.num_facts

    @property
    def first_place(self) -> int:
        """The token of the first place; those of the people are before it, those of the objects behind the places."""
        return FIRST_NAME + self.num_people

    @property
    def first_object(self) -> int:
        """The token of the first object."""
        return self.first_place + self.num_places

    @property
    def first_filler(self) -> int:
        """The first token of which filler is made, and which no story has."""
        return self.first_object + self.num_objects

    def word(self, token: int) -> str:
        """The word of a token; those of the filler are ``~0``, ``~1``, and so on.

        Raises:
            ValueError: there is no such token.
        """
        if not 0 <= token < self.vocab_size:
            raise ValueError(f"token must be in [0, {self.vocab_size}), got {token}")
        words = GRAMMAR + PEOPLE[: self.num_people] + PLACES[: self.num_places] + OBJECTS[: self.num_objects]
        return words[token] if token < len(words) else f"~{token - len(words)}"

    @model_validator(mode="after")
    def _check(self) -> StoryQAConfig:
        check_counts(self, "vocab_size", "input_seq_len")
        check_size(self.supporting_facts, MAX_LENGTH, num_facts=self.num_facts)
        for what in ("num_people", "num_places", "num_objects"):
            check_size(1, MOST, **{what: getattr(self, what)})
        check_room(self, "input_seq_len", self.least_length, "num_facts", "3 * num_facts + 3")
        if self.vocab_size <= self.first_filler:
            raise ValueError(
                f"grammar and names are {self.first_filler} tokens, and filler needs one more: "
                f"vocab_size must be at least {self.first_filler + 1}, got {self.vocab_size}"
            )
        return self

    def _plan(self, rng: Rng, rows: int) -> Plan:
        facts, asked, answers = self._tell_walks(rng, rows) if self.supporting_facts == 1 else self._tell(rng, rows)
        length, count = self.input_seq_len, self.num_facts
        cuts = np.sort(rng.integers(0, length - self.least_length + 1, size=(rows, count)), axis=1)
        starts = cuts + 3 * np.arange(count)
        question = np.tile(np.arange(length - 3, length), (rows, 1))
        words = np.stack([np.full(rows, WHERE), asked, np.full(rows, MARK)], axis=1)
        return Plan(
            places=np.concatenate([(starts[..., None] + np.arange(3)).reshape(rows, -1), question], axis=1),
            tokens=np.concatenate([facts.reshape(rows, -1), words], axis=1),
            positions=np.full((rows, 1), length - 1),
            answers=answers[:, None],
        )

    def _filler(self, numbers: Array, plan: Plan) -> Array:
        return (self.first_filler + below(numbers, self.vocab_size - self.first_filler)).astype(np.int32)

    def _tell_walks(self, rng: Rng, rows: int) -> tuple[Array, Array, Array]:
        """Facts ``[R, F, 3]``, who is asked for ``[R]`` and where that is ``[R]``, of one supporting fact."""
        shape = rows, self.num_facts
        people = FIRST_NAME + rng.integers(0, self.num_people, size=shape)
        verbs = rng.integers(MOVE.start, MOVE.stop, size=shape)
        places = self.first_place + rng.integers(0, self.num_places, size=shape)
        row, asked = np.arange(rows), choose(rng, is_latest(people))
        return np.stack([people, verbs, places], axis=-1), people[row, asked], places[row, asked]

    def _tell(self, rng: Rng, rows: int) -> tuple[Array, Array, Array]:
        """The same of two supporting facts. Stories that tell of no object where it is are told anew."""
        facts = np.empty((rows, self.num_facts, 3), dtype=np.int64)
        where = np.empty((rows, self.num_objects), dtype=np.int64)
        todo = np.arange(rows)
        while todo.size:
            facts[todo], where[todo] = self._live(rng, todo.size)
            todo = todo[(where[todo] == NOWHERE).all(axis=1)]
        asked = choose(rng, where != NOWHERE)
        return facts, self.first_object + asked, self.first_place + where[np.arange(rows), asked]

    def _live(self, rng: Rng, rows: int) -> tuple[Array, Array]:
        """Stories ``[R, F, 3]``, and where in the end each object is ``[R, num_objects]`` or NOWHERE that is told."""
        row = np.arange(rows)
        at = np.full((rows, self.num_people), NOWHERE)
        holder = np.full((rows, self.num_objects), NOBODY)
        lies = np.full((rows, self.num_objects), NOWHERE)
        shape = rows, self.num_facts
        people = rng.integers(0, self.num_people, size=shape)
        places = rng.integers(0, self.num_places, size=shape)
        walks, parts = (rng.random(size=shape) < 0.5 for _ in range(2))
        liking = rng.random(size=(*shape, self.num_objects))
        verbs = {kind: rng.integers(kind.start, kind.stop, size=shape) for kind in (MOVE, TAKE, DROP)}
        facts = np.empty((*shape, 3), dtype=np.int64)
        for i in range(self.num_facts):
            person = people[:, i]
            here, held = at[row, person], holder == person[:, None]
            drops = ~walks[:, i] & parts[:, i] & held.any(axis=1)
            thing = np.where(drops[:, None] & ~held, -1.0, liking[:, i]).argmax(axis=1)
            lying = lies[row, thing]
            free = (holder[row, thing] == NOBODY) & ((lying == NOWHERE) | (lying == here))
            takes = ~walks[:, i] & ~drops & free
            moves = ~(drops | takes)
            at[row[moves], person[moves]] = places[moves, i]
            holder[row[takes], thing[takes]] = person[takes]
            holder[row[drops], thing[drops]] = NOBODY
            lies[row[drops], thing[drops]] = here[drops]
            verb = np.select([drops, takes], [verbs[DROP][:, i], verbs[TAKE][:, i]], verbs[MOVE][:, i])
            told = np.where(moves, self.first_place + places[:, i], self.first_object + thing)
            facts[:, i] = np.stack([FIRST_NAME + person, verb, told], axis=1)
        with_holder = at[row[:, None], np.maximum(holder, 0)]
        return facts, np.where(holder == NOBODY, lies, with_holder)
