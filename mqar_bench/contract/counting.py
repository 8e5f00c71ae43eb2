"""The state that a mixer says it carries is the one that it carries."""

from __future__ import annotations

import math
from typing import Any

from mqar_bench.config.check import check_methods, check_sizes
from mqar_bench.contract.decode import attempt
from mqar_bench.contract.subject import LENGTHS, Broken, NotApplicable, Subject

#: Lengths at which sizes are asked for.
ASKED = (*LENGTHS, 1024)


def has_sizes(subject: Subject) -> None:
    """Whether ``forward`` and ``state_size`` are there, and sizes are numbers that a record can hold."""
    mixer = subject.build()
    check_methods(mixer, subject.name)
    for length in ASKED:
        check_sizes(mixer, subject.name, length)


def counts_its_state(subject: Subject) -> str:
    """Whether ``state_size`` is what the tensors of the state hold for one sequence, after every number of tokens."""
    mixer: Any = subject.make()
    decoded = attempt(subject)
    if decoded is None:
        raise NotApplicable("there is no state of step's to count")
    sizes = []
    for t, shapes in enumerate(decoded.states):
        if isinstance(shapes, str):
            raise Broken(shapes)
        held = sum(math.prod(shape[1:]) for shape in shapes.values())
        said = mixer.state_size(t)
        if said != held:
            parts = ", ".join(f"{name} {list(shape[1:])}" for name, shape in shapes.items()) or "nothing"
            whose = "init_state" if t == 0 else f"the state after {t} token{'s' * (t > 1)}"
            raise Broken(f"state_size({t}) is {said:,}, but {whose} holds {held:,} elements a sequence: {parts}")
        sizes.append(held)
    last = len(sizes) - 1
    if len(set(sizes[1:])) == 1:
        return f"{sizes[-1]:,} elements at any length"
    return f"{sizes[1]:,} elements after 1 token, {sizes[64]:,} after 64, {sizes[-1]:,} after {last}"


def touches_no_more(subject: Subject) -> str:
    """Whether ``active_state_size`` is at most ``state_size``."""
    mixer: Any = subject.build()
    if not hasattr(mixer, "active_state_size"):
        raise NotApplicable("it has no active_state_size; records then have none")
    for length in ASKED:
        active, whole = mixer.active_state_size(length), mixer.state_size(length)
        if active > whole:
            raise Broken(f"active_state_size({length}) is {active:,}, more than state_size({length}), {whole:,}")
    return f"{mixer.active_state_size(64):,} of {mixer.state_size(64):,} elements after 64 tokens"
