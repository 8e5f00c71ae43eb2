import pytest
import torch
from torch import nn

import mixers
from mixers import MixerError
from mixers.registry import outline


class Foreign(nn.Module):
    def __init__(self, d_model, layer_idx=None, gain: float = 1.0):
        super().__init__()
        self.gain = gain


def test_names_are_sorted_and_the_first_slice_is_there():
    assert list(mixers.names()) == sorted(mixers.names())
    assert {"attention", "linear_attention", "ramnet", "short_conv"} <= set(mixers.names())


def test_dotted_path(monkeypatch, tmp_path):
    (tmp_path / "my_mixers.py").write_text(
        "from torch import nn\n"
        "class Mine(nn.Module):\n"
        "    def __init__(self, d_model, layer_idx=None, gain: float = 1.0):\n"
        "        super().__init__()\n"
        "        self.gain = gain\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert mixers.build("my_mixers.Mine", 8, gain=2).gain == 2
    assert [o.name for o in mixers.describe("my_mixers.Mine")] == ["gain"]
    with pytest.raises(MixerError, match="module 'my_mixers' has no 'Yours'"):
        mixers.build("my_mixers.Yours", 8)
    with pytest.raises(MixerError, match="no option 'gian'; did you mean 'gain'"):
        mixers.build("my_mixers.Mine", 8, gian=1)


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("ramnett", {}, "did you mean 'ramnet'"),
        ("nowhere.Mixer", {}, "no module 'nowhere'"),
        ("ramnet", {"topk": 4}, "'ramnet' has no option 'topk'; did you mean 'top_k'"),
        ("ramnet", {"zzz": 4}, "it has num_heads, order"),
        ("ramnet", {"top_k": "eight"}, "option 'top_k': Input should be a valid integer .got 'eight'"),
        ("ramnet", {"top_k": 0}, "top_k must be between 1 and the 256 slots, got 0"),
        ("ramnet", {"top_k": 257}, "256 slots, got 257"),
        ("ramnet", {"gamma": -1.0}, "gamma must be at least 0"),
        ("ramnet", {"cape": 3}, "cape must be"),
        ("ramnet", {"zzz": 4}, "and more"),
        ("ramnet", {"anneal": "slowly"}, "anneal"),
        ("ramnet", {"train_top_k": 4}, "train_top_k must be between top_k 8"),
        ("ramnet", {"backend": "cuda"}, "backend"),
        ("attention", {"num_heads": 3}, "must be a multiple of num_heads 3"),
        ("linear_attention", {"feature_map": "exp"}, "feature_map"),
        ("short_conv", {"kernel_size": 0}, "kernel_size must be at least 1"),
        ("short_conv", {"kernel_size": 5000}, "kernel_size must be at most 4096, got 5000"),
        ("gla", {"conv_size": 0, "use_short_conv": True}, "conv_size must be at least 1, got 0"),
        ("gla", {"expand_k": 1e308}, "expand_k times 64 must be between 0 and 1048576, got expand_k 1e.308"),
        ("gated_delta_net", {"expand_v": 10**6}, "expand_v times 32 must be between"),
        ("attention", {"out_init_std": -1.0}, "out_init_std must be between 0 and 1e.06, got -1.0"),
        ("attention", {"num_heads": 10**400}, "option 'num_heads': Input should be an integer of 64 bits .got 1000"),
        ("attention", {"dropout": float("nan")}, "option 'dropout': Input should be a finite number .got nan"),
        ("mom", {"num_memories": 2**31}, "num_memories must be at most 1024"),
        ("mom", {"expand_v": float("inf")}, "option 'expand_v': Input should be a finite number"),
        ("ramnet", {"order": 2**31}, "order must be at most 31"),
        ("ramnet", {"order": 31, "sub_dim": 9}, "at most 2147483647 slots, got 9.31"),
        ("ramnet", {"alpha_init": 1e308}, "alpha_init must be between -80 and 80"),
        ("h3", {"d_state": 2**40}, "d_state must be at most 1048576"),
        ("", {}, "no mixer named ''"),
        ("a.", {}, "no mixer named 'a.'"),
        (".a", {}, "no mixer named '.a'"),
        ("x" * 10_000, {}, "no mixer named 'xxx"),
        ("mixers.ARMTT", {}, "has no 'ARMTT'; did you mean 'ARMT'?"),
        ("mixers.ramnet", {}, "is not a torch module class"),
        ("torch.nn.Module", {}, "is not a torch module class"),
        ("torch.nn.Linear", {}, "must take d_model and layer_idx: it takes in_features, out_features"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(name, options, message):
    with pytest.raises(MixerError, match=message) as error:
        mixers.build(name, 64, **options)
    assert str(error.value).isprintable() and len(str(error.value)) < 300


@pytest.mark.parametrize("d_model", [0, -1, 2**16 + 1, 2**63, True, "64", 64.0, None], ids=repr)
@pytest.mark.parametrize("name", mixers.names())
def test_a_width_that_is_none_is_named(name, d_model):
    with pytest.raises(MixerError, match=f"d_model must be (at (least 1|most 65536)|an integer), got {d_model!r}"):
        mixers.build(name, d_model)


@pytest.fixture
def modules(monkeypatch, tmp_path):
    """Writes a module of somebody else's and returns a name for it."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(text):
        name = f"theirs_{tmp_path.name}"  # imported modules stay for other tests
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


THEIRS = """
from __future__ import annotations
from typing import TYPE_CHECKING, Any
import torch
from torch import nn
if TYPE_CHECKING:
    from nowhere import Nothing
class Theirs(nn.Module):
    def __init__(self, d_model, layer_idx=None, ARGUMENTS):
        super().__init__()
        self.given = OPTION
        BODY
"""


def theirs(arguments, option="None", body="pass"):
    return THEIRS.replace("ARGUMENTS", arguments).replace("OPTION", option).replace("BODY", body)


def test_an_option_without_a_default_must_be_given(modules):
    name = f"{modules(theirs('*, width: int', 'width'))}.Theirs"
    with pytest.raises(MixerError, match="needs option 'width', which has no default"):
        mixers.build(name, 8)
    assert mixers.build(name, 8, width=3).given == 3


@pytest.mark.parametrize(
    "arguments",
    ["name: Nothing = None", "name: torch.device = None", "name=None", "**name"],
    ids=["a type for checkers alone", "a type of torch", "no type", "any options"],
)
def test_what_only_the_mixer_can_check_is_left_to_it(modules, arguments):
    option = "name['name']" if arguments == "**name" else "name"
    assert mixers.build(f"{modules(theirs(arguments, option))}.Theirs", 8, name="cpu").given == "cpu"


@pytest.mark.parametrize(
    "fault", ["1 / 0", "import nothing_of_the_kind", "torch.nothing", "raise ImportError('theirs')"]
)
def test_a_module_that_fails_on_import_keeps_its_own_error(modules, fault):
    with pytest.raises((ZeroDivisionError, ImportError, AttributeError)) as error:
        mixers.build(f"{modules(f'import torch{chr(10)}{fault}')}.Theirs", 8)
    assert not isinstance(error.value, MixerError)


@pytest.mark.parametrize("name", mixers.names())
def test_an_outline_has_the_sizes_and_no_memory(name):
    before = torch.get_rng_state()
    mixer = outline(name, 64)
    assert torch.equal(torch.get_rng_state(), before)
    real = mixers.build(name, 64)
    assert {p.device.type for p in mixer.parameters()} == {"meta"}
    assert [(n, p.shape) for n, p in mixer.named_parameters()] == [(n, p.shape) for n, p in real.named_parameters()]
    assert mixer.state_size(100) == real.state_size(100)


@pytest.mark.parametrize("body", ["torch.ones(1).item()", "torch.ones(1).numpy()", "float(torch.ones(1))"])
def test_a_mixer_that_looks_into_its_tensors_is_outlined_for_real(modules, body):
    body = f"self.weight = nn.Parameter(torch.ones(d_model)); {body}"
    assert outline(f"{modules(theirs('a=0', body=body))}.Theirs", 8).weight.device.type == "cpu"


def test_a_mixer_that_fails_fails_in_outline_with_its_own_error(modules):
    name = f"{modules(theirs('a=0', body='raise RuntimeError(1)'))}.Theirs"
    with pytest.raises(RuntimeError, match="^1$"):
        outline(name, 8)


def test_a_name_is_taken_once():
    with pytest.raises(MixerError, match="registered already"):
        mixers.register("ramnet")(Foreign)
