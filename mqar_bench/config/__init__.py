"""What a run is, and how people say it: the config's classes, dotted overrides, presets, the listing of settings.

Import the classes from here; ``overrides``, ``presets`` and ``settings`` are for those who read what people wrote.
"""

from mqar_bench.config.run import (
    DataConfig,
    FolderName,
    MixerSpec,
    ModelConfig,
    RunConfig,
    TrainConfig,
    content_id,
    setting_names,
)
from mqar_bench.config.segments import SegmentsConfig

__all__ = [
    "DataConfig",
    "FolderName",
    "MixerSpec",
    "ModelConfig",
    "RunConfig",
    "SegmentsConfig",
    "TrainConfig",
    "content_id",
    "setting_names",
]
