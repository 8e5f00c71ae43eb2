"""A run's trained weights in a file. Records hold none: they are kept where they are needed again."""

from __future__ import annotations

import io
from pathlib import Path

import torch

from mqar_bench.basics.errors import UsageError
from mqar_bench.basics.files import write_atomically
from mqar_bench.config import RunConfig
from mqar_bench.records.result import Provenance, RunResult
from mqar_bench.training.device import pick_device
from mqar_bench.training.model import LanguageModel

VERSION = 1


def save_weights(path: Path, model: LanguageModel, result: RunResult) -> None:
    """Write a trained model's ``state_dict`` with its run's config and provenance, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    content = {
        "version": VERSION,
        "config": result.config.model_dump_json(),
        "provenance": result.provenance.model_dump_json(),
        "model": model.state_dict(),
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())


def load_weights(path: Path, config: RunConfig) -> tuple[LanguageModel, Provenance]:
    """The model that ``save_weights`` wrote of this run, in evaluation mode on the run's device, and what trained it.

    Raises:
        UsageError: there is no such file, it holds no weights, those of another run, or they do not fit the model.
    """
    try:
        written = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    try:
        content = torch.load(io.BytesIO(written), map_location="cpu", weights_only=True)
        version = int(content["version"])
        found = RunConfig.model_validate_json(content["config"]).run_id
        provenance = Provenance.model_validate_json(content["provenance"])
        state = dict(content["model"])
    except Exception as error:  # whatever was put in there
        raise UsageError(f"{path} holds no weights that `mqar-bench trace` wrote, or not all of them") from error
    if version != VERSION:
        raise UsageError(f"{path} has weights of version {version}; this program reads {VERSION}")
    if found != config.run_id:
        raise UsageError(f"{path} has the weights of run {found}, not of {config.run_id}")
    with torch.random.fork_rng(devices=[]):
        model = LanguageModel(config.model)
    try:
        model.load_state_dict(state)
    except RuntimeError:  # whose message is many lines
        raise UsageError(
            f"the weights in {path} do not fit the model: a mixer's code has changed; remove the file"
        ) from None
    return model.eval().to(pick_device(config.train.device)), provenance
