"""Whether this machine can execute runs at all, before any is begun."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from mixers.registry import outline
from mqar_bench.basics.errors import UsageError
from mqar_bench.config import RunConfig
from mqar_bench.config.check import check_engine
from mqar_bench.training.device import pick_device


def check_here(configs: Iterable[RunConfig]) -> None:
    """Whether the device of each run is there, and the engines that its mixers ask for can run on it.

    A mixer that cannot be built is left to the run, which is then recorded as failed; so is any of the user's own: it
    may do whatever it likes, such as ending the process that imports it.

    Raises:
        UsageError: one is not.
    """
    seen: set[tuple[str, int, str]] = set()
    for config in configs:
        for i, spec in enumerate(config.model.mixers):
            key = (config.train.device, config.model.d_model, spec.model_dump_json())
            if key in seen:
                continue
            seen.add(key)
            try:
                device = pick_device(config.train.device)
            except ValueError as error:
                raise UsageError(str(error)) from None
            if "." in spec.name:
                continue
            try:
                with torch.random.fork_rng(devices=[]):
                    mixer = outline(spec.name, config.model.d_model, i, **spec.options)
            except Exception:
                continue
            check_engine(mixer, i, device)
