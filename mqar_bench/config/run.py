"""What a run is: one frozen ``RunConfig`` decides every number that a run produces.

Every model refuses unknown fields. ``RunConfig.run_id`` is the hash of everything that matters to the result;
the names under which a sweep lists a run (sweep, scale, mixer), and what was left out of it, are not part of that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from mixers.checks import MAX_WIDTH, brief
from mqar_bench.basics.frozen import Frozen
from mqar_bench.basics.notebook import html_table
from mqar_bench.config.plain import MAX_DEPTH, check_json
from mqar_bench.config.segments import SegmentsConfig
from mqar_bench.tasks import AnyTask, MQARConfig, Sampler, StackedConfig, Task
from mqar_bench.tasks.task import MAX_LENGTH, MAX_VOCAB

#: Characters of a mixer's name.
MAX_NAME = 200
#: Entries of a list, where each is work before a run even begins.
MAX_ENTRIES = 1024
#: What a float32 can hold, nearly.
MAX_FLOAT = 1e38
MAX_BATCH = 2**20

#: Of a sweep, and of its scale: together they name a folder.
FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=100)]


def _later(default: Any, description: str) -> Any:
    """A setting that was added when there were records: where it is as by default, dumps leave it out, so that what
    there was before is the same run as ever."""
    return Field(default, description=description, exclude_if=lambda value: value == default)


class MixerSpec(Frozen):
    """A sequence mixer by registered name (``mqar-bench mixers`` lists them) or dotted path, with its options."""

    name: str = Field(min_length=1, max_length=MAX_NAME)
    options: dict[str, Any] = {}

    @field_validator("options")
    @classmethod
    def _check(cls, options: dict[str, Any]) -> dict[str, Any]:
        for name, value in options.items():
            if name in ("d_model", "layer_idx", "self"):
                raise ValueError(f"{name} is no option: the model sets it")
            check_json(name, name, 0)
            check_json(name, value, MAX_DEPTH)
        return options

    def __str__(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.name}({options})" if options else self.name


class ModelConfig(Frozen):
    """Zoology's language model: pre-norm blocks of a sequence mixer and a state mixer, tied head.

    With ``norm`` rms, and as ``state_mixer`` swiglu or none, that of ``mqar_bench.language`` instead."""

    vocab_size: int = Field(8192, ge=2, le=MAX_VOCAB, description="tokens; must cover the task's vocabulary")
    d_model: int = Field(64, ge=1, le=MAX_WIDTH, description="model width")
    n_layers: int = Field(2, ge=1, le=1024, description="blocks")
    mixers: Annotated[tuple[MixerSpec, ...], Field(min_length=1, max_length=MAX_ENTRIES)] = Field(
        (MixerSpec(name="short_conv"), MixerSpec(name="attention")),
        description="sequence mixers, cycled over the layers",
    )
    state_mixer: Literal["identity", "mlp", "glu", "swiglu", "none"] = Field(
        "identity", description="what follows the mixer in a block; identity adds the normalised residual again"
    )
    mlp_hidden_mult: int = Field(4, ge=1, le=1024, description="hidden width of the MLP or GLU over d_model")
    mlp_hidden_size: Annotated[int, Field(ge=0, le=2**24)] = _later(0, "that width itself; 0: as mlp_hidden_mult says")
    max_position_embeddings: int = Field(0, ge=0, le=MAX_LENGTH, description="learned positions; 0 for none")
    embed_dropout: float = Field(0.1, ge=0, lt=1, description="dropout on the embeddings")
    resid_dropout: float = Field(0.0, ge=0, lt=1, description="dropout on every residual branch")
    layer_norm_epsilon: float = Field(1e-5, gt=0, le=1, description="of the final norm; of all where they are rms")
    norm: Literal["layer", "rms"] = _later("layer", "LayerNorms, or RMSNorms in their place")
    embedding_init_type: Literal["default", "spherical", "normal"] = _later(
        "default", "how embeddings start: deviation 0.02; random directions of length 1; deviation 1"
    )
    learnable_word_embeddings: bool = _later(True, "false: they stay as they start, and the head has its own weights")
    input_type: Literal["discrete", "continuous"] = _later(
        "discrete",
        "continuous: of the task stacked, key and value are embedded apart; needs fixed embeddings, two a key",
    )


class DataConfig(Frozen):
    """The task mix. Batches come in segment order, the same every epoch, as in Zoology, unless said otherwise.

    What guides training (early stopping, the choice of a learning rate) are the validation settings, scored after every
    epoch; the test settings are then scored once, when training is over. Without validation settings the test settings
    are scored every epoch and guide it themselves, which is Zoology's protocol.
    """

    train: Annotated[tuple[AnyTask, ...], Field(min_length=1, max_length=MAX_ENTRIES)] = Field(
        (MQARConfig(num_examples=10_000),), description="training segments, one after another"
    )
    validation: Annotated[tuple[AnyTask, ...], Field(max_length=MAX_ENTRIES)] = Field(
        (), description="settings scored every epoch, to guide training; none: the test settings do that, as in Zoology"
    )
    test: Annotated[tuple[AnyTask, ...], Field(min_length=1, max_length=MAX_ENTRIES)] = Field(
        (MQARConfig(),), description="settings that are reported, each on its own and as a uniform mean"
    )
    seed: int = Field(123, ge=0, lt=2**32, description="seeds every segment, as Zoology derives them")
    sampler: Sampler = Field("fast", description="zoology: its generator bit for bit; of multiquery_ar only")
    shuffle: bool = Field(False, description="shuffle the order of batches anew every epoch")
    fresh: bool = Field(False, description="draw new training examples every epoch, so none is seen twice")

    @model_validator(mode="after")
    def _check(self) -> DataConfig:
        for task in self.tasks:
            if self.sampler not in task.samplers:
                raise ValueError(f"sampler {self.sampler!r} does not draw the task {task.name!r}")
        return self

    @property
    def tasks(self) -> tuple[AnyTask, ...]:
        """The segments of all three kinds."""
        return (*self.train, *self.validation, *self.test)

    @property
    def epoch_tokens(self) -> int:
        """Tokens that a model sees in an epoch of training."""
        return sum(task.num_examples * task.input_seq_len for task in self.train)

    @property
    def guides(self) -> tuple[AnyTask, ...]:
        """The settings that are scored after every epoch."""
        return self.validation or self.test


class TrainConfig(Frozen):
    """The optimisation; the defaults are Zoology's protocol."""

    max_epochs: int = Field(32, ge=1, le=10**6, description="passes over the training segments")
    batch_size: int = Field(256, ge=1, le=MAX_BATCH, description="training sequences a step")
    test_batch_size: int = Field(256, ge=1, le=MAX_BATCH, description="sequences a batch when scoring, at most")
    test_batch_tokens: int | None = Field(
        None, ge=1, le=2**40, description="tokens a batch when scoring, at most; null: as many as in training"
    )
    learning_rate: float = Field(1e-3, gt=0, le=MAX_FLOAT, description="peak learning rate of AdamW")
    weight_decay: float = Field(0.1, ge=0, le=MAX_FLOAT, description="decoupled weight decay")
    decay_all: bool = Field(
        False,
        description="weight decay also on parameters that a mixer marks `_no_weight_decay` (Zoology does)",
    )
    schedule: Literal["cosine_epoch", "cosine_step", "constant"] = Field(
        "cosine_epoch", description="cosine to 0, updated each epoch (Zoology) or each step"
    )
    warmup_fraction: float = Field(0.0, ge=0, lt=1, description="of all steps, linear; cosine_step only")
    min_learning_rate: Annotated[float, Field(ge=0, le=MAX_FLOAT)] = _later(0.0, "where cosine_step ends")
    grad_clip: float | None = Field(None, gt=0, le=MAX_FLOAT, description="clip the gradient's norm")
    early_stopping_threshold: float | None = Field(0.99, description="stop once accuracy exceeds this; null: never")
    seed: int = Field(123, ge=0, lt=2**32, description="initial weights and dropout")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="bfloat16: autocast")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: cuda where there is one")
    segments: SegmentsConfig = _later(SegmentsConfig(), "how sequences are cut, and how long they are when")


class RunConfig(Frozen):
    """One training run; on one device and number of threads, a pure function of this gives its result."""

    sweep: FolderName = Field("adhoc", description="sweep the run is listed under")
    scale: FolderName = Field("custom", description="scale of that sweep")
    mixer: str = Field(
        "", max_length=MAX_NAME, description="architecture, as the figures name it; default: the last mixer's name"
    )
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    ignored: tuple[str, ...] = Field(
        (), description="what the experiment file of another harness asks for and this run leaves out"
    )

    @field_validator("mixer")
    @classmethod
    def _check_mixer(cls, mixer: str) -> str:
        if not mixer.isprintable():
            raise ValueError(f"a label is printable text, not {brief(mixer)}")
        return mixer

    @model_validator(mode="after")
    def _check(self) -> RunConfig:
        segments = self.data.tasks
        needed = max(segment.vocab_size for segment in segments)
        if self.model.input_type == "continuous":
            _check_continuous(self.model, segments)
        elif needed > self.model.vocab_size:
            raise ValueError(f"model.vocab_size is {self.model.vocab_size}, but the task draws tokens below {needed}")
        self.train.segments.check_tasks(self.data.train)
        longest = max(self.sequence_length, self.trained_length)
        if 0 < self.model.max_position_embeddings < longest:
            raise ValueError(
                f"model.max_position_embeddings is {self.model.max_position_embeddings},"
                f" but the longest sequence has {longest} tokens"
            )
        for name in ("warmup_fraction", "min_learning_rate"):
            if getattr(self.train, name) and self.train.schedule != "cosine_step":
                raise ValueError(f"train.{name} needs train.schedule 'cosine_step'")
        if not self.mixer:
            object.__setattr__(self, "mixer", self.model.mixers[-1].name)  # before anyone has seen it
        return self

    @property
    def sequence_length(self) -> int:
        """The longest sequence of the task mix, at which state sizes are reported (as in Zoology)."""
        return max(segment.input_seq_len for segment in self.data.tasks)

    @property
    def trained_length(self) -> int:
        """Tokens of the longest sequences of training."""
        return self.train.segments.longest(self.data.train)

    def tokens_after(self, epochs: int) -> int:
        """Tokens that a model is expected to see in so many epochs of training, from the first on; where the lengths
        of batches are drawn, on average."""
        segments, total = self.train.segments, self.train.max_epochs
        if not segments.stages:
            return self.data.epoch_tokens * epochs
        examples = sum(task.num_examples for task in self.data.train)
        counts = sum(sum(segments.bounds(epoch, total)) for epoch in range(epochs))
        return examples * counts * segments.size // 2

    @property
    def run_id(self) -> str:
        """Hash of everything that decides the result: 12 hexadecimal digits."""
        return content_id(self.model_dump(mode="json"))

    @property
    def variant(self) -> str:
        """Hash of what runs have in common that differ in nothing but learning rate, seeds and device."""
        values = self.model_dump(mode="json")
        for part, name in (("data", "seed"), ("train", "seed"), ("train", "learning_rate"), ("train", "device")):
            del values[part][name]
        return content_id(values)

    def reseeded(self, by: int) -> RunConfig:
        """This run with both its seeds, of its weights and of its data, moved on by so many."""
        train = self.train.model_copy(update={"seed": self.train.seed + by})
        return self.model_copy(
            update={"train": train, "data": self.data.model_copy(update={"seed": self.data.seed + by})}
        )

    @property
    def data_name(self) -> str:
        """The data without their seed: the test settings, first and last, and a hash of everything.

        Only accuracies of runs that share it may be held against one another.
        """
        values = self.data.model_dump(mode="json", exclude={"seed"})
        labels = [segment.label for segment in self.data.test]
        ends = labels[0] if len(labels) == 1 else f"{labels[0]}..{labels[-1]}"
        return f"{ends}-{_hash(values)[:6]}"

    def facts(self) -> list[tuple[str, str]]:
        """What people want to know of a run, as pairs of text: its mixers, its test settings, and then each other
        setting that is not as by default, by its dotted path."""
        rows = [("mixers", " ".join(map(str, self.model.mixers))), ("test", _short(self.data.test))]
        shown = ("sweep", "scale", "mixer", "model.mixers", "data.test")
        return rows + [(path, _short(value)) for path, value in self.changes() if path not in shown]

    def __repr__(self) -> str:
        facts = " ".join(f"{name}={text!r}" if " " in text else f"{name}={text}" for name, text in self.facts())
        return f"<RunConfig {self.run_id} {self.sweep}/{self.scale} {self.mixer}: {facts}>"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        return html_table(f"run {self.run_id}: {self.mixer}, {self.sweep} at {self.scale}", self.facts())


def _check_continuous(model: ModelConfig, tasks: tuple[AnyTask, ...]) -> None:
    """Whether a model of pairs can read these tasks.

    Raises:
        ValueError: it cannot; the message says why.
    """
    said = "model.input_type 'continuous'"
    if model.learnable_word_embeddings:
        raise ValueError(f"{said} reads fixed embeddings: set model.learnable_word_embeddings to false")
    for task in tasks:
        if not isinstance(task, StackedConfig):
            raise ValueError(f"{said} reads the task 'stacked' alone, and the data have {task.name!r}")
        if model.vocab_size != 2 * task.num_keys:
            raise ValueError(
                f"model.vocab_size is {model.vocab_size}, and with {said} must be twice the keys of the task"
                f" at vocab_size {task.vocab_size}: {2 * task.num_keys}"
            )


def _short(value: Any) -> str:
    """A setting for people: tasks by their names, of many the first and the last."""
    if isinstance(value, tuple) and value and all(isinstance(entry, Task) for entry in value):
        names = setting_names(value)
        return " ".join(names if len(names) <= 4 else [*names[:2], "..", names[-1]])
    return str(value)


def setting_names(tasks: Iterable[AnyTask]) -> list[str]:
    """A name for each setting, ``L64-kv4``; a repeated one gets a number."""
    names: list[str] = []
    for task in tasks:
        seen = sum(name == task.label or name.startswith(task.label + "#") for name in names)
        names.append(f"{task.label}#{seen + 1}" if seen else task.label)
    return names


def content_id(config: dict[str, Any]) -> str:
    """The run id of a dumped config, as it stands: defaults are not filled in."""
    return _hash({key: config.get(key) for key in ("data", "model", "train")})[:12]


def _hash(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
