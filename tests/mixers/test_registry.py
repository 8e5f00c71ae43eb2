import pytest
from torch import nn

import mixers
from mixers import MixerError


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
        ("ramnet", {"train_top_k": 4}, "train_top_k must be between top_k 8"),
        ("ramnet", {"backend": "cuda"}, "backend"),
        ("attention", {"num_heads": 3}, "must be a multiple of num_heads 3"),
        ("linear_attention", {"feature_map": "exp"}, "feature_map"),
        ("short_conv", {"kernel_size": 0}, "kernel_size must be at least 1"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(name, options, message):
    with pytest.raises(MixerError, match=message) as error:
        mixers.build(name, 64, **options)
    assert "\n" not in str(error.value)


def test_a_name_is_taken_once():
    with pytest.raises(MixerError, match="registered already"):
        mixers.register("ramnet")(Foreign)
