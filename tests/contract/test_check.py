"""Each part of the contract: a mixer that breaks it alone is told so, and by one line that says what and where."""

import random

import numpy as np
import pytest
import torch

from mixers import MixerError
from mqar_bench.contract.building import fit_width
from mqar_bench.contract.check import PROPERTIES, check_mixer
from mqar_bench.contract.subject import prepare

#: A mixer of ``broken.py``, the property that it breaks, and what is said of it.
BROKEN = {
    "RaisesWithoutLayer": ("builds", "with layer_idx None its constructor raised TypeError: unsupported operand"),
    "NoSize": ("methods", "does not implement state_size"),
    "SizeOfText": ("methods", "state_size(1) must be a number of elements, got '16'"),
    "Transposed": ("shape", "forward must return [1, 1, 16] of float32 or less, got [1, 16, 1] of torch.float32"),
    "Doubles": ("shape", "forward must return [1, 1, 16] of float32 or less, got [1, 1, 16] of torch.float64"),
    "WholeChunks": ("shape", "forward raised AssertionError: chunks of 16 (in eval mode, [1, 1, 16])"),
    "NotANumber": ("shape", "the output is not finite for normal numbers (B 1, T 1)"),
    "NoGradient": ("trains", "forward gives no gradient, so that its parameters would not be trained"),
    "TwoLosses": ("trains", "get_auxiliary_loss() must be one number, got "),
    "LeftBehind": ("float64", "turn is a tensor but neither parameter nor buffer, so it stays where .to() moves the"),
    "InPlace": ("input", "forward writes over its input (in eval mode, T 1)"),
    "StepInputInPlace": ("input", "step writes over its input"),
    "NumpyWeights": ("same start", "gain begins otherwise with the same seed of torch"),
    "DropoutAlways": ("random", "forward draws from torch's generator of random numbers in eval mode"),
    "StepDraws": ("random", "step draws from numpy's generator of random numbers in eval mode"),
    "CountsCalls": ("repeats", "the same input gives another output the second time, by up to "),
    "CountsCallsInTraining": ("repeats", "the output differs with the same seed, by up to "),
    "LeaksByOne": ("causal", "output at token 0 depends on token 1, by its gradient (in eval mode, T 2)"),
    "LeaksFar": ("causal", "output at token 0 depends on token 40, by its gradient (in eval mode, T 64)"),
    "LeaksALittle": ("causal", "output at token 0 depends on token 1, by its gradient (in eval mode, T 2)"),
    "LeaksInTraining": ("causal", "output at token 0 depends on token 1, by its gradient (in training, T 2)"),
    "LeaksByRank": ("causal", "changes with inputs from token 16 on (in eval mode, T 17)"),
    "LeaksByFFT": ("causal", "output at token 0 depends on token 1, by its gradient (in eval mode, T 2)"),
    "BatchNormAToken": ("batch", "output of sequence 0 depends on sequence 1, by its gradient (in training, B 2, T 1)"),
    "RoutesByBatch": ("batch", "changes with sequence "),
    "DividesByBatch": ("batch", "output of sequence 0 differs by 1.0e+00 when it is alone (in eval mode, B 2, T 1)"),
    "StepDrifts": ("step", "step differs from forward at token 16 (T 17, by "),
    "PrefillForgets": ("step", "prefill from a state differs from forward (token 2, by "),
    "NoBeginning": ("step", "it has step, but no init_state to begin from"),
    "CountsTooFew": ("state size", "state_size(0) is 0, but init_state holds 16 elements a sequence: sum [16]"),
    "BatchLast": ("state size", "'sum' in the state must have the batch, 2, as its first dimension: [16, 2]"),
    "TouchesMore": ("active size", "active_state_size(17) is 34, more than state_size(17), 16"),
    "SlopeOfZero": ("gradients", "the gradient of floor is not finite (in training, T 37)"),
    "Overflows": ("finite", "the gradient of the input is not finite for inputs times 1000 (in training, T 37)"),
    "Grows": ("finite", "(in eval mode, T 1024)"),
    "KeepsAside": ("state_dict", "loaded from its state_dict it gives other outputs, by up to "),
    "SavesAnObject": ("state_dict", "the run cannot be saved: _extra_state in its state_dict is of type "),
    "Lambda": ("copies", "(attribute act)"),
    "Lock": ("copies", "copy.deepcopy raised TypeError: cannot pickle '_thread.lock' object (attribute lock)"),
}
#: One that keeps the contract, and what is noted of which property.
NOTED = {
    "Plain": {},
    "Good": {},
    "StepInPlace": {},
    "Dropout": {},
    "CausalByFFT": {},
    "Delicate": {},
    "Unused": {"gradients": "without gradient, so never trained, is spare"},
    "AnyOption": {"builds": "takes options that it does not have (**kwargs): one that is misspelt goes unnoticed"},
    "SingleOnly": {"float64": "all is compared in float32, to 0.001: of float64, forward raised RuntimeError: "},
}


def look(name, d_model=16, **options):
    """What is found, by property."""
    subject = prepare(f"tests.contract.broken.{name}", d_model, options)
    return {finding.name: finding for finding in check_mixer(subject)}


def with_mark(found, mark):
    return [name for name, finding in found.items() if finding.mark == mark]


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_and_nothing_else_is_told_in_one_line(name):
    broken, text = BROKEN[name]
    found = look(name)
    assert with_mark(found, "FAILED") == [broken], found
    assert text in found[broken].text and "\n" not in found[broken].text


@pytest.mark.parametrize("name", NOTED)
def test_one_that_keeps_the_contract_is_told_what_is_worth_knowing(name):
    found = look(name)
    assert with_mark(found, "FAILED") == [], found
    assert with_mark(found, "note") == list(NOTED[name]), found
    assert all(text in found[noted].text for noted, text in NOTED[name].items())


def test_batch_norm_leaks_from_later_tokens_and_from_other_sequences():
    found = look("BatchNorm")
    assert with_mark(found, "FAILED") == ["causal", "batch"], found
    assert found["causal"].text == "output at token 0 depends on token 1, by its gradient (in training, T 2)"


def test_what_there_is_nothing_of_is_not_applicable():
    found = look("Plain")
    assert with_mark(found, "not applicable") == ["step", "state size", "active size"]
    assert found["step"].text == "it has no step"


def test_what_depends_on_something_that_fails_is_not_said():
    found = look("Transposed")
    assert found["causal"].mark == "not applicable" and "while shape fails" in found["causal"].text


def test_rounding_of_an_fft_is_told_from_a_leak():
    assert "within rounding: gradient " in look("CausalByFFT")["causal"].text
    assert "within rounding" not in look("Good")["causal"].text


def test_dtype_and_parameters_are_those_with_which_it_can_be_looked_at():
    kinds = {name: prepare(f"tests.contract.broken.{name}", 16, {}) for name in ("Good", "SingleOnly", "Delicate")}
    assert {name: (kind.dtype, kind.spread) for name, kind in kinds.items()} == {
        "Good": (torch.float64, 0.2), "SingleOnly": (torch.float32, 0.2), "Delicate": (torch.float64, 0.0),
    }  # fmt: skip


def test_the_width_is_the_smallest_that_the_options_fit():
    narrow = "tests.contract.broken.Narrow"
    assert [fit_width(narrow, {"heads": heads}) for heads in (1, 32)] == [16, 32]
    with pytest.raises(MixerError, match="d_model must be a multiple of heads 3, got 256"):
        fit_width(narrow, {"heads": 3})
    with pytest.raises(MixerError, match="did you mean 'Narrow'"):
        fit_width("tests.contract.broken.Narow", {})


def test_looking_leaves_every_generator_alone():
    def numbers():
        random.seed(1), np.random.seed(2), torch.manual_seed(3)
        yield from (random.random, np.random.rand, lambda: torch.rand(()).item())

    expected = [draw() for draw in numbers()]
    drawing = numbers()
    first = next(drawing)
    look("DropoutAlways"), look("StepDraws"), look("NumpyWeights")
    assert [first(), *(draw() for draw in drawing)] == expected


def test_needs_are_looked_at_before():
    names = [each.name for each in PROPERTIES]
    assert len(set(names)) == len(names)
    for place, each in enumerate(PROPERTIES):
        assert set(each.needs) <= set(names[:place]), each.name
