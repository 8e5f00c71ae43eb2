"""The command ``perf``."""

from __future__ import annotations

import importlib.util
import math
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from mqar_bench.basics.errors import hint
from mqar_bench.cli.app import app
from mqar_bench.cli.complete import complete_case
from mqar_bench.cli.output import Json
from mqar_bench.perf import CASES

if TYPE_CHECKING:
    import torch

    from mixers.ramnet.ops import Backend
    from mqar_bench.perf.shape import Shape

DtypeName = StrEnum("DtypeName", ["float32", "bfloat16", "float16"])
DeviceName = StrEnum("DeviceName", ["auto", "cpu", "cuda"])
EngineName = StrEnum("EngineName", ["auto", "reference", "cpu", "triton"])


def _size(metavar: str, help: str, least: int = 1) -> Any:
    return typer.Option(min=least, metavar=metavar, help=help)


@app.command(
    epilog="**Examples**\n\n"
    "mqar-bench perf\n\n"
    "mqar-bench perf memory decode --out perf.json\n\n"
    "mqar-bench perf memory --device cpu --length 1024 --top-k 4 --no-peers"
)
def perf(
    cases: Annotated[
        list[str] | None,
        typer.Argument(metavar="CASES", help=f"Of {', '.join(CASES)}. Default: all.", autocompletion=complete_case),
    ] = None,
    batch: Annotated[int | None, _size("N", "Sequences. Default: 8; CPU: 4.")] = None,
    decode_batch: Annotated[int | None, _size("N", "Sequences in decode. Default: 64; CPU: 8.")] = None,
    length: Annotated[int | None, _size("T", "Tokens. Default: 4096; CPU: 256.")] = None,
    heads: Annotated[int | None, _size("H", "Heads. Default: 16; CPU: 2.")] = None,
    width: Annotated[int | None, _size("D", "Width of a slot, and of a peer's head. Default: 64; CPU: 32.")] = None,
    order: Annotated[int | None, _size("U", "Sub-vectors an address. Default: 5.")] = None,
    sub_dim: Annotated[int | None, _size("P", "Their size; M = P ^ U. Default: 4.", 2)] = None,
    top_k: Annotated[int | None, _size("K", "Slots a token. Default: 8.")] = None,
    dtype: Annotated[DtypeName | None, typer.Option(help="Of the values. Default: bfloat16; CPU: float32.")] = None,
    device: Annotated[DeviceName, typer.Option(help="auto: CUDA where there is a GPU.")] = DeviceName.auto,
    engine: Annotated[
        list[EngineName] | None,
        typer.Option(
            help="RAM-Net's engine; may be repeated. Default: auto, the fastest that runs. The reference comes anyway."
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(min=3, metavar="N", help="Timed calls a row, at most.")] = 50,
    seconds_per_row: Annotated[
        float, typer.Option(min=0, metavar="S", help="Timed calls a row end after this long, but not before 3.")
    ] = 0.5,
    as_json: Json = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write all of it as JSON.")] = None,
    peers: Annotated[bool, typer.Option("--peers/--no-peers", help="Measure fla's operations too.")] = True,
) -> None:
    """Time RAM-Net's engines, a training step, and how every mixer writes, after checking that they are right.

    Each stands beside its dense reference, fla's operations (on a GPU its kernels, else its PyTorch ones) at the same
    sizes and with the same number of state elements, and the bytes that must move. A table goes to standard output; on
    a GPU the project's targets follow. Exit code 1 if a check fails: what is wrong is not timed.
    """
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.perf.bench import Bench
    from mqar_bench.perf.record import check_writable, write
    from mqar_bench.perf.report import print_record
    from mqar_bench.perf.run import run

    for case in cases or []:
        if case.endswith(".json") and as_json:
            raise UsageError(f"--json takes no file, it prints: --out {case} writes one")
        if case not in CASES:
            raise UsageError(f"no case named {case!r}{hint(case, CASES)}")
    chosen = _choose(cases)
    place = _device(device)
    given = {
        "batch": batch, "decode_batch": decode_batch, "length": length, "heads": heads, "width": width,
        "order": order, "sub_dim": sub_dim, "top_k": top_k, "dtype": None if dtype is None else dtype.value,
    }  # fmt: skip
    shape = _shape(place, {key: value for key, value in given.items() if value is not None})
    bench = Bench(place, shape, _engines(engine or [EngineName.auto], place, shape), peers, repeats, seconds_per_row)
    if out is not None:
        check_writable(out)
    record = run(bench, chosen)
    if as_json:
        print(record.model_dump_json(indent=1))
    else:
        print_record(record)
    if out is not None:
        write(record, out)
    if record.error is not None:
        print(f"error: {record.error}", file=sys.stderr)
        raise typer.Exit(1)


def _choose(cases: list[str] | None) -> list[str]:
    """The cases asked for in the order in which they run, or all that can."""
    from mqar_bench.basics.errors import UsageError

    chosen = [case for case in CASES if case in (cases or CASES)]
    if "generate" in chosen and not importlib.util.find_spec("transformers"):
        needs = "needs transformers: pip install 'mqar-bench[language]'"
        if cases:
            raise UsageError(f"the case generate {needs}")
        print(f"generate is left out, which {needs}", file=sys.stderr)
        chosen.remove("generate")
    return chosen


def _device(name: DeviceName) -> torch.device:
    import torch

    from mqar_bench.basics.errors import UsageError

    there = torch.cuda.is_available()
    if name is DeviceName.cuda and not there:
        raise UsageError("--device cuda: torch sees no CUDA device; use cpu or auto")
    on_gpu = there and name is not DeviceName.cpu
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")


def _shape(device: torch.device, given: dict[str, Any]) -> Shape:
    from mqar_bench.basics.errors import UsageError
    from mqar_bench.basics.machine.hardware import device_memory
    from mqar_bench.perf.shape import DEFAULTS

    shape = DEFAULTS[device.type].model_copy(update=given)
    if shape.order * math.log2(shape.sub_dim) >= 31:  # as in RAM-Net
        raise UsageError(f"--order {shape.order} --sub-dim {shape.sub_dim}: 2^31 slots or more")
    if shape.top_k > shape.slots:
        raise UsageError(f"--top-k {shape.top_k}: there are only {shape.sub_dim}^{shape.order} = {shape.slots} slots")
    needed, there = shape.least_bytes, device_memory(device)
    if needed > there:
        raise UsageError(
            f"these sizes take at least {needed / 2**30:.1f} GiB, {device.type} has {there / 2**30:.1f} GiB:"
            " make --batch, --decode-batch, --length, --heads, --width or --order smaller"
        )
    return shape


def _engines(names: list[EngineName], device: torch.device, shape: Shape) -> tuple[Backend, ...]:
    """The engines that will run, without repeats and without the reference, which is measured in any case."""
    from mixers.base import TensorKind
    from mixers.ramnet.ops import choose_backend
    from mqar_bench.basics.errors import UsageError

    chosen: dict[Backend, None] = {}
    for name in names:
        if name is EngineName.triton and device.type == "cpu":
            raise UsageError("--engine triton: it needs a CUDA device; Triton's interpreter is not worth timing")
        try:
            chosen[choose_backend(cast("Backend", name.value), TensorKind((0,), shape.torch_dtype, device))] = None
        except ValueError as error:
            raise UsageError(f"--engine {name}: {error}") from None
    return tuple(engine for engine in chosen if engine != "reference")
