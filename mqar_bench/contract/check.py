"""The properties, in the order in which they are looked at, and what is found of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from mixers import MixerError
from mqar_bench.basics.errors import describe, one_line
from mqar_bench.contract.building import builds
from mqar_bench.contract.causality import batch_independent, causal
from mqar_bench.contract.copies import copies, moves, saves
from mqar_bench.contract.counting import counts_its_state, has_sizes, touches_no_more
from mqar_bench.contract.decode import step_equals_forward
from mqar_bench.contract.numbers import keeps_input, keeps_shape, reaches_parameters, stays_finite, trains
from mqar_bench.contract.randomness import begins_the_same, draws_nothing, repeats
from mqar_bench.contract.subject import Broken, NotApplicable, Note, Subject
from mqar_bench.training.contract import aside

#: With ``note`` it has the property, and something is worth knowing.
Mark = Literal["ok", "note", "FAILED", "not applicable"]


@dataclass(frozen=True)
class Property:
    """One part of the contract.

    Args:
        name: short.
        check: returns what is worth saying, or None; raises ``Broken`` or ``NotApplicable`` with one line.
        promise: what ``ok`` means.
        needs: those without which nothing can be said of it.
    """

    name: str
    check: Callable[[Subject], str | None]
    promise: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """What was found of one property; ``text`` is one line."""

    name: str
    mark: Mark
    text: str


_USABLE = ("builds", "methods", "shape")
_SAME = (*_USABLE, "same start", "repeats")

PROPERTIES = (
    Property("builds", builds, "as Mixer(d_model, layer_idx, **options), and refuses options it does not have"),
    Property("methods", has_sizes, "forward and state_size are there; sizes are numbers", ("builds",)),
    Property("shape", keeps_shape, "output of the input's shape and dtype, and finite", ("builds", "methods")),
    Property("trains", trains, "a training step has all that it asks for", _USABLE),
    Property("float64", moves, "all of it follows .to(dtype) and .to(device)", _USABLE),
    Property("input", keeps_input, "not written over", _USABLE),
    Property("same start", begins_the_same, "the same seed gives the same weights", _USABLE),
    Property("random", draws_nothing, "no random number drawn in eval mode", _USABLE),
    Property("repeats", repeats, "same input, same bits; in training gradients, too", (*_USABLE, "same start")),
    Property("causal", causal, "no output depends on a later token, by gradient and by value", _SAME),
    Property("batch", batch_independent, "no output depends on another sequence, by gradient and by value", _SAME),
    Property("step", step_equals_forward, "equals forward, token by token", (*_SAME, "random")),
    Property("state size", counts_its_state, "what the state really holds", _USABLE),
    Property("active size", touches_no_more, "at most the state", ("builds", "methods")),
    Property("gradients", reaches_parameters, "finite for every parameter, and none is zero", _USABLE),
    Property("finite", stays_finite, "outputs and gradients", (*_USABLE, "gradients")),
    Property("state_dict", saves, "loaded into another mixer, it gives the same bits", _SAME),
    Property("copies", copies, "by deepcopy and pickle, with the same bits", _SAME),
)  # fmt: skip


def check_mixer(subject: Subject) -> Iterator[Finding]:
    """Look at every property in turn; no generator of random numbers notices."""
    failed: set[str] = set()
    for each in PROPERTIES:
        finding = _find(each, subject, failed)
        if finding.mark == "FAILED":
            failed.add(each.name)
        yield finding


def _find(each: Property, subject: Subject, failed: set[str]) -> Finding:
    if lacking := [name for name in each.needs if name in failed]:
        return Finding(each.name, "not applicable", f"nothing can be said of it while {lacking[0]} fails")
    try:
        with aside(torch.device("cpu")):
            said = each.check(subject)
    except NotApplicable as error:
        return Finding(each.name, "not applicable", one_line(str(error)))
    except (Broken, MixerError) as error:
        return Finding(each.name, "FAILED", one_line(str(error).removeprefix(f"mixer {subject.name!r}: ")))
    except Exception as error:  # whatever the mixer raises
        return Finding(each.name, "FAILED", one_line(f"it raised {describe(error)}"))
    text = f"{each.promise} ({said})" if said and not isinstance(said, Note) else said or each.promise
    return Finding(each.name, "note" if isinstance(said, Note) else "ok", one_line(text))
