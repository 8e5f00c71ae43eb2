import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from mqar_bench.cli import app
from mqar_bench.cli import perf as perf_command
from mqar_bench.config import MixerSpec
from mqar_bench.perf import CASES, timing
from mqar_bench.perf import generate as generate_case
from mqar_bench.perf import memory as memory_case
from mqar_bench.perf.record import PerfRecord
from mqar_bench.perf.report import print_record
from mqar_bench.records.store import Store

ROOT = Path(__file__).parents[2]
#: A measurement of a second.
TINY = (
    *("--device", "cpu", "--batch", "1", "--decode-batch", "1", "--length", "32", "--heads", "1", "--width", "4"),
    *("--order", "2", "--top-k", "2", "--seconds-per-row", "0", "--repeats", "3"),
)


@pytest.fixture
def cli(monkeypatch, tmp_path):
    """Runs ``mqar-bench perf`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(memory_case.SWEEP, "cpu", range(4, 7, 2))
    monkeypatch.setitem(timing.COPY_BYTES, "cpu", 2**20)
    monkeypatch.setattr(generate_case, "others", lambda shape: [MixerSpec(name="attention")])
    return lambda *words: CliRunner().invoke(app, ["perf", *map(str, words)])


def test_all_cases_and_the_record(cli):
    result = cli(*TINY, "--out", "out/perf.json")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line for line in lines if line in CASES] == list(CASES)
    assert "targets" not in lines  # they are for a GPU
    values = json.loads(Path("out/perf.json").read_text())
    assert values["perf_schema_version"] == 1
    record = PerfRecord.model_validate(values)
    assert [path.name for path in Path("out").iterdir()] == ["perf.json"]
    assert record.device_type == "cpu" and record.engines == ("cpu",) and record.error is None
    assert record.shape.slots == 16 and record.shape.decode_batch == 1
    assert {"torch", "numpy"} <= record.provenance.versions.keys()
    assert {check.case for check in record.checks} == set(CASES)
    assert all(check.error <= check.bound for check in record.checks)
    assert all(row.cannot_run is None and row.timing is not None for row in record.rows)
    for case in CASES:
        roles = {row.role for row in record.rows if row.case == case}
        assert {"ours", "reference"} <= roles
    assert {row.size for row in record.rows if row.case == "memory"} == {
        "", "M=2^4", "M=2^6", memory_case.HOT_WRITES, memory_case.HOT_BOTH
    }  # fmt: skip
    assert Store("out").results()[0] == []  # it is no record of a run, and breaks no list of them


def test_a_record_of_before_is_read_and_printed(capsys):
    record = PerfRecord.model_validate_json((ROOT / "results/perf/cpu-2-cores.json").read_text())
    print_record(record)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(record.provenance.device)
    assert {"address", "memory", "decode", "step"} <= set(lines)  # it is older than later cases


def test_one_case_without_peers(cli):
    result = cli("address", *TINY, "--no-peers", "--engine", "cpu", "--engine", "auto")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.splitlines() == ["address: checking", "address: measuring"]
    assert "fla " not in result.stdout and "memory" not in result.stdout.splitlines()


def test_the_reference_alone(cli):
    result = cli("memory", *TINY, "--dtype", "bfloat16", "--no-peers", "--out", "perf.json")
    assert result.exit_code == 0, result.stderr
    record = PerfRecord.model_validate_json(Path("perf.json").read_text())
    assert record.engines == () and record.checks == ()
    assert {row.name for row in record.rows} == {"reference"}


def test_a_wrong_engine_is_not_timed(cli, monkeypatch):
    right = memory_case.pdma

    def wrong(*arguments, backend, **options):
        o, state = right(*arguments, backend=backend, **options)
        return (o * (1 + 1e-4 * (backend != "reference")), state)

    monkeypatch.setattr(memory_case, "pdma", wrong)
    result = cli("address", "memory", "step", *TINY, "--out", "perf.json")
    assert result.exit_code == 1
    error = result.stderr.splitlines()[-1]
    assert error.startswith(
        "error: memory: the cpu engine is wrong: o has a relative error of 1.00e-04 against float64"
    )
    headings = result.stdout.splitlines()
    assert "address" in headings and "memory" not in headings and "step" not in headings
    record = PerfRecord.model_validate_json(Path("perf.json").read_text())
    assert record.error == error.removeprefix("error: ")
    assert {row.case for row in record.rows} == {"address"}


def test_an_engine_that_breaks_ends_the_command(cli, monkeypatch):
    right = memory_case.pdma

    def breaks_at_size(*arguments, backend, **options):
        if backend != "reference" and arguments[4].shape[1] == 32:
            raise RuntimeError("out of luck")
        return right(*arguments, backend=backend, **options)

    monkeypatch.setattr(memory_case, "pdma", breaks_at_size)
    result = cli("memory", *TINY)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "error: memory: cpu failed, forward: RuntimeError: out of luck"
    assert "Traceback" in result.stderr and "memory" not in result.stdout.splitlines()


@pytest.mark.parametrize(
    "words, message",
    [
        (("adress",), "no case named 'adress': did you mean 'address'?"),
        (("sweep",), "no case named 'sweep': "),
        (("--top-k", "17", "--order", "2"), "--top-k 17: there are only 4^2 = 16 slots"),
        (("--order", "100000"), "--order 100000 --sub-dim 4: 2^31 slots or more"),
        (("--batch", "1000000000000"), "these sizes take at least "),
        (("--decode-batch", "1000000000000"), "these sizes take at least "),
        (("--engine", "cpu", "--dtype", "bfloat16", "--device", "cpu"), "--engine cpu: RAM-Net's cpu engine takes"),
        (("--engine", "triton", "--device", "cpu"), "--engine triton: "),
        (("--engine", "cuda"), "'--engine'"),
        (("--batch", "0"), "'--batch'"),
        (("--out", ".", "--device", "cpu"), "cannot write .: it is a folder"),
    ],
    ids=lambda w: " ".join(w) if isinstance(w, tuple) else "",
)
def test_mistakes_are_one_line(cli, words, message):
    result = cli(*words)
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.count("\n") == 1 and message in result.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(cli):
    result = cli("--device", "cuda")
    assert result.exit_code == 2
    assert result.stderr == "error: --device cuda: torch sees no CUDA device; use cpu or auto\n"


def test_help_and_measuring_import_nothing_they_can_do_without(tmp_path):
    script = (
        "import sys\nfrom mqar_bench.cli import app\ntry:\n    app(['perf', '--help'])\nexcept SystemExit: pass\n"
        "early = {'torch', 'numpy'} & set(sys.modules)\n"
        "from mqar_bench.perf import address, memory, decode, step, targets, report, run\n"
        "late = {'ray', 'fla', 'pandas', 'matplotlib', 'triton', 'numba'} & set(sys.modules)\n"
        "print(early, late, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "set() set()" and "--seconds-per-row" in done.stdout


def test_what_needs_transformers_is_left_out_without_it(cli, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: name != "transformers" and find(name, *more))
    assert perf_command._choose(None) == [case for case in CASES if case != "generate"]
    result = cli("generate", *TINY)
    assert result.exit_code == 2
    assert result.stderr == "error: the case generate needs transformers: pip install 'mqar-bench[language]'\n"
