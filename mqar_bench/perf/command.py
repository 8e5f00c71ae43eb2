"""The command ``mqar-bench perf``. Imports what it needs when it runs, as ``mqar_bench.cli`` does."""

from __future__ import annotations

import difflib
import importlib
import math
import sys
import traceback
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from mqar_bench.perf import CASES, PerfError

if TYPE_CHECKING:
    import torch

    from mixers.ramnet.ops import Backend
    from mqar_bench.perf.bench import Bench
    from mqar_bench.perf.shape import Shape

EXAMPLES = (
    "**Examples**\n\n"
    "mqar-bench perf\n\n"
    "mqar-bench perf memory decode --json perf.json\n\n"
    "mqar-bench perf memory --device cpu --length 1024 --top-k 4 --no-peers"
)


class DtypeName(StrEnum):
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class DeviceName(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class EngineName(StrEnum):
    auto = "auto"
    reference = "reference"
    cpu = "cpu"
    triton = "triton"


def perf(
    cases: Annotated[
        list[str] | None, typer.Argument(metavar="CASES", help=f"Of {', '.join(CASES)}. Default: all.")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, metavar="N", help="Sequences. Default: 8; CPU: 4.")] = None,
    decode_batch: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Sequences in decode. Default: 64; CPU: 8.")
    ] = None,
    length: Annotated[int | None, typer.Option(min=1, metavar="T", help="Tokens. Default: 4096; CPU: 256.")] = None,
    heads: Annotated[int | None, typer.Option(min=1, metavar="H", help="Heads. Default: 16; CPU: 2.")] = None,
    width: Annotated[
        int | None,
        typer.Option(min=1, metavar="D", help="Width of a slot, and of a peer's head. Default: 64; CPU: 32."),
    ] = None,
    order: Annotated[int | None, typer.Option(min=1, metavar="U", help="Sub-vectors an address. Default: 5.")] = None,
    sub_dim: Annotated[int | None, typer.Option(min=2, metavar="P", help="Their size; M = P ^ U. Default: 4.")] = None,
    top_k: Annotated[int | None, typer.Option(min=1, metavar="K", help="Slots a token. Default: 8.")] = None,
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
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write all of it as JSON.")] = None,
    peers: Annotated[bool, typer.Option("--peers/--no-peers", help="Measure fla's operations too.")] = True,
) -> None:
    """Time RAM-Net's engines, a training step and the sampler, after checking that they are right.

    Each stands beside its dense reference, fla's operations (on a GPU its kernels, else its PyTorch ones) at the same
    sizes and with the same number of state elements, and the bytes that must move. A table goes to standard output; on
    a GPU the project's targets follow. Exit code 1 if a check fails: what is wrong is not timed.
    """
    from mqar_bench.perf.record import check_writable

    chosen = _cases(cases or [])
    place = _device(device.value)
    given = {
        "batch": batch, "decode_batch": decode_batch, "length": length, "heads": heads, "width": width,
        "order": order, "sub_dim": sub_dim, "top_k": top_k, "dtype": None if dtype is None else dtype.value,
    }  # fmt: skip
    shape = _shape(place.type, given)
    engines = _engines([e.value for e in engine or [EngineName.auto]], place, shape)
    if json is not None:
        check_writable(json)
    raise typer.Exit(_run(chosen, place, shape, engines, repeats, seconds_per_row, json, peers))


def _run(
    cases: list[str],
    device: torch.device,
    shape: Shape,
    engines: tuple[Backend, ...],
    repeats: int,
    seconds: float,
    json: Path | None,
    peers: bool,
) -> int:
    """Measure, print and write; the exit code."""
    from mqar_bench.perf.bandwidth import copy_bandwidth
    from mqar_bench.perf.bench import Bench, relate
    from mqar_bench.perf.record import PerfRecord, write
    from mqar_bench.perf.report import print_record
    from mqar_bench.perf.targets import judge
    from mqar_bench.result import now, provenance

    started_at = now()
    bench = Bench(device, shape, engines, peers, repeats, seconds, copy_bandwidth(device))
    error = None
    for case in cases:
        try:
            _measure(case, bench)
        except PerfError as failure:
            error = str(failure)
            if failure.__cause__ is not None:
                traceback.print_exception(failure.__cause__, file=sys.stderr)
            bench.rows = [row for row in bench.rows if row.case != case]
            break
    rows = relate(bench.rows)
    record = PerfRecord(
        provenance=provenance(device, started_at),
        device_type="cuda" if device.type == "cuda" else "cpu",
        shape=shape,
        engines=engines,
        repeats=repeats,
        seconds_per_row=seconds,
        copy_bytes_per_second=bench.copy_speed,
        checks=tuple(bench.checks),
        rows=tuple(rows),
        targets=judge(rows, shape) if device.type == "cuda" else (),
        error=error,
    )
    print_record(record)
    if json is not None:
        write(record, json)
    if error is not None:
        print(f"error: {error}", file=sys.stderr)
    return 0 if error is None else 1


def _measure(case: str, bench: Bench) -> None:
    """Check one case, then time it; progress goes to standard error."""
    module = importlib.import_module(f"mqar_bench.perf.{case}")
    print(f"{case}: checking", file=sys.stderr)
    try:
        module.check(bench)
    except PerfError:
        raise
    except Exception as error:  # an engine that crashes in its check
        raise PerfError(f"{case}: the check failed: {type(error).__name__}: {error}") from error
    print(f"{case}: measuring", file=sys.stderr)
    module.measure(bench)


def _cases(given: list[str]) -> list[str]:
    from mqar_bench.overrides import UsageError

    for case in given:
        if case not in CASES:
            close = difflib.get_close_matches(case, CASES, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there is {', '.join(CASES)}"
            raise UsageError(f"no case named {case!r}: {hint}")
    return [case for case in CASES if case in given or not given]


def _device(name: str) -> torch.device:
    import torch

    from mqar_bench.overrides import UsageError

    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch sees no CUDA device; use cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name, torch.cuda.current_device()) if name == "cuda" else torch.device(name)


def _shape(device: str, given: dict) -> Shape:
    import torch

    from mqar_bench.machine.hardware import device_memory
    from mqar_bench.overrides import UsageError
    from mqar_bench.perf.shape import DEFAULTS

    shape = DEFAULTS[device].model_copy(update={key: value for key, value in given.items() if value is not None})
    if shape.order * math.log2(shape.sub_dim) >= 31:  # as in RAM-Net
        raise UsageError(f"--order {shape.order} --sub-dim {shape.sub_dim}: 2^31 slots or more")
    if shape.top_k > shape.slots:
        raise UsageError(f"--top-k {shape.top_k}: there are only {shape.sub_dim}^{shape.order} = {shape.slots} slots")
    needed, there = shape.least_bytes, device_memory(torch.device(device))
    if needed > there:
        raise UsageError(
            f"these sizes take at least {needed / 2**30:.1f} GiB, {device} has {there / 2**30:.1f} GiB:"
            " make --batch, --decode-batch, --length, --heads, --width or --order smaller"
        )
    return shape


def _engines(names: list[str], device: torch.device, shape: Shape) -> tuple[Backend, ...]:
    """The engines that will run, without repeats and without the reference, which is measured in any case."""
    import torch

    from mixers.ramnet.ops import choose_backend
    from mqar_bench.overrides import UsageError

    like = torch.empty(0, dtype=shape.torch_dtype, device=device)
    chosen: list[Backend] = []
    for name in names:
        if name == "triton" and device.type == "cpu":
            raise UsageError("--engine triton: it needs a CUDA device; Triton's interpreter is not worth timing")
        try:
            chosen.append(choose_backend(cast("Backend", name), like))
        except ValueError as error:
            raise UsageError(f"--engine {name}: {error}") from None
    return tuple(engine for engine in dict.fromkeys(chosen) if engine != "reference")
