"""Every option of every mixer, and its width, with values of every kind: refused in one line, or it can be computed."""

import math
from random import Random

import pytest

import mixers
from mqar_bench.basics.errors import UsageError
from mqar_bench.config.overrides import parse_config
from tests.training.small_models import compute, is_small

WIDTH = 16
TASK = {"vocab_size": 32, "input_seq_len": 16, "num_kv_pairs": 2}
#: Options with which each mixer is small at that width.
SMALL = {
    "gla": {"gate_low_rank_dim": 4},
    "hgrn2": {"expand_ratio": 8},
    "rwkv7": {"head_dim": 8},
    "mamba2": {"head_dim": 8, "state_size": 8},
    "h3": {"d_state": 8},
    "armt": {"d_mem": 8},
    "mom": {"num_memories": 2, "topk": 1},
    "ramnet": {"order": 2, "top_k": 4, "backend": "reference"},
    "long_conv": {"l_max": 16},
    "hyena": {"l_max": 16, "filter_order": 8},
    "mamba": {"state_size": 4},
    "based": {"feature_dim": 4},
}
VALUES = [
    *(None, True, False, "", "8", "identity", "sum", "fade", "triton", "dense", "l2_normalize", [1], {"a": 1}),
    *(0, -1, 1, 3, 8, 16, 2**16 + 1, 2**20 + 1, 2**31, 2**63, 10**400),
    *(0.0, -0.5, 0.5, 1.5, 1e-320, 1e308, math.inf, math.nan),
    *("relu", "swish", "softmax", "GLA", "mlp"),
]
#: Near their limits, and dividing each other.
LARGE = [1, 2, 4, 2**6, 2**10, 2**12, 2**15, 2**16, 2**18, 2**20]


def attempt(name, d_model, options):
    """Refused in one line that names the place, or computed, or left where it is large; which of them it was."""
    model = {"vocab_size": 32, "d_model": d_model, "n_layers": 1, "mixers": [{"name": name, "options": options}]}
    try:
        config = parse_config({"data": {"train": [TASK], "test": [TASK]}, "model": model})
    except UsageError as error:
        text = str(error)
        assert text.isprintable() and len(text) < 400 and text.startswith("model."), text
        return "refused"
    if not is_small(config):
        return "large"
    try:
        compute(config)
    except ValueError as error:
        assert options.get("backend") == "triton", error  # which only the device decides
        return "refused"
    return "computed"


@pytest.mark.parametrize("name", mixers.names())
def test_every_option_takes_a_value_or_refuses_it_in_one_line(name):
    small = SMALL.get(name, {})
    assert attempt(name, WIDTH, small) == "computed"
    for option in mixers.describe(name):
        outcomes = [attempt(name, WIDTH, {**small, option.name: value}) for value in VALUES]
        assert {"refused", "computed"} <= set(outcomes), option


@pytest.mark.parametrize("name", mixers.names())
def test_every_width_is_taken_or_refused_in_one_line(name):
    outcomes = {repr(value): attempt(name, value, SMALL.get(name, {})) for value in VALUES}
    assert outcomes["16"] == "computed" and outcomes["65537"] == outcomes["0"] == "refused"


@pytest.mark.parametrize("name", mixers.names())
def test_large_options_together_are_taken_or_refused_in_one_line(name):
    """Also where their product is what is too large."""
    random = Random(0)
    kinds = {option.name: option.type for option in mixers.describe(name)}
    for _ in range(60):
        options = {option: random.choice(LARGE) for option, kind in kinds.items() if "int" in kind}
        options |= {
            option: float(random.choice(LARGE)) for option, kind in kinds.items() if option.startswith("expand_")
        }
        kept = {option: value for option, value in options.items() if random.random() < 0.7}
        assert attempt(name, random.choice([2**10, 2**15, 2**16]), kept) in ("refused", "large")
