"""What a config takes, keeps and refuses."""

import pytest

from mqar_bench.basics.errors import UsageError
from mqar_bench.config import MixerSpec
from mqar_bench.language import RecallConfig

GLA = {"name": "gla", "options": {"num_heads": 1}}


def test_it_is_the_same_after_it_was_written_and_read(tmp_path):
    config = RecallConfig(100, 16, 3, [GLA, MixerSpec(name="attention")], hidden_ratio=2, eos_token_id=[2, 3])
    config.save_pretrained(tmp_path)
    assert RecallConfig.from_pretrained(tmp_path).to_diff_dict() == config.to_diff_dict()
    assert config.mixers == [GLA, {"name": "attention", "options": {}}]
    assert [config.mixer(i).name for i in range(3)] == ["gla", "attention", "gla"]


@pytest.mark.parametrize(
    ("width", "ratio", "expected"), [(1024, 4, 2816), (1024, 3, 2048), (96, 4, 256), (100, 0.5, 256), (2048, 4, 5632)]
)
def test_an_mlp_is_as_wide_as_flas(width, ratio, expected):  # what its GatedMLP has for these
    assert RecallConfig(9, width, 1, [GLA], ratio).intermediate_size == expected
    assert RecallConfig(9, width, 1, [GLA], ratio, intermediate_size=7).intermediate_size == 7


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hiden_size": 8}, "no field 'hiden_size' in a RecallConfig: did you mean 'hidden_size'?"),
        ({"vocab_size": 1}, "vocab_size must be at least 2, got 1"),
        ({"hidden_size": 0}, "hidden_size must be at least 1, got 0"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be at least 1, got 0"),
        ({"intermediate_size": -1}, "intermediate_size must be at least 0, got -1"),
        ({"norm_eps": float("nan")}, "norm_eps must be between 0 and 1, got nan"),
        ({"hidden_act": "swosh"}, "no hidden_act 'swosh': did you mean 'swish'?"),
        ({"pad_token_id": 9}, "pad_token_id must be below vocab_size 9, got 9"),
        ({"eos_token_id": [2, 10]}, "eos_token_id must be below vocab_size 9, got 10"),
        ({"mixers": []}, "mixers must name a mixer at least, got none"),
        ({"mixers": ["gla"]}, "mixers.0 must be {'name': .., 'options': {..}}, got 'gla'"),
        ({"mixers": [GLA, {"name": "glaa"}]}, "mixers.1: no mixer named 'glaa': did you mean 'gla'?"),
        ({"mixers": [{"name": "gla", "num_heads": 1}]}, "mixers.0 has a name and options, and no 'num_heads'"),
        ({"mixers": [{"name": "gla", "options": {"heads": 1}}]}, "mixers.0: mixer 'gla' has no option 'heads'"),
        ({"mixers": [{"name": "gla", "options": {"num_heads": 3}}]}, "mixers.0: mixer 'gla': "),
        ({"mixers": [{"name": "gla", "options": {"d_model": 3}}]}, "mixers.0: d_model is no option"),
        ({"mixers": [{"name": "ramnet", "options": {"anneal_steps": 9}}]}, "mixers.0: anneal_steps counts forward"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_mistake_is_one_line(fields, message):
    with pytest.raises(UsageError) as error:
        RecallConfig(**{"vocab_size": 9, "hidden_size": 16, "num_hidden_layers": 2} | fields)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)
