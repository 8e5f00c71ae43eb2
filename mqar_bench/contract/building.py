"""How a mixer is made: at which width, and with which arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

import mixers
from mixers import MixerError
from mixers.registry import outline
from mqar_bench.basics.errors import describe
from mqar_bench.contract.subject import Broken, Note, Subject
from mqar_bench.training.contract import aside

#: Widths that are tried where none is given: at the smallest that the options fit, all is quick.
WIDTHS = (16, 32, 64, 128, 256)
#: An option that no mixer has.
UNKNOWN = "option_that_nobody_has"


def fit_width(name: str, options: Mapping[str, Any], widths: Sequence[int] = WIDTHS) -> int:
    """The first of some widths with which the mixer takes its options.

    Raises:
        MixerError: there is no such mixer, or it takes them at none: what it says at the last.
    """
    mixers.load(name)
    refusal = MixerError(f"mixer {name!r}: no width to try")
    for width in widths:
        try:
            with aside(torch.device("cpu")):
                outline(name, width, 0, **options)
        except MixerError as error:
            refusal = error
            continue
        except Exception:  # a fault, not a refusal: for the property to tell
            pass
        return width
    raise refusal


def builds(subject: Subject) -> str | None:
    """Whether it is made as ``Mixer(d_model, layer_idx, **options)`` for any layer, and refuses what it has not."""
    for layer in (None, 0, 1, 7):
        try:
            subject.build(layer)
        except Exception as error:
            raise Broken(f"with layer_idx {layer} its constructor raised {describe(error)}") from error
    try:
        mixers.build(subject.name, subject.d_model, 0, **{**subject.options, UNKNOWN: 1})
    except Exception:
        return None
    return Note("takes options that it does not have (**kwargs): one that is misspelt goes unnoticed")
