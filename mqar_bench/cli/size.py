"""The command ``state-size``."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mqar_bench.basics.errors import hint
from mqar_bench.cli.app import Results, app
from mqar_bench.cli.complete import complete_place, complete_run
from mqar_bench.cli.configs import start_config
from mqar_bench.cli.output import Format, Json, ListFormat, print_json

if TYPE_CHECKING:
    from mqar_bench.analysis.state_size import ModelSize


class Convention(StrEnum):
    counted = "counted"
    zoology = "zoology"


@app.command(
    name="state-size",
    options_metavar="[OPTIONS] [--SETTING VALUE]...",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="**Examples**\n\n"
    "mqar-bench state-size --preset table2\n\n"
    "mqar-bench state-size --base fig3/demo/3\n\n"
    "mqar-bench state-size --model.d_model 128 --model.mixers.1.name gla --length 1024",
)
def state_size(
    context: typer.Context,
    preset: Annotated[str | None, typer.Option(metavar="NAME", help="Models of a paper: table2 (RAM-Net's).")] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="SWEEP/SCALE/I", help="Run I of a sweep, see sweep --dry-run.", autocompletion=complete_place
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="A config in JSON.")] = None,
    from_record: Annotated[
        str | None, typer.Option(metavar="FILE|ID", help="The config of a record.", autocompletion=complete_run)
    ] = None,
    results: Results = Path("results"),
    length: Annotated[
        int | None, typer.Option(min=1, metavar="T", help="Tokens seen. Default: the config's longest sequence.")
    ] = None,
    convention: Annotated[
        Convention, typer.Option(help="What is carried, or what Zoology's mixers say they carry.")
    ] = Convention.counted,
    as_json: Json = False,
    format: Format = ListFormat.table,
) -> None:
    """Print the state that a model carries, and how much of it one token touches, by layer and in all.

    The model is that of the default config, or of another one to start from, with `--dotted.path value` changes as
    in `mqar-bench run`. Elements of one sequence; bytes as float32.
    """
    from mixers import MixerError
    from mqar_bench.analysis.state_size import count_state
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.config.overrides import apply_overrides, parse_pairs
    from mqar_bench.config.presets import PRESETS
    from mqar_bench.records.store import Store

    options = [name for parameter in context.command.params for name in parameter.opts]
    pairs = parse_pairs(context.args, options)
    if sum(start is not None for start in (preset, base, config, from_record)) > 1:
        raise UsageError("--preset, --base, --config and --from-record exclude each other")
    if preset is not None:
        if preset not in PRESETS:
            raise UsageError(f"no preset named {preset!r}{hint(preset, PRESETS)}")
        if pairs:
            raise UsageError(f"--preset {preset} is as the paper has it: it takes no --{pairs[0][0]}")
        describe, paper_length = PRESETS[preset]
        models, tokens = describe(), length or paper_length
    else:
        chosen = apply_overrides(start_config(base, config, from_record, Store(results)), pairs)
        models = [("", chosen.model)]
        tokens = length or max(segment.input_seq_len for segment in chosen.data.tasks)
    try:
        sizes = [count_state(model, tokens, name, convention.value) for name, model in models]
    except MixerError as error:
        raise UsageError(str(error)) from None
    if as_json or format is ListFormat.json:
        print_json([asdict(s) | {"total": s.total, "active": s.active} for s in map(_plain, sizes)])
    elif preset is not None:
        _print_models(sizes)
    else:
        _print_layers(sizes[0])


def _plain(size: ModelSize) -> ModelSize:
    from dataclasses import replace

    layers = tuple(replace(layer, mixer=layer.mixer.model_dump()) for layer in size.layers)  # type: ignore[arg-type]
    return replace(size, layers=layers)


def _print_layers(size: ModelSize) -> None:
    from mqar_bench.basics.console import print_table
    from mqar_bench.cli.show import show_json

    rows = []
    for layer in size.layers:
        options = ", ".join(f"{key}={show_json(value)}" for key, value in layer.mixer.options.items())
        one = [_elements(layer.total), _bytes(layer.total), _elements(layer.active), _bytes(layer.active)]
        rows.append([_ranges(layer.layers), layer.mixer.name + (f" ({options})" if options else ""), *one])
    everything = [_elements(size.total), _bytes(size.total), _elements(size.active), _bytes(size.active)]
    rows.append([f"all {sum(len(layer.layers) for layer in size.layers)}", "", *everything])
    header = ["layers", "mixer", "state", "bytes", "active", "bytes"]
    print(f"after {size.sequence_length} tokens; each row is one layer, the last all of them")
    print_table(header, rows, numbers=header[2:])


def _print_models(sizes: list[ModelSize]) -> None:
    from mqar_bench.basics.console import print_table

    rows = []
    for size in sizes:
        count = sum(len(layer.layers) for layer in size.layers)
        names = ", ".join(dict.fromkeys(layer.mixer.name for layer in size.layers))
        figures = [_millions(size.active), _millions(size.total), _elements(size.active), _elements(size.total)]
        rows.append([size.name, names, str(count), *figures])
    header = ["model", "mixer", "layers", "active", "total", "active elements", "total elements"]
    print(f"after {sizes[0].sequence_length} tokens, all layers")
    print_table(header, rows, numbers=header[2:])


def _ranges(layers: tuple[int, ...]) -> str:
    """``0-3, 8``"""
    parts: list[list[int]] = []
    for layer in layers:
        if parts and layer == parts[-1][1] + 1:
            parts[-1][1] = layer
        else:
            parts.append([layer, layer])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def _elements(size: int | None) -> str:
    return "-" if size is None else f"{size:,}"


def _bytes(size: int | None) -> str:
    from mqar_bench.analysis.state_size import ELEMENT_BYTES

    return "-" if size is None else f"{size * ELEMENT_BYTES:,}"


def _millions(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:.1f}M"
