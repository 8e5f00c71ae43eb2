"""Compile every Triton kernel of RAM-Net for a GPU that need not be there, and report registers and spills.

    python tests/kernels.py [--capability 90] [--quick] [--json FILE]

The operators run on the CPU with their launches recorded instead of done, so that each kernel is compiled with the
arguments, sizes and tiles that the operator gives it. Exit code 1 if a kernel does not compile, or spills where the
sizes are those of the paper.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.pop("TRITON_INTERPRET", None)
warnings.filterwarnings("ignore", message="TRITON_DEFAULT_FP_FUSION")

import torch  # noqa: E402
import triton  # noqa: E402
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402
from triton.runtime.jit import JITFunction  # noqa: E402

from mixers.ramnet import address_triton, memory_triton, step_triton  # noqa: E402

TYPES = {
    torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16",
    torch.int32: "i32", torch.int64: "i64", torch.bool: "i1",
}  # fmt: skip
OPTIONS = {"num_warps", "num_stages"}


def recorded(call: Callable[[], object]) -> list[tuple[JITFunction, dict]]:
    """The kernel launches that ``call`` asks for, with their arguments by name; none is done."""
    launches = []

    def record(self, *args, grid, warmup, **kwargs):
        launches.append((self, dict(zip(self.arg_names, args, strict=False)) | kwargs))

    original, JITFunction.run = JITFunction.run, record
    try:
        call()
    finally:
        JITFunction.run = original
    return launches


def build(kernel: JITFunction, arguments: dict, capability: int) -> dict:
    """Compile one launch as Triton would, and read its resources from the machine code."""
    options = {name: arguments.pop(name) for name in OPTIONS & arguments.keys()}
    signature, constants, attributes = {}, {}, {}
    for place, parameter in enumerate(kernel.params):
        value = arguments[parameter.name]
        special = not parameter.do_not_specialize
        if parameter.is_constexpr or value is None or (special and type(value) is int and value == 1):
            signature[parameter.name], constants[(place,)] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[parameter.name], attributes[(place,)] = "*" + TYPES[value.dtype], [["tt.divisibility", 16]]
        elif isinstance(value, float):
            signature[parameter.name] = "fp32"
        else:
            signature[parameter.name] = "i32" if abs(value) < 2**31 else "i64"
            if special and value % 16 == 0:
                attributes[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature=signature, constexprs=constants, attrs=attributes)
    start = time.perf_counter()
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    seconds = time.perf_counter() - start
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(compiled.asm["cubin"])
        tools = Path(triton.__file__).parent / "backends/nvidia/bin"
        usage = subprocess.run(
            [tools / "cuobjdump", "-res-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
        code = subprocess.run([tools / "nvdisasm", "-c", file.name], capture_output=True, text=True, check=True).stdout
    operations = re.findall(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_]*)", code, re.M)
    return {
        "registers": int(re.search(r"REG:(\d+)", usage).group(1)),
        "stack": int(re.search(r"STACK:(\d+)", usage).group(1)),
        "spills": sum(operation in ("LDL", "STL") for operation in operations),
        "shared": compiled.metadata.shared,
        "warps": compiled.metadata.num_warps,
        "instructions": sum(operation != "NOP" for operation in operations),
        "shuffles": operations.count("SHFL"),
        "seconds": round(seconds, 2),
    }


def address(order: int, sub_dim: int, top_k: int, dtype=torch.float32, cape=False):
    x = torch.zeros(1, 2, 3, order, sub_dim, dtype=dtype)
    place = (torch.arange(2), torch.ones(3, dtype=torch.bool)) if cape else (None, None)
    w, slots = torch.zeros(1, 2, 3, top_k), torch.zeros(1, 2, 3, top_k, dtype=torch.int32)

    def call():
        address_triton.decode_address_triton(x, top_k, *place)
        address_triton._decode_address_backward(x, w, slots, w, *place)

    return f"{sub_dim}^{order} top {top_k}, {TYPES[dtype]}" + (", CAPE" * cape), call


def memory(width: int, dtype=torch.bfloat16, gamma=1.0, states=False, long=False):
    B, T, H, K, M = 1, 16, 16, 8, 1024
    w, slots = torch.zeros(B, T, H, K), torch.zeros(B, T, H, K, dtype=torch.int32)
    v = torch.zeros(B, T, H, width, dtype=dtype)
    S, z = (torch.zeros(B, H, M, width), torch.zeros(B, H, M)) if states else (None, None)

    def call():
        o, S_out, z_out, *kept = memory_triton._pdma(w, slots, w, slots, v, S, z, M, gamma, 1e-6, 1e-6, states)
        final = (S_out, z_out) if states else (None, None)
        memory_triton._pdma_backward(torch.zeros_like(v), *final, v, S, z, *kept, K, K, M, gamma, 1e-6, 1e-6)

    return f"D {width}, {TYPES[dtype]}, gamma {gamma:g}" + (", states" * states), call


def step(order: int, sub_dim: int, top_k: int, width: int, dtype=torch.bfloat16, cape=False):
    B, H, M = 2, 16, sub_dim**order
    q, v = torch.zeros(B, H, order, sub_dim, dtype=dtype), torch.zeros(B, H, width, dtype=dtype)
    S, z, alpha = torch.zeros(B, H, M, width), torch.zeros(B, H, M), torch.zeros(H)
    place = (torch.zeros(B, H, dtype=torch.int64), torch.ones(H, dtype=torch.bool)) if cape else (None, None)
    call = lambda: step_triton.step_triton(q, q, v, S, z, top_k, top_k, 1.0, 1e-6, alpha, alpha, *place)  # noqa: E731
    return f"{sub_dim}^{order} top {top_k}, D {width}, {TYPES[dtype]}" + (", CAPE" * cape), call


#: Name of the variant, what launches it, and whether it may spill.
PAPER = [address(5, 4, 8), memory(64), step(5, 4, 8, 64)]
OTHERS = [
    address(5, 4, 8, torch.bfloat16, cape=True), address(10, 2, 8), address(12, 4, 8), address(5, 4, 64),
    address(5, 4, 128), address(2, 64, 64), address(1, 4096, 8), memory(64, gamma=0.5, states=True),
    memory(64, torch.float32, states=True), memory(64, torch.float16), memory(24), memory(5), memory(128),
    memory(256, torch.float32, gamma=0.0), step(5, 4, 8, 64, cape=True), step(2, 16, 64, 128, torch.float32),
    step(1, 64, 3, 24, torch.float16),
]  # fmt: skip


def report(variants: list, capability: int) -> Iterator[dict]:
    seen = set()
    for variant, call in variants:
        for kernel, arguments in recorded(call):
            shown = kernel.__name__.removesuffix("_kernel")
            direction = " up" if arguments.get("UP") else ""
            if (shown + direction, variant) not in seen:
                seen.add((shown + direction, variant))
                yield {"kernel": shown + direction, "variant": variant} | build(kernel, arguments, capability)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capability", type=int, default=90, help="that of the GPU, times ten (default: 90)")
    parser.add_argument("--quick", action="store_true", help="the paper's sizes only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TRITON_CACHE_DIR"] = cache  # so that the times are those of compiling
        rows = []
        print(f"torch {torch.__version__}, triton {triton.__version__}, sm_{options.capability}\n")
        print(f"{'kernel':24} {'variant':34} regs stack spills shared warps instr shfl   s")
        for row in report(PAPER if options.quick else PAPER + OTHERS, options.capability):
            rows.append(row)
            numbers = (
                "{registers:4} {stack:5} {spills:6} {shared:6} {warps:5} {instructions:5} {shuffles:4} {seconds:4.1f}"
            )
            print(f"{row['kernel']:24} {row['variant']:34} {numbers.format(**row)}", flush=True)
    if options.json:
        record = {"torch": torch.__version__, "triton": triton.__version__, "capability": options.capability}
        options.json.write_text(json.dumps(record | {"kernels": rows}, indent=1) + "\n")
    paper = {variant for variant, _ in PAPER}
    spilling = [row for row in rows if row["variant"] in paper and row["spills"]]
    for row in spilling:
        print(f"{row['kernel']} ({row['variant']}) spills: {row['spills']} loads and stores", file=sys.stderr)
    return 1 if spilling else 0


if __name__ == "__main__":
    sys.exit(main())
