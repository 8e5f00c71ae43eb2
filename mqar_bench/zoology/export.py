"""Our sweeps as experiment files for Zoology, with our mixers in them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import mixers
from mqar_bench.basics.errors import UsageError
from mqar_bench.config import DataConfig, MixerSpec, ModelConfig, RunConfig, SegmentsConfig, TrainConfig
from mqar_bench.tasks import AnyTask, CircuitsConfig, QueryTask
from mqar_bench.zoology.circuits import export_circuit
from mqar_bench.zoology.mixers import HYBRID

#: What Zoology's trainer has no setting for, with the only value that it has.
TRAINING = {
    "schedule": "cosine_epoch", "warmup_fraction": 0.0, "grad_clip": None, "precision": "float32",
    "segments": SegmentsConfig(),
}  # fmt: skip
DATA = {"validation": (), "shuffle": False, "fresh": False}
MODEL = {"norm": "layer", "mlp_hidden_size": 0}
STATE_MIXERS = ("identity", "mlp", "glu")

HEADER = '''"""{title}, written by mqar-bench for Zoology's launcher: python -m zoology.launch THIS_FILE

It takes mqar-bench's mixers, so both must be installed. Zoology draws the weights of every nn.Linear anew.
"""

from zoology.config import DataConfig, ModelConfig, ModuleConfig, TrainConfig
'''

#: Their modules and classes for the tasks that they have, too; for the circuits they have a class each.
TASKS = {
    "multiquery_ar": ("multiquery_ar", "MQARConfig"),
    "forgetting": ("forgetting_mqar", "ForgettingMQARConfig"),
    "compositional": ("compositional_mqar", "CompositionalMQARConfig"),
    "circuits": ("circuits", ""),
}
#: The same of models with continuous inputs, which read no other.
CONTINUOUS = {"stacked": ("stacked_mqar", "ContinuousMQARConfig")}


def export(configs: Iterable[RunConfig], title: str) -> str:
    """The text of an experiment file whose ``configs`` are these runs.

    Zoology's trainer tells mixers nothing of its progress; RAM-Net, which comes down to K slots on the way, is given
    the number of steps instead. Its start is carried along: Zoology draws only the weights of ``nn.Linear`` anew, and
    RAM-Net's projections are none.

    Raises:
        UsageError: a run needs what Zoology has not.
    """
    configs = list(configs)
    parts: list[dict[str, str]] = [{}, {}]  # text to name
    runs = []
    for config in configs:
        _check(config)
        steps = config.train.max_epochs * sum(-(-s.num_examples // config.train.batch_size) for s in config.data.train)
        data = _name(parts[0], _data(config.data, config.train), "DATA")
        model = _name(parts[1], _model(config, steps), "MODEL")
        runs.append(f"    {_train(config, data, model)},\n")
    text = HEADER.format(title=title)
    tasks = dict.fromkeys(task for config in configs for task in config.data.tasks)
    for module, kind in sorted({_theirs(task)[:2] for task in tasks}):
        text += f"from zoology.data.{module} import {kind}\n"
    text += "\n"
    for part in parts:
        text += "".join(f"{name} = {value}\n" for value, name in part.items()) + "\n"
    return text + "configs = [\n" + "".join(runs) + "]\n"


def _check(config: RunConfig) -> None:
    parts = (("train", config.train, TRAINING), ("data", config.data, DATA), ("model", config.model, MODEL))
    for part, given, only in parts:
        for name, value in only.items():
            if getattr(given, name) != value:
                has = "some" if name in ("validation", "segments") else getattr(given, name)
                only_one = "none" if name == "segments" else value
                raise UsageError(
                    f"Zoology has no {part}.{name} but {only_one}, and run {config.run_id} has {has}:"
                    " export a sweep in its protocol, such as fig3 at scale paper"
                )
    if (kind := config.model.state_mixer) not in STATE_MIXERS:
        raise UsageError(f"Zoology has no state mixer {kind!r}, as run {config.run_id} has: {', '.join(STATE_MIXERS)}")
    for segment in config.data.tasks:
        if config.model.input_type == "continuous":
            continue  # the one task that it reads
        if segment.name not in TASKS:
            raise UsageError(f"run {config.run_id} has the task {segment.name!r}; Zoology has {', '.join(TASKS)}")
        if isinstance(segment, QueryTask) and segment.input_seq_len % 2:
            raise UsageError(f"run {config.run_id} has input_seq_len={segment.input_seq_len}; Zoology's must be even")


def _name(part: dict[str, str], value: str, prefix: str) -> str:
    return part.setdefault(value, f"{prefix}_{len(part)}")


def _data(data: DataConfig, train: TrainConfig) -> str:
    def segments(part: Iterable[Any]) -> str:
        return "".join(f"        {_segment(segment)},\n" for segment in part)

    return (
        f"DataConfig(\n    train_configs=[\n{segments(data.train)}    ],\n"
        f"    test_configs=[\n{segments(data.test)}    ],\n"
        f"    batch_size={(train.batch_size, train.test_batch_size)},\n    seed={data.seed},\n)"
    )


def _segment(segment: AnyTask) -> str:
    _, kind, fields = _theirs(segment)
    return f"{kind}({_arguments(fields)})"


def _theirs(segment: AnyTask) -> tuple[str, str, dict[str, Any]]:
    """Their module and class for a task, and what that takes."""
    module, kind = (TASKS | CONTINUOUS)[segment.name]
    if isinstance(segment, CircuitsConfig):
        return module, *export_circuit(segment)
    # Tokens of continuous inputs are those of the model.
    idle = {"name", "vocab_size"} if segment.name in CONTINUOUS else {"name", "num_passes"}
    return module, kind, segment.model_dump(exclude=idle)


def _model(config: RunConfig, steps: int) -> str:
    model = config.model
    specs = ",\n            ".join(_mixer(spec, model, steps) for spec in model.mixers)
    state_mixer = (f"zoology.mixers.mlp.{model.state_mixer.upper()}", {"hidden_mult": model.mlp_hidden_mult})
    if model.state_mixer == "identity":
        state_mixer = ("torch.nn.Identity", {})
    rest = model.model_dump(
        include={"d_model", "n_layers", "max_position_embeddings", "vocab_size", "embed_dropout", "resid_dropout",
                 "layer_norm_epsilon", "embedding_init_type", "learnable_word_embeddings"}
    )  # fmt: skip
    return (
        f"ModelConfig(\n    name={config.mixer!r},\n"
        f'    sequence_mixer=ModuleConfig(\n        name="{HYBRID}",\n'
        f'        kwargs={{"configs": [\n            {specs},\n        ]}},\n    ),\n'
        f"    state_mixer=ModuleConfig(name={state_mixer[0]!r}, kwargs={state_mixer[1]!r}),\n"
        f"    {_arguments(rest)},\n)"
    )


def _mixer(spec: MixerSpec, model: ModelConfig, steps: int) -> str:
    name, options = spec.name, dict(spec.options)
    if name in mixers.names():
        name = f"mixers.{mixers.load(name).__name__}"
    if spec.name == "ramnet":
        options |= {"anneal_steps": steps}
    return f'{{"name": {name!r}, "kwargs": {options!r}}}'


def _train(config: RunConfig, data: str, model: str) -> str:
    train = config.train
    stops = train.early_stopping_threshold is not None
    rest = {
        "learning_rate": train.learning_rate,
        "weight_decay": train.weight_decay,
        "max_epochs": train.max_epochs,
        "early_stopping_metric": "valid/accuracy" if stops else None,
        "early_stopping_threshold": train.early_stopping_threshold,
        "seed": train.seed,
        "slice_keys": ["num_kv_pairs"],
        "run_id": f"{config.mixer}-{config.run_id}",
    }
    if config.model.input_type != "discrete":
        rest["input_type"] = config.model.input_type
    return f"TrainConfig(data={data}, model={model}, {_arguments(rest)})"


def _arguments(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())
