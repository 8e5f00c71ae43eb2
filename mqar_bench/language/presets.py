"""Configs by name."""
from mqar_bench.language.config import RecallConfig
PRESETS = {}
def preset(name: str) -> RecallConfig:
    return PRESETS[name]()
