"""What all tasks share: a frozen config that builds its examples from a seed, chunk by chunk."""

# N - examples, L - input_seq_len, P - scored positions per example, R - rows of one chunk

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

import numpy as np
import torch
from pydantic import model_validator
from pydantic.fields import FieldInfo

from mixers.checks import brief, check_size
from mqar_bench.basics.frozen import Frozen
from mqar_bench.tasks.sampling import Array, Rng
from mqar_bench.tasks.seeds import check_seed
from mqar_bench.tasks.segment import Segment

Sampler = Literal["fast", "zoology"]

#: Far above what anybody has trained on; what lies beyond is a slip of the pen, and would exhaust any machine.
MAX_VOCAB, MAX_LENGTH, MAX_EXAMPLES = 2**24, 2**20, 10**8
MAX_TOKENS = 2**32  # of a segment, at 4 bytes each

# Examples are drawn in chunks of about this many positions, which bounds the temporary memory (2 MiB of float64).
# The chunks draw from one stream: another number here is other data.
CHUNK_POSITIONS = 2**18


class Task(Frozen, ABC):
    """One setting of a task: a pure function of its fields and of seeds.

    A task has the fields ``name`` (a literal, by which a config chooses the task), ``num_examples`` (N) and
    ``num_kv_pairs``, and, as fields or as what follows from them, ``vocab_size`` (all its tokens lie below) and
    ``input_seq_len`` (L). List the class in ``mqar_bench.tasks.AnyTask``, and everything else knows it.

    A class outside this package needs no listing and has no field ``name``: it goes by its dotted path
    (``mqar_bench.tasks.own``), also where it is derived from a task of ours. So does one of this package with
    ``by_path``, whose examples need more than a seed.
    """

    name: str

    #: Whether the class goes by its dotted path: it is none of this package's, or says so.
    own: ClassVar[bool] = False
    by_path: ClassVar[bool] = False
    #: Whether records keep the loss on it, as accuracy does not say all.
    keeps_loss: ClassVar[bool] = False
    #: What ``build`` takes as its sampler.
    samplers: ClassVar[tuple[Sampler, ...]] = ("fast",)
    #: Of the numbers that describe a setting, those by which ``Segment.slices`` groups.
    slices: ClassVar[tuple[str, ...]] = ()

    if TYPE_CHECKING:

        @property
        def vocab_size(self) -> int: ...
        @property
        def num_examples(self) -> int: ...
        @property
        def input_seq_len(self) -> int: ...
        @property
        def num_kv_pairs(self) -> int: ...

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if cls.by_path or cls.__module__.partition(".")[0] != __name__.partition(".")[0]:
            _name_by_path(cls)

    @model_validator(mode="after")
    def _check_facts(self) -> Task:
        if self.own:
            check_facts(self)
        return self

    @property
    def num_answers(self) -> int:
        """P, scored positions per example."""
        return self.num_kv_pairs

    @property
    @abstractmethod
    def label(self) -> str:
        """The setting in short, by which accuracies are listed."""

    def at_length(self, tokens: int) -> Self:
        """This setting with sequences of so many tokens, or the most below in which it can be had.

        Raises:
            ValueError: it cannot be so long or so short, or its length is not for choosing.
        """
        return self._with("input_seq_len", tokens)

    def _with(self, name: str, value: int) -> Self:
        """With another value of a field, checked as a new one is."""
        kind = type(self)
        if name not in kind.model_fields:
            raise ValueError(f"the task {self.name!r} has no {name} that could be set")
        fields = {each: getattr(self, each) for each in kind.model_fields if not (self.own and each == "name")}
        return kind(**fields | {name: value})

    @abstractmethod
    def _draw(self, rng: Rng, filler: Rng, tokens: Array) -> tuple[Array, Array]:
        """Draw a chunk of examples.

        Args:
            rng: of everything that decides positions and answers.
            filler: of the tokens at unused positions, and of nothing else.
            tokens: int32 ``[R, L]``, uninitialised (0 in a class outside this package): to be written to, in place.

        Returns:
            positions and answers ``[R, P]``, in the order of the sequence.
        """

    def build(self, seed: int, sampler: Sampler = "fast", filler_seed: int | None = None) -> Segment:
        """Generates the examples. The same arguments give the same bits; global generators are left alone.

        Args:
            seed: of all that decides positions and answers, in [0, 2**32).
            sampler: one of ``samplers``.
            filler_seed: of the tokens at unused positions, where a task has such, in [0, 2**32); ``None`` means
                ``seed``. Whatever it is, the rest stays the same.

        Returns:
            N examples of L tokens with P scored positions each.

        Raises:
            ValueError: a seed is out of range, or the sampler unknown.
            TypeError: a seed is not an integer.
        """
        seed = check_seed("seed", seed)
        filler_seed = seed if filler_seed is None else check_seed("filler_seed", filler_seed)
        if sampler not in self.samplers:
            raise ValueError(f"unknown sampler {sampler!r}, expected {' or '.join(map(repr, self.samplers))}")
        tokens, positions, answers = self._sample(sampler, seed, filler_seed)
        return Segment(
            tokens=torch.from_numpy(tokens),
            positions=torch.from_numpy(positions),
            answers=torch.from_numpy(answers),
            name=self.label,
            slices={name: getattr(self, name) for name in self.slices},
        )

    def _sample(self, sampler: Sampler, seed: int, filler_seed: int) -> tuple[Array, Array, Array]:
        """int32 tokens ``[N, L]``, positions ``[N, P]`` and answers ``[N, P]``."""
        rng, filler = make_rng(seed, 0), make_rng(filler_seed, 1)
        n, length = self.num_examples, self.input_seq_len
        tokens = np.empty((n, length), dtype=np.int32)
        positions, answers = (np.empty((n, self.num_answers), dtype=np.int32) for _ in range(2))
        chunk = chunk_rows(length)
        for start in range(0, n, chunk):
            rows = slice(start, start + chunk)
            if self.own:
                tokens[rows] = 0
            drawn = self._draw(rng, filler, tokens[rows])
            if self.own:
                _check_drawn(self, tokens[rows], drawn)
            positions[rows], answers[rows] = drawn
        return tokens, positions, answers


def make_rng(seed: int, part: Literal[0, 1]) -> Rng:
    """The generator of what decides positions and answers (0), or of filler (1): independent of each other even where
    their seeds are equal."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(part,)))


def chunk_rows(length: int) -> int:
    """R, examples of so many tokens that are drawn at a time."""
    return max(1, CHUNK_POSITIONS // length)


def check_counts(task: Task, *counts: str) -> None:
    """Whether all sizes are at least 1, and a segment can be held.

    Args:
        counts: fields to look at, besides the number of examples.

    Raises:
        ValueError: one is not; the message names it.
    """
    check_size(1, MAX_EXAMPLES, num_examples=task.num_examples)
    for name in counts:
        most = {"vocab_size": MAX_VOCAB}.get(name, MAX_LENGTH)
        check_size(1, most, **{name: getattr(task, name)})
    if task.vocab_size > MAX_VOCAB:
        raise ValueError(f"the task has {task.vocab_size} tokens, and a vocabulary at most {MAX_VOCAB}")
    if task.input_seq_len > MAX_LENGTH:
        raise ValueError(f"the examples have {task.input_seq_len} tokens each, and may have at most {MAX_LENGTH}")
    if task.num_examples * task.input_seq_len > MAX_TOKENS:
        raise ValueError(
            f"num_examples={task.num_examples} of input_seq_len={task.input_seq_len} are "
            f"{task.num_examples * task.input_seq_len} tokens, and a segment has at most {MAX_TOKENS}"
        )


def check_room(task: Task, field: Literal["input_seq_len", "vocab_size"], needed: int, what: str, need: str) -> None:
    """Whether there are positions, or tokens, for what a task has.

    Args:
        field: which has the number there is.
        needed: how many it takes.
        what: the field that it takes them for.
        need: ``needed`` as a formula of fields.

    Raises:
        ValueError: there are not; says how many are missing.
    """
    have: int = getattr(task, field)
    if needed > have:
        unit, said = ("positions", "has") if field == "input_seq_len" else ("tokens", "is")
        raise ValueError(
            f"{what}={getattr(task, what)} needs {need} = {needed} {unit}, but {field} {said} {have}: "
            f"{needed - have} too few"
        )


#: What everything else asks of a task besides ``label``: integers from 1 on.
SIZES = ("vocab_size", "num_examples", "input_seq_len", "num_kv_pairs", "num_answers")
#: Characters of a label, which names a column.
MAX_LABEL = 100


def check_facts(task: Task) -> None:
    """Whether a task of the user's own has all that is asked of one.

    Raises:
        ValueError: it has not; the message names what is missing or wrong.
    """
    for name in SIZES:
        if not hasattr(task, name):
            raise ValueError(f"the task {task.name!r} has no {name}: make it a field or a property")
        size = getattr(task, name)
        if type(size) is not int:
            raise ValueError(f"{name} of the task {task.name!r} must be an integer, got {brief(size)}")
    check_counts(task, *SIZES)
    label = task.label
    if not isinstance(label, str) or not label.isprintable() or not 0 < len(label) <= MAX_LABEL:
        raise ValueError(
            f"label of the task {task.name!r} must be printable text of 1 to {MAX_LABEL} characters, got {brief(label)}"
        )
    try:
        hash(task)
    except TypeError as error:
        raise ValueError(f"fields of the task {task.name!r}: {error}; take a tuple in place of a list") from None
    if missing := [name for name in task.slices if not hasattr(task, name)]:
        raise ValueError(f"slices of the task {task.name!r}: it has no {missing[0]}")


def _name_by_path(cls: type[Task]) -> None:
    """Make a class outside this package one that goes by its dotted path."""
    path = f"{cls.__module__}.{cls.__qualname__}"
    field, above = cls.model_fields["name"], cls.__mro__[1]
    if issubclass(above, Task) and field.annotation != above.model_fields["name"].annotation:
        raise TypeError(f"{path}: a task of your own goes by this path; leave out its field name")
    cls.own = True
    cls.model_fields["name"] = FieldInfo(annotation=cast(Any, Literal[path]), default=path)
    cls.model_rebuild(force=True)


def _check_drawn(task: Task, tokens: Array, drawn: Any) -> None:
    """Whether ``_draw`` of a task of the user's own gave what it should.

    Raises:
        ValueError: it did not; the message says in what.
    """
    said = f"_draw of the task {task.name!r}"
    if not (isinstance(drawn, tuple) and len(drawn) == 2):
        raise ValueError(f"{said} must return positions and answers, got {brief(drawn)}")
    shape = len(tokens), task.num_answers
    for what, array, most in (
        ("positions", drawn[0], task.input_seq_len),
        ("answers", drawn[1], task.vocab_size),
        ("tokens", tokens, task.vocab_size),
    ):
        if not (isinstance(array, np.ndarray) and array.dtype.kind in "iu"):
            raise ValueError(f"{said} must give {what} as an array of integers, got {brief(array)}")
        if what != "tokens" and array.shape != shape:
            raise ValueError(f"{said} must give {what} of shape {shape} (examples, num_answers), got {array.shape}")
        if array.size and not (array.min() >= 0 and array.max() < most):
            raise ValueError(f"{said} gave {what} from {array.min()} to {array.max()}; they must lie in [0, {most})")
    if (np.diff(drawn[0], axis=1) <= 0).any():
        raise ValueError(f"{said} must give the positions of an example in ascending order, each once")
