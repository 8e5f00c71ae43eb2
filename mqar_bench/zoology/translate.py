"""A config of Zoology as one of ours."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from mqar_bench.basics.errors import UsageError
from mqar_bench.config import DataConfig, MixerSpec, ModelConfig, RunConfig, TrainConfig
from mqar_bench.config.check import check_mixers
from mqar_bench.tasks import AnyTask, CompositionalConfig, ForgettingConfig, MQARConfig
from mqar_bench.zoology import shim
from mqar_bench.zoology.circuits import CIRCUITS, translate_circuit
from mqar_bench.zoology.continuous import count_keys, translate_continuous
from mqar_bench.zoology.fields import Reader, Untranslatable
from mqar_bench.zoology.format2023 import translate_2023
from mqar_bench.zoology.mixers import translate_mixer

#: What their tasks are here.
TASKS: dict[type[shim.BaseConfig], type[MQARConfig | ForgettingConfig | CompositionalConfig]] = {
    shim.MQARConfig: MQARConfig,
    shim.ForgettingMQARConfig: ForgettingConfig,
    shim.CompositionalMQARConfig: CompositionalConfig,
}
#: Blocks of a norm and a mixer alone.
MAMBA_BLOCKS = ("MambaBlock", "Mamba2Block")
MAMBA = "zoology.mixers.mamba.Mamba"


#: And their state mixers.
STATE_MIXERS = {"zoology.mixers.mlp.MLP": "mlp", "zoology.mixers.mlp.GLU": "glu"}

#: Their kinds of input and loss that the models here have; both losses are one where the head is the embeddings.
LOSSES = {(kind, loss) for kind in ("discrete", "continuous") for loss in ("ce", "ce_embed")}


def translate(config: shim.TrainConfig, sweep: str, scale: str, reader: Reader) -> RunConfig:
    """The run that Zoology would make of ``config``: its data, model and protocol.

    Training data come from our sampler, which draws from the same distribution but not the same examples
    (``data.sampler`` zoology does). A mixer's weights start as our mixer starts them.

    Raises:
        Untranslatable: it asks for what we have not; the message names it.
        UsageError: the source of its checkout cannot be read.
    """
    try:
        run = _run(reader.settle(config, shim.TrainConfig), sweep, scale, reader)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise Untranslatable(f"{place}: {first['msg']}".removeprefix(": ").replace("Value error, ", "")) from None
    try:
        check_mixers(run)
    except UsageError as error:
        raise Untranslatable(str(error)) from None
    return run.model_copy(update={"ignored": reader.close()})


def _run(config: shim.TrainConfig, sweep: str, scale: str, reader: Reader) -> RunConfig:
    if (config.input_type, config.loss_type) not in LOSSES:
        raise Untranslatable(f"input_type {config.input_type!r} with loss_type {config.loss_type!r}")
    config = config.model_copy(update={"model": reader.settle(config.model, shim.ModelConfig)})
    if (
        config.loss_type == "ce_embed"
        and config.input_type == "discrete"
        and not config.model.learnable_word_embeddings
    ):
        raise Untranslatable("loss_type 'ce_embed' with learnable_word_embeddings False: a head that is not learnt")
    if config.early_stopping_metric not in (None, "valid/accuracy"):
        raise Untranslatable(f"early_stopping_metric {config.early_stopping_metric!r}")
    stops = config.early_stopping_metric is not None
    given = reader.settle(config.data, shim.DataConfig, shim.DataConfig2023)
    batch = given.batch_size
    batch_size, test_batch_size = batch if isinstance(batch, tuple) else (batch, batch)
    return RunConfig(
        sweep=sweep,
        scale=scale,
        data=_data(given, config, reader),
        model=_model(config.model, config.input_type, reader),
        train=TrainConfig(
            max_epochs=config.max_epochs,
            batch_size=batch_size,
            test_batch_size=test_batch_size,
            learning_rate=float(config.learning_rate),
            weight_decay=config.weight_decay,
            decay_all=True,
            early_stopping_threshold=config.early_stopping_threshold if stops else None,
            seed=config.seed,
        ),
    )


def _data(config: shim.DataConfig, whole: shim.TrainConfig, reader: Reader) -> DataConfig:
    if isinstance(config, shim.DataConfig2023):
        return translate_2023(config, reader)
    if config.num_passes != 1:
        reader.note("DataConfig.num_passes is ignored, as Zoology ignores it")
    if whole.input_type == "continuous":
        return translate_continuous(config, whole.model, reader)
    train, test = (tuple(_segment(s, reader) for s in part) for part in (config.train_configs, config.test_configs))
    return DataConfig(train=train, test=test, seed=config.seed)


def _segment(config: shim.DataSegmentConfig, reader: Reader) -> AnyTask:
    if type(config) in CIRCUITS:
        return translate_circuit(config, reader)
    if type(config) not in TASKS:
        hint = ": ours of that kind is 'stacked'" if type(config) is shim.ContinuousMQARConfig else ""
        raise Untranslatable(f"the task {type(config).__name__}{hint}")
    task = TASKS[type(config)]
    known = reader.settle(config, *TASKS).model_dump(include=set(type(config).model_fields))
    if task is ForgettingConfig and known["num_updates"] == 0:
        task = MQARConfig  # which it is
    if task is ForgettingConfig:
        reader.note("forgetting: an update never repeats the value that it replaces, as it may in Zoology")
    return task(**{name: value for name, value in known.items() if name in task.model_fields and name != "name"})


def _model(config: shim.ModelConfig, input_type: str, reader: Reader) -> ModelConfig:
    if config.drop_path:
        raise Untranslatable(f"ModelConfig.drop_path {config.drop_path!r}")
    if config.block_type in MAMBA_BLOCKS:
        reader.note(f"{config.block_type} becomes a block like all others, with an identity as state mixer")
    elif config.block_type != "TransformerBlock":
        raise Untranslatable(f"block_type {config.block_type!r}")
    if config.sequence_mixer is None:
        raise Untranslatable("a model without sequence_mixer")
    if config.block_type == "MambaBlock" and config.sequence_mixer.name != MAMBA:  # which Zoology takes in any case
        raise Untranslatable(f"block_type 'MambaBlock' with the mixer {config.sequence_mixer.name}")
    if config.n_layers < 1:
        raise Untranslatable(f"a model of {config.n_layers} layers")
    layers = tuple(
        translate_mixer(config.sequence_mixer, i, config.d_model, config.n_layers, reader)
        for i in range(config.n_layers)
    )
    vocab_size = config.vocab_size + -config.vocab_size % max(1, config.pad_vocab_size_multiple)
    positions = max(0, config.max_position_embeddings)  # below 0 is none, as 0 is
    if input_type == "continuous":
        vocab_size, positions = 2 * count_keys(config), 0  # it pads and adds nothing then
    return ModelConfig(
        vocab_size=vocab_size,
        d_model=config.d_model,
        n_layers=config.n_layers,
        mixers=_cycle(layers),
        max_position_embeddings=positions,
        embed_dropout=config.embed_dropout,
        resid_dropout=config.resid_dropout,
        layer_norm_epsilon=config.layer_norm_epsilon,
        embedding_init_type=config.embedding_init_type,
        learnable_word_embeddings=config.learnable_word_embeddings,
        input_type=input_type,
        **_state_mixer(config, reader),
    )


def _state_mixer(config: shim.ModelConfig, reader: Reader) -> dict[str, Any]:
    mixer = reader.settle(config.state_mixer, shim.ModuleConfig, shim.FunctionConfig)
    name, kwargs = mixer.name, dict(mixer.kwargs)
    if name == "torch.nn.Identity" or config.block_type in MAMBA_BLOCKS:
        return {"state_mixer": "identity"}
    if name not in STATE_MIXERS or set(kwargs) - {"hidden_mult"}:
        raise Untranslatable(f"the state mixer {name}{f' with {kwargs}' if kwargs else ''}")
    return {"state_mixer": STATE_MIXERS[name], "mlp_hidden_mult": kwargs.get("hidden_mult", 1)}


def _cycle(layers: tuple[MixerSpec, ...]) -> tuple[MixerSpec, ...]:
    """The shortest beginning of which all layers are a repetition."""
    sizes = range(1, len(layers) + 1)
    return next(layers[:n] for n in sizes if all(layer == layers[i % n] for i, layer in enumerate(layers)))
