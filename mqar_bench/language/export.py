"""What ``mqar-bench language`` has trained, as a folder that transformers loads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from mqar_bench.basics.errors import UsageError, one_line
from mqar_bench.config import ModelConfig, RunConfig
from mqar_bench.language.config import RecallConfig
from mqar_bench.language.model import RecallForCausalLM
from mqar_bench.records.result import RunResult
from mqar_bench.records.store import Store
from mqar_bench.records.weights import find_weights
from mqar_bench.text import Text
from mqar_bench.text.corpus import END_OF_TEXT
from mqar_bench.training.model import LanguageModel
from mqar_bench.training.state_mixers import hidden_size
from mqar_bench.training.weights import load_weights

#: What a model must be to be ``RecallForCausalLM``'s, but for its sizes and mixers.
FORM: dict[str, tuple[Any, ...]] = {
    "norm": ("rms",), "state_mixer": ("swiglu", "none"), "max_position_embeddings": (0,),
    "learnable_word_embeddings": (True,), "input_type": ("discrete",),
}  # fmt: skip
#: Its names for parts of a model, by the names there; the last ones are within a block.
NAMES = {"word_embeddings": "model.embeddings", "ln_f": "model.norm"}
BLOCK = {"norm1": "attn_norm", "sequence_mixer": "attn", "norm2": "mlp_norm", "state_mixer": "mlp"}


def export(weights: Path | str, folder: Path | str) -> Path:
    """Write a trained model for ``AutoModelForCausalLM`` and its tokenizer for ``AutoTokenizer``.

        >>> export("results/language-demo/0123456789ab.safetensors", "my_model")
        >>> model = AutoModelForCausalLM.from_pretrained("my_model")

    The classes know the model once ``mqar_bench.language`` is imported. Both are in the folder, weights in the dtypes
    that they were trained in, and nothing else is needed to load them: neither the run's record nor its corpus.

    Args:
        weights: the file that a run on text keeps with ``--save-weights``.
        folder: where to, made if missing.

    Returns:
        the folder.

    Raises:
        UsageError: (a ValueError) the file is not there or damaged, its model is not ``RecallForCausalLM``'s, or the
            corpus, which has the tokenizer, is gone or another one; or the folder cannot be written.
    """
    model, found = load_weights(Path(weights), "cpu")
    text = _find_text(found.config)
    recall = as_recall(model, text.input_seq_len)
    try:
        tokenizer = text.open().tokenizer()
    except (OSError, ValueError) as error:
        raise UsageError(f"the tokenizer of run {found.config.run_id} is with its corpus: {error}") from None
    special = {"eos_token": END_OF_TEXT, "pad_token": END_OF_TEXT, "padding_side": "left"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **special)
    recall.config.eos_token_id = recall.generation_config.eos_token_id = fast.eos_token_id
    recall.generation_config.pad_token_id = fast.pad_token_id
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for part in (recall, fast):
            part.save_pretrained(folder)
    except OSError as error:
        raise UsageError(f"cannot write a model to {folder}: {error.strerror or error}") from None
    return Path(folder)


def export_best(results: Iterable[RunResult], store: Store, out: Path) -> dict[str, Path]:
    """``export`` of each mixer's best run on validation text, to a folder below ``out`` that is called as the mixer.

    The lowest loss is best, or, where a record of before does not have it, the best accuracy.

    Args:
        results: runs that are done, with their weights beside their records.
        store: where these are.
        out: made if missing.

    Returns:
        the folders by mixer.

    Raises:
        UsageError: as ``export``, or one has no weights.
    """
    runs: dict[str, list[RunResult]] = defaultdict(list)
    for result in results:
        runs[result.config.mixer].append(result)
    best = {mixer: _best(rivals) for mixer, rivals in runs.items()}
    weights = find_weights(store, [result.config for result in best.values()])
    for mixer, result in best.items():
        if result.run_id not in weights:
            raise UsageError(
                f"the weights of run {result.run_id}, the best of {mixer}, are not in {store.root}: "
                "--retrain-without-weights trains it again and keeps them"
            )
    return {mixer: export(weights[result.run_id], out / mixer) for mixer, result in best.items()}


def _best(rivals: Sequence[RunResult]) -> RunResult:
    last = [result.epochs[-1] for result in rivals]
    losses = [epoch.guide_loss for epoch in last if epoch.guide_loss is not None]
    scores = losses if len(losses) == len(last) else [-epoch.accuracy for epoch in last]
    return rivals[scores.index(min(scores))]


def as_recall(model: LanguageModel, length: int = 4096) -> RecallForCausalLM:
    """The same model with transformers around it, in evaluation mode: the same logits from copies of its weights.

    Args:
        model: one with RMSNorms and SwiGLU, or without MLPs.
        length: tokens of the longest sequences that it was trained on, for ``max_position_embeddings``.

    Raises:
        UsageError: (a ValueError) it is another kind of model.
    """
    config = recall_config(model.config, length)
    with torch.random.fork_rng(devices=[]):
        recall = RecallForCausalLM(config)
    state: dict[str, Tensor] = {_rename(name): value for name, value in model.state_dict().items()}
    recall.load_state_dict(state | {"lm_head.weight": state["model.embeddings.weight"]})
    return recall.eval()


def recall_config(config: ModelConfig, length: int = 4096) -> RecallConfig:
    """What ``as_recall`` makes of a config."""
    for name, wanted in FORM.items():
        if (value := getattr(config, name)) not in wanted:
            raise UsageError(
                f"RecallForCausalLM's model has model.{name} {' or '.join(map(repr, wanted))}, and this one {value!r}: "
                "mqar-bench language trains such models"
            )
    return RecallConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.d_model,
        num_hidden_layers=config.n_layers,
        mixers=config.mixers,
        intermediate_size=hidden_size(config),
        norm_eps=config.layer_norm_epsilon,
        max_position_embeddings=length,
        bos_token_id=None,
        eos_token_id=None,
    )


def _find_text(config: RunConfig) -> Text:
    whole = RunConfig.model_validate(config.model_dump(mode="json"))  # records do not load tasks that go by their path
    for task in whole.data.tasks:
        if isinstance(task, Text):
            return task
    names = ", ".join(dict.fromkeys(task.name for task in config.data.tasks))
    raise UsageError(
        one_line(f"run {config.run_id} is of {names}, which has no tokenizer: only runs on text can be exported")
    )


def _rename(name: str) -> str:
    first, *rest = name.split(".")
    if first == "layers":
        layer, part, *rest = rest
        return ".".join(["model.layers", layer, BLOCK[part], *rest])
    return ".".join([NAMES[first], *rest])
