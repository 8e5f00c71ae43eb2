import pytest

HEAD = """
import numpy as np
from zoology.config import TrainConfig, ModelConfig, DataConfig, ModuleConfig, LoggerConfig
from zoology.data.multiquery_ar import MQARConfig
from zoology.data.stacked_mqar import ContinuousMQARConfig

data = DataConfig(
    train_configs=[MQARConfig(vocab_size=64, num_examples=96, input_seq_len=16, num_kv_pairs=2, train_power_a=1.0)],
    test_configs=[MQARConfig(vocab_size=64, num_examples=32, input_seq_len=16, num_kv_pairs=2)],
    batch_size=(32, 8),
    cache_dir="/nowhere",
)
conv = dict(name="zoology.mixers.base_conv.BaseConv", kwargs={"l_max": 16, "kernel_size": [3, -1]})

continuous = DataConfig(train_configs=[ContinuousMQARConfig(num_passes=2)], test_configs=[ContinuousMQARConfig()])
same_mapping = DataConfig(train_configs=[ContinuousMQARConfig(per_sequence_mapping=False)], test_configs=[])
FIXED = {"learnable_word_embeddings": False}

def config(mixer, model={}, **settings):
    return TrainConfig(
        data=settings.pop("data", data),
        model=ModelConfig(**{"vocab_size": 64, "d_model": 16, "max_position_embeddings": 0,
                             "state_mixer": dict(name="torch.nn.Identity"), "sequence_mixer": mixer} | model),
        logger=LoggerConfig(project_name="p"),
        **settings,
    )

def hybrid(*mixers):
    return ModuleConfig(name="zoology.mixers.hybrid.Hybrid", kwargs={"configs": list(mixers)})

def mixer(name, **kwargs):
    return dict(name="zoology.mixers." + name, kwargs=kwargs)
"""


@pytest.fixture
def write(tmp_path):
    """Writes an experiment file that begins with ``HEAD``."""

    def write(body, name="mine.py"):
        (tmp_path / name).write_text(HEAD + body)
        return tmp_path / name

    return write
