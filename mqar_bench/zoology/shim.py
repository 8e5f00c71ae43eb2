"""Stand-ins for what Zoology's experiment files import: config classes with its field names and defaults.

They keep fields that they do not know, which Zoology's own drop in silence, so that a translation can name them. Fields
that some format has had are here, by the format.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator


class BaseConfig(BaseModel):
    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True, protected_namespaces=())


class ModuleConfig(BaseConfig):  # type: ignore[no-redef]
    name: str
    kwargs: dict[str, Any] = {}


class FunctionConfig(ModuleConfig):  # type: ignore[no-redef]
    pass


class DataSegmentConfig(BaseConfig):
    vocab_size: int = 8_192
    num_examples: int = 1_000
    input_seq_len: int = 64


class MQARConfig(DataSegmentConfig):
    name: str = "multiquery_ar"
    power_a: float = 0.01
    num_kv_pairs: int = 8
    random_non_queries: bool = True
    include_slices: bool = True


class ForgettingMQARConfig(MQARConfig):
    name: str = "forgetting_mqar"
    num_updates: int = 4


class CompositionalMQARConfig(MQARConfig):
    name: str = "compositional_mqar"
    num_kv_pairs: int = 4


class ContinuousMQARConfig(DataSegmentConfig):
    name: str = "continuous_mqar"
    num_kv_pairs: int = 8
    num_passes: int = 1
    per_sequence_mapping: bool = True
    embeddings: Any = None


class ParityConfig(DataSegmentConfig):
    name: str = "parity"


class MajorityConfig(DataSegmentConfig):
    name: str = "majority"


class VocabMajorityConfig(DataSegmentConfig):
    name: str = "vocab_majority"


class CumulativeParityConfig(DataSegmentConfig):
    name: str = "cumulative_parity"


class CumulativeMajorityConfig(DataSegmentConfig):
    name: str = "cumulative_majority"
    input_seq_len: int = 16


class ARConfig(BaseConfig):
    """A segment in the format of the first weeks of 2024; Zoology drops ``num_queries``, all keys are asked for."""

    input_seq_len: int = 64
    num_examples: int = 1_000
    num_kv_pairs: int = 4
    num_queries: int = 4
    random_non_queries: bool = True


class DataConfig(BaseConfig):
    def __new__(cls, **values: Any) -> DataConfig:
        """That of 2023 where it is given what only that has."""
        old = cls is DataConfig and not NEW & values.keys() and OLD & values.keys()
        return super().__new__(DataConfig2023 if old else cls)

    train_configs: list[DataSegmentConfig]
    test_configs: list[DataSegmentConfig]
    batch_size: int | tuple[int, int] = 32
    seed: int = 123
    cache_dir: str | None = None
    force_cache: bool = False
    num_passes: int = 1


class DataConfig2023(DataConfig):
    """The format until February 2024: one task, trained and scored on, by the name of the function that draws it."""

    train_configs: list[DataSegmentConfig] = []
    test_configs: list[DataSegmentConfig] = []
    seed: int = 0
    builder: FunctionConfig | None = None
    num_train_examples: int = 10_000
    num_test_examples: int = 1_000
    input_seq_len: int = 64
    vocab_size: int = 8_192
    caching: bool = True


#: What only one of the formats has, and no file of that can do without.
NEW = {"train_configs", "test_configs"}
OLD = {"builder", "num_train_examples", "num_test_examples"}


class ModelConfig(BaseConfig):
    sequence_mixer: ModuleConfig | None = None
    state_mixer: ModuleConfig = ModuleConfig(name="zoology.mixers.mlp.MLP", kwargs={"hidden_mult": 4})
    d_model: int = 128
    n_layers: int = 2
    max_position_embeddings: int = 64
    learnable_word_embeddings: bool = True
    embedding_init_type: str = "default"
    vocab_size: int = 8_192
    resid_dropout: float = 0.0
    embed_dropout: float = 0.1
    drop_path: float = 0.0
    layer_norm_epsilon: float = 1e-5
    pad_vocab_size_multiple: int = 1
    block_type: str = "TransformerBlock"
    name: str = "default"


class LoggerConfig(BaseConfig):
    project_name: str | None = None
    entity: str | None = None


class TrainConfig(BaseConfig):
    data: DataConfig
    model: ModelConfig
    logger: LoggerConfig = LoggerConfig()
    max_epochs: int = 100
    loss_type: str = "ce"
    input_type: str = "discrete"
    early_stopping_metric: str | None = "valid/accuracy"
    early_stopping_threshold: float | None = 0.99
    slice_keys: list[str] = []
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    seed: int = 123
    launch_id: str | None = None
    sweep_id: str | None = None
    run_id: str = "default"

    @field_validator("data", mode="before")
    @classmethod
    def _find_format(cls, data: Any) -> Any:
        if isinstance(data, list | tuple):
            raise ValueError("a list of data is a format of 2023 that is not translated")
        return DataConfig(**data) if isinstance(data, dict) else data


#: What may be imported, by module. Experiments themselves come from the checkout that the file lies in.
MODULES: dict[str, tuple[type[BaseConfig], ...]] = {
    "zoology": (),
    "zoology.config": (
        BaseConfig, ModuleConfig, FunctionConfig, DataSegmentConfig, DataConfig, ModelConfig, LoggerConfig, TrainConfig,
    ),
    "zoology.data": (),
    "zoology.data.multiquery_ar": (MQARConfig,),
    "zoology.data.associative_recall": (MQARConfig,),
    "zoology.data.forgetting_mqar": (ForgettingMQARConfig,),
    "zoology.data.compositional_mqar": (CompositionalMQARConfig,),
    "zoology.data.stacked_mqar": (ContinuousMQARConfig,),
    "zoology.data.circuits": (
        ParityConfig, MajorityConfig, VocabMajorityConfig, CumulativeParityConfig, CumulativeMajorityConfig,
    ),
    "zoology.data.ar_extrapolate": (ARConfig,),
}  # fmt: skip
