"""A run with some of its settings changed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from mqar_bench.basics.errors import UsageError
from mqar_bench.basics.frozen import Frozen
from mqar_bench.config.differences import to_text
from mqar_bench.config.overrides import apply_overrides
from mqar_bench.config.run import RunConfig


def with_settings(config: RunConfig, settings: Mapping[str, Any]) -> RunConfig:
    """A run with other settings, each by its dotted path, such as ``{"model.mixers.1.options.top_k": 8}``.

    ``mqar-bench run --list-fields`` lists the paths. The whole is checked, its mixers and tasks too. A changed run is
    of no sweep: it is listed as ``adhoc`` at scale ``custom``, unless ``sweep`` and ``scale`` say otherwise.

    Args:
        config: the run to start from, which stays as it is.
        settings: values as JSON has them, or parts such as ``MixerSpec``.

    Raises:
        UsageError: no such setting, or a value that it, its mixer or the rest of the config cannot take; one line.
    """
    return with_pairs(config, [(path, _encode(path, value)) for path, value in settings.items()])


def with_pairs(config: RunConfig, pairs: Iterable[tuple[str, str]]) -> RunConfig:
    """``with_settings``, of values as text (see ``apply_overrides``)."""
    pairs = list(pairs)
    if pairs:
        config = config.model_copy(update={"sweep": "adhoc", "scale": "custom"})
    return apply_overrides(config, pairs)


def _encode(path: str, value: Any) -> str:
    try:
        return to_text(json.loads(json.dumps(value, default=_plain)))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{path}: the value is not what JSON has: {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, Frozen):
        return value.model_dump(mode="json")
    if hasattr(value, "item"):  # a number of numpy's
        return value.item()
    raise TypeError(f"{type(value).__name__} {value!r:.60}")
