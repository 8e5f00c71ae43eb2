"""Language models of every architecture on one corpus: perplexity, and how much of it is recall.

The model is ``RecallForCausalLM``'s, so that ``mqar_bench.language.export`` makes one of it: RMSNorms, SwiGLU MLPs, a
tied head. Its mixers are ``fig3``'s pair, a short convolution and the one under test, cycled over the layers. At laptop
with a vocabulary of 2,048 the weights of RAM-Net's are 3.8 MB, of attention's 4.1.

What is scored is the next token: of the whole text, of the tokens that end a pair which the window has had before
(hits), of the hits that training can hardly have taught, and of the rest; then of copies of longer passages, of hits by
how long ago the pair was there, and of the first and the second half of a window.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple, get_args

from mqar_bench.basics.errors import UsageError, hint
from mqar_bench.config import DataConfig, MixerSpec, ModelConfig, RunConfig, TrainConfig
from mqar_bench.config.presets import table2
from mqar_bench.text import Corpus, Text
from mqar_bench.text.task import Scored
from sweeps import fig3
from sweeps.protocols import CONV

SLICES: tuple[Scored, ...] = get_args(Scored)


class Size(NamedTuple):
    """What a scale is made of: the model (of paper its own layers), tokens in a window, windows a step, steps an epoch,
    epochs; windows scored every epoch and at the end; learning rates."""

    d_model: int
    n_layers: int
    length: int
    batch: int
    steps: int
    epochs: int
    validation: int
    test: int
    rates: tuple[float, ...]


SIZES = {
    "smoke": Size(16, 2, 32, 4, 2, 2, 4, 4, (1e-2,)),
    "demo": Size(128, 4, 128, 16, 100, 5, 32, 64, (3e-3,)),
    "laptop": Size(128, 4, 256, 16, 75, 10, 64, 192, (1e-3, 3e-3, 1e-2)),
    "paper": Size(1024, 0, 4096, 8, 1000, 305, 64, 512, (1e-3,)),
}
SCALES = tuple(SIZES)
#: At laptop, in place of its rates, those of mixers of which short runs are best at the highest: until that is no end.
#: (In full RAM-Net is best at the lowest of its own: 39.9 against 47.0 at 1e-1, perplexities of one seed.)
HIGHER_RATES = {
    **dict.fromkeys(("gla", "mamba2", "kda"), (3e-3, 1e-2, 3e-2)),
    **dict.fromkeys(
        ("delta_net", "gated_delta_net", "linear_attention", "sparse_delta_memory"), (3e-3, 1e-2, 3e-2, 1e-1)
    ),
    **dict.fromkeys(("based", "hgrn2", "ramnet"), (3e-3, 1e-2, 3e-2, 1e-1, 3e-1)),
}

#: What makes a model ``RecallForCausalLM``'s.
FORM: dict[str, Any] = {"state_mixer": "swiglu", "norm": "rms", "embed_dropout": 0.0}
#: What of training is the paper's alone.
PAPER: dict[str, Any] = {"warmup_fraction": 0.05, "min_learning_rate": 1e-4, "precision": "bfloat16"}


def configs(scale: str, corpus: Corpus, only: Collection[str] = ()) -> list[RunConfig]:
    """The runs on a corpus: every architecture of ``fig3`` at its largest state of that scale, at each learning rate;
    at paper the models of Table 2.

    Args:
        scale: one of ``SCALES``.
        corpus: the text.
        only: of these mixers; default all.

    Raises:
        UsageError: the corpus is too short, or there is no such mixer or scale.
    """
    if scale not in SIZES:
        raise UsageError(f"no scale {scale!r} of language{hint(scale, SCALES)}")
    size = SIZES[scale]
    for split, windows in (("validation", size.validation), ("test", size.test)):
        if (have := (corpus.tokens[split] - 1) // size.length) < windows:
            raise UsageError(
                f"scale {scale!r} scores {windows} windows of {size.length} tokens of the {split} text, which has "
                f"{have}: take more text, or a smaller scale"
            )
    models = _published(corpus) if scale == "paper" else _pairs(scale, size, corpus)
    for name in only:
        if name not in models:
            raise UsageError(f"no mixer {name!r} in the sweep language{hint(name, models)}")
    return [
        _run(scale, size, corpus, model, rate)
        for name, model in models.items()
        if not only or name in only
        for rate in (HIGHER_RATES.get(name, size.rates) if scale == "laptop" else size.rates)
    ]


def _pairs(scale: str, size: Size, corpus: Corpus) -> dict[str, ModelConfig]:
    """Short convolutions and a mixer in turn, by the mixer's name."""
    specs = {
        name: MixerSpec(name=name, options=fig3.SMOKE_OPTIONS.get(name, {}) if scale == "smoke" else sizes[-1][1])
        for name, sizes in fig3.LAPTOP_MODELS.items()
    }
    return {
        name: ModelConfig(
            vocab_size=corpus.vocab_size, d_model=size.d_model, n_layers=size.n_layers, mixers=(CONV, spec),
            mlp_hidden_mult=3, **FORM,
        )
        for name, spec in specs.items()
    }  # fmt: skip


def _published(corpus: Corpus) -> dict[str, ModelConfig]:
    """The models of RAM-Net's Table 2, those of ``mqar_bench.language.preset``, by the mixer's name.

    With the paper's protocol, arXiv 2602.11958: 10 billion tokens in windows of 4,096, AdamW with decay 0.1, gradients
    clipped at 1, from a peak of 1e-3, after 5 % of warm-up, to 1e-4 by cosine. It is a plan, which nobody has run. It
    differs in its tokenizer, which is the corpus's own (``--vocab-size 32000`` has as many tokens as Llama 2's), and in
    steps of 32,768 tokens: no gradients are accumulated.

    By arithmetic, a run in bfloat16 takes about 45 GB of a GPU's memory (5.5 of weights, gradients and moments, 13 of
    logits, 27 of activations at 34 bytes a feature of a block), and 14 hours of an H100 (6 operations a parameter and
    token, at 40 % of its peak), the mixers' own not counted. Making a corpus of 10 billion tokens takes some 200 GB of
    main memory, most of it to count its pairs.
    """
    models = {}
    for _, model in table2():
        mixer = model.mixers[-1].name
        specs = model.mixers
        if mixer == "attention":
            specs = tuple(spec.model_copy(update={"options": spec.options | {"bias": False}}) for spec in specs)
        form = FORM | ({"state_mixer": "none"} if mixer == "mamba2" else {"mlp_hidden_size": 2816})
        update = {"vocab_size": corpus.vocab_size, "mixers": specs, "layer_norm_epsilon": 1e-6} | form
        models[mixer] = model.model_copy(update=update)
    return models


def _run(scale: str, size: Size, corpus: Corpus, model: ModelConfig, rate: float) -> RunConfig:
    one = {
        "corpus": corpus.folder, "digest": corpus.digest, "vocab_size": corpus.vocab_size, "input_seq_len": size.length,
    }  # fmt: skip
    return RunConfig(
        sweep="language",
        scale=scale,
        data=DataConfig(
            train=(Text(num_examples=size.batch * size.steps, **one),),
            validation=(Text(split="validation", num_examples=size.validation, **one),),
            test=tuple(Text(split="test", num_examples=size.test, scored=scored, **one) for scored in SLICES),
            fresh=True,
        ),
        model=model,
        train=TrainConfig(
            max_epochs=size.epochs, batch_size=size.batch, learning_rate=rate, schedule="cosine_step",
            grad_clip=1.0, early_stopping_threshold=None,
            **PAPER if scale == "paper" else {"warmup_fraction": 0.1},
        ),
    )  # fmt: skip
