"""Every read and write of a RAM-Net over sequences of its task: recorded, and kept in one ``.npz`` file.

With B sequences of T tokens of which P are scored, and layer ``i`` a RAM-Net of H heads, the file has the arrays

| name | dtype and shape | what it is |
|---|---|---|
| ``version`` | int | of this form: 1 |
| ``run_id``, ``config`` | text | the run that trained the model: its id, and its config as JSON |
| ``provenance`` | text | what trained these weights and when, as JSON |
| ``setting``, ``first`` | text, int | the test setting, and the first of its examples that is recorded |
| ``tokens`` | int32 ``[B, T]`` | the sequences |
| ``positions`` | int32 ``[B, P]`` | the supervised positions |
| ``answers``, ``predictions`` | int32 ``[B, P]`` | what is right there, and what the model says |
| ``layers`` | int ``[n]`` | the RAM-Net layers, counted from 0 |
| ``layer<i>.w``, ``layer<i>.r`` | float32 ``[B, T, H, K]`` | weights of a token's writes and reads, descending |
| ``layer<i>.w_idx``, ``layer<i>.r_idx`` | uint16 or uint32 ``[B, T, H, K]`` | their slots, after CAPE |
| ``layer<i>.num_slots``, ``layer<i>.gamma`` | int, float | M, and the exponent of the decay |
| ``layer<i>.cape`` | bool ``[H]`` | the heads with CAPE |
| ``shown`` | int ``[n, 2]`` | layer and head of what the figure ``traces`` draws |

A token writes, then reads. Nothing in the file can run code: ``numpy.load`` reads it as it is.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import mixers
from mixers.ramnet import Access, RAMNet, record_access
from mqar_bench.basics.errors import UsageError
from mqar_bench.basics.files import write_atomically
from mqar_bench.config import DataConfig, RunConfig, setting_names
from mqar_bench.records.result import Provenance
from mqar_bench.tasks import Segment, segment_seeds
from mqar_bench.tasks.own import RECORDED
from mqar_bench.training.data import Batch
from mqar_bench.training.model import LanguageModel

VERSION = 1

#: How many heads are drawn where none are asked for.
SHOWN = 4

Array = NDArray[Any]

#: Fields that are arrays or numbers of the file under their own names, and those of a layer.
_FIELDS = ("setting", "first", "tokens", "positions", "answers", "predictions")
_LAYER_FIELDS = ("w", "w_idx", "r", "r_idx", "num_slots", "gamma", "cape")


@dataclass(frozen=True, eq=False)
class LayerTrace:
    """The accesses of one layer; weights and slots ``[B, T, H, K]``, ``cape`` ``[H]``."""

    w: Array
    w_idx: Array
    r: Array
    r_idx: Array
    num_slots: int
    gamma: float
    cape: Array


@dataclass(frozen=True, eq=False)
class Trace:
    """The accesses of a model over sequences of one test setting; see the module for what the arrays are."""

    config: RunConfig
    provenance: Provenance
    setting: str
    first: int
    tokens: Array
    positions: Array
    answers: Array
    predictions: Array
    layers: dict[int, LayerTrace]
    shown: tuple[tuple[int, int], ...]

    @property
    def accuracy(self) -> float:
        """The share of supervised positions answered right."""
        return float((self.predictions == self.answers).mean())


def ramnet_layers(config: RunConfig) -> dict[int, RAMNet]:
    """The RAM-Net mixers of a model by layer, as they are before training; empty if it has none."""
    specs = config.model.mixers
    found = {}
    with torch.random.fork_rng(devices=[]):
        for i in range(config.model.n_layers):
            spec = specs[i % len(specs)]
            if issubclass(mixers.load(spec.name), RAMNet):
                found[i] = mixers.build(spec.name, config.model.d_model, i, **spec.options)
    return found


def choose_heads(cape: dict[int, Array]) -> tuple[tuple[int, int], ...]:
    """Up to four heads to draw, those with CAPE first: half of either kind, from layers far apart.

    Args:
        cape: for each layer, which heads have CAPE.
    """
    kinds = []
    for kind in (True, False):  # the first such head of every layer, then the second ones
        ranked = [(n, i, int(h)) for i, has in cape.items() for n, h in enumerate(np.flatnonzero(has == kind))]
        kinds.append([(i, h) for _, i, h in sorted(ranked)])
    with_cape, without = kinds
    count = min(len(with_cape), max(SHOWN // 2, SHOWN - len(without)))
    return (*_spread(with_cape, count), *_spread(without, SHOWN - count))


def _spread(heads: list[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    layers = len({i for i, _ in heads})
    if layers > count:
        return [heads[round(j)] for j in np.linspace(0, layers - 1, count)]
    return sorted(heads[:count])


def longest_setting(config: DataConfig) -> str:
    """The test setting with the longest sequences; of several the one with the most pairs."""
    sizes = [(task.input_seq_len, task.num_kv_pairs) for task in config.test]
    return setting_names(config.test)[sizes.index(max(sizes))]


def build_setting(config: DataConfig, setting: str) -> Segment:
    """The examples of one test setting, as a run of this config is scored on them."""
    i = setting_names(config.test).index(setting)
    _, seeds = segment_seeds(config.seed, len(config.train), len(config.test))
    return config.test[i].build(seeds[i], sampler=config.sampler)


def record(
    model: LanguageModel,
    config: RunConfig,
    provenance: Provenance,
    setting: str,
    first: int,
    count: int,
    shown: tuple[tuple[int, int], ...] | None = None,
) -> Trace:
    """Let a trained model answer some examples, and record its accesses.

    Args:
        model: left in evaluation mode, and otherwise as it was.
        config: the run that it comes from.
        provenance: what trained it.
        setting: name of the test setting.
        first: the first of its examples to record.
        count: how many.
        shown: layer and head of what the figure ``traces`` draws; default ``choose_heads``.

    Raises:
        UsageError: the model has no RAM-Net layer, or the setting not so many examples.
    """
    device = next(model.parameters()).device
    segment = build_setting(config.data, setting)
    if not 0 <= first < first + count <= len(segment):
        raise UsageError(f"{setting} has {len(segment)} examples: there are no {count} from number {first} on")
    ramnets = {i: mixer for i, mixer in enumerate(model.sequence_mixers) if isinstance(mixer, RAMNet)}
    if not ramnets:
        raise UsageError(f"run {config.run_id} has no RAM-Net layer")
    model.eval()
    predictions, size = [], config.train.test_batch_size
    bounds = [(lo, min(lo + size, first + count)) for lo in range(first, first + count, size)]
    with torch.no_grad(), record_access(model) as accesses:
        for lo, hi in bounds:
            batch = Batch(*segment.batch(lo, hi)).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=config.train.precision == "bfloat16"):
                predictions.append(model(batch.tokens, batch.positions).argmax(-1).to(torch.int32))
    rows = slice(first, first + count)
    layers = {i: _layer(mixer, accesses[f"layers.{i}.sequence_mixer"]) for i, mixer in ramnets.items()}
    return Trace(
        config=config,
        provenance=provenance,
        setting=setting,
        first=first,
        tokens=segment.tokens[rows].numpy(),
        positions=segment.positions[rows].numpy(),
        answers=segment.answers[rows].numpy(),
        predictions=torch.cat(predictions).cpu().numpy(),
        layers=layers,
        shown=choose_heads({i: layer.cape for i, layer in layers.items()}) if shown is None else shown,
    )


def _layer(mixer: RAMNet, accesses: list[Access]) -> LayerTrace:
    kind = np.uint16 if mixer.num_slots <= 2**16 else np.uint32
    w, w_idx, r, r_idx = (torch.cat(parts).cpu() for parts in zip(*accesses, strict=True))
    return LayerTrace(
        w=w.float().numpy(),
        w_idx=w_idx.numpy().astype(kind),
        r=r.float().numpy(),
        r_idx=r_idx.numpy().astype(kind),
        num_slots=mixer.num_slots,
        gamma=float(mixer.gamma),
        cape=mixer.cape.cpu().numpy(),
    )


def save_trace(trace: Trace, path: Path) -> None:
    """Write a trace, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    arrays: dict[str, Any] = {
        "version": VERSION,
        "run_id": trace.config.run_id,
        "config": trace.config.model_dump_json(),
        "provenance": trace.provenance.model_dump_json(),
        "shown": np.array(trace.shown, np.int64),
        "layers": np.array(list(trace.layers), np.int64),
    }
    arrays |= {name: getattr(trace, name) for name in _FIELDS}
    arrays |= {f"layer{i}.{name}": getattr(layer, name) for i, layer in trace.layers.items() for name in _LAYER_FIELDS}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomically(path, buffer.getvalue())


def load_trace(path: Path) -> Trace:
    """The trace in a file that ``save_trace`` wrote.

    Raises:
        UsageError: there is no such file, or it is no trace, or one of another version.
    """
    try:
        written = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    try:
        with np.load(io.BytesIO(written), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        version = int(arrays["version"])
        if version != VERSION:
            raise UsageError(f"{path} is a trace of version {version}; this program reads {VERSION}")
        layers = {
            int(i): LayerTrace(**{name: _plain(arrays[f"layer{i}.{name}"]) for name in _LAYER_FIELDS})
            for i in arrays["layers"]
        }
        return Trace(
            config=RunConfig.model_validate_json(str(arrays["config"]), context=RECORDED),
            provenance=Provenance.model_validate_json(str(arrays["provenance"])),
            layers=layers,
            shown=tuple((int(i), int(h)) for i, h in arrays["shown"]),
            **{name: _plain(arrays[name]) for name in _FIELDS},
        )
    except UsageError:
        raise
    except Exception as error:  # whatever was put in there
        raise UsageError(f"{path} is no trace that `mqar-bench trace` wrote, or not all of one") from error


def _plain(value: Array) -> Any:
    """An array, or the number or text that it is."""
    return value if value.ndim else value.item()
