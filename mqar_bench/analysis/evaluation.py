"""A trained model scored without training, on the settings of its run or on others; and what is kept of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch

from mqar_bench.basics.errors import UsageError
from mqar_bench.basics.files import write_atomically
from mqar_bench.basics.frozen import Frozen
from mqar_bench.config import RunConfig, setting_names
from mqar_bench.records.result import Provenance, now, provenance
from mqar_bench.records.weights import Weights
from mqar_bench.training.data import build_test
from mqar_bench.training.device import with_threads
from mqar_bench.training.scoring import evaluate
from mqar_bench.training.weights import load_weights

#: What of a config decides an evaluation, besides the model: settings, and all that lies below the first.
SCORED = ("data.test", "data.seed", "data.sampler", "train.test_batch_size", "train.test_batch_tokens")


class Evaluation(Frozen):
    """What scoring a trained model gave.

    ``run_id`` and ``trained`` are the run that trained it and what that ran on; ``config`` is that run's, with the test
    settings that were scored in place of its own. ``weights`` is the file, ``weights_sha256`` the digest of its
    tensors, which it says itself. ``settings`` are accuracies, the share of answers that are right, and ``accuracy``
    their uniform mean.
    """

    evaluation_schema_version: Literal[1] = 1
    run_id: str
    weights: str
    weights_sha256: str
    config: RunConfig
    accuracy: float
    settings: dict[str, float]
    provenance: Provenance
    trained: Provenance


def evaluate_weights(weights: Weights, config: RunConfig, device: torch.device) -> Evaluation:
    """Score the model in a file on the test settings of ``config``, as its run scored it on its own.

    With so many threads of torch as that run had, if there are so many: the same settings then give the same accuracies
    on the same machine, to the bit.

    Args:
        weights: what the file says of itself.
        config: the run's, which may differ in what ``SCORED`` names.
        device: where to score.

    Raises:
        UsageError: as ``load_weights``.
    """
    model, loaded = load_weights(weights.path, device, weights.config)
    started_at = now()
    with with_threads(min(loaded.result.provenance.threads, torch.get_num_threads())):
        settings = evaluate(model, build_test(config.data), config.train, device).accuracy
        made = provenance(device, started_at)
    return Evaluation(
        run_id=loaded.config.run_id,
        weights=str(weights.path),
        weights_sha256=loaded.sha256,
        config=config,
        accuracy=sum(settings.values()) / len(settings),
        settings=settings,
        provenance=made,
        trained=loaded.result.provenance,
    )


def scored_in_training(weights: Weights, config: RunConfig) -> dict[str, float]:
    """What the run itself got on those settings of ``config`` that are its own, example by example."""
    before = weights.config.data
    if (before.seed, before.sampler) != (config.data.seed, config.data.sampler):
        return {}
    names = list(zip(setting_names(config.data.test), setting_names(before.test), strict=False))
    tests = (data.model_dump(mode="json")["test"] for data in (config.data, before))  # where one is as recorded, too
    pairs = zip(*tests, strict=False)  # examples follow from the seed and the place in the list
    return {
        name: weights.result.settings[old]
        for (name, old), (task, own) in zip(names, pairs, strict=True)
        if task == own and old in weights.result.settings
    }


def keep_evaluation(path: Path, evaluation: Evaluation) -> None:
    """Write an evaluation, whole or not at all: to a ``.json`` as all there is, to a ``.jsonl`` as one more line.

    Raises:
        UsageError: the file has another ending, holds something else than evaluations, or cannot be written.
    """
    before = read_evaluations(path)
    text = evaluation.model_dump_json(indent=1 if path.suffix == ".json" else None) + "\n"
    try:
        write_atomically(path, (before if path.suffix == ".jsonl" else b"") + text.encode())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error


def read_evaluations(path: Path) -> bytes:
    """What is in a file for evaluations, which need not be there yet; complete lines where it is a ``.jsonl``.

    Raises:
        UsageError: the file has another ending, holds something else, or cannot be read.
    """
    if path.suffix not in (".json", ".jsonl"):
        raise UsageError(f"--out {path}: the file must end in .json, or in .jsonl to add a line")
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    for part in text.splitlines() if path.suffix == ".jsonl" else [text]:
        if part.strip() and not _is_evaluation(part):
            raise UsageError(f"--out {path}: the file is there and holds something else than evaluations")
    return text if not text or text.endswith(b"\n") else text + b"\n"


def _is_evaluation(text: bytes) -> bool:
    try:
        values: Any = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(values, dict) and "evaluation_schema_version" in values
