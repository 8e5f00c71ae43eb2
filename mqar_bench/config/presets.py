"""Model descriptions from papers, to count the state of."""

from __future__ import annotations

from mqar_bench.config.run import MixerSpec, ModelConfig

#: Sequence length that Table 2 evaluates Transformer++ at.
TABLE2_LENGTH = 1024


def table2() -> list[tuple[str, ModelConfig]]:
    """The language models of Table 2 of RAM-Net (arXiv 2602.11958): width 1024, about 340 M parameters each.

    CAPE as its appendix A has it: in all heads of the first four layers and half the heads of the next four.
    """
    ramnet = {"num_heads": 16, "head_v_dim": 64, "order": 5, "sub_dim": 4, "top_k": 8}
    cape = [True] * 4 + [8] * 4 + [False] * 19
    return [
        ("Transformer++", _stack(24, "attention", num_heads=16, rotary=True)),
        ("GLA", _stack(24, "gla", num_heads=4, expand_k=0.5, expand_v=1.0)),
        ("HGRN2", _stack(24, "hgrn2", expand_ratio=128)),
        ("GDN", _stack(21, "gated_delta_net", num_heads=3, head_dim=256, expand_v=2.0, conv_size=4)),
        ("Mamba2", _stack(48, "mamba2", head_dim=64, state_size=128, expand=2, conv_kernel=4)),
        ("RAM-Net (Top-8)", _model(27, [MixerSpec(name="ramnet", options=ramnet | {"cape": c}) for c in cape])),
    ]


PRESETS = {"table2": (table2, TABLE2_LENGTH)}


def _stack(n_layers: int, name: str, **options) -> ModelConfig:
    return _model(n_layers, [MixerSpec(name=name, options=options)])


def _model(n_layers: int, mixers: list[MixerSpec]) -> ModelConfig:
    return ModelConfig(d_model=1024, n_layers=n_layers, mixers=tuple(mixers))
